"""How evenly a particle was seen from all sides: by its poses, and by what its half maps have in common by direction.

Sources: Baldwin & Lyumkis 2020 (sampling compensation factor); Tan et al. 2017 (FSC in cones); the ratio of their areas
is cryoSPARC's cFAR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.ops.rotation import even_directions
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_fourier import fourier_resize, volume_shape

BAND = 5.0
"""A view counts for what lies within this angle of its central section, degrees."""
CONE = 20.0
"""Half angle of the cones, degrees."""
SPACING = 15.0
"""Angle between their axes, degrees."""


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
    samples = even_directions(BAND)
    limit = np.sin(np.radians(BAND))
    seen = np.array([(np.abs(directions @ axis) < limit).sum() for axis in samples], np.float64)
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
    index = torch.stack(
        torch.meshgrid(*(torch.fft.fftfreq(box, 1 / box),) * 2, torch.fft.rfftfreq(box, 1 / box), indexing="ij"), -1
    )
    radius = torch.linalg.vector_norm(index, dim=-1)
    count = box // 2
    used = (radius > 0.5) & (radius < count - 0.5)
    shell, direction = radius[used].round().long(), (index[used] / radius[used, None]).float()
    a, b = spectra[0][used], spectra[1][used]
    terms = torch.stack([(a * b.conj()).real, a.abs().square(), b.abs().square()], -1).double()
    axes = even_directions(SPACING)
    curves = np.empty((len(axes), count))
    for k, axis in enumerate(torch.from_numpy(axes).float()):
        near = torch.nonzero((direction @ axis).abs() >= np.cos(np.radians(CONE)))[:, 0]
        sums = torch.zeros(count, 3, dtype=torch.float64).index_add_(0, shell[near], terms[near])
        curves[k] = (sums[:, 0] / (sums[:, 1] * sums[:, 2]).sqrt()).nan_to_num(1).numpy()
    frequency = np.arange(count) / (shape[0] * voxel_size)
    return ConicalFsc(axes, frequency, curves, curves.sum(1) * frequency[1])
