"""Records to JSON and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError
from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics, ThicknessProfile, TiltSigma, Tracks
from thon.data.geometry import LocalField, TiltGeometry
from thon.data.optics import Optics
from thon.data.record import LARGE, from_json, to_json
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.data.volume import Tomogram, Volume


def aligned(tilts: int = 3, tracks: int = 2) -> AlignedTiltSeries:
    random = np.random.default_rng(5)
    position = random.normal(size=(tracks, tilts, 2)) * 1e3 / 3
    position[0, 1] = np.nan
    diagnostics = AlignmentDiagnostics(
        method="test",
        sigma=TiltSigma(random.random((tilts, 2)), *random.random((4, tilts))),
        correlation=np.array([0.5, np.nan, -0.25])[:tilts],
        confidence=1 / 3,
        warnings=("one", "two [brackets]"),
        tracks=Tracks(position, random.random((tracks, tilts))),
        profile=ThicknessProfile(np.linspace(-9, 9, 4), random.random(4), -200.0, 310, (0.5, -2.0)),
        seconds={"coarse": 1.5, "path": 2.0, "type": 3.0},
    )
    local = LocalField(random.normal(size=(tilts, 4, 5, 2)), (300.0, 310.0))
    return AlignedTiltSeries(
        name="TS_01",
        images=tuple(ImageRef("/data/raw/TS_01.mrc", k) for k in range(tilts)),
        image_shape=(90, 96),
        pixel_size=10 / 3,
        geometry=TiltGeometry(random.normal(size=tilts), random.normal(size=(tilts, 2)), -4.25, local=local),
        order=np.array([2, 0, 1])[:tilts],
        exposure=np.full(tilts, np.nan),
        prior_exposure=np.array([0.0, np.inf, 3.0])[:tilts],
        movies=("a.tif", "/data/movies/b.tif", ""),
        optics=Optics(300.0, 2.7),
        excluded={1: "dark"},
        diagnostics=diagnostics,
    )


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if is_dataclass(one):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    else:
        assert one == other


class TestRoundTrip:
    def test_everything_comes_back_exactly_through_strict_json(self) -> None:
        record = aligned()
        text = json.dumps(to_json(record), allow_nan=False)
        assert_same(from_json(json.loads(text)), record)

    def test_a_subclass_comes_back_as_itself_and_its_parent_as_the_parent(self) -> None:
        record = aligned()
        parent = TiltSeries(**{f.name: getattr(record, f.name) for f in fields(TiltSeries)})
        assert type(from_json(to_json(record))) is AlignedTiltSeries
        assert type(from_json(to_json(parent))) is TiltSeries

    def test_large_arrays_go_to_the_caller(self) -> None:
        record = aligned(tracks=LARGE // 6 + 1)
        arrays: dict[str, np.ndarray] = {}
        data = to_json(record, arrays=arrays)
        assert list(arrays) == ["record.diagnostics.tracks.position"]
        assert len(json.dumps(data)) < 100_000
        assert_same(from_json(data, arrays=arrays), record)

    @pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "bool"])
    def test_arrays_keep_their_type_and_shape(self, dtype: str) -> None:
        array = np.array([[0.1, 3], [1e-7, 250]]).astype(dtype)[:, None]
        back = from_json(json.loads(json.dumps(to_json(array))))
        assert (back.dtype, back.shape) == (array.dtype, (2, 1, 2))
        np.testing.assert_array_equal(back, array)

    def test_empty_arrays_and_none(self) -> None:
        record = replace(aligned(), diagnostics=None)
        assert from_json(to_json(record)).diagnostics is None
        assert from_json(to_json(np.zeros((0, 3)))).shape == (0, 3)


class TestPaths:
    def test_absolute_paths_are_placed_and_found_and_other_texts_are_left(self) -> None:
        record = aligned()
        seen: list[str] = []

        def place(path: str) -> str:
            seen.append(path)
            return path.replace("/data/", "../")

        data = to_json(record, place=place)
        assert "/data" not in json.dumps(data)
        assert set(seen) == {"/data/raw/TS_01.mrc", "/data/movies/b.tif"}
        assert_same(from_json(data, find=lambda text: text.replace("../", "/data/")), record)

    def test_a_path_object_comes_back_as_one(self) -> None:
        assert from_json(to_json(Path("/a/b.mrc"))) == Path("/a/b.mrc")

    def test_a_tomogram(self) -> None:
        volume = Volume("/p/J003/x.mrc", (3, 4, 5), 13.5, (0.0, -1.0, 2.0))
        assert_same(from_json(to_json(Tomogram("TS", volume, even=volume))), Tomogram("TS", volume, even=volume))


@dataclass(frozen=True)
class Foreign:
    """A record of somebody else's."""

    number: int


class TestErrors:
    def test_a_class_that_is_gone(self) -> None:
        with pytest.raises(FormatError, match="NoSuchRecord"):
            from_json({"type": "NoSuchRecord"})

    def test_a_class_that_is_no_record(self) -> None:
        with pytest.raises(FormatError, match="os:PathLike"):
            from_json({"type": "os:PathLike"})

    def test_fields_that_do_not_fit(self) -> None:
        with pytest.raises(FormatError, match="not a record"):
            from_json({"type": "Volume", "colour": 3})

    def test_what_no_record_holds(self) -> None:
        with pytest.raises(TypeError, match="record: a set"):
            to_json({1, 2})
        with pytest.raises(TypeError, match="complex"):
            to_json(np.zeros(3, np.complex64))
