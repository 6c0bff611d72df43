"""What a person changed in picks: added, removed, and the least score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.maps import Picks


def edit_picks(
    picks: Picks,
    *,
    added: Float[np.ndarray, "k 2"],
    removed: Sequence[int] = (),
    min_score: float | None = None,
    diameter: float | None = None,
) -> Picks:
    """Picks without those that were removed or score too little, and with those that were added at the end.

    What was added has no score (NaN) and no template (class 0).

    Args:
        picks: Of one micrograph.
        added: (y, x) of further particles, px of the micrograph.
        removed: Numbers of picks that go, from 1.
        min_score: Least score of a pick that stays; one without a score stays.
        diameter: Of the added ones, Å; the median of the others unless given.

    Raises:
        InputError: There is no such pick, or an added one lies outside of the micrograph.
    """
    _check(picks, added, removed)
    stays = np.ones(len(picks), bool)
    stays[np.array(removed, np.int64) - 1] = False
    if min_score is not None:
        stays &= ~(picks.score < min_score)
    return _extended(picks, stays, added, diameter)


def _check(picks: Picks, added: Float[np.ndarray, "k 2"], removed: Sequence[int]) -> None:
    name, (rows, columns) = picks.micrograph.name, picks.micrograph.image_shape
    wrong = [number for number in removed if not 1 <= number <= len(picks)]
    if wrong:
        got = ", ".join(map(str, wrong))
        raise InputError(f"{name} has no such pick to remove", got=got, expected=f"1 to {len(picks)}")
    outside = ((added < 0) | (added > np.array([rows, columns]))).any(1)
    if outside.any():
        y, x = added[outside][0].tolist()
        raise InputError(
            f"a pick that was added lies outside of {name}",
            got=f"y {y:g}, x {x:g}",
            expected=f"within {columns} × {rows} px",
        )


def _extended(picks: Picks, stays: np.ndarray, added: Float[np.ndarray, "k 2"], diameter: float | None) -> Picks:
    count = len(added)
    if diameter is None and count:
        if not len(picks):
            raise InputError("the diameter of what was added is not known", mend="give it with --diameter")
        diameter = float(np.median(picks.diameter))
    return replace(
        picks,
        coordinates=np.concatenate([picks.coordinates[stays], added.astype(picks.coordinates.dtype)]),
        score=np.concatenate([picks.score[stays], np.full(count, np.nan, picks.score.dtype)]),
        diameter=np.concatenate([picks.diameter[stays], np.full(count, diameter or 0.0, picks.diameter.dtype)]),
        class_number=np.concatenate([picks.class_number[stays], np.zeros(count, picks.class_number.dtype)]),
        psi=np.concatenate([picks.psi[stays], np.zeros(count, picks.psi.dtype)]),
    )
