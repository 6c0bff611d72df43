"""The likelihood of images given references at all poses, and the references most likely given the images."""
