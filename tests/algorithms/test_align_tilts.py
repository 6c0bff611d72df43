"""Marker-free alignment end to end, on small simulated series."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import AlignmentError, TiltPhantom, judge, linear_maps, simulate_series
from thon.algorithms.align_tilts import AlignTiltsOptions, TiltAlignment, align_tilt_series, alignment_memory
from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry

QUICK = AlignTiltsOptions(rounds=2, starts=1)
DARK = (2, 12)


@lru_cache
def series(noise: float = 1.0, motion: float = 0.0, axis: float = -4.0) -> TiltPhantom:
    return simulate_series(
        (187, 200), step=7.5, span=52.5, axis=axis, max_shift=10, magnification=0.001, motion=motion, noise=noise,
        dark=DARK, thickness=30, number=250, seed=2,
    )  # fmt: skip


@lru_cache
def aligned() -> TiltAlignment:
    return align(series())


def align(phantom: TiltPhantom, options: AlignTiltsOptions = QUICK, **given: object) -> TiltAlignment:
    axis = {"tilt_axis": float(phantom.truth.rotation[0]) + 1.5} | given
    return align_tilt_series(phantom.images, phantom.tilt, phantom.pixel_size, options, **axis)  # pyright: ignore[reportArgumentType]


def error(found: TiltAlignment, phantom: TiltPhantom) -> AlignmentError:
    kept = np.array([k for k in range(len(phantom.tilt)) if k not in phantom.dark and k not in found.excluded])
    return judge(found.geometry, phantom, kept)


def differ(one: TiltGeometry, other: TiltGeometry) -> float:
    """Largest distance along one coordinate, px, between where two geometries put points of the specimen."""
    points = series().points[::10]
    return float(np.abs(one.project(points) - other.project(points)).max()) / series().pixel_size


def test_shifts_and_axis_are_found() -> None:
    """On images of 200 px with noise as strong as the signal."""
    found = error(aligned(), series())
    assert (found.shift < 0.3).all()
    assert (found.centre < 0.3).all()
    assert abs(found.axis) < 0.3
    assert found.position < 0.4


def test_dark_images_are_found_and_get_a_geometry_all_the_same() -> None:
    found, phantom = aligned(), series()
    assert tuple(found.excluded) == DARK
    assert all("without detail" in reason for reason in found.excluded.values())
    assert len(found.geometry) == len(phantom.tilt)
    np.testing.assert_allclose(found.geometry.tilt, phantom.tilt)
    for k in DARK:
        np.testing.assert_allclose(
            found.geometry.shift[k], (found.geometry.shift[k - 1] + found.geometry.shift[k + 1]) / 2, atol=1e-6
        )


def test_everything_is_told_for_every_tilt() -> None:
    told, phantom = aligned().diagnostics, series()
    n, kept = len(phantom.tilt), [k for k in range(len(phantom.tilt)) if k not in DARK]
    assert told.method == "patches"
    for name in ("rotation", "tilt", "x_tilt", "magnification"):
        assert getattr(told.sigma, name).shape == (n,)
    assert (told.sigma.shift[kept] > 0).all()
    assert np.isnan(told.sigma.shift[list(DARK)]).all()
    assert (told.correlation[kept] > 0.1).all()
    assert np.isnan(told.correlation[list(DARK)]).all()
    assert 0.5 < told.confidence <= 1
    assert told.warnings == ()
    assert told.tracks is not None
    assert told.points is not None
    assert told.residual is not None
    assert told.residual.shape == told.tracks.position.shape == (len(told.points), n, 2)
    left = told.residual[np.isfinite(told.residual)] / phantom.pixel_size
    assert 0.01 < np.sqrt(np.mean(left**2)) < 1
    assert told.profile is not None
    assert told.profile.thickness == pytest.approx(300, abs=300)
    assert {"read", "coarse", "track", "refine", "thickness"} <= set(told.seconds)
    assert len(told.axis_angle) == len(told.axis_score) > 5


def test_the_stated_sigma_is_not_a_fantasy() -> None:
    """True errors are between a quarter of and three times what is stated."""
    found = error(aligned(), series())
    stated = np.sqrt(np.nanmean(aligned().diagnostics.sigma.shift ** 2, 0)) / series().pixel_size
    ratio = found.shift / stated
    assert ((ratio > 0.1) & (ratio < 3)).all()


def test_the_same_input_gives_the_same_bits() -> None:
    again = align(series())
    for name in ("shift", "rotation", "magnification", "tilt", "x_tilt"):
        np.testing.assert_array_equal(getattr(again.geometry, name), getattr(aligned().geometry, name))
    assert again.geometry.local is not None
    assert aligned().geometry.local is not None
    np.testing.assert_array_equal(again.geometry.local.coefficients, aligned().geometry.local.coefficients)  # pyright: ignore[reportOptionalMemberAccess]
    assert again.diagnostics.confidence == aligned().diagnostics.confidence


def test_unsorted_images_give_the_same_answer() -> None:
    """Shuffled, as a tensor: every image keeps its own geometry to 0.02 px.

    Only the middle of the sample is found from other halves of the images, which moves the specimen as a whole.
    """
    phantom = series()
    order = np.random.default_rng(1).permutation(len(phantom.tilt))
    found = align_tilt_series(
        torch.from_numpy(phantom.images[order]), list(phantom.tilt[order]), phantom.pixel_size, QUICK, tilt_axis=-2.5
    )
    assert set(order[list(found.excluded)]) == set(DARK)
    straight = aligned().geometry.select(order)
    points = phantom.points[::10]
    gap = found.geometry.project(points) - straight.project(points)
    moves = linear_maps(straight, np.arange(len(order)))
    moved = np.linalg.lstsq(moves.reshape(-1, 3), (found.geometry.shift - straight.shift).reshape(-1))[0]
    assert np.abs(gap - (moves @ moved)[:, None]).max() < 0.02 * phantom.pixel_size
    assert np.abs(moved[1:]).max() < 0.02 * phantom.pixel_size


def test_integers_do() -> None:
    phantom = series()
    images = np.rint(phantom.images * (50 / phantom.images.std())).astype(np.int16)
    before = images.copy()
    found = align_tilt_series(images, phantom.tilt, phantom.pixel_size, QUICK, tilt_axis=-2.5)
    assert differ(found.geometry, aligned().geometry) < 0.1
    np.testing.assert_array_equal(images, before)


def test_images_are_left_out_or_kept_as_asked() -> None:
    options = QUICK.model_copy(update={"keep": (12,), "local": False})
    found = align(series(), options, excluded={5: "a crack", 12: "never mind"})
    assert found.excluded[5] == "a crack"
    assert 2 in found.excluded
    assert 12 not in found.excluded
    assert np.isnan(found.diagnostics.sigma.shift[5]).all()
    assert found.geometry.local is None
    # The image that is kept holds nothing, so that the images beyond it have no neighbour to go by.
    good = np.array([k for k in range(12) if k not in (2, 5)])
    assert (judge(found.geometry, series(), good).shift < 0.4).all()


def test_without_a_hint_the_axis_is_searched() -> None:
    found = align(series(), tilt_axis=None)
    assert abs(error(found, series()).axis) < 0.4
    assert found.diagnostics.axis_angle.max() - found.diagnostics.axis_angle.min() > 150


def test_an_axis_along_the_rows() -> None:
    phantom = series(axis=85.0)
    found = error(align(phantom), phantom)
    assert (found.shift < 0.35).all()
    assert abs(found.axis) < 0.35


def test_local_motion_is_followed() -> None:
    """Of 1.5 px of motion, the points' error becomes smaller with a field than without."""
    phantom = series(0.7, 1.5)
    with_field, without = (
        error(align(phantom, QUICK.model_copy(update={"local": on})), phantom) for on in (True, False)
    )
    assert with_field.position < 0.7 * without.position
    assert (with_field.centre < 0.35).all()


