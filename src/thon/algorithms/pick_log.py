"""Scores of picking without references: blobs of one size, and the Laplacian of Gaussian over a range of sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int

from thon.algorithms.pick_image import PickImage

SEARCHED = 5
"""How far beyond the wanted range of diameters the Laplacian of Gaussian looks, to see what is of another size."""


@dataclass(frozen=True)
class ScoreMap:
    """How much each place looks like a particle.

    Args:
        score: Figure of merit; higher is better, −inf where something not asked for fits best.
        diameter: Of what fits best there, Å.
        class_number: Template that fits best there, from 1; 0 without templates.
        psi: In-plane angle at which it fits, degrees.
        mirror: The score of the same image in the opposite contrast, what mere noise reaches; None where not asked.
    """

    score: Float[torch.Tensor, "rows columns"]
    diameter: Float[torch.Tensor, "rows columns"]
    class_number: Int[torch.Tensor, "rows columns"]
    psi: Float[torch.Tensor, "rows columns"]
    mirror: Float[torch.Tensor, "rows columns"] | None = None


def blob_scores(image: PickImage, diameter: float) -> ScoreMap:
    """Match the mean view of a globular particle.

    The template is 1 − (r / R)², less its mean so that the background's level and slope do not count: what a compact
    density that thins out towards its longest extent 2R projects to on average over all views. Its compact support
    keeps neighbours out of the sum. The score is in standard deviations over what is allowed.

    Args:
        image: What is searched.
        diameter: Longest extent, 2R, Å.
    """
    radius = image.distance() / (diameter / 2)
    inside = radius <= 1
    profile = (1 - radius.square()) * inside
    kernel = (profile - profile[inside].mean()) * inside
    spectrum = torch.fft.rfft2(image.values) * torch.fft.rfft2(kernel)
    rows, columns = image.values.shape
    score = torch.fft.irfft2(spectrum, s=(rows, columns))
    score = score / score[image.allowed].std()
    return _untemplated(score, torch.full_like(score, diameter), -score)


def log_scores(image: PickImage, smallest: float, largest: float) -> ScoreMap:
    """Laplacian of Gaussian over diameters from a fifth of the smallest to five times the largest, as RELION's picker.

    The filter of a diameter d is k² exp(−k² / 2s²) / s² with s = 1 / 2d; the score is its largest value over all
    diameters, where a wanted diameter has it.

    Args:
        image: What is searched.
        smallest: Smallest diameter wanted, Å.
        largest: Largest one.

    Source: Zivanov et al. 2018 (eLife 7:e42166), with the constants that RELION documents.
    """
    rows, columns = image.values.shape
    spectrum, frequency = torch.fft.rfft2(image.values), image.frequency()
    score = torch.full_like(image.values, -torch.inf)
    best = torch.zeros_like(score)
    for diameter in _diameters(smallest, largest):
        scaled = (frequency * 2 * diameter).square()
        response = torch.fft.irfft2(spectrum * (scaled * torch.exp(-scaled / 2)), s=(rows, columns))
        best = best.masked_fill(response > score, diameter)
        score = torch.maximum(score, response)
    return _untemplated(score.masked_fill((best < smallest) | (best > largest), -torch.inf), best)


def _diameters(smallest: float, largest: float) -> list[float]:
    """The ends and the middle of the range, and whole fractions and multiples of its ends beyond it."""
    beyond = range(2, SEARCHED + 1)
    inside = {smallest, (smallest + largest) / 2, largest}
    return sorted({*(smallest / k for k in beyond), *inside, *(largest * k for k in beyond)})


def _untemplated(score: torch.Tensor, diameter: torch.Tensor, mirror: torch.Tensor | None = None) -> ScoreMap:
    """Scores that came without templates."""
    none = torch.zeros_like(score)
    return ScoreMap(score, diameter, none.long(), none, mirror)
