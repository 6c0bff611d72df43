"""The face for browsers: pages, viewers and the REST API that they use."""
