"""Tilt series: parts that belong together, and the images that take part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import ImageRef, TiltSeries


def series(tilts: int = 4, **other: object) -> TiltSeries:
    fields: dict[str, object] = {
        "name": "a",
        "images": tuple(ImageRef("a.st", k) for k in range(tilts)),
        "image_shape": (30, 41),
        "pixel_size": 2.0,
        "geometry": TiltGeometry.nominal(np.linspace(-6, 6, tilts)),
        "order": np.arange(tilts),
        "exposure": np.full(tilts, 3.0),
        "prior_exposure": 3.0 * np.arange(tilts),
    }
    return TiltSeries(**(fields | other))  # pyright: ignore[reportArgumentType]


def test_only_images_that_are_not_excluded_are_kept() -> None:
    found = series(5, excluded={1: "dark", 4: "by hand"}).kept
    np.testing.assert_array_equal(found, [0, 2, 3])
    assert found.dtype == np.int64
    assert series(2, excluded={0: "x", 1: "y"}).kept.shape == (0,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("geometry", TiltGeometry.nominal(np.zeros(3))),
        ("order", np.arange(5)),
        ("exposure", np.zeros(3)),
        ("prior_exposure", np.zeros(5)),
    ],
)
def test_parts_of_another_length_are_refused(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name} and images of 'a' differ") as raised:
        series(4, **{name: value})
    assert raised.value.expected == 4


def test_a_new_geometry_changes_nothing_else() -> None:
    before = series(3, excluded={2: "dark"}, tilt_axis=84.0)
    geometry = TiltGeometry.nominal(np.array([-6.0, 0, 6]), rotation=84.2)
    after = before.with_geometry(geometry)
    assert after.geometry is geometry
    assert replace(after, geometry=before.geometry) == before
    assert before.geometry.rotation[0] == 0
