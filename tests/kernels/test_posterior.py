"""Posteriors of poses: the smallest set by steps of a quarter, the same compiled and plain."""

from __future__ import annotations

import torch

from thon import kernels
from thon.kernels.posterior import pose_posterior_reference


def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 4 * torch.randn(900, 5, generator=generator), torch.randint(0, 6, (900,), generator=generator)


def test_compiled_posterior_agrees_with_the_reference():
    scores, particles = case()
    for share, most in ((0.999, 10_000), (0.5, 10_000), (0.999, 20)):
        found = kernels.pose_posterior(scores, particles, 8, share, most)
        for a, b in zip(found, pose_posterior_reference(scores, particles, 8, share, most), strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_posterior_is_a_softmax_cut_at_its_share():
    scores, particles = case()
    weights, largest, likelihood, significant = kernels.pose_posterior(scores, particles, 8, 0.999, 10_000)
    for i in range(6):
        mine = scores[particles == i].double().flatten()
        softmax = mine.softmax(0)
        found = weights[particles == i].double().flatten()
        kept = found > 0
        assert abs(found.sum() - 1) < 1e-6
        assert 0.999 <= softmax[kept].sum() < 1
        # No pose outside is more likely than one inside, and without the last quarter the share is not reached.
        assert mine[kept].min() > mine[~kept].max()
        inner = softmax[mine > mine[kept].min() + 0.26].sum()
        assert inner < 0.999
        torch.testing.assert_close(found[kept], softmax[kept] / softmax[kept].sum(), atol=1e-7, rtol=1e-4)
        assert abs(largest[i] - softmax.max()) < 1e-6
        assert abs(likelihood[i] - mine.logsumexp(0)) < 1e-4
        assert significant[i] == kept.sum()


def test_a_particle_without_poses_has_none():
    scores, particles = case()
    _, largest, likelihood, significant = kernels.pose_posterior(scores, particles, 8, 0.999, 10_000)
    assert largest[7] == 0
    assert likelihood[7] == -torch.inf
    assert significant[7] == 0


def test_poses_that_are_excluded_get_nothing():
    scores, particles = case()
    scores[:, 2] = -torch.inf
    weights, *_ = kernels.pose_posterior(scores, particles, 8, 0.999, 10_000)
    assert not weights[:, 2].any()
    assert weights[:, 1].any()
