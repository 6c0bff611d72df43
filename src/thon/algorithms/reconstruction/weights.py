"""How much each ray counts in the iterative methods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from thon.algorithms.reconstruction.blocks import RayGain
from thon.ops.projection import SlabProjector

_SHORTEST = 0.5  # voxels that a ray must pass to count; below, its sum is rounding


@dataclass(frozen=True)
class Rays:
    """Length and completeness of the rays of a projector.

    Rays that leave the volume through a side carry what lies outside it, and count the less.

    Args:
        length: (tilts, columns, 1), sum of the weights along a ray, voxels.
        across: (tilts, columns, 1), share of a ray's way through the slab that lies within the volume's width.
        along: (tilts, 1, rows with halo), the same for its length along y; one row without halo.
    """

    length: torch.Tensor
    across: torch.Tensor
    along: torch.Tensor

    @classmethod
    def of(cls, projector: SlabProjector, like: torch.Tensor, covered: torch.Tensor | None = None) -> Rays:
        """Rays of a whole volume.

        Args:
            projector: For the whole volume.
            like: Gives device and dtype.
            covered: (tilts, columns, 1), share of each column that is image and not filled in.
        """
        length = flattened(projector).forward(like.new_ones(projector.depth, projector.width, 1))
        # The full way is that of a ray through the middle of an endless slab.
        across = (length * (projector.paths[:, 0, 1].abs() / projector.depth).to(length)[:, None, None]).clamp_(max=1)
        return cls(length, across if covered is None else across * covered.to(across), _along(projector).to(across))

    def plain(self) -> RayGain:
        """Root of the weights of least squares: each ray by its completeness."""
        return RayGain(self.across.sqrt(), self.along.sqrt())

    def by_length(self) -> RayGain:
        """Root of the weights of SIRT: completeness over length."""
        used = self.length > _SHORTEST
        weight = torch.where(used, self.across / self.length.clamp(min=_SHORTEST), 0)
        return RayGain(weight.sqrt(), self.along.sqrt())

    def seen(self, projector: SlabProjector) -> torch.Tensor:
        """How often each voxel is seen, (depth, width, 1): back-projection of the completeness."""
        return flattened(projector).adjoint(self.across)


def flattened(projector: SlabProjector) -> SlabProjector:
    """The same paths for one row, without any offset along y."""
    paths = projector.paths.clone()
    paths[:, 1] = 0
    return replace(projector, paths=paths, rows=1, rows_halo=0)


def _along(projector: SlabProjector) -> torch.Tensor:
    """Share of the planes of z from which a row of the images sees the volume."""
    paths = projector.paths
    if projector.rows_halo == 0:
        return paths.new_ones(len(paths), 1, 1)
    z = torch.arange(projector.depth, device=paths.device, dtype=paths.dtype)
    offset = paths[:, 1, :1] * z + paths[:, 1, 2:]
    y = torch.arange(projector.image_rows, device=paths.device) - offset[..., None]
    return ((y > -1) & (y < projector.rows)).to(paths.dtype).mean(1)[:, None]
