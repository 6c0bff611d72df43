"""Movies of single particles and tilt series from an atomic model or a map, with everything about them known."""