def test_a_region_and_a_mask_are_kept_to() -> None:
    """Half of each image holds a pattern that sticks to the camera: told to look elsewhere, the alignment is right."""
    phantom = series()
    spoiled = phantom.images.copy()
    pattern = np.random.default_rng(0).normal(0, 1, (187, 80)).astype(np.float32)
    spoiled[:, :, 120:] += 6 * phantom.images.std() * pattern
    mask = np.ones((187, 200), np.float32)
    mask[:, 112:] = 0
    found = align_tilt_series(spoiled, phantom.tilt, phantom.pixel_size, QUICK, tilt_axis=-4.0, mask=mask)
    left = phantom.points[phantom.points[:, 2] < -200]
    kept = np.array([k for k in range(len(phantom.tilt)) if k not in (*found.excluded, *DARK)])
    assert judge(found.geometry, phantom, kept, left).position < 0.8

    region = QUICK.model_copy(update={"region": (0.2, 0.9, 0.1, 0.7)})
    part = align(phantom, region)
    assert (error(part, phantom).shift < 0.4).all()
    assert part.diagnostics.points is not None
    size = np.array([187, 200]) * phantom.pixel_size
    share = part.diagnostics.points[:, 1:] / size + 0.5
    assert share.min(0)[0] > 0.15
    assert share.max(0)[1] < 0.75


