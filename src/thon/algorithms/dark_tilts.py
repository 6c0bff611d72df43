"""Images of a tilt series that cannot take part: dark, blocked, flat or without detail."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from jaxtyping import Float

from thon.base.options import Options, Unit


class DarkTiltOptions(Options):
    """Limits beyond which an image is left out; each compares it with the images around zero tilt."""

    tolerance: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.5
    """Dark: mean brightness below this share of what a slab would show at that tilt; 0 disables (AreTomo's DarkTol)."""

    blocked_area: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.35
    """Blocked: more than this share of the area is far darker than the series' own typical image; 1 disables."""

    detail: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.25
    """Without detail: variation below this share of the series' typical one; 0 disables."""

    low_tilt: Annotated[float, Unit("degrees"), Ge(0)] = 3.5
    """Images at smaller tilts are never left out by brightness alone."""


def find_dark_tilts(
    images: Float[torch.Tensor, "tilts rows columns"], tilt: Float[np.ndarray, "tilts"], options: DarkTiltOptions
) -> dict[int, str]:
    """Say which images should not take part, and why.

    Args:
        images: Small raw images (about 64 to 256 px), grey values as recorded.
        tilt: Stage tilts, degrees.
        options: Limits.

    Returns:
        Reason by image index; empty if all are fine.
    """
    blocks = torch.nn.functional.adaptive_avg_pool2d(images[:, None], (16, 16))[:, 0].flatten(1).double()
    mean = blocks.mean(1).numpy()
    spread = images.double().flatten(1).std(1).numpy()
    central = np.argsort(np.abs(tilt))[: max(5, len(tilt) // 4)]
    reasons: dict[int, str] = {}
    flat = (spread < options.detail * np.median(spread[central])) | (spread == 0)
    for k in np.flatnonzero(flat):
        share = spread[k] / max(float(np.median(spread[central])), 1e-12)
        reasons[int(k)] = f"without detail: varies {share:.0%} as much as the images at low tilt"
    # Brightness has a zero only where the detector has one: data scaled to zero mean are not judged by it.
    level = float(np.median(mean[central]))
    if level <= 3 * float(np.median(blocks[central].std(1))):
        return reasons
    expected = _slab_brightness(mean, tilt, central)
    for k in range(len(tilt)):
        if abs(tilt[k]) < options.low_tilt or k in reasons:
            continue
        share = mean[k] / expected[k]
        blocked = float((blocks[k] < 0.5 * expected[k]).double().mean())
        if share < options.tolerance:
            reasons[k] = f"dark: {share:.0%} of the brightness expected at {tilt[k]:.1f}°"
        elif blocked > options.blocked_area:
            reasons[k] = f"blocked: {blocked:.0%} of the area is below half the expected brightness"
    return reasons


def _slab_brightness(
    mean: Float[np.ndarray, "tilts"], tilt: Float[np.ndarray, "tilts"], central: np.ndarray
) -> Float[np.ndarray, "tilts"]:
    """Brightness of a slab, I₀ exp(−d/(λ cos θ)), fitted robustly (least absolute deviations) to the images."""
    path = 1 / np.cos(np.deg2rad(np.clip(tilt, -80, 80)))
    level = np.log(np.median(mean[central]))
    middle = float(np.median(path[central]))
    best, smallest = 0.0, np.inf
    for absorption in np.linspace(0, 1.5, 31):
        off = float(np.median(np.abs(np.log(np.clip(mean, 1e-12, None)) - level + absorption * (path - middle))))
        if off < smallest:
            best, smallest = absorption, off
    return np.exp(level - best * (path - middle))
