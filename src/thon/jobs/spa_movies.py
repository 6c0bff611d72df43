"""From movies to a map in one command: motion, then all of `thon spa`.

`thon spa JOB` does the same from the job of `thon motion` on, and keeps what it finished.
"""

from __future__ import annotations

from thon.job.spec import chain

spa_movies = chain(
    "import-movies",
    "motion",
    "ctf-fit",
    "pick",
    "extract",
    "classify2d",
    "select",
    "ab-initio",
    "refine3d",
    "postprocess",
    name="spa-movies",
    title="Movies to a map",
    stage="refine",
    doc=__doc__,
    shared=("diameter", "symmetry"),
)
