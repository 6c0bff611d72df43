"""Scores of class averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.algorithms.likelihood_phantom import phantom
from thon.algorithms.class_ranking import (
    ClassFeatures,
    describe_average,
    judge_by_features,
    rank_classes,
    two_level_threshold,
)
from thon.algorithms.likelihood.classes import filter_shells
from thon.algorithms.likelihood.references import particle_mask

BOX, RADIUS = 48, 20.0


def smooth_noise(shells: int, seed: int = 1) -> np.ndarray:
    import torch  # noqa: PLC0415

    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(BOX, BOX)).astype(np.float32))
    return filter_shells(noise, np.ones(shells)).numpy() / np.sqrt(np.pi) * BOX / shells


def disc() -> np.ndarray:
    return particle_mask(BOX, 2 * RADIUS, 2).numpy()


def particle(scale: float = 1.0) -> np.ndarray:
    return phantom(radius=9.0).projection(np.eye(3) * scale, np.zeros(2), BOX)


def score(*averages: np.ndarray, resolution: Sequence[float] | None = None) -> np.ndarray:
    images = np.stack(averages).astype(np.float32)
    even = [1 / len(images)] * len(images)
    return rank_classes(images, resolution or [10.0] * len(images), even, radius=RADIUS)


def test_a_particle_scores_higher_the_less_noise_is_around_it() -> None:
    clean, noise = particle() / particle().std(), smooth_noise(12)
    scores = score(*((clean + level * noise) * disc() for level in (0.1, 0.5, 1.0, 3.0)))
    assert (np.diff(scores) < 0).all()
    assert scores[0] > 0.8


def test_noise_alone_scores_low_however_smooth() -> None:
    scores = score(*(smooth_noise(shells, seed) * disc() for shells in (4, 8, 12) for seed in range(5)))
    assert scores.max() < 0.45
    assert scores.mean() < 0.3


def test_off_the_centre_or_in_pieces_is_worse() -> None:
    clean = particle()
    off = np.roll(clean, (11, -8), (0, 1))
    pieces = np.roll(clean, 14, 0) + np.roll(clean, -14, 0)
    best, moved, broken = score(clean + 1e-3 * smooth_noise(12), off, pieces + 1e-3 * smooth_noise(12))
    assert moved < 0.8 * best
    assert broken < 0.8 * best


def test_coarser_is_worse_and_an_empty_class_is_nothing() -> None:
    clean = (particle() + 0.1 * smooth_noise(12)).astype(np.float32)
    scores = rank_classes(np.stack([clean] * 3), [10.0, 20.0, 5.0], [0.5, 0.5, 0.0], radius=RADIUS)
    np.testing.assert_allclose(scores[1] / scores[0], 0.5**0.5, rtol=1e-6)
    assert scores[2] == 0


def test_another_judge_may_take_its_place() -> None:
    def judge(averages: np.ndarray, features: Sequence[ClassFeatures]) -> np.ndarray:
        return np.array([one.share for one in features])

    images = np.zeros((2, BOX, BOX), np.float32)
    np.testing.assert_array_equal(
        rank_classes(images, [1.0, 1.0], [0.25, 0.75], radius=RADIUS, judge=judge), [0.25, 0.75]
    )


def test_an_average_of_nothing_has_no_score() -> None:
    features = [describe_average(np.zeros((BOX, BOX), np.float32), RADIUS, 10.0, 1.0)]
    assert judge_by_features(np.zeros((1, BOX, BOX), np.float32), features)[0] == 0


def test_features_are_measured() -> None:
    y, x = np.mgrid[:BOX, :BOX] - BOX // 2
    image = ((y - 3) ** 2 + (x + 4) ** 2 <= 36) * 2.0 + 0.1 * smooth_noise(20)
    found = describe_average(image, RADIUS, 8.0, 1.0)
    assert found.off_centre == pytest.approx(5 / RADIUS, abs=0.02)
    assert found.size == pytest.approx(36 / RADIUS**2, rel=0.1)
    assert found.contrast == pytest.approx(2 / 0.1, rel=0.2)


def test_the_threshold_lies_between_two_levels() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate([generator.normal(0, 1, 700), generator.normal(8, 1, 300)])
    assert 3 < two_level_threshold(values) < 5
