"""What sums the motion of a specimen up."""

from __future__ import annotations

import numpy as np
import pytest

from thon.data.motion import FrameMotion
from thon.job.made import numbers


def test_the_path_in_all_and_early_are_among_the_numbers() -> None:
    places = np.array([[0.0, 0], [3, 4], [3, 5], [3, 7], [3, 7]])
    motion = FrameMotion(places, frame_exposure=1.5)
    assert motion.figures == {"total": 8.0, "early": 6.0}
    found = numbers(motion)
    assert (found["count"], found["total"], found["early"]) == (5.0, 8.0, 6.0)
    # Without an exposure nobody knows what was early.
    assert FrameMotion(places).figures == {"total": pytest.approx(8.0)}
