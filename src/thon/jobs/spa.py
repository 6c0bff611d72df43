"""From micrographs to a map in one command: CTFs, picking, extraction, 2D classes, a first map, refinement.

Takes micrographs, or the job that made them from movies. The classes that look good are chosen by their scores, and a
first map is found without a reference: its hand is not known from the images, so compare the result with what you know
and turn it over with `thon volume MAP OUT --flip-hand` if it is the mirror image.
"""

from __future__ import annotations

from thon.job.spec import chain

spa = chain(
    "ctf-fit",
    "pick",
    "extract",
    "classify2d",
    "select",
    "ab-initio",
    "refine3d",
    "postprocess",
    name="spa",
    title="Single particles to a map",
    stage="refine",
    doc=__doc__,
    shared=("diameter", "symmetry"),
)
