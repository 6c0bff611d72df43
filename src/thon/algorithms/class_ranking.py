"""Judge class averages: a score from 0 to 1 of how much each looks like a view of one kind of particle.

The score knows nothing of pictures that people liked. It asks what everybody looks for first: is there something that
stands out against its surroundings, in one piece, of a fair size, in the centre, and as fine as the best classes are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_NOISE_CONTRAST = 2.7
"""Contrast of pure noise: the halves above and below its mean, in deviations of the lower half."""

_FAIR_SIZE = (0.05, 0.9)
"""Share of the disc that matter covers, outside which it is dust or fills everything."""


@dataclass(frozen=True)
class ClassFeatures:
    """What an average looks like.

    Args:
        resolution: Å.
        share: Of the particles.
        contrast: Mean of the matter above that around it, in deviations of what is around it.
        wholeness: Share of the matter that is in its largest piece.
        size: Share of the disc that its largest piece covers.
        off_centre: Distance of its largest piece from the centre, in radii of the disc.
    """

    resolution: float
    share: float
    contrast: float
    wholeness: float
    size: float
    off_centre: float


class ClassJudge(Protocol):
    """Gives scores to averages; one that has learned from people may take the place of `judge_by_features`."""

    def __call__(
        self, averages: Float[np.ndarray, "classes box box"], features: Sequence[ClassFeatures]
    ) -> Float[np.ndarray, "classes"]:
        """Scores from 0 to 1."""
        ...


def rank_classes(
    averages: Float[np.ndarray, "classes box box"],
    resolution: Sequence[float],
    share: Sequence[float],
    *,
    radius: float,
    judge: ClassJudge | None = None,
) -> Float[np.ndarray, "classes"]:
    """Scores of class averages, 0 to 1; 0 for a class without particles.

    Args:
        averages: Matter bright.
        resolution: Of each, Å.
        share: Of the particles, of each.
        radius: Of the disc that particles lie in, px.
        judge: Other than `judge_by_features`.
    """
    features = [
        describe_average(average, radius, one, part)
        for average, one, part in zip(averages, resolution, share, strict=True)
    ]
    scores = (judge or judge_by_features)(averages, features)
    return np.where(np.asarray(share) > 0, scores, 0.0)


def describe_average(
    average: Float[np.ndarray, "box box"], radius: float, resolution: float, share: float
) -> ClassFeatures:
    """What an average looks like; matter is what is brighter than the best threshold between two levels.

    Args:
        average: Matter bright.
        radius: Of the disc that the particle lies in, px.
        resolution: Å.
        share: Of the particles.
    """
    axis = np.arange(len(average)) - len(average) // 2
    disc = np.hypot(axis[:, None], axis) <= min(radius, len(average) / 2)
    values = average[disc].astype(np.float64)
    matter = disc & (average > two_level_threshold(values))
    piece = _largest_piece(matter)
    around = average[disc & ~matter]
    if not piece.any() or around.size == 0 or around.std() == 0:
        return ClassFeatures(resolution, share, 0.0, 0.0, 0.0, 1.0)
    rows, columns = np.nonzero(piece)
    centre = np.array([rows.mean(), columns.mean()]) - len(average) // 2
    return ClassFeatures(
        resolution,
        share,
        contrast=float((average[piece].mean() - around.mean()) / around.std()),
        wholeness=float(piece.sum() / matter.sum()),
        size=float(piece.sum() / disc.sum()),
        off_centre=float(np.hypot(*centre) / radius),
    )


def judge_by_features(
    averages: Float[np.ndarray, "classes box box"], features: Sequence[ClassFeatures]
) -> Float[np.ndarray, "classes"]:
    """Root of the product of four marks from 0 to 1: resolution, contrast, centring and size.

    Resolution is that of the finest class over the class's own; contrast is what exceeds that of noise, in one piece.
    """
    finest = min((one.resolution for one in features if one.share > 0), default=1.0)
    return np.array([math.sqrt(math.prod(marks(one, finest).values())) for one in features])


def marks(one: ClassFeatures, finest: float) -> dict[str, float]:
    """The four marks, by name, each 0 to 1."""
    low, high = _FAIR_SIZE
    return {
        "resolution": min(1.0, finest / one.resolution) if one.resolution > 0 else 0.0,
        "contrast": (1 - math.exp(-max(one.contrast - _NOISE_CONTRAST, 0) / 2)) * one.wholeness,
        "centring": max(0.0, 1 - one.off_centre) ** 2,
        "size": min(1.0, one.size / low, max(0.0, (1 - one.size) / (1 - high))),
    }


def two_level_threshold(values: Float[np.ndarray, "n"]) -> float:
    """Threshold that divides values into two levels with the least variance within both.

    Source: Otsu 1979, IEEE Trans. Syst. Man Cybern. 9, 62.
    """
    counts, edges = np.histogram(values, 128)
    middle = (edges[1:] + edges[:-1]) / 2
    below, total = counts.cumsum(), counts.sum()
    sums = (counts * middle).cumsum()
    both = np.maximum(below * (total - below), 1)
    between = (sums * total - sums[-1] * below) ** 2 / both
    return float(edges[1 + int(between[:-1].argmax())])


def _largest_piece(matter: Bool[np.ndarray, "box box"]) -> Bool[np.ndarray, "box box"]:
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(matter))
    if not count:
        return matter
    sizes = np.bincount(labels.ravel())
    return labels == 1 + int(sizes[1:].argmax())
