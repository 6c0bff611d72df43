"""Local regularisation: quiet where halves share nothing, faithful where they do, and harmless on noise alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from tests.algorithms.likelihood_phantom import PIXEL, phantom, simulate
from thon.algorithms.half_correlation import correlate_halves
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.known_poses import KnownPoses
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.reconstruction import ClassSums
from thon.algorithms.likelihood.references import particle_mask
from thon.algorithms.local_regularisation import regularise_locally
from thon.algorithms.refine3d import regularise
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


def test_references_keep_a_little_of_their_prior():
    """Without any, places in Fourier space that images hardly hold anything of would be noise."""
    data, everyone = simulate(300, 32, noise=4.0), np.arange(300)
    particles = replace(data.particles, rotation=data.rotation, shift=data.shift)
    model = first_noise(particles, data, 32 * PIXEL, 16, 100)
    known = KnownPoses(particles, data, Poses.start(particles), model, 32 * PIXEL, 16, 100)
    whole = known.sum(everyone % 2)
    mask, truth = particle_mask(32, 25, 3), torch.from_numpy(phantom().volume(32)).float()

    def halves() -> list[ClassSums]:
        return [one.of_class(0, np.eye(3)[None]) for one in whole]

    made = torch.stack([one.reconstruct(32) for one in halves()])
    curve = torch.from_numpy(np.nan_to_num(correlate_halves(made[0], made[1], PIXEL, mask=mask).curves.best[:16]))
    error: list[float] = []
    for local in (False, True):
        references, _ = regularise(halves(), curve, 32, 3.0, local=local)
        error.append(float(((references - truth) * mask).square().mean()))
    assert error[1] < 1.4 * error[0]
