"""Frozen records of what is measured and found: geometry, tilt series, volumes, optics. No files, no torch."""
