"""Direction of the tilt axis from common lines.

Summed perpendicular to the tilt axis over the same part of the specimen, every image of a tilt series gives the same
line. The trial angle at which the lines agree best is the axis; it is known up to half a turn, which is a matter of
hand and not of alignment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.patch_pairs import unroll
from thon.data.geometry import TiltGeometry


@dataclass(frozen=True)
class AxisSearch:
    """Scores of trial angles.

    Args:
        angle: Trial angles of the tilt axis, anticlockwise from +y, ascending, degrees.
        score: Mean correlation of each image's line with the others', −1 to 1.
    """

    angle: Float[np.ndarray, "angles"]
    score: Float[np.ndarray, "angles"]

    @property
    def best(self) -> float:
        """Angle of the highest score, by a parabola through its neighbours, degrees."""
        k = int(np.argmax(self.score))
        if k in (0, len(self.angle) - 1):
            return float(self.angle[k])
        before, middle, after = self.score[k - 1 : k + 2]
        bend = 2 * middle - before - after
        step = 0.5 * (after - before) / bend if bend > 0 else 0.0
        return float(self.angle[k] + step * (self.angle[k + 1] - self.angle[k]))


def search_tilt_axis(
    images: Float[torch.Tensor, "tilts rows columns"],
    geometry: TiltGeometry,
    pixel_size: float,
    trials: Float[np.ndarray, "angles"],
    *,
    max_lag: int = 3,
) -> AxisSearch:
    """Score trial angles of the tilt axis.

    Args:
        images: Band-passed images, small (128 to 256 px).
        geometry: Geometry with shifts; its rotation is replaced by each trial.
        pixel_size: Of these images, Å.
        trials: Angles, degrees.
        max_lag: Shifts along the axis up to this many pixels are taken up before lines are compared.
    """
    return AxisSearch(
        trials, np.array([_agreement(_lines(images, geometry, pixel_size, angle), max_lag) for angle in trials])
    )


def _lines(
    images: Float[torch.Tensor, "tilts rows columns"], geometry: TiltGeometry, pixel_size: float, angle: float
) -> Float[torch.Tensor, "tilts rows"]:
    """Each image summed across the trial axis, over the square of the specimen that all images show, normalised."""
    side = min(images.shape[-2:])
    turned = replace(geometry, rotation=np.full(len(geometry), angle), local=None)
    frames, covered = unroll(images, turned, pixel_size, (side, side))
    y, x = (torch.arange(side) - side // 2).to(frames)[:, None], (torch.arange(side) - side // 2).to(frames)[None]
    disc = torch.exp(-0.5 * ((x**2 + y**2) / (0.3 * side) ** 2) ** 2)
    weight = covered * disc
    lines = (frames * weight).sum(-1) / weight.sum(-1).clamp(min=1)
    lines = lines * disc.sum(-1) / disc.sum(-1).max()
    lines = lines - lines.mean(-1, keepdim=True)
    return lines / lines.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def _agreement(lines: Float[torch.Tensor, "tilts rows"], max_lag: int) -> float:
    """Mean correlation of each line with the mean of the others, each at its best lag."""
    lags = torch.arange(-max_lag, max_lag + 1)
    shifted = torch.stack([lines.roll(int(lag), -1) for lag in lags], 1)  # (tilts, lags, rows)
    current, score = lines, lines.new_zeros(len(lines))
    for _ in range(2):
        others = current.sum(0, keepdim=True) - current
        others = others / others.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        score, best = torch.einsum("klr,kr->kl", shifted, others).max(-1)
        current = shifted[torch.arange(len(lines)), best]
    return float(score.mean())


def find_tilt_axis(
    images: Float[torch.Tensor, "tilts rows columns"],
    geometry: TiltGeometry,
    pixel_size: float,
    *,
    centre: float = 0.0,
    reach: float = 90.0,
) -> AxisSearch:
    """Search the tilt axis within `reach` degrees of `centre`, coarsely and then finely around the best.

    Returns:
        All trials of all rounds, ascending.
    """
    count = int(np.clip(np.ceil(2 * reach / 2.5), 12, 72))
    trials = centre + reach * (2 * (np.arange(count) + 0.5) / count - 1)
    found = search_tilt_axis(images, geometry, pixel_size, trials)
    step = 2 * reach / count
    while step > 0.3:
        fine = found.best + step * np.array([-0.75, -0.5, -0.25, 0.25, 0.5, 0.75])
        more = search_tilt_axis(images, geometry, pixel_size, fine)
        angle, score = np.concatenate([found.angle, more.angle]), np.concatenate([found.score, more.score])
        order = np.argsort(angle)
        found = AxisSearch(angle[order], score[order])
        step /= 4
    return found
