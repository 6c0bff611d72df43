"""Ground floor: the error tree, `Options` with units, and deferred imports."""