def test_levelling_turns_the_sample() -> None:
    phantom = simulate_series(
        (187, 200), step=7.5, span=52.5, max_shift=5, thickness=20, number=400, inclination=(6.0, -5.0), seed=3
    )
    found = align(phantom, QUICK.model_copy(update={"level": True, "local": False}))
    np.testing.assert_allclose(found.geometry.x_tilt, 6, atol=2.5)
    np.testing.assert_allclose(found.geometry.tilt - phantom.tilt, 5, atol=2.5)
    assert found.diagnostics.profile is not None
    assert found.diagnostics.profile.inclination == (0.0, 0.0)
    assert found.diagnostics.profile.lower == pytest.approx(-found.diagnostics.profile.upper, abs=1e-6)


def test_beads_serve_as_well() -> None:
    """Twenty gold beads of 80 Å."""
    random = np.random.default_rng(4)
    phantom = simulate_series((200, 208), step=7.5, span=45, max_shift=6, number=1, noise=0.0, seed=4)
    beads = random.uniform(-1, 1, (20, 3)) * [150, 850, 850]
    centres = phantom.truth.project(beads) / phantom.pixel_size + [100, 104]
    y, x = np.mgrid[:200, :208]
    images = np.stack([100 - 40 * _discs(y, x, c, 4.0) for c in centres]) + random.normal(0, 6, (13, 200, 208))
    found = align_tilt_series(
        images.astype(np.float32), phantom.tilt, 10.0, QUICK.model_copy(update={"method": "beads", "local": False}),
        tilt_axis=-3.0,
    )  # fmt: skip
    quality = judge(found.geometry, phantom, np.arange(13), beads)
    assert found.diagnostics.method == "beads"
    assert (quality.shift < 0.3).all()
    assert abs(quality.axis) < 0.15
    assert quality.position < 0.3
    assert found.diagnostics.points is not None
    assert len(found.diagnostics.points) >= 15
    assert (found.diagnostics.sigma.shift > 0).all()


