"""Lanes: where jobs can run."""
