"""How evenly a particle was seen from all sides: by its poses, and by what its half maps have in common by direction.

Sources: Baldwin & Lyumkis 2020 (sampling compensation factor); Tan et al. 2017 (FSC in cones); the ratio of their areas
is cryoSPARC's cFAR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from thon.ops.rotation import even_directions
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_fourier import fourier_resize, volume_shape

BAND = 5.0
"""A view counts for what lies within this angle of its central section, degrees."""
CONE = 20.0
"""Half angle of the cones, degrees."""
SPACING = 15.0
"""Angle between their axes, degrees."""
CELL = 2.0
"""Width of the cells of direction in which samples are gathered once for all cones, and views in halves, degrees."""


@dataclass(frozen=True)
class ConicalFsc:
    """FSC by direction.

    Args:
        axis: (z, y, x) of each cone, z not negative.
        frequency: Å⁻¹.
        correlation: FSC of the samples within each cone.
        area: Under each curve up to Nyquist, Å⁻¹; shells too small to have a sample in each cone count as one.
    """

    axis: Float[np.ndarray, "cones 3"]
    frequency: Float[np.ndarray, "shells"]
    correlation: Float[np.ndarray, "cones shells"]
    area: Float[np.ndarray, "cones"]

    @property
    def ratio(self) -> float:
        """Smallest over largest area: 1 for a map alike in all directions, 0 where nothing is seen in one (cFAR)."""
        return max(float(self.area.min() / self.area.max()), 0.0)


def view_directions(rotation: Float[np.ndarray, "n 3 3"], symmetry: str = "C1") -> Float[np.ndarray, "m 3"]:
    """Directions (z, y, x) in the reference's frame from which it was seen, each with all its symmetric copies."""
    # The image sums along its z, whose direction in the reference's frame is the first row.
    return np.einsum("nj,sjk->nsk", rotation[:, 0], symmetry_rotations(symmetry)).reshape(-1, 3)


def sampling_efficiency(directions: Float[np.ndarray, "n 3"]) -> float:
    """Harmonic over arithmetic mean of how often each direction of Fourier space was sampled.

    1 for even views; 0 where some direction was never sampled, as with fewer views than there are directions to see.

    Args:
        directions: From which the particle was seen, (z, y, x), unit length.

    Source: Baldwin & Lyumkis 2020, their SCF normalised to even views.
    """
    cells, samples = _Cells.of(CELL / 2), even_directions(BAND)
    z, y, x = torch.from_numpy(np.where(directions[:, :1] < 0, -directions, directions)).unbind(-1)
    views = np.bincount(cells.find(z, y, x).numpy(), minlength=len(cells.direction))
    near = np.abs(samples @ cells.direction.T) < np.sin(np.radians(BAND))
    seen = near @ views.astype(np.float64)
    return float(1 / np.mean(1 / seen) / np.mean(seen)) if (seen > 0).all() else 0.0


def conical_fsc(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    *,
    mask: Float[torch.Tensor, "z y x"] | None = None,
    resolution: float | None = None,
) -> ConicalFsc:
    """FSC of two half maps in cones that cover all directions; cubes only.

    Args:
        first: Half map.
        second: The other one.
        voxel_size: Å.
        mask: Multiplied onto both first.
        resolution: Finest to look at, Å; Nyquist unless given. Coarser is faster.

    Raises:
        ValueError: The box is not cubic.
    """
    shape = volume_shape(first)
    if len(set(shape)) > 1:
        raise ValueError(f"cones need a cubic box, got {shape}")
    halves = torch.stack([first, second]) if mask is None else torch.stack([first * mask, second * mask])
    box = shape[0] if resolution is None else min(shape[0], 2 * int(np.ceil(shape[0] * voxel_size / resolution)) + 4)
    spectra = torch.fft.rfftn(fourier_resize(halves, (box, box, box)), dim=(1, 2, 3))
    cells, axes = _Cells.of(CELL), even_directions(SPACING)
    sums = _sum_cells(spectra, cells)
    within = torch.from_numpy(np.abs(axes @ cells.direction.T) >= np.cos(np.radians(CONE))).double()
    product, first_power, second_power = torch.einsum("ac,csk->kas", within, sums).numpy()
    power = np.sqrt(first_power * second_power)
    curves = np.divide(product, power, out=np.ones_like(product), where=power > 0)
    frequency = np.arange(box // 2) / (shape[0] * voxel_size)
    return ConicalFsc(axes, frequency, curves, curves.sum(1) * frequency[1])


@dataclass(frozen=True)
class _Cells:
    """Cells of about equal size and width that cover half of all directions, in rings about z.

    Args:
        width: Degrees.
        start: Number of the first cell of each ring.
        count: Cells in each ring.
        direction: (z, y, x) of the middle of each cell.
    """

    width: float
    start: Int[torch.Tensor, "rings"]
    count: Int[torch.Tensor, "rings"]
    direction: Float[np.ndarray, "cells 3"]

    @classmethod
    def of(cls, width: float) -> _Cells:
        polar = np.radians(np.arange(width / 2, 90, width))
        count = np.maximum(np.rint(360 / width * np.sin(polar)), 1).astype(np.int64)
        ring = np.repeat(np.arange(len(polar)), count)
        start = np.cumsum(count) - count
        azimuth = 2 * np.pi * (np.arange(len(ring)) - start[ring] + 0.5) / count[ring]
        across = np.sin(polar[ring])
        direction = np.stack([np.cos(polar[ring]), across * np.sin(azimuth), across * np.cos(azimuth)], -1)
        return cls(width, torch.from_numpy(start), torch.from_numpy(count), direction)

    def find(
        self, z: Float[torch.Tensor, "n"], y: Float[torch.Tensor, "n"], x: Float[torch.Tensor, "n"]
    ) -> Int[torch.Tensor, "n"]:
        """Cell of each direction or of its opposite; lengths do not matter, and z is not negative."""
        polar = torch.rad2deg(torch.atan2(torch.hypot(y, x), z))
        ring = (polar / self.width).long().clamp(max=len(self.count) - 1)
        turn = (torch.atan2(y, x) / (2 * torch.pi)) % 1
        return self.start[ring] + (turn * self.count[ring]).long().clamp(max=self.count[ring] - 1)


def _sum_cells(spectra: Complex[torch.Tensor, "2 z y x"], cells: _Cells) -> Float[torch.Tensor, "cells shells 3"]:
    """Real part of A B*, |A|² and |B|², summed by cell and shell: (cells, shells, 3)."""
    box = spectra.shape[1]
    count = box // 2
    sums = torch.zeros(len(cells.direction) * count, 3, dtype=torch.float64)
    y, x = torch.meshgrid(torch.fft.fftfreq(box, 1 / box), torch.fft.rfftfreq(box, 1 / box), indexing="ij")
    across = y.square() + x.square()
    for z, (a, b) in zip(torch.fft.fftfreq(box, 1 / box), spectra.swapaxes(0, 1), strict=True):
        radius = (across + z.square()).sqrt()
        used = (radius > 0.5) & (radius < count - 0.5)
        sign = -1 if z < 0 else 1
        cell = cells.find(z.abs().expand(int(used.sum())), sign * y[used], sign * x[used])
        terms = torch.stack([(a * b.conj()).real, a.abs().square(), b.abs().square()], -1)[used].double()
        sums.index_add_(0, cell * count + radius[used].round().long(), terms)
    return sums.reshape(-1, count, 3)
