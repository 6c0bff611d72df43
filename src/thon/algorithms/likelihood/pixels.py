"""The Fourier pixels of an image that take part: one of each pair that a real image makes equal, by growing radius.

Sorted so, a coarser resolution is the beginning of every array. Spectra are orthonormal (white noise of variance 1 has
pixels of expected power 1) with the image's centre, pixel n // 2, at the origin; real and imaginary parts stand apart,
(..., 2, pixels), so that a product of two spectra is a plain dot product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.data.particles import ParticleOptics


@dataclass(frozen=True)
class FourierPixels:
    """Pixels of the images of one optics group within a radius of the reference's spectrum.

    Args:
        box: Side of the images, px.
        pixel_size: Of the images, Å.
        extent: Side of the reference's box, Å; its inverse is the thickness of a shell.
        shells: Number of shells, from 0; pixels of the last shell are the finest.
        magnification: Matrix that takes true to recorded frequencies (y, x).
    """

    box: int
    pixel_size: float
    extent: float
    shells: int
    magnification: tuple[tuple[float, float], tuple[float, float]] | None = None

    @classmethod
    def of(cls, optics: ParticleOptics, extent: float, shells: int) -> FourierPixels:
        """Those of an optics group."""
        return cls(optics.box, optics.pixel_size, extent, shells, optics.magnification)

    @cached_property
    def index(self) -> Int[np.ndarray, "pixels 2"]:
        """Row and column of each pixel in the half spectrum, counted from the origin: rows may be negative."""
        stretch = self.box * self.pixel_size / self.extent
        reach = min(math.ceil((self.shells - 0.5) * stretch * self._strain) + 1, (self.box - 1) // 2)
        y, x = np.mgrid[-reach : reach + 1, : reach + 1]
        once = (x > 0) | (y >= 0)
        places = np.stack([y[once], x[once]], -1)
        radius = np.linalg.norm(self._places(places), axis=-1)
        inside = np.flatnonzero(np.round(radius) < self.shells)
        return places[inside[np.argsort(radius[inside], kind="stable")]]

    @cached_property
    def places(self) -> Float[np.ndarray, "pixels 2"]:
        """Place (y, x) of each pixel in the reference's spectrum, in its pixels (1 / extent)."""
        return self._places(self.index)

    @cached_property
    def frequency(self) -> Float[np.ndarray, "pixels 2"]:
        """Recorded frequency (y, x) of each pixel, 1/Å."""
        return self.index / (self.box * self.pixel_size)

    @cached_property
    def true_frequency(self) -> Float[np.ndarray, "pixels 2"]:
        """The frequency (y, x) that each pixel stands for, 1/Å, at which aberrations and the reference count."""
        return self.places / self.extent

    @cached_property
    def shell(self) -> Int[np.ndarray, "pixels"]:
        """Shell of each pixel."""
        return np.round(np.linalg.norm(self.places, axis=-1)).astype(np.int64)

    @cached_property
    def starts(self) -> Int[np.ndarray, "shells_and_one"]:
        """First pixel of each shell, and the number of pixels."""
        return np.searchsorted(self.shell, np.arange(self.shells + 1))

    def count(self, shells: int) -> int:
        """Pixels within fewer shells."""
        return int(self.starts[min(shells, self.shells)])

    def ramps(self, shifts: Float[np.ndarray, "n 2"]) -> Float[torch.Tensor, "n 2 pixels"]:
        """Factors that move an image by minus these shifts (y, x), px: a particle there comes to the centre."""
        phase = torch.from_numpy(shifts @ self.index.T * (2 * math.pi / self.box))
        return torch.stack([phase.cos(), phase.sin()], -2).float()

    def gather(self, images: Float[torch.Tensor, "n box box"]) -> Float[torch.Tensor, "n 2 pixels"]:
        """Spectra of images at these pixels."""
        middle = self.box // 2
        spectra = torch.fft.rfft2(torch.roll(images, (-middle, -middle), (-2, -1)), norm="ortho")
        rows, columns = torch.from_numpy(self.index).T
        found = spectra.flatten(-2)[:, (rows % self.box) * spectra.shape[-1] + columns]
        return torch.view_as_real(found).movedim(-1, -2).contiguous()

    def sum_shells(self, values: Float[torch.Tensor, "n pixels"]) -> Float[torch.Tensor, "n shells"]:
        """Sums over each shell."""
        return values.new_zeros((len(values), self.shells)).index_add_(1, torch.from_numpy(self.shell), values)

    def mean_shells(self, values: Float[torch.Tensor, "n pixels"]) -> Float[torch.Tensor, "n shells"]:
        """Means over each shell; zero where a shell has no pixels."""
        return self.sum_shells(values) / torch.from_numpy(np.maximum(np.diff(self.starts), 1)).to(values)

    @property
    def amplitude(self) -> float:
        """Amplitude of a particle's orthonormal spectrum in this box over that in the reference's.

        Noise has an expected power of 1 in a box of any extent; a particle has the less the more of the box is empty.
        """
        return self.extent / (self.box * self.pixel_size)

    @property
    def _strain(self) -> float:
        """The most that the magnification lengthens a frequency."""
        return 1.0 if self.magnification is None else float(np.linalg.norm(np.array(self.magnification), 2))

    def _places(self, index: Int[np.ndarray, "pixels 2"]) -> Float[np.ndarray, "pixels 2"]:
        true = index if self.magnification is None else index @ np.linalg.inv(np.array(self.magnification)).T
        return true * (self.extent / (self.box * self.pixel_size))
