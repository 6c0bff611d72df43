"""Power spectrum of sums over groups of frames: strong enough to show Thon rings, short enough not to lose them."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Complex, Float

from thon.algorithms.motion_frames import SpectralGrid
from thon.algorithms.motion_options import SumOptions
from thon.kernels.frame_spectra import add_aligned
from thon.ops.fourier import soft_edge
from thon.ops.frame_fourier import image_of_spectrum

_EDGE = 0.06


class GroupSpectra:
    """Adds up frames of a group, and the power of the groups.

    The power of the whole field is turned into its autocorrelation, and that into the spectrum of tiles of the final
    size: what an average over all possible overlapping tiles with a Hann window would give.

    Args:
        shape: (rows, columns) of the sums.
        pixel: Of the sums, along rows and columns, Å.
        frame_exposure: Of a frame, e/Å².
        options: Size and pixel of the spectrum, and exposure of a group.
        device: Where to work.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        pixel: tuple[float, float],
        frame_exposure: float,
        options: SumOptions,
        device: torch.device,
    ) -> None:
        self.options, self.wanted = options, options.spectrum
        finest = max(options.spectrum_pixel, *pixel)
        rows, columns = (min(n, 2 * round(n * p / finest / 2)) for n, p in zip(shape, pixel, strict=True))
        self.shape = (rows, columns)
        self.pixel = math.sqrt(math.prod(n * p / m for n, p, m in zip(shape, pixel, self.shape, strict=True)))
        known = math.isfinite(frame_exposure) and frame_exposure > 0
        self.group = max(1, round(options.spectrum_exposure / frame_exposure)) if known else 1
        keep = [torch.arange((rows + 1) // 2), torch.arange(shape[0] - rows // 2, shape[0])]
        self.keep = torch.cat(keep).to(device)
        self.grid = SpectralGrid(self.shape, (1.0, 1.0), 1.0, 2, device)
        self.total = torch.zeros(rows, columns // 2 + 1, dtype=torch.complex64, device=device)
        self.power = torch.zeros(rows, columns // 2 + 1, device=device)
        self.index = torch.zeros(rows, columns // 2 + 1, dtype=torch.int32, device=device)
        self.window = soft_edge(self.shape, _EDGE, device, torch.float32)
        self.scale = torch.full((1, 1), rows * columns / (shape[0] * shape[1]), device=device)  # keeps grey values
        self.count, self.groups = 0, 0

    def add(
        self, spectrum: Complex[torch.Tensor, "rows half"],
        ramps: tuple[Complex[torch.Tensor, "one rows"], Complex[torch.Tensor, "one half"]],
    ) -> None:  # fmt: skip
        """Add a frame's spectrum, brought into place by its ramps."""
        if not self.wanted:
            return
        half = self.shape[1] // 2 + 1
        small = spectrum[self.keep, :half][None]
        ramps = (ramps[0][:, self.keep], ramps[1][:, :half])
        add_aligned(self.total, small, ramps, self.index, self.scale)
        self.count += 1
        if self.count == self.group:
            self._close()

    def _close(self) -> None:
        image = image_of_spectrum(self.total, self.shape[1]) * self.window
        spectrum = torch.fft.rfft2(image - image.mean())
        self.power += (spectrum.real**2 + spectrum.imag**2) / (self.count * float(self.window.square().sum()))
        self.total = torch.zeros_like(self.total)
        self.count, self.groups = 0, self.groups + 1

    def finish(self) -> tuple[Float[torch.Tensor, "size half"] | None, float]:
        """The spectrum, in units of one frame's, and the pixel size of an image that would have it, Å."""
        if not self.wanted:
            return None, math.nan
        if self.count * 2 >= self.group or not self.groups:
            self._close()
        size = self.options.spectrum_size
        correlation = torch.fft.irfft2(self.power / self.groups, s=self.shape)
        window = torch.hann_window(size, dtype=torch.float64).numpy()
        lags = torch.from_numpy(np.correlate(window, window, "full")).to(correlation)
        lags /= lags.max()
        reach = [min(size - 1, n // 2 - 1) for n in self.shape]
        folded = torch.zeros(size, size, dtype=correlation.dtype, device=correlation.device)
        steps = [torch.arange(-r, r + 1, device=correlation.device) for r in reach]
        part = correlation[steps[0] % self.shape[0]][:, steps[1] % self.shape[1]]
        part = part * lags[steps[0] + size - 1][:, None] * lags[steps[1] + size - 1]
        rows = torch.zeros(size, part.shape[1], dtype=part.dtype, device=part.device)
        rows.index_add_(0, steps[0] % size, part)
        folded.index_add_(1, steps[1] % size, rows)
        return torch.fft.rfft2(folded).real.clamp(min=0), self.pixel
