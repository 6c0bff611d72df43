"""Fourier transforms of large frames that need only part of their frequencies, without a copy of the whole spectrum.

Rows are transformed in blocks, and only the columns that are kept go on; an image of 96 Mpx leaves as the spectrum of
the smaller image. On a CPU SciPy does this in half of PyTorch's time; other devices use PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Complex, Float

from thon.ops.fourier import crop_spectrum, phase_ramp

_BLOCK = 1 << 18  # pixels that are transformed at a time: they stay in the cache


@dataclass(frozen=True)
class Preparation:
    """What is done to a frame before it is transformed.

    Args:
        level: Subtracted.
        bound: Values further from `level` than this are held there.
        window: Factors along rows and columns.
    """

    level: float = 0.0
    bound: float = float("inf")
    window: tuple[Float[torch.Tensor, "rows"], Float[torch.Tensor, "columns"]] | None = None

    def __call__(
        self, frame: Float[np.ndarray, "rows columns"], block: Float[np.ndarray, "some columns"], start: int
    ) -> None:
        """Fill `block` with the prepared rows from `start` on."""
        np.subtract(frame[start : start + len(block)], np.float32(self.level), out=block)
        if np.isfinite(self.bound):
            np.clip(block, -self.bound, self.bound, out=block)
        if self.window is not None:
            block *= self.window[0].numpy()[start : start + len(block), None]
            block *= self.window[1].numpy()


_AS_IT_IS = Preparation()


def cropped_spectrum(
    frame: Float[torch.Tensor, "rows columns"],
    shape: tuple[int, int],
    prepare: Preparation = _AS_IT_IS,
) -> Complex[torch.Tensor, "new_rows new_half"]:
    """Half spectrum of a frame on a grid of `shape`, its grey values and its first pixel's place kept.

    Args:
        frame: Pixels.
        shape: (rows, columns) of the new grid. Frequencies beyond either grid are dropped or zero, and so are those at
            the Nyquist frequency of an even length.
        prepare: What is done to the frame first.
    """
    if frame.device.type != "cpu":
        return _first_pixel_kept(torch.fft.rfft2(_prepared(frame, prepare)), (frame.shape[0], frame.shape[1]), shape)
    rows, columns = frame.shape
    keep_rows, keep_columns = ((min(a, b) + 1) // 2 for a, b in zip((rows, columns), shape, strict=True))
    size = (shape[0], shape[1] // 2 + 1)
    result = np.empty(size, np.complex64)
    # Without cropped rows the columns are transformed where they lie: fresh memory costs as much as the transform.
    lines = result[:, :keep_columns] if shape[0] == rows else np.empty((rows, keep_columns), np.complex64)
    step = max(1, _BLOCK // columns)
    block = np.empty((step, columns), np.float32)
    for start in range(0, rows, step):
        part = block[: min(step, rows - start)]
        prepare(frame.numpy(), part, start)
        lines[start : start + step] = scipy.fft.rfft(part, axis=1)[:, :keep_columns]
    scale = np.float32(shape[0] * shape[1] / (rows * columns))
    step = max(16, _BLOCK // rows)
    for start in range(0, keep_columns, step):
        part = slice(start, min(start + step, keep_columns))
        whole = scipy.fft.fft(lines[:, part], axis=0)
        np.multiply(whole[:keep_rows], scale, out=result[:keep_rows, part])
        result[keep_rows : size[0] + 1 - keep_rows, part] = 0
        if keep_rows > 1:
            np.multiply(whole[1 - keep_rows :], scale, out=result[1 - keep_rows :, part])
    result[:, keep_columns:] = 0
    return torch.from_numpy(result)


def _prepared(frame: torch.Tensor, prepare: Preparation) -> torch.Tensor:
    """The same preparation on any device."""
    held = (frame - prepare.level).clamp(-prepare.bound, prepare.bound)
    return held if prepare.window is None else held * prepare.window[0][:, None] * prepare.window[1]


def _first_pixel_kept(spectrum: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """`crop_spectrum` without its keeping of the centre pixel."""
    moved = torch.tensor(centre_drift(old, new), device=spectrum.device, dtype=spectrum.real.dtype)
    return crop_spectrum(spectrum, old[1], new) * phase_ramp(new, -moved)


def centre_drift(old: tuple[int, int], new: tuple[int, int]) -> tuple[float, float]:
    """How far (rows, columns) an image of shape `new` must move, px, for its centre n // 2 to show that of `old`."""
    row, column = (n // 2 - (o // 2) * n / o for o, n in zip(old, new, strict=True))
    return row, column


def image_of_spectrum(
    spectrum: Complex[torch.Tensor, "rows half"],
    columns: int,
) -> Float[torch.Tensor, "rows columns"]:
    """The image with a half spectrum, which is overwritten."""
    if spectrum.device.type != "cpu":
        return torch.fft.irfft2(spectrum, s=(spectrum.shape[0], columns))
    values = spectrum.numpy()
    rows, half = values.shape
    step = max(16, _BLOCK // rows)
    for start in range(0, half, step):
        part = slice(start, min(start + step, half))
        values[:, part] = scipy.fft.ifft(values[:, part], axis=0)
    image = np.empty((rows, columns), np.float32)
    step = max(1, _BLOCK // columns)
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        image[part] = scipy.fft.irfft(values[part], columns, axis=1)
    return torch.from_numpy(image)
