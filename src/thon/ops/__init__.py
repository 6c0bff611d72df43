"""Physics and mathematics on tensors: no files, no loops over a data set."""
