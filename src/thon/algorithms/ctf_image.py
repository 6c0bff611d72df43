"""The power spectrum of a whole micrograph, for its CTF: dirt masked, edges soft, and what its values are worth known.

One transform of the whole image holds all that the average over its tiles would tell, without the tiles' blur of fine
rings and without the correlation that overlap brings, at a fifth of the cost. Tiles are for images whose defocus
varies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float

from thon.ops.fourier import soft_edge
from thon.ops.power_spectrum import screen_tiles, spectrum_power

EDGE = 0.05
"""Share of each side over which the window rises."""

CLIP = 8.0
"""Standard deviations at which single pixels are cut: hot pixels, beads, X-rays."""


@dataclass(frozen=True)
class ImageSpectrum:
    """Power spectrum of one image.

    Args:
        power: Half spectrum, origin in the corner; white noise has its variance everywhere.
        columns: Columns of the image.
        worth: Share of a full periodogram's independent values that the window leaves.
        masked: Share of the image that was left out.
    """

    power: Float[torch.Tensor, "rows half"]
    columns: int
    worth: float
    masked: float


def image_spectrum(image: Float[torch.Tensor, "rows columns"], *, screen: int = 128) -> ImageSpectrum:
    """Transform a micrograph as a whole.

    Args:
        image: Grey values.
        screen: Side of the squares that are judged empty or dirty, px.
    """
    image = image[: _fast_length(image.shape[0]), : _fast_length(image.shape[1])]
    mean, deviation = _block_statistics(image, screen)
    kept = screen_tiles(mean.ravel(), deviation.ravel()).reshape(mean.shape)
    center, spread = float(mean[kept].mean()), float(deviation[kept].square().mean().sqrt())
    clipped = image.clamp(center - CLIP * spread, center + CLIP * spread).sub_(center)
    rows, columns = _edge(image.shape[0], image), _edge(image.shape[1], image)
    clipped.mul_(columns).mul_(rows[:, None])
    worth, total = _worth(rows) * _worth(columns), float(rows.square().sum() * columns.square().sum())
    if not bool(kept.all()):
        mask = _smooth_mask(kept, (image.shape[0], image.shape[1]))
        clipped.mul_(mask)
        share = float(mask.square().mean())
        worth, total = worth * share**2 / float(mask.square().square().mean()), total * share
    power = spectrum_power(torch.fft.rfft2(clipped)) / total
    return ImageSpectrum(power, image.shape[1], worth, 1 - float(kept.float().mean()))


def _fast_length(n: int) -> int:
    """Largest even length up to n whose only prime factors are 2, 3, 5 and 7."""
    for length in range(n - n % 2, 0, -2):
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
    return n


def _block_statistics(
    image: Float[torch.Tensor, "rows columns"], side: int
) -> tuple[Float[torch.Tensor, "down across"], Float[torch.Tensor, "down across"]]:
    """Mean and standard deviation of every fourth pixel in squares of an image."""
    down, across = (max(1, n // side) for n in image.shape)
    rows, columns = image.shape[0] // down, image.shape[1] // across
    every = image[: down * rows, : across * columns].unflatten(1, (across, columns)).unflatten(0, (down, rows))
    every = every[:, ::2, :, ::2].permute(0, 2, 1, 3).flatten(2)
    mean = every.mean(-1)
    return mean, (every.square().mean(-1) - mean.square()).clamp(min=0).sqrt()


def _edge(n: int, like: torch.Tensor) -> Float[torch.Tensor, "side"]:
    return soft_edge((n, 1), EDGE, like.device, like.dtype)[:, 0] / soft_edge((1, 1), EDGE, like.device, like.dtype)[0]


def _worth(window: Float[torch.Tensor, "side"]) -> float:
    """Independent values of a windowed line's spectrum, over its length."""
    square = window.double().square()
    return float(square.sum().square() / square.square().sum()) / len(window)


def _smooth_mask(
    kept: Bool[torch.Tensor, "down across"], shape: tuple[int, int]
) -> Float[torch.Tensor, "rows columns"]:
    """1 in kept squares, falling to 0 within them towards those that are not."""
    near = -torch.nn.functional.max_pool2d(-kept.float()[None, None], 3, 1, 1)
    inner = torch.nn.functional.interpolate(0.5 * near + 0.5 * kept.float(), shape, mode="bilinear")[0, 0]
    solid = torch.nn.functional.interpolate(kept.float()[None, None], shape)[0, 0]
    return inner.mul_(solid)
