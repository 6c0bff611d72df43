"""Find particles in a micrograph: a score for each place, its maxima, and the score from which they are particles."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Real

from thon.algorithms.pick_avoid import find_foil, local_sd, stands_out
from thon.algorithms.pick_image import PickImage, prepare_image
from thon.algorithms.pick_log import ScoreMap, blob_scores, log_scores
from thon.algorithms.pick_options import PickOptions
from thon.algorithms.pick_peaks import Maxima, ScoreMixture, false_share_threshold, find_maxima, fit_mixture, keep_apart
from thon.algorithms.pick_template import Templates, template_scores
from thon.base.errors import InputError
from thon.data.ctf import Ctf
from thon.data.optics import Optics

__all__ = ["PickOptions", "PickResult", "Templates", "pick_particles"]

SEPARATION = 0.6
"""Least distance of two particles over the diameter: the longest extent of one is the shortest of another."""


@dataclass(frozen=True)
class PickResult:
    """Particles of one micrograph.

    Args:
        coordinates: (y, x) of their centres, px of the micrograph.
        score: Figure of merit, the best first.
        diameter: Å.
        class_number: Template, from 1; 0 without.
        psi: In-plane angle, degrees.
        threshold: Score from which maxima were taken.
        mixture: Distribution that it came from, if it did.
        candidates: Scores of all maxima, the best first.
        foil: Where foil was found, on the grid of `image`.
        image: What was searched.
        notes: Sentences for people.
    """

    coordinates: Float[np.ndarray, "n 2"]
    score: Float[np.ndarray, "n"]
    diameter: Float[np.ndarray, "n"]
    class_number: Int[np.ndarray, "n"]
    psi: Float[np.ndarray, "n"]
    threshold: float
    mixture: ScoreMixture | None
    candidates: Float[np.ndarray, "m"]
    foil: Bool[np.ndarray, "rows columns"]
    image: PickImage
    notes: tuple[str, ...]


def pick_particles(
    image: Real[torch.Tensor, "rows columns"],
    pixel_size: float,
    options: PickOptions,
    *,
    templates: Templates | None = None,
    ctf: Ctf | None = None,
    optics: Optics | None = None,
) -> PickResult:
    """Find the particles of one micrograph.

    Args:
        image: Grey values as recorded.
        pixel_size: Å.
        options: What to look for.
        templates: References, for the methods template and auto.
        ctf: Of the micrograph, for templates.
        optics: The same.

    Raises:
        InputError: The micrograph is too small, flat or not of numbers; or templates are missing.
    """
    ready = prepare_image(image, pixel_size, options)
    foil = np.zeros(ready.values.shape, bool)
    if options.avoid_foil:
        foil = find_foil(ready, options.diameter, edge=options.foil_edge)
        ready = replace(ready, allowed=ready.allowed & torch.from_numpy(~foil).to(ready.allowed.device))
    notes = [f"{foil.mean():.0%} of the micrograph is foil or its edge."] if foil.mean() > 0.005 else []
    if int(ready.allowed.sum()) < 2:
        notes.append("There is no place for a particle beside foil and edges.")
        return _result(Maxima(*_NOTHING), float("inf"), None, np.zeros(0), foil, ready, notes)
    scores = _scores(ready, options, templates, ctf, optics)
    maxima = _apart(find_maxima(scores, ready.allowed, shoulders=options.method == "log"), ready, options)
    threshold, mixture = _threshold(scores, maxima, ready, options, notes)
    chosen = maxima.score >= threshold
    if options.upper_threshold is not None:
        chosen &= maxima.score <= options.upper_threshold
    chosen &= ~_spoilt(maxima, chosen, ready, options, notes)
    return _result(maxima.select(chosen), threshold, mixture, maxima.score, foil, ready, notes)


_NOTHING = (np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0))


def _scores(
    image: PickImage, options: PickOptions, templates: Templates | None, ctf: Ctf | None, optics: Optics | None
) -> ScoreMap:
    if options.method == "template" and templates is None:
        raise InputError(
            "there are no references to match", mend="give them with --references, or choose another method"
        )
    if templates is not None and options.method in ("auto", "template"):
        return template_scores(image, templates, options, ctf=ctf if options.use_ctf else None, optics=optics)
    if options.method == "log":
        return log_scores(image, options.smallest, options.diameter)
    return blob_scores(image, options.diameter)


def _apart(maxima: Maxima, image: PickImage, options: PickOptions) -> Maxima:
    if options.separation is not None:
        radius = np.full(len(maxima), options.separation)
    elif options.method == "log":
        radius = (maxima.diameter + options.smallest) / 2
    else:
        radius = np.full(len(maxima), SEPARATION * options.diameter)
    return keep_apart(maxima, radius / image.spacing)


def _threshold(
    scores: ScoreMap, maxima: Maxima, image: PickImage, options: PickOptions, notes: list[str]
) -> tuple[float, ScoreMixture | None]:
    """The score that was given, or found as was asked for."""
    values = scores.score[image.allowed & torch.isfinite(scores.score)]
    shift = options.adjust_threshold * float(values.std()) if values.numel() > 1 else 0.0
    if options.threshold is not None:
        return options.threshold, None
    if scores.mirror is None:
        return float(values.mean()) + shift, None
    mixture = fit_mixture(maxima.score)
    if mixture is not None and mixture.distinct:
        return mixture.threshold + shift, mixture
    null = _apart(find_maxima(replace(scores, score=scores.mirror), image.allowed), image, options).score
    if mixture is not None and mixture.is_beyond(null):
        return mixture.threshold + shift, mixture
    notes.append("Scores of particles and background are not distinct; look at the picks, and set --threshold.")
    found = false_share_threshold(maxima.score, null)
    return max(found, -float("inf") if mixture is None else mixture.threshold) + shift, mixture


def _spoilt(
    maxima: Maxima, chosen: Bool[np.ndarray, "n"], image: PickImage, options: PickOptions, notes: list[str]
) -> Bool[np.ndarray, "n"]:
    """Maxima on contamination, or where the image varies more than was allowed."""
    spoilt = np.zeros(len(maxima), bool)
    y, x = np.rint(maxima.place).astype(int).T
    spread = local_sd(image, options.diameter).cpu().numpy()[y, x]
    if options.avoid_contamination and chosen.any():
        spoilt[chosen] = stands_out(spread[chosen]) | stands_out(maxima.score[chosen])
        if spoilt.any():
            notes.append(f"{int(spoilt.sum())} maxima stand out as ice crystals and dirt do, and are left out.")
    if options.max_local_sd is not None:
        spoilt |= spread > options.max_local_sd
    return spoilt


def _result(
    picks: Maxima,
    threshold: float,
    mixture: ScoreMixture | None,
    candidates: np.ndarray,
    foil: np.ndarray,
    image: PickImage,
    notes: list[str],
) -> PickResult:
    return PickResult(
        image.to_micrograph(picks.place),
        picks.score,
        picks.diameter,
        picks.class_number,
        picks.psi,
        threshold,
        mixture,
        candidates,
        foil,
        image,
        tuple(notes),
    )
