"""References from sums over slices: the maximisation step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from thon import kernels
from thon.algorithms.likelihood.references import from_planes, plane_radius, spectrum_shape

FLOOR = 1e-3
"""Weights count as no less than this fraction of their shell's mean."""


@dataclass(frozen=True)
class SpectrumSums:
    """Σ γ C X / N and Σ γ C² / N over an oversampled half spectrum, by class, in whole multiples of a quantum.

    Args:
        values: (classes, z, y, x ≥ 0, (re, im, weight)).
        dimensions: 2 or 3.
        shells: That the spectrum holds.
    """

    values: Int[torch.Tensor, "classes z y x 3"]
    dimensions: int
    shells: int

    @classmethod
    def empty(cls, classes: int, dimensions: int, shells: int) -> SpectrumSums:
        """Nothing yet."""
        shape = (classes, *spectrum_shape(dimensions, shells), 3)
        # NumPy asks the system for large pages, as in `to_spectrum`.
        return cls(torch.from_numpy(np.zeros(shape, np.int64)), dimensions, shells)

    def of_class(self, k: int, symmetry: Float[np.ndarray, "operators 3 3"]) -> ClassSums:
        """Sums of one class, with what symmetry and real images make equal."""
        values = torch.empty(self.values.shape[1:], dtype=torch.float32)
        for target, plane in zip(values, self.values[k], strict=True):
            target.copy_(plane.double() / kernels.QUANTUM)
        plane = values[:, :, 0]
        mirrored = plane.flip(0, 1) * values.new_tensor([1, -1, 1])
        values[:, :, 0] = plane + mirrored
        if len(symmetry) > 1 and self.dimensions == 3:
            values = kernels.symmetrise_spectrum(values, torch.from_numpy(symmetry))
        return ClassSums(values[..., :2].contiguous(), values[..., 2].contiguous(), self.dimensions, self.shells)


@dataclass(frozen=True)
class ClassSums:
    """Sums of one class: data, and weight."""

    data: Float[torch.Tensor, "z y x 2"]
    weight: Float[torch.Tensor, "z y x"]
    dimensions: int
    shells: int

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(self.data + other.data, self.weight + other.weight, self.dimensions, self.shells)

    def mean_weight(self) -> Float[torch.Tensor, "shells"]:
        """Mean weight of each shell."""
        return shell_mean(self.weight, self.dimensions, self.shells)

    def reconstruct(self, box: int, precision: Float[torch.Tensor, "shells"] | None = None) -> torch.Tensor:
        """The most likely reference.

        Args:
            box: Side, px.
            precision: Of the prior of each shell, in the units of the weights; none for no prior.
        """
        mean, shape = self.mean_weight().float(), _shape(self.weight)

        def divided(k: int) -> torch.Tensor:
            radius = plane_radius(shape, k)
            shell = radius.round().long().clamp(max=self.shells - 1)
            total = self.weight[k] if precision is None else self.weight[k] + precision.float()[shell]
            total = torch.maximum(total, FLOOR * mean[shell]).clamp(min=1e-20)
            return self.data[k] * ((radius < self.shells - 0.5) / total)[..., None]

        return from_planes(divided, self.shells, box, self.dimensions)


def prior_precision(mean_weight: Float[torch.Tensor, "shells"], curve: Float[torch.Tensor, "shells"]) -> torch.Tensor:
    """Precision of the prior of each shell: the mean weight over the signal-to-noise ratio that the FSC stands for."""
    clamped = curve.double().clamp(0.001, 0.999)
    return mean_weight * (1 - clamped) / clamped


def shell_mean(values: Float[torch.Tensor, "z y x"], dimensions: int, shells: int) -> Float[torch.Tensor, "shells"]:
    """Mean over each shell of an oversampled half spectrum."""
    total = torch.zeros(shells + 1, dtype=torch.float64)
    count = torch.zeros(shells + 1, dtype=torch.int64)
    for k in range(len(values)) if dimensions == 3 else (1,):
        shell = plane_radius(_shape(values), k).round().long().clamp(max=shells).flatten()
        total.index_add_(0, shell, values[k].double().flatten())
        count += torch.bincount(shell, minlength=shells + 1)
    return (total / count.clamp(min=1))[:shells]


def _shape(values: torch.Tensor) -> tuple[int, int, int]:
    return values.shape[0], values.shape[1], values.shape[2]
