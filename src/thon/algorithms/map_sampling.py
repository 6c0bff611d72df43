"""Maps made fit to be compared while they turn: coarsely sampled cubes with equal power in all shells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.base.errors import InputError
from thon.ops.volume_fourier import flatten_spectrum, fourier_resize
from thon.ops.volume_mask import centre_of_mass


@dataclass(frozen=True)
class FlatMap:
    """A map to be compared.

    Args:
        volume: Of equal power in all shells up to a resolution.
        voxel_size: Å.
        centre: Centre of mass (z, y, x) of the map, voxels.
    """

    volume: Float[torch.Tensor, "n n n"]
    voxel_size: float
    centre: Float[np.ndarray, "3"]

    @property
    def room(self) -> float:
        """Radius of the largest sphere about the centre of mass within the box, voxels."""
        box = self.volume.shape[0]
        return float(min(np.minimum(self.centre, box - 1 - self.centre).min(), box / 2 - 1))


def flat_map(volume: Float[torch.Tensor, "z y x"], voxel_size: float, resolution: float, *, sampling: float) -> FlatMap:
    """A map with equal power in all shells up to a resolution, sampled by so many voxels per resolution element.

    Raises:
        InputError: It is empty, or no cube.
    """
    side = volume.shape[0]
    if len(set(volume.shape)) > 1:
        raise InputError(
            "a map must be a cube to be turned", got=tuple(volume.shape), mend="crop or pad it with `thon volume --box`"
        )
    box = max(8, 2 * round(side / max(1.0, resolution / (sampling * voxel_size)) / 2))
    coarse = fourier_resize(volume.float(), (box, box, box))
    centre = centre_of_mass(coarse)
    if not np.isfinite(centre).all():
        raise InputError("the map is empty", got=f"highest density {float(volume.max()):g}")
    size = voxel_size * side / box
    return FlatMap(flatten_spectrum(coarse, size, resolution), size, centre)
