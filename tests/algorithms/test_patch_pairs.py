"""Patches: where unrolled images show points, and how displacements between patches are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import draw_blobs
from thon.algorithms.patch_pairs import (
    PairMeasurement,
    PatchSpectra,
    choose_pairs,
    image_maps,
    measure_pairs,
    patch_spectra,
    plane_maps,
    reproducible,
    unroll,
)
from thon.data.geometry import LocalField, TiltGeometry
from thon.ops.fourier import fourier_shift

PIXEL = 10.0


def geometry_with_everything(local: bool = True) -> TiltGeometry:
    """Axis at 85°, x-tilts, magnifications, shifts and a field of some pixels."""
    random = np.random.default_rng(4)
    tilt = np.array([-48.0, -20.0, 0.0, 33.0])
    field = LocalField(random.normal(0, 25, (4, 5, 6, 2)), (500.0, 420.0)) if local else None
    return TiltGeometry(
        tilt, random.normal(0, 60, (4, 2)), 85 + random.normal(0, 1, 4), np.array([3.0, 2, 3, 4]),
        1 + random.normal(0, 0.01, 4), field,
    )  # fmt: skip


def centroid(image: np.ndarray, near: np.ndarray, half: int = 6) -> np.ndarray:
    """Centre of mass around a place (y, x), px index; what lies about it is weighed twice to settle."""
    y, x = np.rint(near).astype(int)
    part = image[y - half : y + half + 1, x - half : x + half + 1]
    at = np.stack(np.mgrid[y - half : y + half + 1, x - half : x + half + 1], -1)
    return (part[..., None] * at).sum((0, 1)) / part.sum()


def test_points_on_the_mid_plane_stay_where_they_are_in_all_unrolled_images() -> None:
    """A point (0, y, x) is shown at (y, x) from the centre of the unrolled frame; the error measured is 0.02 px."""
    geometry, shape, frame = geometry_with_everything(), (151, 130), (121, 140)
    points = np.array([[0.0, -310, 250], [0, 170, -280], [0, 230, 330], [0, 0, 0]])
    seen = geometry.project(points) / PIXEL + [n // 2 for n in shape]
    images = np.stack([draw_blobs(shape, s, np.full(4, 1.8), np.ones(4)) for s in seen])
    frames, covered = unroll(torch.from_numpy(images), geometry, PIXEL, frame)
    frames = frames + torch.from_numpy(images).mean((-2, -1))[:, None, None] * covered
    assert frames.shape == covered.shape == (4, *frame)
    for k in range(4):
        for point in points:
            expected = point[1:] / PIXEL + [n // 2 for n in frame]
            np.testing.assert_allclose(centroid(frames[k].numpy(), expected), expected, atol=0.06)


def test_high_points_lie_where_the_plane_that_is_shown_has_them() -> None:
    """A point off the plane appears where the inverse of the plane's map takes its (v, u)."""
    geometry, shape = geometry_with_everything(local=False), (151, 130)
    point = np.array([[90.0, 120, -140]])
    seen = geometry.project(point) / PIXEL + [n // 2 for n in shape]
    images = np.stack([draw_blobs(shape, s, np.full(1, 1.8), np.ones(1)) for s in seen])
    frames, _ = unroll(torch.from_numpy(images), geometry, PIXEL, (131, 131))
    places = np.einsum("kij,kpj->kpi", np.linalg.inv(plane_maps(geometry)), geometry.plane(point))[:, 0] / PIXEL
    assert np.ptp(places, axis=0).max() > 10
    for frame, place in zip(frames.numpy(), places, strict=True):
        np.testing.assert_allclose(centroid(frame - np.median(frame), place + 65), place + 65, atol=0.15)


def test_coverage_is_one_where_the_image_is_and_frames_are_zero_elsewhere() -> None:
    geometry = TiltGeometry(np.array([0.0]), np.array([[0.0, 200.0]]))
    frames, covered = unroll(torch.rand(1, 70, 80) + 5, geometry, PIXEL, (70, 80))
    np.testing.assert_array_equal(covered[0, :, :60], 1)
    np.testing.assert_array_equal(covered[0, :, 60:], 0)
    np.testing.assert_array_equal(frames[0, :, 60:], 0)


def test_maps_are_the_projection_of_the_plane() -> None:
    geometry = geometry_with_everything(local=False)
    yx = np.random.default_rng(0).normal(0, 500, (6, 2))
    points = np.concatenate([np.zeros((6, 1)), yx], 1)
    np.testing.assert_allclose(yx @ np.swapaxes(plane_maps(geometry), 1, 2), geometry.plane(points), atol=1e-9)
    expected = geometry.project(points) - geometry.shift[:, None]
    np.testing.assert_allclose(yx @ np.swapaxes(image_maps(geometry), 1, 2), expected, atol=1e-9)


def textured(shape: tuple[int, int], seed: int, fine: float = 0.15) -> torch.Tensor:
    """A smooth random image of unit deviation."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    y, x = torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])[None]
    image = torch.fft.irfft2(torch.fft.rfft2(noise) * torch.exp(-(y**2 + x**2) / (2 * fine**2)), s=shape)
    return image / image.std()


def cut(frames: torch.Tensor, centres: np.ndarray, size: int = 48, covered: torch.Tensor | None = None) -> PatchSpectra:
    return patch_spectra(frames, torch.ones_like(frames) if covered is None else covered, centres, size, 0.35)


def grid(shape: tuple[int, int], step: int = 27, edge: int = 30) -> np.ndarray:
    y, x = (np.arange(edge, n - edge, step) + 0.3 for n in shape)
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)


@pytest.mark.parametrize("true", [(0.1, -0.15), (0.4, 0.3), (1.9, -3.1)])
def test_displacements_are_found_with_their_sign(true: tuple[float, float]) -> None:
    """A parabola through three points leaves 0.12 px at worst, between pixels; near none, where rounds end, 0.04."""
    shape, move = (181, 234), np.array([(0.0, 0.0), true])
    frames = torch.stack([fourier_shift(textured(shape, 0), torch.from_numpy(m).float()) for m in move])
    frames += 0.3 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    pairs = np.array([[0, 1], [1, 0]])
    found = measure_pairs(cut(frames, np.repeat(grid(shape)[None], 2, 0)), pairs, np.zeros(2, int), PIXEL, 6)
    seen = found.information.min(-1) > 0
    assert seen.mean() > 0.9
    np.testing.assert_array_equal([found.first, found.second], pairs.T)
    for q, sign in enumerate((1, -1)):
        error = found.displacement[seen[:, q], q] / PIXEL - sign * np.array(true)
        assert np.abs(error.mean(0)).max() < (0.06 if max(np.abs(true)) < 0.2 else 0.15)
        assert np.abs(error).max() < 0.3


def test_noise_gives_the_errors_that_are_stated() -> None:
    """Around no displacement, where an alignment ends, the mean square error is 1.4 to 2.0 times the stated variance.

    Neighbouring frequencies of a windowed patch are not independent, which the curvature of the peak does not know.
    """
    shape = (260, 300)
    frames = textured(shape, 0)[None] + 1.5 * torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    centres = np.repeat(grid(shape)[None], 2, 0)
    found = measure_pairs(cut(frames, centres), np.array([[0, 1]]), np.zeros(1, int), PIXEL, 6)
    seen = found.information.min(-1) > 0
    assert seen.mean() > 0.8
    assert 1.0 < np.mean(found.displacement[seen] ** 2 * found.information[seen]) < 2.5


def test_the_predicted_places_are_taken_off_whatever_pixel_the_window_hit() -> None:
    """Patches cut at places that already hold the displacement show none, also for fractions of a pixel."""
    shape = (150, 170)
    true = np.array([[0.0, 0.0], [2.4, -5.7]])
    frames = torch.stack([fourier_shift(textured(shape, 3), torch.from_numpy(t).float()) for t in true])
    spectra = cut(frames, grid(shape)[None] + true[:, None])
    found = measure_pairs(spectra, np.array([[0, 1]]), np.zeros(1, int), PIXEL, 5)
    assert np.abs(spectra.window.numpy()).max() <= 0.5001
    assert (found.information > 0).all()
    assert np.abs(found.displacement).max() < 0.1 * PIXEL


def test_nothing_is_known_where_an_image_does_not_reach() -> None:
    shape = (150, 170)
    frames = textured(shape, 5)[None].repeat(2, 1, 1)
    covered = torch.ones_like(frames)
    covered[1, :, 85:] = 0
    centres = np.repeat(np.array([[75.0, 45], [75, 125], [75, 166], [-30, 60]])[None], 2, 0)
    spectra = cut(frames * covered, centres, covered=covered)
    np.testing.assert_array_equal(spectra.seen, [[1, 1, 0, 0], [1, 0, 0, 0]])
    found = measure_pairs(spectra, np.array([[0, 1]]), np.zeros(1, int), PIXEL, 5)
    np.testing.assert_array_equal(found.information[:, 0] > 0, [[True] * 2, [False] * 2, [False] * 2, [False] * 2])


def test_noise_alone_tells_nothing() -> None:
    frames = torch.randn(2, 150, 170, generator=torch.Generator().manual_seed(0))
    found = measure_pairs(
        cut(frames, np.repeat(grid((150, 170))[None], 2, 0)), np.array([[0, 1]]), np.zeros(1, int), PIXEL, 5
    )
    assert (found.information.min(-1) > 0).mean() < 0.2


def test_whitened_patches_have_flat_power_up_to_the_band_and_none_beyond() -> None:
    frames = torch.stack([100 * textured((200, 210), 7, 0.06), textured((200, 210), 8, 0.2)])
    spectra = cut(frames, np.repeat(grid((200, 210))[None], 2, 0))
    radius = torch.sqrt(spectra.rows[:, None] ** 2 + spectra.columns**2)
    power = spectra.values.abs().square().mean(1)
    for low, high in ((0.02, 0.1), (0.1, 0.2), (0.2, 0.35)):
        ring = (radius > low) & (radius <= high)
        np.testing.assert_allclose(power[:, ring].mean(1), 1, rtol=0.12)
    assert float(power[:, radius > 0.35].max()) == 0
    assert float(power[:, radius == 0].max()) == 0


def test_fine_detail_that_depth_has_blurred_is_not_reproducible() -> None:
    """The second kind of pair shares coarse detail only; noise fills the rest."""
    shape = (240, 250)
    generator = torch.Generator().manual_seed(2)
    truth, coarse = textured(shape, 1, 0.3), textured(shape, 1, 0.05)
    frames = torch.stack([truth, truth, coarse / 2, coarse / 2]) + 0.2 * torch.randn(4, *shape, generator=generator)
    spectra = cut(frames, np.repeat(grid(shape)[None], 4, 0))
    share = reproducible(spectra, np.array([[0, 1], [2, 3]]), np.array([0, 1]))
    radius = torch.sqrt(spectra.rows[:, None] ** 2 + spectra.columns**2)
    low, high = (radius > 0.02) & (radius < 0.06), (radius > 0.25) & (radius < 0.33)
    assert float(share.min()) >= 0
    assert float(share.max()) <= 0.95
    assert float(share[0, low].mean()) > 0.7
    assert float(share[0, high].mean()) > 0.7
    assert float(share[1, low].mean()) > 0.6
    assert float(share[1, high].mean()) < 0.1


def test_pairs_are_neighbours_in_tilt_whatever_the_order_of_the_images() -> None:
    tilt = np.array([10.0, -10, 0, 20, -20])
    near = {tuple(sorted(tilt[pair])) for pair in choose_pairs(tilt, 2, False)}
    assert near == {(-20, -10), (-10, 0), (0, 10), (10, 20), (-20, 0), (-10, 10), (0, 20)}
    far = choose_pairs(np.arange(21.0), 4, True)
    assert set(np.diff(far, axis=1)[:, 0]) == {1, 2, 3, 4, 6, 8, 11, 15, 20}
    assert choose_pairs(np.array([0.0]), 2, False).shape == (0, 2)


def test_inputs_are_not_touched() -> None:
    frames = textured((120, 130), 0)[None].repeat(2, 1, 1)
    before, centres = frames.clone(), np.full((2, 1, 2), 60.25)
    spectra = cut(frames, centres)
    values = spectra.values.clone()
    measured = measure_pairs(spectra, np.array([[0, 1]]), np.zeros(1, int), PIXEL, 4)
    unroll(frames, TiltGeometry.nominal(np.array([0.0, 30])), PIXEL, (100, 101))
    assert torch.equal(frames, before)
    assert torch.equal(spectra.values, values)
    assert (centres == 60.25).all()
    assert isinstance(replace(measured, correlation=np.ones(1)), PairMeasurement)
