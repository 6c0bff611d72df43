"""Spectra of references, oversampled for linear interpolation, and references from sums over spectra.

A flat reference (an image) is a volume of one plane: its poses turn about z alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

from thon.ops.fourier import half_spectrum
from thon.ops.volume_mask import raised_cosine

PADDING = 2
"""Oversampling of spectra."""

EDGE = 5.0
"""Width of the soft edge of masks around particles, px."""


def spectrum_shape(dimensions: int, shells: int) -> tuple[int, int, int]:
    """Shape (z, y, x ≥ 0) of an oversampled half spectrum that holds so many shells and interpolates within them."""
    reach = PADDING * shells + 1
    return (2 * reach + 1 if dimensions == 3 else 3, 2 * reach + 1, reach + 1)


def _axes(dimensions: int, shells: int, padded: int) -> tuple[np.ndarray, ...]:
    """Indices of the padded box's spectrum along z, y and x that a spectrum of so many shells holds."""
    reach = PADDING * shells + 1
    both, half = np.arange(-reach, reach + 1), np.arange(reach + 1)
    inside = [np.where(np.abs(axis) <= padded // 2 - 1, axis, padded // 2) for axis in (both, half)]
    return (inside[0], inside[0], inside[1]) if dimensions == 3 else (np.zeros(1, int), inside[0], inside[1])


def gridding_response(box: int, dimensions: int) -> Float[torch.Tensor, "*shape"]:
    """What linear interpolation of the oversampled spectrum multiplies real space by."""
    axis = torch.sinc((torch.arange(box) - box // 2) / (PADDING * box)).square()
    plane = axis[:, None] * axis
    return plane[:, :, None] * axis if dimensions == 3 else plane


def to_spectrum(references: Float[torch.Tensor, "n *shape"], shells: int) -> Float[torch.Tensor, "n z y x 2"]:
    """Oversampled half spectra whose slices are the orthonormal spectra of the references' projections.

    Args:
        references: Cubes, or square images, centre at pixel n // 2.
        shells: How many shells to keep.
    """
    box, dimensions = references.shape[-1], references.ndim - 1
    padded, axes = PADDING * box, tuple(range(1, references.ndim))
    # NumPy asks the system for large pages, without which places that lie apart in memory take twice as long.
    result = torch.from_numpy(np.zeros((len(references), *spectrum_shape(dimensions, shells), 2), np.float32))
    result = result.to(references.device)
    response = gridding_response(box, dimensions).to(references.device)
    z, y, x = _axes(dimensions, shells, padded)
    for target, reference in zip(result, references, strict=True):
        full = reference.new_zeros((padded,) * dimensions, dtype=torch.float32)
        full[(slice(0, box),) * dimensions] = reference.float() / response
        full = torch.roll(full, (-(box // 2),) * dimensions, tuple(a - 1 for a in axes))
        spectrum = half_spectrum(full, full.ndim) / box
        spectrum = spectrum if dimensions == 3 else spectrum[None]
        found = spectrum[np.ix_(z % padded if dimensions == 3 else z, y % padded, x)]
        outside = [torch.from_numpy(np.abs(axis) >= padded // 2) for axis in (z, y, x)]
        found[outside[0]], found[:, outside[1]], found[:, :, outside[2]] = 0, 0, 0
        plane = slice(None) if dimensions == 3 else slice(1, 2)
        target[plane] = torch.view_as_real(found)
    return result


def from_spectrum(spectrum: Float[torch.Tensor, "z y x 2"], box: int, dimensions: int) -> Float[torch.Tensor, "*shape"]:
    """The reference of an oversampled half spectrum (see `to_spectrum`), gridding corrected."""
    return from_planes(lambda k: spectrum[k], (spectrum.shape[-2] - 2) // PADDING, box, dimensions)


def from_planes(
    plane: Callable[[int], Float[torch.Tensor, "y x 2"]], shells: int, box: int, dimensions: int
) -> Float[torch.Tensor, "*shape"]:
    """`from_spectrum` of a spectrum that is made plane by plane, which takes less memory.

    Args:
        plane: Makes plane k of the oversampled half spectrum.
        shells: That the spectrum holds.
        box: Side of the reference, px.
        dimensions: Of the reference; a flat one's plane is the middle one of three.
    """
    padded = PADDING * box
    z, y, x = _axes(dimensions, shells, padded)
    full = torch.zeros((padded if dimensions == 3 else 1, padded, padded // 2 + 1), dtype=torch.complex64)
    rows, columns = (np.flatnonzero(np.abs(axis) < padded // 2) for axis in (y, x))
    source, target = np.ix_(rows, columns), np.ix_(y[rows] % padded, x[columns])
    for k in np.flatnonzero(np.abs(z) < padded // 2):
        made = torch.view_as_complex(plane(int(k) if dimensions == 3 else 1).contiguous())
        full[int(z[k]) % padded][target] = made[source]
    real = torch.fft.irfftn(full if dimensions == 3 else full[0], s=(padded,) * dimensions)
    del full
    real = torch.roll(real, (box // 2,) * dimensions, tuple(range(dimensions)))
    return real[(slice(0, box),) * dimensions] * box / gridding_response(box, dimensions)


def shell_radius(shape: tuple[int, int, int]) -> Float[torch.Tensor, "z y x"]:
    """Distance of each sample of an oversampled half spectrum from the origin, in shells."""
    return torch.stack([plane_radius(shape, k) for k in range(shape[0])])


def plane_radius(shape: tuple[int, int, int], k: int) -> Float[torch.Tensor, "y x"]:
    """The same of one plane."""
    y, x = torch.arange(shape[1]) - shape[1] // 2, torch.arange(shape[2])
    square = (k - shape[0] // 2) ** 2 + y[:, None] ** 2 + x**2
    return square.double().sqrt().float() / PADDING


def particle_mask(box: int, diameter: float, dimensions: int) -> Float[torch.Tensor, "*shape"]:
    """Soft sphere, or disc, around a particle of a diameter in px, its edge inside the box."""
    axis = (torch.arange(box) - box // 2).float().square()
    square = axis[:, None] + axis
    square = square[:, :, None] + axis if dimensions == 3 else square
    return raised_cosine(square.sqrt() - min(diameter / 2, box / 2 - EDGE), EDGE)
