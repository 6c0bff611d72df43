"""What the report of a tilt series shows: its content, the figures, the tables and the page around them."""
