"""Sums of shifted spectra of movie frames, and how well each frame fits a reference, with its first two derivatives.

Frames are half spectra `F` of one grid. A shift is a pair of ramps, one along the rows and one along the half columns,
whose outer product `u` multiplies the spectrum; they may hold any other separable factor too. A weight that depends on
the length of the frequency is a table per frame, read through the common `index` `[rows, half]`.

    add_aligned:    total += Σ_k  a_k u_k F_k
    score_frames:   z_k = a_k u_k (F_k R + C)
                    score (y, x)          −Σ ω Im z_k            the slope of Σ Re z_k as the ramps move on
                    curvature (yy, yx, xx)  Σ ω ωᵀ Re z_k        minus its second derivative

with the angular frequencies `ω`. The reference `R` holds the conjugate of what is sought, and all weights. The CPU
kernels are in Numba and take one frame after the other; the plain reference serves any other device.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from thon.kernels import frame_spectra_cpu
from thon.kernels.operator import Operator


def add_aligned(
    total: Complex[Tensor, "rows half"],
    spectra: Complex[Tensor, "frames rows half"],
    ramps: tuple[Complex[Tensor, "frames rows"], Complex[Tensor, "frames half"]],
    index: Int[Tensor, "rows half"],
    weights: Float[Tensor, "frames bins"],
) -> None:
    """Add shifted and weighted spectra to `total`; the module's docstring has the formula.

    Raises:
        ValueError: Shapes or dtypes do not fit.
    """
    _check(spectra, ramps, index, weights, total)
    torch.ops.thon.add_aligned(total, spectra, *ramps, index, weights)


def score_frames(
    spectra: Complex[Tensor, "frames rows half"],
    ramps: tuple[Complex[Tensor, "frames rows"], Complex[Tensor, "frames half"]],
    frequencies: tuple[Float[Tensor, "rows"], Float[Tensor, "half"]],
    index: Int[Tensor, "rows half"],
    weights: Float[Tensor, "frames bins"],
    reference: Complex[Tensor, "rows half"],
    constant: Complex[Tensor, "rows half"],
) -> Float[Tensor, "frames 5"]:
    """Score (y, x) and curvature (yy, yx, xx) of each frame; the module's docstring has the formula.

    Raises:
        ValueError: Shapes or dtypes do not fit.
    """
    _check(spectra, ramps, index, weights, reference)
    _check(spectra, ramps, index, weights, constant)
    return torch.ops.thon.score_frames(spectra, *ramps, *frequencies, index, weights, reference, constant)


def _check(spectra: Tensor, ramps: tuple[Tensor, Tensor], index: Tensor, weights: Tensor, plane: Tensor) -> None:
    frames, rows, half = spectra.shape
    expected = ((frames, rows), (frames, half), (rows, half), (rows, half))
    got = (ramps[0].shape, ramps[1].shape, index.shape, plane.shape)
    if tuple(map(tuple, got)) != expected or len(weights) != frames:
        raise ValueError(f"spectra are {tuple(spectra.shape)}; ramps, index and plane are {[tuple(s) for s in got]}")
    if {spectra.dtype, plane.dtype, ramps[0].dtype, ramps[1].dtype} != {torch.complex64}:
        raise ValueError(f"need complex64 spectra and ramps, got {spectra.dtype}, {plane.dtype}, {ramps[0].dtype}")


def add_aligned_reference(
    total: Tensor, spectra: Tensor, row_ramp: Tensor, column_ramp: Tensor, index: Tensor, weights: Tensor
) -> None:
    """`add_aligned` in plain torch, frame by frame."""
    place = index.long()
    for k, spectrum in enumerate(spectra):
        total += weights[k][place] * (row_ramp[k][:, None] * column_ramp[k]) * spectrum


def score_frames_reference(  # noqa: PLR0917
    spectra: Tensor,
    row_ramp: Tensor,
    column_ramp: Tensor,
    row_frequency: Tensor,
    column_frequency: Tensor,
    index: Tensor,
    weights: Tensor,
    reference: Tensor,
    constant: Tensor,
) -> Tensor:
    """`score_frames` in plain torch, frame by frame."""
    place, y, x = index.long(), row_frequency[:, None], column_frequency
    found = torch.empty(len(spectra), 5, dtype=torch.float64, device=spectra.device)
    for k, spectrum in enumerate(spectra):
        fit = weights[k][place] * (row_ramp[k][:, None] * column_ramp[k]) * (spectrum * reference + constant)
        slope, bend = -fit.imag.double(), fit.real.double()
        terms = (slope * y, slope * x, bend * y * y, bend * y * x, bend * x * x)
        found[k] = torch.stack([term.sum() for term in terms])
    return found


_add = Operator(
    "add_aligned",
    "(Tensor(a!) total, Tensor spectra, Tensor row_ramp, Tensor column_ramp, Tensor index, Tensor weights) -> ()",
    add_aligned_reference,
)
_score = Operator(
    "score_frames",
    "(Tensor spectra, Tensor row_ramp, Tensor column_ramp, Tensor row_frequency, Tensor column_frequency, "
    "Tensor index, Tensor weights, Tensor reference, Tensor constant) -> Tensor",
    score_frames_reference,
)


@_add.register_fake
def _(total: Tensor, spectra: Tensor, row_ramp: Tensor, column_ramp: Tensor, index: Tensor, weights: Tensor) -> None:
    return None


@_score.register_fake
def _(spectra: Tensor, *rest: Tensor) -> Tensor:
    return spectra.new_empty(len(spectra), 5, dtype=torch.float64)


@_add.register_kernel("cpu")
def _(total: Tensor, spectra: Tensor, row_ramp: Tensor, column_ramp: Tensor, index: Tensor, weights: Tensor) -> None:
    if not total.is_contiguous():
        raise ValueError("the total must be contiguous")
    given = (spectra, row_ramp, column_ramp, index.to(torch.int32), weights.to(torch.float32))
    frame_spectra_cpu.add_aligned(total.numpy(), *(tensor.contiguous().numpy() for tensor in given))


@_score.register_kernel("cpu")
def _(  # noqa: PLR0917
    spectra: Tensor,
    row_ramp: Tensor,
    column_ramp: Tensor,
    row_frequency: Tensor,
    column_frequency: Tensor,
    index: Tensor,
    weights: Tensor,
    reference: Tensor,
    constant: Tensor,
) -> Tensor:
    found = torch.empty(len(spectra), 5, dtype=torch.float64)
    row, column = row_frequency.to(torch.float32), column_frequency.to(torch.float32)
    place, table = index.to(torch.int32), weights.to(torch.float32)
    given = (spectra, row_ramp, column_ramp, row, column, place, table, reference, constant)
    arrays = [tensor.contiguous().numpy() for tensor in given]
    frames = (arrays[0], arrays[1], arrays[2])
    frame_spectra_cpu.score_frames(frames, arrays[3:5], arrays[5:7], arrays[7:], found.numpy())
    return found
