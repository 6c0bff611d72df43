"""Records of what an alignment found."""

from __future__ import annotations

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.data.alignment import ThicknessProfile, Tracks


def test_tracks_are_seen_where_both_coordinates_are_known() -> None:
    position = np.array([[[1.0, 2.0], [np.nan, 3.0]], [[np.nan, np.nan], [0.0, 0.0]]])
    tracks = Tracks(position, np.ones((2, 2)))
    np.testing.assert_array_equal(tracks.seen, [[True, False], [False, True]])


def test_tracks_need_a_sigma_for_each_position() -> None:
    with pytest.raises(InputError, match="sigma and position") as raised:
        Tracks(np.zeros((3, 4, 2)), np.zeros((4, 3)))
    assert (raised.value.got, raised.value.expected) == ((4, 3), (3, 4))


def test_thickness_is_the_distance_of_the_faces() -> None:
    assert ThicknessProfile(np.zeros(2), np.zeros(2), -310.0, 450.0).thickness == 760.0
