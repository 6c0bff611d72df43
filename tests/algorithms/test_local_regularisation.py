"""Local regularisation: quiet where halves share nothing, faithful where they do, and harmless on noise alone."""

from __future__ import annotations

import torch

from thon.algorithms.local_regularisation import regularise_locally
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.volume_fourier import low_pass

SHAPE = (40, 48, 44)


def noise(seed: int, *, level: float = 1.0) -> torch.Tensor:
    return level * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_what_only_one_part_of_the_map_shares_is_kept_there_alone():
    inside = torch.zeros(SHAPE)
    inside[:, :22] = 1
    truth = inside * low_pass(noise(1)[0], 1.0, 4.0)
    halves = truth + noise(2, level=0.5 * float(truth[:, :20].std()))
    found, whole = regularise_locally(halves, halves.mean(0), 20.0)
    before, after = (halves - truth).square(), (found - truth).square()
    assert after[:, :, 30:40].mean() < 0.05 * before[:, :, 30:40].mean()  # nothing is there
    assert after[:, :, 5:16].mean() < before[:, :, 5:16].mean()
    kept = (found[:, :, 5:16] * truth[:, 5:16]).sum() / (2 * truth[:, 5:16].square().sum())
    assert 0.8 < kept < 1.05
    assert (whole - truth).square().mean() < 0.7 * after.mean()


def test_halves_without_noise_stay_as_they_are():
    truth = low_pass(noise(3)[0], 1.0, 6.0)
    found, whole = regularise_locally(torch.stack([truth, truth]), truth, 22.0)
    for one in (*found, whole):
        torch.testing.assert_close(one, truth, atol=2e-3 * float(truth.std()), rtol=0)


def test_noise_alone_hardly_passes_and_hardly_correlates():
    halves = noise(4)
    found, _ = regularise_locally(halves, halves.mean(0), 20.0)
    assert found.square().sum() < 0.05 * halves.square().sum()
    assert fourier_shell_correlation(found[0], found[1], 1.0).correlation[8:20].mean() < 0.25


def test_the_weights_are_those_of_both_halves():
    halves = noise(5) + low_pass(noise(6)[0], 1.0, 5.0)
    found, _ = regularise_locally(halves, halves.mean(0), 20.0)
    turned, _ = regularise_locally(halves.flip(0), halves.mean(0), 20.0)
    torch.testing.assert_close(found.flip(0), turned)
    assert not torch.equal(found[0], found[1])
