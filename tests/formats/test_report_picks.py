"""The picture of a micrograph's picks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from thon.formats.report.picks import PickPicture, draw_picks
from thon.formats.report.style import DARK, LIGHT, pixels

PICTURE = PickPicture(
    np.random.default_rng(0).normal(size=(60, 90)),
    10.0,
    np.array([[20.0, 30], [40, 70.5]]),
    np.array([180.0, 120]),
    np.zeros((60, 90), bool),
    np.array([5.0, 4, 1, 1, 0.5]),
    3.0,
)


def test_a_circle_of_its_diameter_around_each_pick_and_the_threshold() -> None:
    micrograph, histogram, curve = draw_picks(PICTURE, LIGHT).axes
    (circles,) = (one for one in micrograph.collections if isinstance(one, EllipseCollection))
    np.testing.assert_allclose(circles.get_offsets(), [[30, 20], [70.5, 40]])
    np.testing.assert_allclose(circles.get_widths(), [18, 12])
    assert micrograph.get_title(loc="left") == "2 picks"
    assert [line.get_xdata()[0] for line in histogram.lines] == [3.0]
    number, threshold = curve.lines
    np.testing.assert_array_equal(number.get_ydata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(number.get_xdata(), PICTURE.candidates)
    assert threshold.get_xdata()[0] == 3.0


def test_foil_is_coloured() -> None:
    foil = np.zeros((60, 90), bool)
    foil[:, 60:] = True
    (image,) = draw_picks(replace(PICTURE, avoided=foil), LIGHT).axes[0].get_images()
    shown = np.asarray(image.get_array())
    assert (shown[:, :60, 0] == shown[:, :60, 2]).all()
    assert (shown[:, 60:, 0] > shown[:, 60:, 2]).all()


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_nothing_found(theme: object) -> None:
    none = replace(
        PICTURE, coordinates=np.zeros((0, 2)), diameter=np.zeros(0), candidates=np.zeros(0), threshold=np.inf
    )
    drawn = pixels(draw_picks(none, theme))  # type: ignore[arg-type]
    assert drawn.std() > 5
