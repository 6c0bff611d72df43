"""Post-processing of a map: sharpened by its B-factor, weighted and filtered by what its halves have in common.

Source: Rosenthal & Henderson 2003.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float

from thon.algorithms.half_correlation import HalfCorrelation, correlate_halves
from thon.base.options import Options, Unit
from thon.data.maps import GuinierPlot
from thon.ops.fsc import shells
from thon.ops.volume_fourier import (
    b_factor_transfer,
    fourier_filter,
    low_pass_transfer,
    radial_transfer,
    volume_shape,
)


class PostprocessOptions(Options):
    """How halves are compared, and their mean sharpened and filtered."""

    randomise_below: Annotated[float, Unit("1"), Gt(0), Lt(1)] = 0.8
    """Phases are randomised from where the FSC without a mask falls below this."""

    b_factor: Annotated[float | None, Unit("Å²")] = None
    """B-factor to sharpen by (negative sharpens); fitted to the Guinier plot unless given."""

    fit_from: Annotated[float, Unit("Å"), Gt(0)] = 10.0
    """Coarsest resolution of that fit."""

    fit_to: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Finest resolution of that fit; that of the map unless given."""

    fsc_weight: bool = True
    """Weight shells by √(2 FSC / (1 + FSC))."""

    low_pass: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Resolution of the final filter; that of the map unless given."""

    filter_edge: Annotated[float, Unit("shells"), Ge(0.5)] = 2.0
    """Width of the final filter's raised cosine."""


@dataclass(frozen=True)
class Postprocessed:
    """A post-processed map.

    Args:
        volume: Sharpened and filtered.
        unsharpened: Mean of the halves.
        correlation: Of the halves.
        b_factor: That it was sharpened by, Å².
        low_pass: Resolution it was filtered to, Å.
        guinier: The Guinier plot.
    """

    volume: Float[torch.Tensor, "z y x"]
    unsharpened: Float[torch.Tensor, "z y x"]
    correlation: HalfCorrelation
    b_factor: float
    low_pass: float
    guinier: GuinierPlot


def postprocess_map(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    options: PostprocessOptions,
    *,
    mask: Float[torch.Tensor, "z y x"] | None = None,
    transfer: Float[np.ndarray, "shells"] | None = None,
    symmetry_order: int = 1,
    seed: int = 0,
) -> Postprocessed:
    """Sharpen and filter the mean of two half maps by what they have in common.

    Args:
        first: Half map, not filtered.
        second: The other one.
        voxel_size: Å, as calibrated.
        options: How to sharpen and filter.
        mask: Within which the halves are compared; the map itself is not masked.
        transfer: Of the detector at the frequency of each shell, to divide by.
        symmetry_order: Number of asymmetric units.
        seed: Of the random phases.
    """
    found = correlate_halves(
        first,
        second,
        voxel_size,
        mask=mask,
        randomise_below=options.randomise_below,
        symmetry_order=symmetry_order,
        seed=seed,
    )
    mean, frequency, shape = (first + second) / 2, found.curves.frequency, volume_shape(first)
    limit = found.resolution if np.isfinite(found.resolution) else options.fit_from
    detector = np.ones(len(frequency)) if transfer is None else 1 / transfer
    weight = fsc_weight(found.curves.best) if options.fsc_weight else np.ones(len(frequency))
    original = shell_amplitudes(mean) * detector
    line = fit_guinier(frequency, original * weight, options.fit_from, options.fit_to or limit)
    b_factor = options.b_factor if options.b_factor is not None else 4 * line[0] if np.isfinite(line[0]) else 0.0
    low_pass = options.low_pass or limit
    gain = radial_transfer(shape, torch.from_numpy(detector * weight)) * b_factor_transfer(shape, voxel_size, b_factor)
    final = low_pass_transfer(shape, voxel_size, low_pass, edge=options.filter_edge)
    weighted = _logarithm(original * weight)
    sharpened = weighted - b_factor / 4 * frequency**2
    guinier = GuinierPlot(frequency**2, _logarithm(original), weighted, sharpened, *line)
    return Postprocessed(fourier_filter(mean, gain * final), mean, found, b_factor, low_pass, guinier)


def fsc_weight(correlation: Float[np.ndarray, "shells"]) -> Float[np.ndarray, "shells"]:
    """√(2 FSC / (1 + FSC)): the correlation of the mean of the halves with the truth; zero where they disagree.

    Source: Rosenthal & Henderson 2003, eq. 6.
    """
    positive = np.clip(correlation, 0, 1)
    return np.sqrt(2 * positive / (1 + positive))


def shell_amplitudes(volume: Float[torch.Tensor, "z y x"]) -> Float[np.ndarray, "shells"]:
    """Mean amplitude of the samples of each shell, the transform divided by the number of voxels."""
    index, frequency = shells(volume_shape(volume), device=volume.device)
    amplitude = torch.fft.rfftn(volume).abs().double().flatten() / volume.numel()
    number = len(frequency) + 1
    total = torch.bincount(index.flatten(), amplitude, number) / torch.bincount(index.flatten(), minlength=number)
    return total[:-1].numpy()


def fit_guinier(
    frequency: Float[np.ndarray, "shells"], amplitude: Float[np.ndarray, "shells"], coarsest: float, finest: float
) -> tuple[float, float, float]:
    """Slope (Å²), intercept and correlation of a line through the logarithms of the amplitudes against s².

    NaN where fewer than three shells lie between the two resolutions (Å).
    """
    used = (frequency >= 1 / coarsest - 1e-9) & (frequency <= 1 / finest + 1e-9) & (amplitude > 1e-30)
    if used.sum() < 3:
        return float("nan"), float("nan"), float("nan")
    x, y = frequency[used] ** 2, np.log(amplitude[used])
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept), float(abs(np.corrcoef(x, y)[0, 1]))


def _logarithm(amplitude: Float[np.ndarray, "shells"]) -> Float[np.ndarray, "shells"]:
    return np.log(np.maximum(amplitude, 1e-30))
