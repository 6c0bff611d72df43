"""Where specimen points fall, against the formulas written out as plain rotation matrices."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from thon.base.errors import InputError
from thon.data.geometry import LocalField, TiltGeometry, spline_basis

POINTS = np.array([[0.0, 0, 0], [310, -1200, 900], [-250, 700, -1500], [0, 1900, 0], [120, 0, 0]])


def general(tilts: int = 7, seed: int = 0) -> TiltGeometry:
    """A geometry with nothing at zero."""
    random = np.random.default_rng(seed)
    return TiltGeometry(
        tilt=np.linspace(-63, 57, tilts),
        shift=random.normal(0, 150, (tilts, 2)),
        rotation=85 + random.normal(0, 1, tilts),
        x_tilt=random.normal(4, 3, tilts),
        magnification=1 + random.normal(0, 0.01, tilts),
    )


def field(tilts: int = 7, shape: tuple[int, int] = (5, 7), seed: int = 1) -> LocalField:
    return LocalField(np.random.default_rng(seed).normal(0, 20, (tilts, *shape, 2)), (700.0, 450.0))


def test_projection_is_two_rotations_and_a_turn_in_the_image() -> None:
    """With axes (x, y, z): about x by the x-tilt, about y by the tilt, about z by the axis angle, then drop z."""
    geometry = general()
    for k, projected in enumerate(geometry.project(POINTS)):
        about_x = Rotation.from_euler("x", geometry.x_tilt[k], degrees=True)
        about_y = Rotation.from_euler("y", geometry.tilt[k], degrees=True)
        in_plane = Rotation.from_euler("z", geometry.rotation[k], degrees=True)
        seen = (in_plane * about_y * about_x).apply(POINTS[:, ::-1])
        expected = geometry.magnification[k] * seen[:, 1::-1] + geometry.shift[k]
        np.testing.assert_allclose(projected, expected, atol=1e-9)


def test_the_axis_is_anticlockwise_from_up() -> None:
    """What lies on the tilt axis stays where it is in all images, and it lies along (−sin φ, cos φ) in (x, y)."""
    geometry = TiltGeometry.nominal(np.array([-50.0, 0, 40]), rotation=30.0)
    seen = geometry.project(np.array([[0.0, 100, 0]]))
    expected = 100 * np.array([np.cos(np.pi / 6), -np.sin(np.pi / 6)])
    np.testing.assert_allclose(seen, np.broadcast_to(expected, seen.shape), atol=1e-9)


def test_what_is_high_moves_along_positive_x_at_positive_tilt() -> None:
    seen = TiltGeometry.nominal(np.array([30.0])).project(np.array([[100.0, 0, 0], [0, 0, 100]]))
    np.testing.assert_allclose(seen[0], [[0, 50], [0, 100 * np.cos(np.pi / 6)]], atol=1e-9)


def test_projection_is_the_image_of_the_plane_and_the_field_lies_in_the_plane() -> None:
    local = field()
    rigid = general()
    geometry = TiltGeometry(rigid.tilt, rigid.shift, rigid.rotation, rigid.x_tilt, rigid.magnification, local)
    plane = geometry.plane(POINTS)
    np.testing.assert_array_equal(geometry.project(POINTS), geometry.to_image(plane))
    moved = geometry.project(POINTS) - rigid.project(POINTS)
    np.testing.assert_allclose(moved, local(plane), atol=1e-9)
    assert np.abs(moved).max() > 5


def test_the_field_is_the_spline_of_scipy() -> None:
    local = field(3)
    v, u = np.linspace(-650, 650, 9), np.linspace(-800, 800, 9)
    found = local(np.broadcast_to(np.stack([v, u], -1), (3, 9, 2)))
    rows, columns = local.coefficients.shape[1:3]
    for k in range(3):
        expected = np.zeros((9, 2))
        for i in range(rows):
            for j in range(columns):
                at = [v / 700 + (rows - 1) / 2 - i, u / 450 + (columns - 1) / 2 - j]
                row, column = (BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)(a) for a in at)
                expected += np.nan_to_num(row * column)[:, None] * local.coefficients[k, i, j]
        np.testing.assert_allclose(found[k], expected, atol=1e-9)


def test_the_field_is_constant_beyond_its_inner_nodes() -> None:
    local = field(2)
    rows, columns = local.coefficients.shape[1:3]
    edge = np.array([700.0 * ((rows - 1) / 2 - 1), 450.0 * ((columns - 1) / 2 - 1)])
    plane = np.broadcast_to(np.stack([edge, edge + 10, edge + 1e5, -edge, -edge - 1e5]), (2, 5, 2))
    found = local(plane)
    np.testing.assert_allclose(found[:, 1:3], np.repeat(found[:, :1], 2, 1), atol=1e-9)
    np.testing.assert_allclose(found[:, 4], found[:, 3], atol=1e-9)
    assert np.abs(found[:, 0] - found[:, 3]).max() > 1


def test_a_constant_field_moves_everything_alike() -> None:
    coefficients = np.broadcast_to([3.0, -2.0], (2, 4, 4, 2))
    found = LocalField(coefficients, (100.0, 100.0))(np.random.default_rng(0).normal(0, 400, (2, 30, 2)))
    np.testing.assert_allclose(found, np.broadcast_to([3.0, -2.0], found.shape), atol=1e-12)


@pytest.mark.parametrize("nodes", [4, 5, 9])
def test_spline_weights_sum_to_one_everywhere(nodes: int) -> None:
    weights = spline_basis(np.linspace(-3, nodes + 3, 61), nodes)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-12)
    assert (weights >= 0).all()


def test_a_field_needs_enough_coefficients() -> None:
    with pytest.raises(InputError, match="4 × 4"):
        LocalField(np.zeros((2, 3, 6, 2)), (1.0, 1.0))


@pytest.mark.parametrize("index", [[5, 0, 3], np.array([5, 0, 3])])
def test_selection_keeps_the_order_given_and_the_field(index: object) -> None:
    rigid = general()
    geometry = TiltGeometry(rigid.tilt, rigid.shift, rigid.rotation, rigid.x_tilt, rigid.magnification, field())
    part = geometry.select(index)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(part.project(POINTS), geometry.project(POINTS)[[5, 0, 3]])


def test_selection_by_a_mask() -> None:
    geometry = general()
    mask = np.arange(7) % 3 == 1
    np.testing.assert_array_equal(geometry.select(mask).tilt, geometry.tilt[[1, 4]])


def test_one_value_serves_all_tilts_and_what_was_given_is_not_touched() -> None:
    shift, rotation = np.zeros((3, 2)), np.full(3, 5.0)
    geometry = TiltGeometry(np.array([-10, 0, 10]), shift, rotation, x_tilt=2)  # pyright: ignore[reportArgumentType]
    np.testing.assert_array_equal(geometry.x_tilt, [2, 2, 2])
    np.testing.assert_array_equal(geometry.magnification, [1, 1, 1])
    geometry.rotation[0] = 99
    assert rotation[0] == 5
    assert geometry.tilt.dtype == np.float64


@pytest.mark.parametrize("shape", [(4, 2), (3, 3), (3,)])
def test_shifts_that_do_not_match_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="shifts and tilts"):
        TiltGeometry(np.zeros(3), np.zeros(shape))
