"""The joint solution on pair measurements made from known errors of the geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from thon.algorithms.bundle_model import PARAMETERS, tilt_derivative
from thon.algorithms.joint_refinement import (
    JointRefinementOptions,
    JointSolution,
    _still,
    _System,
    refine_jointly,
)
from thon.algorithms.patch_pairs import PairMeasurement, choose_pairs, image_maps
from thon.data.geometry import LocalField, TiltGeometry

PIXEL = 10.0
EXTENT = (2400.0, 3000.0)
RIGID = JointRefinementOptions(magnification_spread=0.0, local_spread=0.0, noise_floor=0.01)


def patch_points(seed: int = 0, number: int = 48, depth: float = 250.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(-1, 1, (number, 3)) * [depth, 0.45 * EXTENT[0], 0.45 * EXTENT[1]]


def start(tilts: int = 17, rotation: float = 84.0) -> TiltGeometry:
    """The geometry with which patches are cut."""
    shift = np.random.default_rng(9).normal(0, 80, (tilts, 2))
    return TiltGeometry(np.linspace(-51, 54, tilts), shift, np.full(tilts, rotation))


def measure(
    truth: TiltGeometry,
    geometry: TiltGeometry,
    true_points: np.ndarray,
    points: np.ndarray,
    *,
    noise: float = 0.0,
    seed: int = 0,
    outliers: float = 0.0,
) -> PairMeasurement:
    """What patches cut by `geometry` at `points` show of a specimen at `true_points` imaged by `truth`; noise in Å."""
    random = np.random.default_rng(seed)
    gap = truth.project(true_points) - geometry.project(points)  # (tilts, patches, 2)
    plane = np.einsum("kij,kpj->pki", np.linalg.inv(image_maps(geometry)), gap)
    pairs = choose_pairs(geometry.tilt, 4, True)
    displacement = plane[:, pairs[:, 1]] - plane[:, pairs[:, 0]]
    displacement = displacement + noise * random.standard_normal(displacement.shape)
    wild = random.random(displacement.shape[:2]) < outliers
    displacement[wild] += random.uniform(-60, 60, (int(wild.sum()), 2))
    information = np.full(displacement.shape, max(noise, 0.1) ** -2)
    return PairMeasurement(pairs[:, 0], pairs[:, 1], displacement, information, np.ones(len(pairs)))


def solve(
    truth: TiltGeometry,
    geometry: TiltGeometry,
    true_points: np.ndarray,
    points: np.ndarray,
    options: JointRefinementOptions,
    rounds: int = 3,
    local: bool = False,
    **kind: float,
) -> JointSolution:
    """Measure and solve a few times, as an alignment does."""
    nominal = TiltGeometry.nominal(geometry.tilt, float(geometry.rotation[0]))
    for _ in range(rounds):
        pairs = measure(truth, geometry, true_points, points, **kind)  # pyright: ignore[reportArgumentType]
        solution = refine_jointly(pairs, geometry, points, nominal, PIXEL, options, extent=EXTENT if local else None)
        geometry, points = solution.geometry, solution.points
    return solution  # pyright: ignore[reportPossiblyUnboundVariable]


def shift_error(found: TiltGeometry, truth: TiltGeometry) -> np.ndarray:
    """(tilts, 2), Å: what no translation of the whole specimen explains."""
    rigid = replace(truth, local=None, shift=np.zeros_like(truth.shift))
    moves = rigid.project(np.eye(3)).transpose(0, 2, 1)
    gap = found.shift - truth.shift
    return gap - moves @ np.linalg.lstsq(moves.reshape(-1, 3), gap.reshape(-1))[0]


def test_an_error_of_every_kind_is_recovered_exactly() -> None:
    """Shifts of 2 px, axis 1.5° off, magnifications, points off the plane: what is left without noise is numerical."""
    random = np.random.default_rng(1)
    geometry, true_points = start(), patch_points()
    truth = replace(
        geometry,
        shift=geometry.shift + random.normal(0, 20, geometry.shift.shape),
        rotation=geometry.rotation + 1.5,
        magnification=1 + random.normal(0, 0.003, len(geometry)),
    )
    options = RIGID.model_copy(update={"magnification_spread": 0.5})
    found = solve(truth, geometry, true_points, true_points * [0, 1, 1], options, rounds=5)
    assert np.abs(shift_error(found.geometry, truth)).max() < 0.05
    np.testing.assert_allclose(found.geometry.rotation, truth.rotation, atol=2e-3)
    # One common magnification of images and specimen cannot be told apart.
    ratio = found.geometry.magnification / truth.magnification
    np.testing.assert_allclose(ratio, ratio.mean(), atol=1e-5)
    assert np.ptp(found.points[:, 0] - true_points[:, 0]) < 2
    assert found.step < 0.1
    np.testing.assert_allclose(found.geometry.tilt, truth.tilt)


def test_tilts_and_x_tilts_are_recovered_where_asked() -> None:
    random = np.random.default_rng(2)
    geometry, true_points = start(), patch_points(depth=500.0)
    truth = replace(
        geometry,
        tilt=geometry.tilt + random.normal(0, 0.5, len(geometry)),
        rotation=geometry.rotation + random.normal(0, 0.3, len(geometry)),
        shift=geometry.shift + 10,
    )
    options = RIGID.model_copy(update={"tilt_spread": 1.0, "rotation_spread": 1.0})
    found = solve(truth, geometry, true_points, true_points, options, rounds=5)
    points = patch_points(5)
    gap = found.geometry.project(points) - truth.project(points)
    assert np.sqrt(np.mean((geometry.project(points) - truth.project(points)) ** 2)) > 8
    # A turn of the whole specimen remains free: how the tilts differ from each other does not.
    for name in ("tilt", "rotation"):
        error = getattr(found.geometry, name) - getattr(truth, name)
        smooth = np.polyval(np.polyfit(geometry.tilt, error, 2), geometry.tilt)
        assert np.abs(error - smooth).max() < 0.03
    assert np.isfinite(gap).all()


@pytest.mark.parametrize("outliers", [0.0, 0.15])
def test_sigma_is_what_errors_are(outliers: float) -> None:
    """Mean square of (error / sigma) over ten sets of noise; measured 1.0 to 1.3. Outliers: 15 % by up to 6 px."""
    square, axis = [], []
    for seed in range(10):
        geometry, true_points = start(13), patch_points(seed, 30)
        truth = replace(geometry, rotation=geometry.rotation + 0.3, shift=geometry.shift + 5)
        found = solve(truth, geometry, true_points, true_points, RIGID, 2, noise=4.0, seed=seed, outliers=outliers)
        square.append((shift_error(found.geometry, truth) / found.sigma.shift) ** 2)
        axis.append((found.geometry.rotation[0] - truth.rotation[0]) / found.sigma.rotation[0])
    assert 0.5 < np.mean(square) < 1.6
    assert 0.3 < np.mean(np.square(axis)) < 2.5
    if outliers:
        assert found.used < 0.9  # pyright: ignore[reportPossiblyUnboundVariable]


def test_the_specimen_as_a_whole_does_not_move() -> None:
    """Noise moves the tilts, but not along the three directions in which the whole specimen moves."""
    geometry, points = start(), patch_points()
    found = solve(geometry, geometry, points, points, RIGID, rounds=1, noise=5.0)
    moves = replace(geometry, shift=np.zeros_like(geometry.shift)).project(np.eye(3)).transpose(0, 2, 1)
    moved = found.geometry.shift - geometry.shift
    translation = np.linalg.lstsq(moves.reshape(-1, 3), moved.reshape(-1))[0]
    assert np.abs(moved).max() > 0.3
    assert np.abs(translation).max() < 0.02


def test_what_is_held_does_not_move_and_has_no_sigma() -> None:
    geometry, points = start(), patch_points()
    found = solve(geometry, geometry, points, points, RIGID, rounds=1, noise=5.0)
    for name in ("tilt", "x_tilt", "magnification"):
        np.testing.assert_array_equal(getattr(found.geometry, name), getattr(geometry, name))
        np.testing.assert_array_equal(getattr(found.sigma, name), 0)
    assert found.geometry.local is None
    assert np.ptp(found.geometry.rotation) == pytest.approx(0, abs=1e-12)
    assert (found.sigma.shift > 0).all()
    assert (found.sigma.rotation > 0).all()


def test_a_tight_prior_pulls() -> None:
    geometry, points = start(), patch_points()
    truth = replace(geometry, magnification=1 + np.random.default_rng(0).normal(0, 0.004, len(geometry)))
    spread = []
    for sigma in (1e-5, 3e-4, 0.1):
        options = RIGID.model_copy(update={"magnification_spread": sigma})
        found = solve(truth, geometry, points, points, options, noise=4.0)
        spread.append(found.geometry.magnification.std())
    assert spread[0] < 2e-4
    assert spread[0] < spread[1] < spread[2]
    assert spread[2] == pytest.approx(truth.magnification.std(), rel=0.1)


def moving(geometry: TiltGeometry, size: float) -> LocalField:
    """A field that the default knots can follow: smooth over the tilts and over the image; `size` in Å."""
    random = np.random.default_rng(3)
    still = _still(len(geometry), EXTENT, 6)
    pattern = random.normal(0, size, (2, *still.coefficients.shape[1:]))
    phase = np.linspace(0, np.pi, len(geometry))[:, None, None, None]
    return replace(still, coefficients=np.cos(phase) * pattern[0] + np.sin(phase) * pattern[1])


@pytest.mark.parametrize("size", [0.0, 12.0])
def test_local_motion_is_found_where_it_is(size: float) -> None:
    """Of motion of 5 Å, 0.9 Å are left; without motion, noise of 5 Å in each pair makes up 0.6 Å."""
    geometry, points = start(21), patch_points(number=100)
    truth = replace(geometry, local=moving(geometry, size) if size else None)
    options = JointRefinementOptions(magnification_spread=0.0, local_spread=1.0, noise_floor=0.01)
    found = solve(truth, geometry, points, points, options, rounds=4, local=True, noise=5.0)
    assert found.geometry.local is not None
    there, before = truth.project(points), geometry.project(points)
    left = error_at_rigid_points(found.geometry, there, points)
    motion = error_at_rigid_points(geometry, there, points)
    assert left < 1.5
    if size:
        assert motion > 3 * left
        assert np.abs(there - before).max() > 8
    else:
        plane = geometry.plane(points)
        assert np.sqrt(np.mean(found.geometry.local(plane) ** 2)) < 2.5


def error_at_rigid_points(geometry: TiltGeometry, there: np.ndarray, points: np.ndarray) -> float:
    """Root mean square distance along one coordinate, Å, when every point may choose its own place."""
    moves = replace(geometry, local=None, shift=np.zeros_like(geometry.shift)).project(np.eye(3)).transpose(0, 2, 1)
    for _ in range(4):
        gap = there - geometry.project(points)
        step = np.linalg.lstsq(moves.reshape(-1, 3), gap.transpose(0, 2, 1).reshape(-1, len(points)))[0]
        points = points + step.T
    return float(np.sqrt(np.mean((there - geometry.project(points)) ** 2)))


def test_a_stiff_field_stays_smaller() -> None:
    geometry, points = start(21), patch_points(number=60)
    truth = replace(geometry, local=moving(geometry, 12.0))
    size = []
    for spread in (0.02, 2.0):
        options = JointRefinementOptions(magnification_spread=0.0, local_spread=spread)
        local = solve(truth, geometry, points, points, options, local=True, noise=3.0).geometry.local
        assert local is not None
        size.append(np.std(local.coefficients))
    assert size[0] < 0.5 * size[1]


def everything() -> tuple[TiltGeometry, np.ndarray]:
    random = np.random.default_rng(6)
    geometry = start(9)
    return (
        replace(
            geometry,
            rotation=geometry.rotation + random.normal(0, 1, 9),
            x_tilt=random.normal(3, 2, 9),
            magnification=1 + random.normal(0, 0.01, 9),
        ),
        patch_points(number=5),
    )


def test_derivatives_of_the_projection() -> None:
    """Against the analytic ones, written out where they are short."""
    geometry, points = everything()
    slope = np.moveaxis(tilt_derivative(geometry, points), -1, 0)
    rigid = geometry.project(points) - geometry.shift[:, None]
    expected = rigid / geometry.magnification[:, None, None]
    np.testing.assert_allclose(slope[PARAMETERS.index("magnification")], expected, rtol=1e-6)
    turned = np.stack([rigid[..., 1], -rigid[..., 0]], -1) * np.pi / 180
    np.testing.assert_allclose(slope[PARAMETERS.index("rotation")], turned, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(slope[0], np.broadcast_to([1, 0], slope[0].shape))


@pytest.mark.parametrize("seed", range(3))
def test_the_design_is_the_derivative_of_the_movement(seed: int) -> None:
    """A small random step of all unknowns, points and field included, moves the projections as the design says."""
    geometry, points = everything()
    geometry = replace(geometry, local=_still(len(geometry), EXTENT, 5))
    pairs = measure(geometry, geometry, points, points)
    options = JointRefinementOptions(
        rotation_spread=1, tilt_spread=1, magnification_spread=0.01, x_tilt_spread=1, local_spread=1
    )
    system = _System(pairs, geometry, points, geometry, PIXEL, options)
    width = system.design.shape[-1]
    step = np.random.default_rng(seed).normal(0, 1e-3, width + 3 * len(points))
    solution = system.unpack(step, np.eye(width), np.ones(pairs.information.shape[:2]), 1.0)
    # The field is evaluated where a point was, so its place is held: (v, u) moves by far less than the knots' spacing.
    moved = solution.geometry.project(solution.points) - geometry.project(points)
    expected = np.einsum("kij,pkj->kpi", image_maps(geometry), system.movement(step))
    assert np.abs(moved).max() > 1e-3
    np.testing.assert_allclose(expected, moved, atol=2e-3 * np.abs(moved).max())


def test_pairs_that_saw_nothing_have_no_say() -> None:
    """Half of the patches are not seen beyond 20°; a few are never seen and stay where they are."""
    geometry, true_points = start(), patch_points()
    truth = replace(geometry, shift=geometry.shift + 15 * np.sin(np.arange(17))[:, None])
    pairs = measure(truth, geometry, true_points, true_points)
    steep = (np.abs(geometry.tilt[pairs.first]) > 20) | (np.abs(geometry.tilt[pairs.second]) > 20)
    information = pairs.information.copy()
    information[::2, steep] = 0
    information[:3] = 0
    displacement = np.where(information > 0, pairs.displacement, 1e4)
    pairs = replace(pairs, information=information, displacement=displacement)
    found = refine_jointly(pairs, geometry, true_points, geometry, PIXEL, RIGID)
    assert np.abs(shift_error(found.geometry, truth)).max() < 0.1
    np.testing.assert_array_equal(found.points[:3], true_points[:3])
    assert np.isnan(found.track[:3]).all()
    assert np.isfinite(found.track[5]).all()
    assert np.isnan(found.track[4]).any()


def test_tracks_show_what_a_patch_does_on_its_own() -> None:
    """One patch is 1 px off in one image: its track says so there, and nothing else does."""
    geometry, points = start(), patch_points()
    pairs = measure(geometry, geometry, points, points, noise=2.0)
    jump = np.linalg.inv(image_maps(geometry))[8] @ [10.0, -4.0]
    displacement = pairs.displacement.copy()
    displacement[20, pairs.second == 8] += jump
    displacement[20, pairs.first == 8] -= jump
    found = refine_jointly(replace(pairs, displacement=displacement), geometry, points, geometry, PIXEL, RIGID)
    np.testing.assert_allclose(found.track[20, 8], [10, -4], atol=2.5)
    others = np.delete(found.track, 20, 0)
    assert 0.2 < np.sqrt(np.mean(others**2)) < 2
    assert np.abs(others).max() < 6
    assert 0.5 < np.median(found.track_sigma) < 2


def test_nothing_is_changed_in_place_and_the_answer_is_the_same_twice() -> None:
    geometry, points = start(), patch_points()
    shift, places = geometry.shift.copy(), points.copy()
    first, second = (solve(geometry, geometry, points, points, RIGID, 1, noise=3.0) for _ in range(2))
    np.testing.assert_array_equal(geometry.shift, shift)
    np.testing.assert_array_equal(points, places)
    np.testing.assert_array_equal(first.geometry.shift, second.geometry.shift)
