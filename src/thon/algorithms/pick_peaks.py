"""From a map of scores to particles: its maxima, their least distance, and the score from which they are particles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float, Int

from thon.algorithms.pick_log import ScoreMap

DISTINCT = 2.0
"""Distance of two normal distributions, in their mean standard deviation, from which their mixture shows two (Ashman
et al. 1994)."""

BEYOND = 1.25
"""Standard deviations of the maxima of noise by which particles lie above their mean."""

RARE = 0.03
"""Share of the maxima below which the upper distribution may be dirt."""

FEW = 20
"""Maxima below which a distribution is not to be told."""


@dataclass(frozen=True)
class Maxima:
    """Maxima of a map of scores, the best first.

    Args:
        place: (y, x), px of the map, between pixels.
        score: Figure of merit.
        diameter: Å.
        class_number: From 1; 0 without templates.
        psi: Degrees.
    """

    place: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, "n"]
    diameter: Float[np.ndarray, "n"]
    class_number: Int[np.ndarray, "n"]
    psi: Float[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.score)

    def select(self, chosen: Bool[np.ndarray, "n"] | Int[np.ndarray, "k"]) -> Maxima:
        """Some of them."""
        return Maxima(*(values[chosen] for values in vars(self).values()))


def find_maxima(scores: ScoreMap, allowed: Bool[torch.Tensor, "rows columns"], *, shoulders: bool = False) -> Maxima:
    """All maxima of the score where they are allowed, to a fraction of a pixel.

    Args:
        scores: Where to look.
        allowed: Where a maximum may lie.
        shoulders: Take every pixel. Once they are kept apart, what lies on the slope of something higher and far
            enough from its top counts too.
    """
    score = scores.score
    around = torch.nn.functional.max_pool2d(score[None, None], 3, 1, 1)[0, 0]
    inner = torch.zeros_like(allowed)
    inner[1:-1, 1:-1] = True
    place = torch.nonzero(((score == around) | shoulders) & allowed & torch.isfinite(score) & inner)
    y, x = place.T
    order = torch.argsort(score[y, x], descending=True, stable=True)
    y, x = y[order], x[order]
    offset = torch.stack([_parabola(score, y, x, 1, 0), _parabola(score, y, x, 0, 1)], -1)
    return Maxima(
        (torch.stack([y, x], -1) + offset).double().cpu().numpy(),
        scores.score[y, x].double().cpu().numpy(),
        scores.diameter[y, x].double().cpu().numpy(),
        scores.class_number[y, x].cpu().numpy(),
        scores.psi[y, x].double().cpu().numpy(),
    )


def keep_apart(maxima: Maxima, radius: Float[np.ndarray, "n"]) -> Maxima:
    """Of maxima that are nearer to each other than the better one's radius (px) only the better one."""
    if not len(maxima):
        return maxima
    tree = scipy.spatial.cKDTree(maxima.place)
    left, kept = np.ones(len(maxima), bool), list[int]()
    for k in range(len(maxima)):
        if left[k]:
            left[tree.query_ball_point(maxima.place[k], radius[k])] = False
            kept.append(k)
    return maxima.select(np.array(kept))


@dataclass(frozen=True)
class ScoreMixture:
    """Scores of maxima as a mixture of background and particles, two normal distributions.

    Args:
        threshold: Score above which a maximum is likelier a particle.
        share: Of background and particles, 1.
        mean: Of the two.
        sigma: Of the two.
    """

    threshold: float
    share: tuple[float, float]
    mean: tuple[float, float]
    sigma: tuple[float, float]

    @property
    def distinct(self) -> bool:
        """Whether the two are far enough apart to be two."""
        spread = np.sqrt((self.sigma[0] ** 2 + self.sigma[1] ** 2) / 2)
        return bool((self.mean[1] - self.mean[0]) / spread > DISTINCT)

    def is_beyond(self, null: Float[np.ndarray, "n"]) -> bool:
        """Whether the upper one lies well above maxima that noise made."""
        return bool(len(null)) and self.mean[1] > float(null.mean() + BEYOND * null.std())


def fit_mixture(score: Float[np.ndarray, "n"]) -> ScoreMixture | None:
    """Fit two normal distributions to the scores of maxima by expectation maximisation.

    Where the upper one is of a few maxima only and two are left without them, those two are taken: the few are dirt.

    Returns:
        None where there are too few maxima to tell.
    """
    found = _fit_two(score)
    if found is not None and found.share[1] < RARE:
        rest = _fit_two(score[score < found.threshold])
        if rest is not None and rest.distinct:
            return rest
    return found


def _fit_two(score: Float[np.ndarray, "n"], *, rounds: int = 300) -> ScoreMixture | None:
    if len(score) < FEW or np.ptp(score) <= 0:
        return None
    floor = 0.02 * float(np.std(score))
    cut = _otsu(score)
    weight = np.stack([score < cut, score >= cut]).astype(float)
    share = mean = sigma = np.zeros(2)
    for _ in range(rounds):
        total = weight.sum(1) + 1e-9
        new = (weight @ score) / total
        share, sigma = total / total.sum(), np.sqrt((weight * (score - new[:, None]) ** 2).sum(1) / total) + floor
        if np.abs(new - mean).max() < 1e-5 * np.std(score):
            break
        mean = new
        log = np.log(share / sigma)[:, None] - 0.5 * ((score - mean[:, None]) / sigma[:, None]) ** 2
        weight = np.exp(log - scipy.special.logsumexp(log, axis=0))
    return ScoreMixture(_crossing(share, mean, sigma), *((float(v[0]), float(v[1])) for v in (share, mean, sigma)))


def false_share_threshold(score: Float[np.ndarray, "n"], null: Float[np.ndarray, "m"], share: float = 0.5) -> float:
    """Lowest score above which at most that share of the maxima would be there by noise alone; infinite where none is.

    Args:
        score: Of the maxima.
        null: Of maxima that noise made.
        share: Of false ones among all that are taken, where the two are equally many in all.
    """
    ordered = np.sort(score)[::-1]
    above = len(null) - np.searchsorted(np.sort(null), ordered)
    good = np.flatnonzero(above <= share * np.arange(1, len(ordered) + 1))
    return float(ordered[good[-1]]) if len(good) else float("inf")


def _crossing(share: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> float:
    """Between the means, where both are as likely."""
    between = np.linspace(mean[0], mean[1], 1001)
    log = np.log(share / sigma)[:, None] - 0.5 * ((between - mean[:, None]) / sigma[:, None]) ** 2
    return float(between[np.argmax(log[1] >= log[0])]) if (log[1] >= log[0]).any() else float(mean[1])


def _otsu(values: Float[np.ndarray, "n"]) -> float:
    """The value that splits others into two groups of least variance within them."""
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    low = np.cumsum(ordered)[:-1]
    high = ordered.sum() - low
    between = low**2 / count + high**2 / (len(ordered) - count)
    best = int(np.argmax(between))
    return float(ordered[best] + ordered[best + 1]) / 2


def _parabola(score: torch.Tensor, y: torch.Tensor, x: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Where the parabola through a maximum and its two neighbours has its top, −½ to ½ px."""
    before, here, after = score[y - dy, x - dx], score[y, x], score[y + dy, x + dx]
    bend = 2 * here - before - after
    return (0.5 * (after - before) / bend.clamp(min=1e-12)).nan_to_num(0.0).clamp(-0.5, 0.5)
