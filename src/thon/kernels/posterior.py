"""Which poses of each particle matter: weights from scores, the smallest set that holds most of the probability.

Poses are kept by steps of their score, 1/4 below the best and so on, until the share is reached; so the set is a little
larger than the smallest, and the same however the poses are ordered.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thon.kernels import posterior_cpu as cpu
from thon.kernels.operator import Operator


def pose_posterior(
    scores: Float[Tensor, "rows children"],
    particles: Int[Tensor, "rows"],
    count: int,
    share: float,
    most: int,
) -> tuple[
    Float[Tensor, "rows children"], Float[Tensor, "particles"], Float[Tensor, "particles"], Int[Tensor, "particles"]
]:
    """Posterior of poses from the logarithms of their weights.

    Args:
        scores: Logarithm of the weight of each pose.
        particles: Of each row.
        count: Number of particles.
        share: Of the probability that the poses kept must hold, 0 to 1.
        most: Number of poses after which no further step of scores is kept.

    Returns:
        Weights that sum to 1 over each particle, zero where not kept; for each particle the largest share of one pose
        among all, the logarithm of the sum of all weights, and the number of poses kept. A particle without poses has
        zero, minus infinity and zero.
    """
    return torch.ops.thon.pose_posterior(scores, particles, count, share, most)


def pose_posterior_reference(
    scores: Tensor, particles: Tensor, count: int, share: float, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`pose_posterior` in plain torch."""
    children = scores.shape[1]
    i = particles.repeat_interleave(children)
    flat = scores.flatten()
    best = flat.new_full((count,), -torch.inf).scatter_reduce_(0, i, flat, "amax")
    below = best[i] - flat
    weights = torch.exp(-below.double())
    total = weights.new_zeros(count).index_add_(0, i, weights)
    step = (below * (1 / cpu.STEP)).long().clamp(max=cpu.STEPS)
    place = i * (cpu.STEPS + 1) + step
    sums = weights.new_zeros(count * (cpu.STEPS + 1)).index_add_(0, place, weights).reshape(count, -1)
    numbers = torch.bincount(place, minlength=sums.numel()).reshape(count, -1)
    before = sums.cumsum(1) - sums
    fewer = numbers.cumsum(1) - numbers
    kept_steps = (before < share * total[:, None]) & (fewer < most)
    kept_steps[:, cpu.STEPS] = False
    kept = kept_steps[i, step]
    kept_total = (sums * kept_steps).sum(1)
    result = torch.where(kept, weights / kept_total[i], 0.0).float().reshape(scores.shape)
    significant = (numbers * kept_steps).sum(1)
    largest = torch.where(total > 0, 1 / total, 0.0).float()
    return result, largest, (best.double() + total.log()).float(), significant


_posterior = Operator(
    "pose_posterior",
    "(Tensor scores, Tensor particles, int count, float share, int most) -> (Tensor, Tensor, Tensor, Tensor)",
    pose_posterior_reference,
)


@_posterior.register_fake
def _(scores: Tensor, particles: Tensor, count: int, share: float, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    one = scores.new_empty(count)
    return torch.empty_like(scores), one, one.clone(), particles.new_empty(count)


@_posterior.register_kernel("cpu")
def _(scores: Tensor, particles: Tensor, count: int, share: float, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    weights, largest, likelihood = torch.empty_like(scores), torch.empty(count), torch.empty(count)
    significant = torch.empty(count, dtype=torch.int64)
    cpu.posterior(
        scores.numpy(), particles.numpy(), share, most, weights.numpy(), largest.numpy(), likelihood.numpy(),
        significant.numpy(),
    )  # fmt: skip
    return weights, largest, likelihood, significant
