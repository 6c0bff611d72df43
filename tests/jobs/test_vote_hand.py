"""The vote on the hand: each series counts by what its own images tell, sure or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.job.context import Context
from thon.jobs.vote_hand import vote_hand


def series(name: str, told: float | None, hand: int | None) -> TiltSeries:
    """Two tilts whose images tell a hand with a confidence; the series itself may say another, or none."""
    one, ctf = np.ones(2), None
    if told is not None:
        ctf = TiltCtf(3e4 * one, 3e4 * one, one, one, np.ones((2, 4)), one, one, hand_confidence=told)
    geometry = TiltGeometry.nominal(np.array([-30.0, 30.0]))
    images = tuple(ImageRef(f"{name}.mrc", k) for k in range(2))
    return TiltSeries(name, images, (8, 8), 2.0, geometry, np.arange(2), one, one, ctf=ctf, hand=hand)


def test_unsure_series_decide_together(tmp_path: Path) -> None:
    session = (
        series("prior-says-other", -0.7, 1),
        series("no-hand-of-its-own", -0.6, None),
        series("against", 0.5, None),
        series("without-ctf", None, 1),
        series("not-asked", float("nan"), 1),
    )
    vote = vote_hand.function(session, Context.local(tmp_path))
    assert vote.hand == -1
    assert vote.votes == {"prior-says-other": -0.7, "no-hand-of-its-own": -0.6, "against": 0.5}
    assert 0.7 < vote.confidence < 0.9


def test_no_series_that_tells_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no series tells the hand"):
        vote_hand.function((series("a", None, 1), series("b", float("nan"), -1)), Context.local(tmp_path))