def _discs(y: np.ndarray, x: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    distance = np.min([np.hypot(y - v, x - u) for v, u in centres], axis=0)
    return 1 / (1 + np.exp((distance - radius) / 0.4))


def test_progress_runs_from_nothing_to_all() -> None:
    seen: list[tuple[float, str]] = []
    align_tilt_series(
        series().images, series().tilt, 10.0, AlignTiltsOptions(rounds=1, starts=1, local=False), tilt_axis=-4.0,
        progress=lambda share, what: seen.append((share, what)),
    )  # fmt: skip
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert len({what for _, what in seen}) >= 5


def test_noise_alone_gets_no_confidence() -> None:
    images = np.random.default_rng(0).normal(0, 1, (11, 150, 160)).astype(np.float32)
    found = align_tilt_series(images, np.linspace(-50, 50, 11), 10.0, QUICK, tilt_axis=0.0)
    assert found.diagnostics.confidence < 0.3
    assert any("uncertain" in sentence for sentence in found.diagnostics.warnings)


def test_what_cannot_be_aligned_is_refused() -> None:
    phantom = series()
    with pytest.raises(InputError, match="differ in number"):
        align_tilt_series(phantom.images, phantom.tilt[:-1], 10.0)
    with pytest.raises(InputError, match="too few"):
        align_tilt_series(phantom.images[:2], phantom.tilt[:2], 10.0)
    with pytest.raises(InputError, match="too few"):
        align_tilt_series(np.full((5, 100, 100), 3.0, np.float32), np.arange(5.0), 10.0)


PEAK = """
import resource, sys
import numpy as np
from thon.algorithms.align_tilts import AlignTiltsOptions, align_tilt_series

class Images:
    shape = (7, 700, 800)
    scene = np.random.default_rng(0).normal(0, 1, (700, 800)).astype(np.float32)
    def __len__(self): return 7
    def __getitem__(self, k):
        noise = np.random.default_rng(k).normal(0, 1, self.shape[1:]).astype(np.float32)
        return self.scene + noise

options = AlignTiltsOptions(rounds=1, starts=1)
align_tilt_series(Images(), np.linspace(-9, 9, 7), 10.0, options, tilt_axis=0.0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_the_planned_memory_is_what_is_taken() -> None:
    """Within a factor of two, in a process of its own whose images are made one by one."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    planned, seconds = alignment_memory(7, (700, 800), AlignTiltsOptions(rounds=1, starts=1))
    assert 0.5 < planned / float(done.stdout) < 2
    assert 1 < seconds < 60


def test_plans_grow_with_the_work() -> None:
    options = AlignTiltsOptions()
    small, large = (alignment_memory(41, (n, n), options) for n in (512, 1024))
    assert small[0] < large[0] < 4e9
    assert small[1] < large[1]
    assert alignment_memory(41, (4096, 4096), options)[0] < 6e9


def started(found: TiltGeometry, unknown: tuple[int, ...] = ()) -> TiltGeometry:
    shift, rotation = found.shift.copy(), found.rotation.copy()
    shift[list(unknown)], rotation[list(unknown)] = np.nan, np.nan
    return TiltGeometry(found.tilt, shift, rotation, found.x_tilt, found.magnification)


def test_a_start_is_kept_and_new_images_find_their_place() -> None:
    """Two images at one end and one within are new; the coarse search is left out, and the answer is as good."""
    phantom, options = series(), QUICK.model_copy(update={"local": False})
    new = (0, 1, 9)
    start = started(align(phantom, options).geometry, new)
    before = start.shift.copy()
    found = align(phantom, options, start=start)
    np.testing.assert_array_equal(start.shift, before)
    assert "coarse" not in found.diagnostics.seconds
    wrong = error(found, phantom)
    assert (wrong.shift < 0.3).all()
    assert wrong.position < 0.4
    gap = found.geometry.shift[list(new)] - align(phantom, options).geometry.shift[list(new)]
    assert np.abs(gap).max() < 1.0 * phantom.pixel_size


def test_a_start_is_used() -> None:
    """One that is wrong by far more than patches can see is not mended, as the coarse search is left out."""
    phantom, options = series(), QUICK.model_copy(update={"local": False})
    start = started(aligned().geometry)
    start.shift[5:] += 60 * phantom.pixel_size
    assert error(align(phantom, options, start=start), phantom).position > 5


def test_a_start_that_knows_too_little_is_left_aside() -> None:
    phantom = series()
    start = started(aligned().geometry, tuple(range(2, len(phantom.tilt))))
    found = align(phantom, start=start)
    assert differ(found.geometry, aligned().geometry) == 0
    with pytest.raises(InputError, match="one row per image"):
        align(phantom, start=start.select([0, 1, 2, 3]))
