"""What two half maps have in common: their FSC, within a mask corrected for what the mask itself correlates.

Sources: Rosenthal & Henderson 2003 (0.143); Chen et al. 2013 (phase randomisation).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.data.maps import ShellCurves
from thon.ops.fsc import ShellCorrelation, fourier_shell_correlation
from thon.ops.randomise import randomise_phases

THRESHOLD = 0.143
SETTLE = 2
"""Shells after the first randomised one before the correction is trusted: the mask smears neighbours into it."""
DRAWS = 4
"""Sets of random phases whose correlations are averaged: one alone would carry its own noise into the correction."""
RANDOM_LIMIT = 0.1
"""Correlation of the randomised halves above which the mask is said to be too tight."""
CHANCE = 4
"""Deviations above which a correlation is no chance."""


@dataclass(frozen=True)
class HalfCorrelation:
    """What two half maps have in common.

    Args:
        curves: FSCs.
        resolution: Å; NaN where there is none.
        randomised_from: Resolution from which phases were randomised, Å; NaN without a mask.
        warnings: Sentences about what may be wrong.
    """

    curves: ShellCurves
    resolution: float
    randomised_from: float
    warnings: tuple[str, ...] = ()


def correlate_halves(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    *,
    mask: Float[torch.Tensor, "z y x"] | None = None,
    randomise_below: float = 0.8,
    symmetry_order: int = 1,
    seed: int = 0,
) -> HalfCorrelation:
    """FSC of two half maps; within a mask it is corrected for what the mask itself correlates.

    Args:
        first: Half map.
        second: The other one.
        voxel_size: Å.
        mask: 0 to 1.
        randomise_below: FSC without the mask below which phases are randomised.
        symmetry_order: Number of asymmetric units, which makes fewer samples independent.
        seed: Of the random phases.
    """
    plain = fourier_shell_correlation(first, second, voxel_size)
    frequency, unmasked = plain.frequency.numpy(), filled(plain)
    samples = plain.count.numpy() / symmetry_order
    if mask is None:
        return _judge(ShellCurves(frequency, unmasked), samples, None)
    below = np.flatnonzero(unmasked[1:] < randomise_below)
    start = int(below[0]) + 1 if len(below) else len(unmasked) - 1
    masked = filled(fourier_shell_correlation(first, second, voxel_size, mask=mask))
    draws = [_randomised(first, second, voxel_size, mask, start, seed + 2 * k) for k in range(DRAWS)]
    randomised = np.mean(draws, axis=0)
    corrected = corrected_curve(masked, randomised, start + SETTLE)
    return _judge(ShellCurves(frequency, unmasked, masked, randomised, corrected), samples, start)


def corrected_curve(
    masked: Float[np.ndarray, "shells"], randomised: Float[np.ndarray, "shells"], first_shell: int
) -> Float[np.ndarray, "shells"]:
    """What is left of the masked FSC from a shell on when what the mask correlates is taken off.

    Source: Chen et al. 2013, eq. 4.
    """
    corrected = (masked - randomised) / np.maximum(1 - randomised, 1e-6)
    return np.where(np.arange(len(masked)) < first_shell, masked, np.clip(corrected, -1, 1))


def resolution_of(frequency: Float[np.ndarray, "shells"], curve: Float[np.ndarray, "shells"]) -> float:
    """Where an FSC first falls below 0.143, between shells by a line, Å; Nyquist where it never does."""
    count = torch.zeros(len(curve), dtype=torch.long)
    found = ShellCorrelation(torch.from_numpy(frequency), torch.from_numpy(curve), count).crossing(THRESHOLD)
    return 1 / float(found) if float(found) > 0 else float("nan")


def filled(found: ShellCorrelation) -> Float[np.ndarray, "shells"]:
    """Its correlations, with zero where a half is empty, and one at zero frequency."""
    curve = found.correlation.nan_to_num(0.0).numpy().copy()
    curve[0] = 1.0
    return curve


def _randomised(
    first: torch.Tensor, second: torch.Tensor, voxel_size: float, mask: torch.Tensor, start: int, seed: int
) -> Float[np.ndarray, "shells"]:
    """FSC within the mask of the halves with random phases from a shell on."""
    one, two = (randomise_phases(half, start, seed + k) for k, half in enumerate((first, second)))
    return filled(fourier_shell_correlation(one, two, voxel_size, mask=mask))


def _judge(curves: ShellCurves, samples: Float[np.ndarray, "shells"], start: int | None) -> HalfCorrelation:
    """The resolution, if the halves agree more than by chance, and what to warn of.

    That is judged without the mask: one that was made from the halves follows their noise where there is nothing else.

    Args:
        curves: FSCs.
        samples: Independent samples of each shell, a number and its conjugate counted as two.
        start: First shell whose phases were randomised.
    """
    resolution = resolution_of(curves.frequency, curves.best)
    kept = (curves.frequency > 0) & (curves.frequency * resolution <= 1 + 1e-9)
    randomised_from = float("nan") if start is None else 1 / float(curves.frequency[start])
    if not (kept & (curves.unmasked > CHANCE / np.sqrt(samples))).any():
        nothing = "The half maps have no resolution: they agree no better than noise does."
        return HalfCorrelation(curves, float("nan"), randomised_from, (nothing,))
    return HalfCorrelation(curves, resolution, randomised_from, _warnings(curves, resolution, start))


def _warnings(curves: ShellCurves, resolution: float, start: int | None) -> tuple[str, ...]:
    if curves.randomised is None or start is None:
        return ()
    at = int(np.argmin(np.abs(curves.frequency - 1 / resolution)))
    if at < start + SETTLE or curves.randomised[at] <= RANDOM_LIMIT:
        return ()
    return (
        f"The mask alone correlates {curves.randomised[at]:.2f} at {resolution:.1f} Å: it is too tight or its edge too "
        "sharp; make it larger or softer.",
    )
