"""Picks that a person changed."""

from __future__ import annotations

import numpy as np
import pytest

from thon.algorithms.pick_edits import edit_picks
from thon.base.errors import InputError
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph
from thon.jobs.curate_picks import CuratePicksOptions, places_in, read_number, read_place

NONE = np.zeros((0, 2))


def found(number: int = 4) -> Picks:
    micrograph = CtfMicrograph("mic_1", "mic_1.mrc", (300, 400), 1.5)
    k = np.arange(number, dtype=float)
    score = np.array([0.9, 0.2, np.nan, 0.6])[:number]
    return Picks(micrograph, np.stack([10 * k, 20 * k], -1), score, 100 + k, np.arange(number) + 1, 5 * k)


def test_removed_ones_go_and_the_others_stay_as_they_are() -> None:
    edited = edit_picks(found(), added=NONE, removed=[1, 3])
    assert edited.coordinates.tolist() == [[10, 20], [30, 60]]
    assert edited.class_number.tolist() == [2, 4]
    assert edited.diameter.tolist() == [101, 103]
    assert len(found()) == 4


def test_added_ones_come_last_without_score_and_class() -> None:
    edited = edit_picks(found(), added=np.array([[250.5, 3.25]]))
    assert edited.coordinates[-1].tolist() == [250.5, 3.25]
    assert np.isnan(edited.score[-1])
    assert (edited.class_number[-1], edited.psi[-1]) == (0, 0)
    assert edited.diameter[-1] == np.median(found().diameter)
    assert edit_picks(found(), added=np.array([[1.0, 2]]), diameter=80).diameter[-1] == 80


def test_a_least_score_takes_no_pick_that_has_none() -> None:
    edited = edit_picks(found(), added=np.array([[1.0, 2]]), removed=[1], min_score=0.5)
    assert edited.psi.tolist() == [10, 15, 0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="no such pick"):
        edit_picks(found(), added=NONE, removed=[5])
    with pytest.raises(InputError, match="outside"):
        edit_picks(found(), added=np.array([[301.0, 2]]))
    with pytest.raises(InputError, match="diameter"):
        edit_picks(found(0), added=np.array([[1.0, 2]]))


@pytest.mark.parametrize("text", ["mic_1", "mic_1:", ":3", "mic_1:0", "mic_1:x", "mic_1:-2"])
def test_numbers_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="is no pick"):
        CuratePicksOptions(removed=(text,))


@pytest.mark.parametrize("text", ["mic_1", "mic_1:3", "mic_1:3/", ":3/4", "mic_1:nan/3", "mic_1:3/inf"])
def test_places_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match="is no place"):
        CuratePicksOptions(added=(text,))


def test_edits_name_their_micrograph() -> None:
    assert read_number("a:b:12") == ("a:b", 12)
    assert read_place("mic_1:10.5/20") == ("mic_1", 10.5, 20)
    assert places_in("mic_1", ("mic_1:1/2", "mic_11:3/4", "mic_1:5.5/6")).tolist() == [[1, 2], [5.5, 6]]
