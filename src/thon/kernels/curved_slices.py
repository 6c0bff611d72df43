"""Sums over spectra along curved surfaces: images whose Ewald sphere is not taken for flat.

As `thon.kernels.pose_products.insert_slices`, but that a pixel has a height above the image's plane as well.
"""

# The operators take tensors by position.

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from thon.kernels import curved_slices_cpu as cpu
from thon.kernels.operator import Operator
from thon.kernels.pose_products import insert_slices_reference


def insert_surfaces(
    volumes: Int[Tensor, "volumes z y x 3"],
    which: Int[Tensor, "surfaces"],
    rotations: Float[Tensor, "surfaces 3 3"],
    sums: Float[Tensor, "surfaces 2 pixels"],
    sum_weights: Float[Tensor, "surfaces pixels"],
    places: Float[Tensor, "3 pixels"],
) -> None:
    """Add surfaces to sums over spectra.

    Args:
        volumes: Half spectra (re, im, weight) in whole multiples of 1 / QUANTUM; changed in place.
        which: Volume of each surface.
        rotations: Of each, from the image's frame (z, y, x) into the volume's.
        sums: Its values.
        sum_weights: Its weights.
        places: (z, y, x) of the pixels in the image's frame, in the volumes' pixels.
    """
    if volumes.dtype != torch.int64 or not volumes.is_contiguous():
        raise ValueError(f"sums must be contiguous and of int64, got {volumes.dtype}")
    torch.ops.thon.insert_surfaces(volumes, which, rotations, sums, sum_weights, places)


_insert = Operator(
    "insert_surfaces",
    "(Tensor(a!) volumes, Tensor which, Tensor rotations, Tensor sums, Tensor sum_weights, Tensor places) -> ()",
    insert_slices_reference,
)


@_insert.register_fake
def _(volumes: Tensor, which: Tensor, rotations: Tensor, sums: Tensor, sum_weights: Tensor, places: Tensor) -> None:
    return None


@_insert.register_kernel("cpu")
def _(volumes: Tensor, which: Tensor, rotations: Tensor, sums: Tensor, sum_weights: Tensor, places: Tensor) -> None:
    cpu.insert_surfaces(
        volumes.numpy(), which.numpy(), rotations.float().contiguous().numpy(), sums.numpy(), sum_weights.numpy(),
        places.float().contiguous().numpy(),
    )  # fmt: skip
