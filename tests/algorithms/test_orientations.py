"""How evenly a particle was seen, and the FSC by direction: against closed forms, and sums over every sample."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import noise
from thon.algorithms.orientations import CONE, conical_fsc, sampling_efficiency, view_directions
from thon.ops.rotation import even_directions, random_rotations
from thon.ops.volume_fourier import b_factor_transfer, fourier_filter

SHAPE, VOXEL = (40, 40, 40), 2.0


@cache
def truth() -> torch.Tensor:
    """A texture that falls off by a B-factor as maps do."""
    return fourier_filter(noise(SHAPE, 1), b_factor_transfer(SHAPE, VOXEL, 100.0))


def halves(signal: torch.Tensor, level: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """The signal with independent noise, of that many deviations of the truth."""
    first, second = (signal + level * truth().std() * noise(SHAPE, seed) for seed in (2, 3))
    return first, second


def without_cone(axis: tuple[float, float, float], angle: float) -> torch.Tensor:
    """The truth, where Fourier space is empty within an angle (degrees) of an axis: what views along it do not see."""
    grid = np.stack(np.meshgrid(*[np.fft.fftfreq(40)] * 2, np.fft.rfftfreq(40), indexing="ij"), -1)
    radius = np.maximum(np.linalg.norm(grid, axis=-1), 1e-9)
    unit = np.array(axis) / np.linalg.norm(axis)
    missing = np.abs(grid @ unit) / radius > np.cos(np.radians(angle))
    return torch.fft.irfftn(torch.fft.rfftn(truth()).masked_fill(torch.from_numpy(missing), 0), s=SHAPE)


def direct_curve(first: torch.Tensor, second: torch.Tensor, axis: np.ndarray) -> np.ndarray:
    """FSC of all samples of the whole transform within a cone, one by one, in double precision."""
    a, b = (np.fft.fftn(half.double().numpy()) for half in (first, second))
    grid = np.stack(np.meshgrid(*[np.fft.fftfreq(40, 1 / 40)] * 3, indexing="ij"), -1)
    radius = np.linalg.norm(grid, axis=-1)
    near = np.abs(grid @ axis) >= np.cos(np.radians(CONE)) * radius
    curve = np.ones(20)
    for shell in range(1, 20):
        chosen = near & (np.rint(radius) == shell)
        if chosen.any():
            product = np.sum(a[chosen] * b[chosen].conj()).real
            curve[shell] = product / np.sqrt(np.sum(np.abs(a[chosen]) ** 2) * np.sum(np.abs(b[chosen]) ** 2))
    return curve


class TestViews:
    def test_the_direction_of_a_view_is_the_images_z_axis(self):
        turn = random_rotations(4, 1)
        directions = view_directions(turn)
        np.testing.assert_allclose(np.einsum("nij,nj->ni", turn, directions), [[1, 0, 0]] * 4, atol=1e-12)
        copies = view_directions(turn, "D2").reshape(4, 4, 3)
        np.testing.assert_allclose(copies[:, 0], directions)
        np.testing.assert_allclose(np.abs(copies), np.abs(directions)[:, None].repeat(4, 1), atol=1e-12)

    def test_efficiency_is_one_for_even_views_and_zero_where_directions_were_not_seen(self):
        directions = view_directions(random_rotations(4000, 2))
        assert sampling_efficiency(directions) > 0.98
        along_z = directions[np.abs(directions[:, 0]) > 0.9]
        assert sampling_efficiency(along_z) == 0
        more_along_z = np.concatenate([directions, *[along_z] * 20])
        assert 0.2 < sampling_efficiency(more_along_z) < 0.8

    def test_efficiency_of_a_ring_of_side_views_is_eight_over_pi_squared(self):
        azimuth = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
        ring = np.stack([np.zeros_like(azimuth), np.sin(azimuth), np.cos(azimuth)], -1)
        # Directions at an angle θ from the axis are sampled by 1 / sin θ: their harmonic mean is 4 / π, the mean π / 2.
        assert sampling_efficiency(ring) == pytest.approx(8 / np.pi**2, abs=0.01)


class TestCones:
    def test_a_map_alike_in_all_directions_has_a_ratio_near_one(self):
        assert conical_fsc(*halves(truth()), VOXEL).ratio > 0.93
        assert conical_fsc(truth(), truth(), VOXEL).ratio == pytest.approx(1)

    @pytest.mark.parametrize("axis", [(1, 0, 0), (0.5, -0.7, 0.5), (0, 0.6, -0.8)])
    def test_a_missing_cone_lowers_the_ratio_and_is_seen_where_it_is(self, axis):
        found = conical_fsc(*halves(without_cone(axis, 35)), VOXEL)
        assert found.ratio < 0.3
        worst = found.axis[found.area.argmin()]
        assert abs(worst @ np.array(axis)) / np.linalg.norm(axis) > np.cos(np.radians(15))

    def test_the_larger_the_cone_the_lower_the_ratio(self):
        ratios = [conical_fsc(*halves(without_cone((1, 0, 0), angle)), VOXEL).ratio for angle in (0, 12, 18, 35)]
        assert (np.diff(ratios) < -0.05).all()

    def test_curves_are_those_of_sums_over_every_sample(self):
        pair = halves(without_cone((0.5, -0.7, 0.5), 25))
        found = conical_fsc(*pair, VOXEL)
        for k in (0, 17, 50, 91):
            expected = direct_curve(*pair, found.axis[k])
            # Samples are gathered in cells 2° wide: a cone's edge is as sharp as that.
            np.testing.assert_allclose(found.correlation[k, 5:], expected[5:], atol=0.06)
            assert found.area[k] == pytest.approx(expected.sum() / 80, rel=0.02)

    def test_cones_cover_all_directions_and_the_frequencies_are_the_boxes(self):
        found = conical_fsc(*halves(truth()), VOXEL)
        nearest = np.abs(even_directions(7) @ found.axis.T).max(1)
        assert nearest.min() > np.cos(np.radians(CONE))
        np.testing.assert_allclose(found.frequency, np.arange(20) / 80)

    def test_what_is_finer_than_asked_for_is_not_looked_at(self):
        whole, coarse = conical_fsc(*halves(truth()), VOXEL), conical_fsc(*halves(truth()), VOXEL, resolution=8)
        assert len(coarse.frequency) == 12
        np.testing.assert_allclose(coarse.correlation[:, :11], whole.correlation[:, :11], atol=1e-4)

    def test_boxes_that_are_no_cubes_are_refused(self):
        with pytest.raises(ValueError, match="cubic"):
            conical_fsc(truth()[:38], truth()[:38], VOXEL)
