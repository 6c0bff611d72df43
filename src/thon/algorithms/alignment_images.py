"""Images of a tilt series made ready for alignment: read one by one, binned, standardised, the useless left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.dark_tilts import DarkTiltOptions, find_dark_tilts
from thon.base.errors import InputError
from thon.ops.fourier import fourier_crop


class AlignmentImages:
    """Standardised images of the tilts that take part.

    Args:
        source: (tilts, rows, columns), whatever gives one image by its index.
        tilt: Stage tilts, degrees.
        pixel_size: Å.
        max_size: Longest side after binning, px.
        mask: Zero where not to look; (rows, columns), or one for each image.

    Attributes:
        pixel_size: Of the binned images, Å.
        bin: Whole-number factor.
        excluded: Reason by index of the images that take no part; after `exclude`.
        kept: Indices of the others.
        values: (kept, rows, columns), zero mean and unit deviation.
        tilt: Their tilts, degrees.
    """

    def __init__(
        self,
        source: Any,
        tilt: Float[np.ndarray, "tilts"],
        pixel_size: float,
        max_size: int,
        mask: Any = None,
    ):
        if len(source) != len(tilt):
            raise InputError("images and tilt angles differ in number", got=f"{len(source)} images, {len(tilt)} angles")
        if not np.isfinite(tilt).all() or np.abs(tilt).max() >= 90:
            raise InputError("tilt angles must lie between −90° and 90°", got=tilt[~(np.abs(tilt) < 90)].tolist())
        if not pixel_size > 0:
            raise InputError("the pixel size must be positive", got=pixel_size, expected="Å")
        self.all_tilts = tilt
        shape = tuple(int(n) for n in source.shape[1:])
        if min(shape) < 64:
            raise InputError("images are too small to align", got=shape, expected="at least 64 × 64 px")
        self.bin = max(1, -(-max(shape) // max_size))
        self.pixel_size = pixel_size * self.bin
        self._whole = self._load(source, shape)
        self.mask = self._load_mask(mask, shape)

    def _load(self, source: Any, shape: tuple[int, ...]) -> Float[torch.Tensor, "tilts rows columns"]:
        binned: list[torch.Tensor] = []
        for k in range(len(source)):
            given = source[k]
            image = given.float() if torch.is_tensor(given) else torch.from_numpy(np.array(given, np.float32))
            if tuple(image.shape) != shape:
                raise InputError(f"image {k} has another size", got=tuple(image.shape), expected=shape)
            binned.append(bin_images(torch.nan_to_num(image)[None], self.bin)[0])
        return torch.stack(binned)

    def _load_mask(self, mask: Any, shape: tuple[int, ...]) -> Float[torch.Tensor, "tilts rows columns"] | None:
        if mask is None:
            return None
        given = torch.from_numpy(np.array(mask, np.float32))
        given = given[None] if given.ndim == 2 else given
        tilts = len(self.all_tilts)
        if tuple(given.shape[1:]) != shape or len(given) not in (1, tilts):
            raise InputError("mask and images differ", got=tuple(given.shape), expected=(f"1 or {tilts}", *shape))
        return (bin_images(given, self.bin) > 0.5).float().expand(tilts, -1, -1)

    def exclude(self, known: dict[int, str], keep: tuple[int, ...], dark: DarkTiltOptions) -> None:
        """Leave out what is known to be unusable and what is dark, but never what is in `keep`."""
        number = len(self._whole)
        wrong = [k for k in (*known, *keep) if not 0 <= k < number]
        if wrong:
            raise InputError("no such image in the series", got=wrong, expected=f"0 to {number - 1}")
        small = bin_images(self._whole, max(1, max(self._whole.shape[-2:]) // 256))
        reasons = find_dark_tilts(small, self.all_tilts, dark) | known
        self.excluded = {k: reason for k, reason in sorted(reasons.items()) if k not in keep}
        self.kept = np.array([k for k in range(number) if k not in self.excluded], np.int64)
        if len(self.kept) < 3:
            raise InputError("too few usable images to align", got=len(self.kept), expected="at least 3")
        chosen = torch.from_numpy(self.kept)
        self.mask = None if self.mask is None else self.mask[chosen]
        self.values, self.tilt = standardise(self._whole[chosen], self.mask), self.all_tilts[self.kept]
        del self._whole

    def reduced(self, size: int) -> tuple[Float[torch.Tensor, "kept rows columns"], float]:
        """The images at a whole-number bin that makes their longer side about `size`, and their pixel size, Å."""
        factor = max(1, round(max(self.values.shape[-2:]) / size))
        return bin_images(self.values, factor), self.pixel_size * factor

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width of the images, Å."""
        return self.values.shape[-2] * self.pixel_size, self.values.shape[-1] * self.pixel_size


def bin_images(images: Float[torch.Tensor, "tilts rows columns"], factor: int) -> torch.Tensor:
    """Fourier-crop by a whole number, the centre pixel kept; edges that do not fill a pixel are dropped."""
    if factor == 1:
        return images
    old = (images.shape[-2], images.shape[-1])
    rows, columns = old[0] // factor, old[1] // factor
    top, left = (n // 2 - m * factor // 2 for n, m in zip(old, (rows, columns), strict=True))
    part = images[..., top : top + rows * factor, left : left + columns * factor]
    return fourier_crop(part, (rows, columns))


def standardise(
    images: Float[torch.Tensor, "tilts rows columns"], mask: Float[torch.Tensor, "tilts rows columns"] | None = None
) -> Float[torch.Tensor, "tilts rows columns"]:
    """Zero mean, unit deviation, outliers clipped at six deviations; all within the mask, and zero outside it."""
    weight = torch.ones_like(images[:, :1, :1]) if mask is None else mask
    number = weight.expand_as(images).sum((-2, -1), keepdim=True).clamp(min=1)
    centred = (images - (images * weight).sum((-2, -1), keepdim=True) / number) * weight
    deviation = (centred.square().sum((-2, -1), keepdim=True) / number).sqrt()
    return (centred / deviation.clamp(min=1e-12)).clamp(-6, 6)
