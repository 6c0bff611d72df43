"""From a tilt series to an aligned tomogram in one command: import, alignment, reconstruction."""

from __future__ import annotations

from thon.job.spec import chain

tomo = chain(
    "import-tilts",
    "align-tilts",
    "reconstruct",
    name="tomo",
    title="Tilt series to tomogram",
    stage="tomography",
    doc=__doc__ or "",
)
