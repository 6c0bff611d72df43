"""What reports show: their content, the figures, the tables and the page around them."""
