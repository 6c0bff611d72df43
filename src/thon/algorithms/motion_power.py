"""Power spectrum of sums over groups of frames: strong enough to show Thon rings, short enough not to lose them."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float

from thon import kernels
from thon.algorithms.motion_options import SumOptions
from thon.ops.fourier import frequency_grid, soft_edge
from thon.ops.frame_fourier import cropped_spectrum, image_of_spectrum

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
        self.options = options
        finest = max(options.spectrum_pixel, *pixel)
        rows, columns = (min(n, 2 * round(n * p / finest / 2)) for n, p in zip(shape, pixel, strict=True))
        self.shape = (rows, columns)
        self.pixel = math.sqrt(math.prod(n * p / m for n, p, m in zip(shape, pixel, self.shape, strict=True)))
        known = math.isfinite(frame_exposure) and frame_exposure > 0
        self.group = max(1, round(options.spectrum_exposure / frame_exposure)) if known else 1
        self.summed = shape
        self.total = torch.zeros(1, *shape, device=device) if options.spectrum else None
        self.power = torch.zeros(rows, columns // 2 + 1, device=device)
        self.window = soft_edge(self.shape, _EDGE, device, torch.float32)
        self.count, self.groups = 0, 0

    def add(
        self,
        images: list[Float[torch.Tensor, "rows columns"]],
        levels: Float[torch.Tensor, "images"],
        fields: Float[torch.Tensor, "images nodes_y nodes_x 2"],
        step: int,
    ) -> None:
        """Add frames where their fields say, as `add_warped` does."""
        if self.total is None:
            return
        one = torch.ones(1, 1, device=self.total.device)
        for k, image in enumerate(images):
            kernels.add_warped(self.total, [image], levels[k : k + 1], fields[k : k + 1], one, step)
            self.count += 1
            if self.count == self.group:
                self._close(self.total)

    def _close(self, total: Float[torch.Tensor, "one rows columns"]) -> None:
        image = image_of_spectrum(cropped_spectrum(total[0], self.shape), self.shape[1]) * self.window
        spectrum = torch.fft.rfft2(image - image.mean())
        self.power += (spectrum.real**2 + spectrum.imag**2) / (self.count * float(self.window.square().sum()))
        total.zero_()
        self.count, self.groups = 0, self.groups + 1

    def finish(self, places: Float[torch.Tensor, "places 2"]) -> tuple[Float[torch.Tensor, "size half"] | None, float]:
        """The spectrum, in units of one frame's, and the pixel size of an image that would have it, Å.

        Args:
            places: Where frames were sampled, px, whose effect is divided out.
        """
        if self.total is None:
            return None, math.nan
        if self.count * 2 >= self.group or not self.groups:
            self._close(self.total)
        for axis, frequency in enumerate(frequency_grid(self.shape, places.device, torch.float64)):
            cycles = frequency.reshape(-1) * self.shape[axis] / self.summed[axis]
            response = kernels.spline_response(places[:, axis], cycles).to(torch.float32)
            self.power /= response.reshape(frequency.shape)
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
