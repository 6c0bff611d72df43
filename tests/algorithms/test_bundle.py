"""Bundle adjustment against simulated tracks with known truth, and against IMOD's own residuals on real ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thon.algorithms.bundle import BundleOptions, BundleSolution, adjust_bundle, initial_points
from thon.algorithms.bundle_local import LocalFieldOptions, adjust_bundle_local, fit_local_field
from thon.algorithms.bundle_model import point_derivative, tilt_derivative
from thon.base.errors import InputError
from thon.data.alignment import Tracks
from thon.data.geometry import LocalField, TiltGeometry

REFERENCE = Path(os.environ.get("THON_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
FREE = BundleOptions(rotation="each", tilt="each", magnification="each")


def simulate(
    seed: int, points: int = 40, tilts: int = 21, noise: float = 5.0, outliers: float = 0.0, axis: float = 85.0
) -> tuple[TiltGeometry, TiltGeometry, np.ndarray, Tracks, np.ndarray]:
    """True geometry, starting geometry, true points, tracks with a fifth missing, and which sightings are wrong."""
    random = np.random.default_rng(seed)
    nominal = np.linspace(-58, 62, tilts)
    true = TiltGeometry(
        tilt=nominal + random.normal(0, 0.2, tilts),
        shift=random.normal(0, 100, (tilts, 2)),
        rotation=axis + random.normal(0, 0.2, tilts),
        x_tilt=np.full(tilts, 2.0),
        magnification=1 + random.normal(0, 0.002, tilts),
    )
    place = random.uniform([-600, -2500, -3500], [600, 2500, 3500], (points, 3))
    position = true.project(place).transpose(1, 0, 2) + random.normal(0, noise, (points, tilts, 2))
    wrong = random.random((points, tilts)) < outliers
    position[wrong] += random.uniform(150, 400, (wrong.sum(), 2)) * random.choice([-1, 1], (wrong.sum(), 2))
    position[random.random((points, tilts)) < 0.2] = np.nan
    wrong &= np.isfinite(position).all(-1)
    start = TiltGeometry(nominal, np.zeros((tilts, 2)), np.full(tilts, axis - 1.5), np.full(tilts, 2.0))
    return true, start, place, Tracks(position, np.full((points, tilts), 3.0)), wrong


def common_shift_removed(geometry: TiltGeometry, shift: np.ndarray) -> np.ndarray:
    """Shifts without the part that moves the specimen as a whole, which no track can tell."""
    together = point_derivative(geometry).reshape(-1, 3)
    flat = shift.reshape(-1)
    return (flat - together @ np.linalg.lstsq(together, flat, rcond=None)[0]).reshape(-1, 2)


def normalised_errors(found: BundleSolution, true: TiltGeometry) -> dict[str, np.ndarray]:
    """Errors over the standard deviations that the solution claims."""
    zero = int(np.argmin(np.abs(found.geometry.tilt)))
    tilt = found.geometry.tilt - true.tilt
    magnification = found.geometry.magnification - true.magnification / true.magnification[zero]
    sigma = found.sigma
    shift = common_shift_removed(found.geometry, found.geometry.shift - true.shift / true.magnification[zero])
    others = np.arange(len(true)) != zero
    return {
        "shift": shift / sigma.shift,
        "rotation": (found.geometry.rotation - true.rotation) / sigma.rotation,
        "tilt": (tilt - tilt.mean()) / np.sqrt(sigma.tilt**2 - FREE.tilt_sigma**2 / len(true)),
        "magnification": (magnification / np.maximum(sigma.magnification, 1e-12))[others],
    }


def test_derivatives_are_those_of_the_projection() -> None:
    true, _, place, _, _ = simulate(0)
    analytic = tilt_derivative(true, place)
    step = 1e-4
    for index, name in enumerate(("rotation", "tilt", "x_tilt", "magnification"), 2):
        value = getattr(true, name)
        difference = replace(true, **{name: value + step}).project(place) - replace(
            true, **{name: value - step}
        ).project(place)
        np.testing.assert_allclose(analytic[..., index], difference / (2 * step), atol=1e-4)
    for axis in range(3):
        move = np.zeros(3)
        move[axis] = 1.0
        difference = true.project(place + move) - true.project(place)
        expected = np.broadcast_to(point_derivative(true)[:, None, :, axis], difference.shape)
        np.testing.assert_allclose(difference, expected, atol=1e-9)


def test_triangulation_finds_the_points_with_the_right_hand() -> None:
    true, _, place, tracks, wrong = simulate(1, outliers=0.05)
    assert wrong.sum() > 10
    found = initial_points(tracks, true)
    np.testing.assert_allclose(found, place, atol=20)
    assert np.corrcoef(found[:, 0], place[:, 0])[0, 1] > 0.99
    rare = Tracks(tracks.position.copy(), tracks.sigma)
    rare.position[3, 1:] = np.nan
    assert np.isnan(initial_points(rare, true)[3]).all()


def test_recovers_the_geometry_within_its_own_sigma() -> None:
    squares: dict[str, list[float]] = {}
    for seed in range(12):
        true, start, _, tracks, _ = simulate(seed)
        found = adjust_bundle(tracks, start, FREE)
        assert found.scale == pytest.approx(5 / 3, rel=0.1)
        for name, error in normalised_errors(found, true).items():
            squares.setdefault(name, []).append(float(np.mean(error**2)))
    for name, values in squares.items():
        assert 0.7 < np.mean(values) < 1.5, (name, np.mean(values))


def test_does_not_change_what_it_is_given() -> None:
    _, start, _, tracks, _ = simulate(3, outliers=0.02)
    before = tracks.position.copy(), start.shift.copy(), start.tilt.copy()
    adjust_bundle(tracks, start, FREE)
    np.testing.assert_array_equal(tracks.position, before[0])
    np.testing.assert_array_equal(start.shift, before[1])
    np.testing.assert_array_equal(start.tilt, before[2])


def test_rejects_outliers_and_is_hardly_moved_by_them() -> None:
    true, start, _, tracks, wrong = simulate(4, outliers=0.08)
    found = adjust_bundle(tracks, start, FREE)
    assert wrong.sum() > 40
    assert found.rejected[wrong].mean() > 0.98
    assert found.rejected[tracks.seen & ~wrong].mean() < 0.01
    assert found.rms < 5 * np.sqrt(2) * 1.1
    assert np.isnan(found.residual[found.rejected]).all()
    assert (found.weight[found.rejected] == 0).all()
    for name, error in normalised_errors(found, true).items():
        assert np.mean(error**2) < 2.5, name


def test_the_cost_never_rises_within_a_round() -> None:
    _, start, _, tracks, _ = simulate(5)
    cost = adjust_bundle(tracks, start, FREE).cost
    assert len(cost) > 2
    assert (np.diff(cost) <= 1e-9 * np.abs(cost[:-1])).all()


@pytest.mark.parametrize("axis", [0.0, 85.0, -170.0])
def test_one_axis_with_the_rest_held(axis: float) -> None:
    random = np.random.default_rng(7)
    tilt = np.linspace(-50, 60, 18)
    true = TiltGeometry(tilt, random.normal(0, 200, (18, 2)), np.full(18, axis))
    place = random.uniform([-500, -3000, -2000], [500, 3000, 2000], (25, 3))
    tracks = Tracks(true.project(place).transpose(1, 0, 2) + random.normal(0, 4, (25, 18, 2)), np.full((25, 18), 4.0))
    start = TiltGeometry(tilt, np.zeros((18, 2)), np.full(18, axis + 9))
    found = adjust_bundle(tracks, start, BundleOptions(rotation="one", magnification="fixed"))
    np.testing.assert_allclose(found.geometry.rotation, axis, atol=0.1)
    assert np.ptp(found.geometry.rotation) < 1e-9
    assert abs(found.geometry.rotation[0] - axis) < 4 * found.sigma.rotation[0]
    np.testing.assert_array_equal(found.geometry.tilt, tilt)
    assert not found.sigma.tilt.any()
    assert not found.sigma.magnification.any()


def test_smooth_magnification_and_its_reference() -> None:
    random = np.random.default_rng(8)
    tilt = np.linspace(-60, 57, 40)
    scale = 1 + 3e-3 * np.sin(np.deg2rad(tilt) * 1.5)
    true = TiltGeometry(tilt, random.normal(0, 50, (40, 2)), np.full(40, 12.0), magnification=scale)
    place = random.uniform([-500, -3000, -3000], [500, 3000, 3000], (50, 3))
    tracks = Tracks(true.project(place).transpose(1, 0, 2) + random.normal(0, 4, (50, 40, 2)), np.full((50, 40), 4.0))
    start = TiltGeometry.nominal(tilt, 11.0)
    found = adjust_bundle(tracks, start, BundleOptions(rotation="one", magnification="smooth"))
    zero = np.argmin(np.abs(tilt))
    assert found.geometry.magnification[zero] == 1
    assert found.sigma.magnification[zero] == 0
    np.testing.assert_allclose(found.geometry.magnification, scale / scale[zero], atol=4e-4)


def test_the_specimen_stays_where_it_is() -> None:
    """A displacement that all shifts share is not found in the corrections, and offsets of the angles stay zero."""
    true, _, _, tracks, _ = simulate(9, noise=2.0)
    start = replace(true, shift=true.shift + np.random.default_rng(1).normal(0, 30, true.shift.shape))
    found = adjust_bundle(tracks, start, FREE)
    change = found.geometry.shift - start.shift
    assert np.abs(change).max() > 20
    together = point_derivative(start).reshape(-1, 3)
    assert np.abs(np.linalg.lstsq(together, change.reshape(-1), rcond=None)[0]).max() < 0.01
    assert abs(np.mean(found.geometry.tilt - start.tilt)) < 0.02


def test_images_and_points_that_nobody_saw() -> None:
    _, start, _, tracks, _ = simulate(10)
    position = tracks.position.copy()
    position[:, 4] = np.nan
    position[6, 2:] = np.nan
    found = adjust_bundle(Tracks(position, tracks.sigma), start, FREE)
    assert np.isnan(found.points[6]).all()
    assert not found.weight[6].any()
    np.testing.assert_array_equal(found.rejected[6], np.zeros(21, bool))
    assert np.isfinite(found.points[np.arange(40) != 6]).all()
    assert np.isfinite(found.geometry.shift).all()
    assert found.sigma.shift[4].min() > 100 * found.sigma.shift[5].max()


def test_bad_input_is_refused() -> None:
    _, start, _, tracks, _ = simulate(11)
    with pytest.raises(InputError, match="number of tilts"):
        adjust_bundle(tracks, start.select([0, 1, 2]))
    with pytest.raises(InputError, match="too few tracked points"):
        adjust_bundle(Tracks(tracks.position[:2], tracks.sigma[:2]), start)


def simulate_local(seed: int, points: int, amplitude: float) -> tuple[TiltGeometry, TiltGeometry, Tracks]:
    """Tracks with local motion, smooth along the tilt angle."""
    true, start, place, _, _ = simulate(seed, points, 21)
    random = np.random.default_rng(seed)
    course = np.cos(np.linspace(0, np.pi, 21)[:, None] * np.arange(4))
    nodes = np.einsum("tk,krcd->trcd", course, random.normal(0, amplitude / 2, (4, 5, 6, 2)))
    true = replace(true, local=LocalField(nodes, (2500.0, 2400.0)))
    position = true.project(place).transpose(1, 0, 2) + random.normal(0, 5, (points, 21, 2))
    position[random.random((points, 21)) < 0.15] = np.nan
    return true, start, Tracks(position, np.full((points, 21), 5.0))


def held_out_error(true: TiltGeometry, found: TiltGeometry) -> float:
    """RMS misfit, Å, of noiseless points that had no part in the fit, each given its best position."""
    place = np.random.default_rng(99).uniform([-500, -2000, -3000], [500, 2000, 3000], (150, 3))
    clean = Tracks(true.project(place).transpose(1, 0, 2), np.ones((150, len(true))))
    error = clean.position - found.project(initial_points(clean, found)).transpose(1, 0, 2)
    return float(np.sqrt(np.mean(error**2)))


def test_local_motion_is_found() -> None:
    true, start, tracks = simulate_local(20, 150, 20.0)
    rigid = adjust_bundle(tracks, start, FREE)
    local = adjust_bundle_local(tracks, start, FREE)
    assert local.geometry.local is not None
    assert held_out_error(true, local.geometry) < 0.5 * held_out_error(true, rigid.geometry)
    assert local.rms < rigid.rms


def test_no_local_motion_is_made_up() -> None:
    true, start, tracks = simulate_local(21, 60, 0.0)
    rigid = adjust_bundle(tracks, start, FREE)
    local = adjust_bundle_local(tracks, start, FREE)
    assert held_out_error(true, local.geometry) <= held_out_error(true, rigid.geometry) * 1.02


def test_local_field_along_the_image_axes() -> None:
    """The field's two components are along y and x of the raw image, at (v, u) of the plane: not mixed up, not turned.

    What a move of the point itself explains is not the field's, hence points are compared without it.
    """
    geometry = TiltGeometry(np.linspace(-60, 60, 15), np.zeros((15, 2)), np.full(15, 85.0))
    random = np.random.default_rng(22)
    place = random.uniform([-100, -2000, -3000], [100, 2000, 3000], (300, 3))
    v, u = np.moveaxis(geometry.plane(place), -1, 0)
    motion = np.stack([20 * np.sin(v / 900), 10 * np.cos(u / 1200)], -1) * np.cos(np.arange(15) / 3)[:, None, None]
    residual = motion.transpose(1, 0, 2)
    options = LocalFieldOptions(nodes=10, tilt_nodes=15, smoothness=1e-3, ridge=1e-6)
    field = fit_local_field(residual, place, geometry, np.ones((300, 15)), options=options)
    left = residual - field(geometry.plane(place)).transpose(1, 0, 2)
    derivative = point_derivative(geometry).reshape(-1, 3)
    moves = np.linalg.lstsq(derivative, left.reshape(300, -1).T, rcond=None)[0]
    left = left.reshape(300, -1) - (derivative @ moves).T
    assert np.sqrt(np.mean(left**2)) < 0.15 * np.sqrt(np.mean(residual**2))


def test_too_few_points_for_a_local_field() -> None:
    _, start, place, tracks, _ = simulate(23)
    with pytest.raises(InputError, match="too few points"):
        fit_local_field(tracks.position[:5], place[:5], start, np.ones((5, 21)))


def imod_tracks(name: str, shape: tuple[int, int]) -> tuple[Tracks, np.ndarray, np.ndarray]:
    """Tracks in px, IMOD's residual lengths in px, and its refined tilt angles."""
    folder = REFERENCE / "metadata" / "imod"
    if not (folder / f"{name}.resid").is_file():
        pytest.skip("reference data are not here")
    rows = np.loadtxt(folder / f"{name}.resid", skiprows=1)
    view = rows[:, 2].astype(int)
    point = np.cumsum(np.r_[True, np.diff(view) <= 0]) - 1
    tilt = np.loadtxt(folder / f"{name}_fid.tlt")
    position = np.full((point.max() + 1, len(tilt), 2), np.nan)
    position[point, view] = rows[:, [1, 0]] - np.array(shape) / 2
    return Tracks(position, np.ones(position.shape[:2])), np.hypot(rows[:, 3], rows[:, 4]), tilt


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("BB/BBa", (512, 512)),
        ("BB/BBb", (512, 512)),
        ("midzone2/midzone2a", (1024, 1950)),
        ("midzone2/midzone2b", (1024, 1950)),
    ],
)
def test_residuals_are_no_larger_than_imods(name: str, shape: tuple[int, int]) -> None:
    """Same sightings, none rejected, same unit; x-tilt and a field of few nodes stand for IMOD's stretch and skew."""
    tracks, theirs, tilt = imod_tracks(name, shape)
    assert tracks.seen.sum() == len(theirs)
    options = FREE.model_copy(update={"x_tilt": "each", "rejection": 1e6})
    stretch = LocalFieldOptions(nodes=4, tilt_nodes=6, smoothness=1.0)
    found = adjust_bundle_local(tracks, TiltGeometry.nominal(tilt), options, local=stretch, rounds=1)
    ours = np.linalg.norm(found.residual[tracks.seen], axis=-1)
    assert not found.rejected.any()
    assert ours.mean() <= theirs.mean()
    assert np.median(ours) <= np.median(theirs)
