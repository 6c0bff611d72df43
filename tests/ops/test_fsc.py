"""Fourier shell correlation: against a plain loop, known correlations, awkward boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.ops.fsc import fourier_shell_correlation, shells


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def full_transform_fsc(first, second, voxel_size):
    """Every sample of the full transform, one by one."""
    a, b = np.fft.fftn(first.numpy()), np.fft.fftn(second.numpy())
    axes = np.meshgrid(*[np.fft.fftfreq(n, s) for n, s in zip(a.shape, voxel_size, strict=True)], indexing="ij")
    longest = max(n * s for n, s in zip(a.shape, voxel_size, strict=True))
    shell = np.round(np.sqrt(sum(f**2 for f in axes)) * longest).astype(int)
    result = []
    for k in range(int(np.floor(0.5 / max(voxel_size) * longest + 1e-6)) + 1):
        s = shell == k
        result.append((a[s] * b[s].conj()).sum().real / np.sqrt((abs(a[s]) ** 2).sum() * (abs(b[s]) ** 2).sum()))
    return np.array(result)


@pytest.mark.parametrize(
    ("shape", "voxel_size"),
    [((8, 8, 8), (1, 1, 1)), ((7, 12, 9), (2.5, 2.5, 2.5)), ((6, 11, 10), (4, 1.5, 2)), ((13, 18), (1, 1))],
)
def test_equals_the_full_transform(shape, voxel_size):
    first = noise(*shape)
    second = first + noise(*shape, seed=1)
    result = fourier_shell_correlation(first, second, voxel_size, dimensions=len(shape))
    expected = full_transform_fsc(first, second, voxel_size)
    assert result.correlation.numpy() == pytest.approx(expected, abs=1e-5)
    assert result.frequency.numpy() == pytest.approx(
        np.arange(len(expected)) / max(n * s for n, s in zip(shape, voxel_size, strict=True))
    )


def test_of_a_volume_with_itself_and_with_its_negative():
    volume = noise(9, 14, 11)
    assert torch.allclose(fourier_shell_correlation(volume, volume).correlation, torch.ones(8, dtype=torch.float64))
    assert torch.allclose(
        fourier_shell_correlation(volume, -3 * volume).correlation, -torch.ones(8, dtype=torch.float64)
    )


def test_equal_noise_in_both_halves_lowers_it_to_the_signal_share():
    signal = noise(24, 40, 32)
    first, second = signal + noise(24, 40, 32, seed=1), signal + noise(24, 40, 32, seed=2)
    result = fourier_shell_correlation(first, second)
    assert result.correlation[6:].mean().item() == pytest.approx(0.5, abs=0.03)
    assert result.count.sum() <= 24 * 40 * 32


def test_batch():
    first, second = noise(2, 3, 6, 7, 8), noise(2, 3, 6, 7, 8, seed=3)
    batched = fourier_shell_correlation(first, second).correlation
    assert batched.shape[:2] == (2, 3)
    assert torch.allclose(batched[1, 2], fourier_shell_correlation(first[1, 2], second[1, 2]).correlation)


def test_mask_removes_what_differs():
    first = noise(10, 10, 10)
    second, mask = first.clone(), torch.zeros(10, 10, 10)
    mask[2:8, 2:8, 2:8] = 1
    second[0] = 50
    assert fourier_shell_correlation(first, second).correlation[1:].min() < 0.9
    assert fourier_shell_correlation(first, second, mask=mask).correlation.min() > 0.999


def test_crossing_lies_between_shells():
    first = noise(32, 32, 32)
    spectrum = torch.fft.rfftn(noise(32, 32, 32, seed=1))
    index = shells((32, 32, 32))[0]
    second = torch.fft.irfftn(torch.where(index <= 6, torch.fft.rfftn(first), spectrum), s=first.shape)
    result = fourier_shell_correlation(first, second, 3.0)
    assert 6 / 96 < result.crossing(0.5).item() < 7 / 96
    assert fourier_shell_correlation(first, first, 3.0).crossing().item() == pytest.approx(16 / 96)
    assert fourier_shell_correlation(first, -first, 3.0).crossing().item() == 0


@pytest.mark.usefixtures("unchecked")
def test_refuses_unequal_shapes():
    with pytest.raises(ValueError, match="shapes"):
        fourier_shell_correlation(noise(4, 4, 4), noise(4, 4, 5))
