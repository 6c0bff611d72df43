"""Maxima, their distances, and thresholds out of the distribution of scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.algorithms.pick_log import ScoreMap
from thon.algorithms.pick_peaks import Maxima, false_share_threshold, find_maxima, fit_mixture, keep_apart


def maxima(place: np.ndarray) -> Maxima:
    none = np.zeros(len(place))
    return Maxima(place, -np.arange(len(place), dtype=float), none, none.astype(np.int64), none)


def score_map(score: torch.Tensor) -> ScoreMap:
    none = torch.zeros_like(score)
    return ScoreMap(score, none + 7, none.long() + 3, none + 40, -score)


def test_maxima_between_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    centres = [(12.3, 20.6), (30.0, 9.8)]
    score = sum(
        a * torch.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 40) for a, (cy, cx) in zip((1, 2), centres, strict=True)
    )
    assert isinstance(score, torch.Tensor)
    found = find_maxima(score_map(score), torch.ones(40, 50, dtype=torch.bool))
    np.testing.assert_allclose(found.place, centres[::-1], atol=0.03)
    assert (found.diameter[0], found.class_number[0], found.psi[0]) == (7, 3, 40)
    nowhere = find_maxima(score_map(score), (y > 20))
    np.testing.assert_allclose(nowhere.place, centres[1:], atol=0.03)


def test_of_near_ones_the_better_stays() -> None:
    place = np.array([[0.0, 0], [0, 3], [0, 5], [0, 20]])
    kept = keep_apart(maxima(place), np.full(4, 4.0))
    np.testing.assert_array_equal(kept.place, place[[0, 2, 3]])


def test_kept_ones_are_apart_and_others_are_near_a_better_one() -> None:
    place = np.random.default_rng(0).uniform(0, 100, (400, 2))
    kept = keep_apart(maxima(place), np.full(400, 6.0))
    apart = np.hypot(*(kept.place[:, None] - kept.place[None]).transpose(2, 0, 1)) + 1e9 * np.eye(len(kept))
    assert apart.min() > 6
    lost = [k for k in range(400) if -k not in kept.score]
    for k in lost:
        better = kept.place[kept.score > -k]
        assert np.hypot(*(better - place[k]).T).min() <= 6


def test_a_mixture_is_told_apart() -> None:
    random = np.random.default_rng(4)
    score = np.concatenate([random.normal(1, 0.5, 600), random.normal(3.5, 0.7, 300)])
    found = fit_mixture(score)
    assert found is not None
    assert found.distinct
    np.testing.assert_allclose(found.mean, (1, 3.5), atol=0.1)
    np.testing.assert_allclose(found.sigma, (0.5, 0.7), atol=0.07)
    np.testing.assert_allclose(found.share, (2 / 3, 1 / 3), atol=0.03)
    # Where the two weighted densities cross.
    low, high = (w / s * np.exp(-0.5 * ((found.threshold - m) / s) ** 2) for w, m, s in ((2, 1, 0.5), (1, 3.5, 0.7)))
    assert low == pytest.approx(high, rel=0.4)


def test_a_few_far_out_do_not_hide_the_particles() -> None:
    random = np.random.default_rng(4)
    score = np.concatenate([random.normal(1, 0.4, 600), random.normal(3, 0.5, 300), random.normal(15, 1, 8)])
    found = fit_mixture(score)
    assert found is not None
    assert found.threshold == pytest.approx(2, abs=0.2)
    sparse = fit_mixture(np.concatenate([random.normal(1, 0.4, 600), random.normal(6, 0.4, 8)]))
    assert sparse is not None
    assert 2 < sparse.threshold < 5.5


def test_one_distribution_is_not_two() -> None:
    found = fit_mixture(np.random.default_rng(5).normal(2, 0.6, 800))
    assert found is not None
    assert not found.distinct
    assert not found.is_beyond(np.random.default_rng(6).normal(2, 0.6, 800))
    assert found.is_beyond(np.random.default_rng(6).normal(0, 0.6, 800))
    assert not found.is_beyond(np.zeros(0))
    assert fit_mixture(np.arange(5.0)) is None
    assert fit_mixture(np.ones(100)) is None


def test_threshold_by_what_noise_would_give() -> None:
    null = np.arange(100) / 10.0
    score = np.concatenate([null, np.linspace(8, 12, 60)])
    found = false_share_threshold(score, null, 0.5)
    taken, false = (score >= found).sum(), (null > found).sum()
    assert false <= 0.5 * taken
    below = score[score < found].max()
    assert (null > below).sum() >= 0.5 * (score >= below).sum() - 2
    assert false_share_threshold(null - 1, null, 0.5) == float("inf")
