"""Process what a microscope writes while it writes it: movies to micrographs, tilt series to tomograms.

Watches FOLDER (or a URL such as s3://bucket/session) and takes up each movie when it has settled. Single particles end
with the fitted CTF; the tilts of a series are gathered, aligned while more come, and reconstructed when it is complete.
It ends when nothing has come for --idle seconds, or at Ctrl-C; the same command goes on where it stopped, and with
--idle 0 it does a session after the fact.
"""

from __future__ import annotations

from thon.job.spec import chain

live = chain(
    "import-movies",
    "motion",
    "ctf-fit",
    "tilt-series",
    "align-tilts",
    "tilt-ctf",
    "reconstruct",
    "export-tomograms",
    name="live",
    title="Live processing",
    stage="live",
    doc=__doc__,
    live=True,
)
