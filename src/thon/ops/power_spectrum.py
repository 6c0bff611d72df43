"""Power spectra of the parts of an image: tiles that overlap, softly windowed, the empty and the dirty ones known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Complex, Float, Int

BLOCK = 1 << 20
"""Pixels that are transformed at once; memory stays bounded and the cache warm."""


@dataclass(frozen=True)
class TileSpectra:
    """Power spectra of the tiles of one image.

    Args:
        power: Half spectra, origin in the corner, scaled so that white noise has its variance everywhere. The step
            along rows and columns is 1 / (size · pixel_size).
        center: (y, x) of each tile's middle from the image's centre pixel n // 2, px of the image.
        kept: False for tiles that are empty, blocked or dirty.
        pixel_size: Of an image that has this spectrum, Å: the image's own, or coarser where it was cropped.
        window: The weight along one side of a tile that was transformed, in pixels of the image.
        overlap: Share of its side that a tile has in common with the next.
    """

    power: Float[torch.Tensor, "tiles size half"]
    center: Float[torch.Tensor, "tiles 2"]
    kept: Bool[torch.Tensor, "tiles"]
    pixel_size: float
    window: Float[torch.Tensor, "side"]
    overlap: float

    @property
    def size(self) -> int:
        """Rows of each spectrum."""
        return self.power.shape[-2]

    def mean(self) -> Float[torch.Tensor, "size half"]:
        """Average over the kept tiles."""
        return self.power[self.kept].mean(0)

    def amplitude(self) -> Float[torch.Tensor, "size half"]:
        """Root of the average power: less steep, for the eye."""
        return self.mean().sqrt()


def tile_side(pixel_size: float, *, size: int, min_pixel_size: float = 1.4) -> tuple[int, int]:
    """Side of a tile in pixels of the image, and of its spectrum once cropped.

    Where pixels are finer than `min_pixel_size` the tile has more of them, so that it covers as much of the specimen
    and its spectrum, cropped to coarser pixels, has `size` rows. Both are even.
    """
    if pixel_size >= min_pixel_size:
        return size, size
    side = fast_size(math.ceil(size * min_pixel_size / pixel_size))
    return side, 2 * round(size / 2)


def fast_size(least: int) -> int:
    """Smallest even length of at least `least` whose only prime factors are 2, 3 and 5."""
    n = max(2, least + least % 2)
    while _rough(n):
        n += 2
    return n


def _rough(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n > 1


def place_tiles(shape: tuple[int, int], side: int, overlap: float) -> Int[torch.Tensor, "tiles 2"]:
    """(row, column) of the first pixel of tiles that cover an image evenly, the outermost flush with its edges.

    Raises:
        ValueError: If the image is smaller than a tile.
    """
    if min(shape) < side:
        raise ValueError(f"a tile of {side} px does not fit into an image of {shape[0]} × {shape[1]} px")
    steps = [1 + math.ceil((n - side) / (side * (1 - overlap)) - 1e-9) for n in shape]
    starts = [torch.linspace(0, n - side, count).round().long() for n, count in zip(shape, steps, strict=True)]
    return torch.cartesian_prod(*starts).reshape(-1, 2)


def tile_window(
    side: int, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[torch.Tensor, "side"]:
    """Sine window: its squares add up to a constant at half overlap, so every pixel counts alike."""
    return torch.sin(math.pi * (torch.arange(side, device=device, dtype=dtype) + 0.5) / side)


def screen_tiles(
    mean: Float[torch.Tensor, "tiles"], deviation: Float[torch.Tensor, "tiles"]
) -> Bool[torch.Tensor, "tiles"]:
    """Which tiles show the specimen as most do: neither empty or blocked nor dirty.

    Args:
        mean: Mean grey value of each tile.
        deviation: Standard deviation in each tile.

    Returns:
        False where mean or deviation lies further from the median of all than the spread of the tiles explains, at
        the least a factor of two in deviation; flat tiles, even where they are the most, are none of these. At least
        one tile is kept.
    """
    lively = deviation > 0
    if not bool(lively.any()):
        return deviation == deviation.max()
    kept = lively & _near_median(deviation.clamp(min=1e-30).log(), lively, math.log(2.0))
    kept = kept & _near_median(mean, lively, 3.0 * float(deviation[lively].median()))
    return kept if bool(kept.any()) else deviation == deviation.max()


def _near_median(
    value: Float[torch.Tensor, "tiles"], among: Bool[torch.Tensor, "tiles"], least: float
) -> Bool[torch.Tensor, "tiles"]:
    """Which values are as near to the median of some of them as most of those are, or within `least`."""
    distance = (value - value[among].median()).abs()
    return distance <= max(least, 6.0 * 1.4826 * float(distance[among].median()))


def tile_spectra(
    image: Float[torch.Tensor, "rows columns"],
    pixel_size: float,
    *,
    size: int = 512,
    overlap: float = 0.5,
    min_pixel_size: float = 1.4,
) -> TileSpectra:
    """Power spectra of tiles of an image.

    Args:
        image: Grey values.
        pixel_size: Of the image, Å.
        size: Rows of each spectrum, which is that of the tile unless pixels are finer than `min_pixel_size`; the
            tile then has more pixels and its spectrum is cropped. Even.
        overlap: Share of a tile's side that the next one repeats, 0 to below 1.
        min_pixel_size: Finest pixel worth keeping, Å.

    Returns:
        One spectrum per tile, row by row, all tiles in it; `kept` tells which to use.

    Raises:
        ValueError: If the image is smaller than a tile.
    """
    side, size = tile_side(pixel_size, size=size, min_pixel_size=min_pixel_size)
    first = place_tiles((image.shape[0], image.shape[1]), side, overlap)
    window = tile_window(side, image.device, image.dtype)
    power = image.new_empty(len(first), size, size // 2 + 1)
    mean, deviation = image.new_empty(len(first)), image.new_empty(len(first))
    for at in torch.arange(len(first)).split(max(1, BLOCK // side**2)):
        tiles = torch.stack([image[y : y + side, x : x + side] for y, x in first[at].tolist()])
        mean[at] = tiles.mean((-2, -1))
        tiles = tiles.sub_(mean[at][:, None, None])
        deviation[at] = torch.linalg.vector_norm(tiles, dim=(-2, -1)) / side
        power[at] = _windowed_power(tiles, window, size)
    middle = torch.tensor([n // 2 for n in image.shape])
    center = (first + side // 2 - middle).to(image)
    return TileSpectra(power, center, screen_tiles(mean, deviation), pixel_size * side / size, window, overlap)


def _windowed_power(
    tiles: Float[torch.Tensor, "tiles side side"], window: Float[torch.Tensor, "side"], size: int
) -> Float[torch.Tensor, "tiles size half"]:
    """Power of windowed tiles over the power of the window, cropped to the lowest frequencies."""
    spectrum = torch.fft.rfft2(tiles * window * window[:, None])
    half = size // 2
    spectrum = torch.cat([spectrum[:, :half, : half + 1], spectrum[:, -half:, : half + 1]], 1)
    return spectrum_power(spectrum) / window.square().sum().square()


def spectrum_power(spectrum: Complex[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
    """Squared modulus, three times as fast on a CPU as by the modulus."""
    return spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
