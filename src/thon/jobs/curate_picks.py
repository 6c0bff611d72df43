"""Change picks by hand: take some away, add others, and ask for a least score.

`thon curate-picks J004 --removed mic_0001:12,mic_0001:30 --added mic_0001:1034.5/2210 --min-score 0.2`, or with the
mouse in the browser. Micrographs that are not named only lose what scores too little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from annotated_types import Gt
from jaxtyping import Float
from pydantic import model_validator

from thon.algorithms.pick_edits import edit_picks
from thon.base.options import Options, Unit
from thon.data.maps import Picks
from thon.formats.relion_coordinates import write_coordinates
from thon.job.context import Context
from thon.job.spec import each


class CuratePicksOptions(Options):
    removed: tuple[str, ...] = ()
    """Picks to take away, MICROGRAPH:NUMBER from 1; several are separated by commas."""

    added: tuple[str, ...] = ()
    """Picks to add, MICROGRAPH:Y/X in its pixels; several are separated by commas."""

    min_score: Annotated[float | None, Unit("1")] = None
    """Least score of a pick that stays; one without a score stays."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the added particles; the median of the others unless given."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        for text in self.removed:
            read_number(text)
        for text in self.added:
            read_place(text)
        return self


@each(title="Curate picks", stage="particles")
def curate_picks(picks: Picks, options: CuratePicksOptions, context: Context) -> Picks:
    name = picks.micrograph.name
    added = places_in(name, options.added)
    removed = [number for micrograph, number in map(read_number, options.removed) if micrograph == name]
    edited = edit_picks(picks, added=added, removed=removed, min_score=options.min_score, diameter=options.diameter)
    write_coordinates(context.output(f"{name}_pick.star"), edited)
    gone = len(picks) + len(added) - len(edited)
    context.log(f"{len(edited)} picks in {name}: {len(added)} added, {gone} taken away.")
    if not len(edited):
        context.warn(f"There are no picks left in {name}.")
    return edited


def places_in(name: str, added: Sequence[str]) -> Float[np.ndarray, "k 2"]:
    """Those of the added picks that are in one micrograph, (y, x)."""
    places = [place for micrograph, *place in map(read_place, added) if micrograph == name]
    return np.array(places, np.float64).reshape(-1, 2)


def read_number(text: str) -> tuple[str, int]:
    """Micrograph and number of a pick.

    Raises:
        ValueError: The text names none.
    """
    name, _, number = text.rpartition(":")
    if not name or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"'{text}' is no pick: MICROGRAPH:NUMBER, from 1")
    return name, int(number)


def read_place(text: str) -> tuple[str, float, float]:
    """Micrograph, y and x of a pick.

    Raises:
        ValueError: The text names none.
    """
    name, _, place = text.rpartition(":")
    y, _, x = place.partition("/")
    try:
        found = float(y), float(x)
    except ValueError:
        found = (math.nan, math.nan)
    if not name or not all(map(math.isfinite, found)):
        raise ValueError(f"'{text}' is no place: MICROGRAPH:Y/X in pixels")
    return name, *found
