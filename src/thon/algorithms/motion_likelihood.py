"""How likely frames are under a track, and where each frame would rather lie.

At a frequency q, frame k shows

    F_k = a_k u_k S + G + noise,     u_k = exp(−2πi q·d_k)

with the specimen S, displaced by d_k and damaged to a_k, and a fixed pattern G that stays on the detector (an imperfect
gain, hot pixels). S, G and the noise are taken as normal, with variances P, γ and ν that depend on |q| alone. With
A = (Σ a_k ū_k F_k, Σ F_k) and M = [[ν/P + Σ a_k², m], [m̄, ν/γ + n]], m = Σ a_k ū_k, the log likelihood of all
frames together is

    L = Σ_q  Aᴴ M⁻¹ A / ν − log det M − log (P γ / ν²)

Its slope in d_k compares frame k with the posterior mean of S and G from all frames. A frame's own share in that mean
adds nothing to the slope: this is the leave-one-out reference, and a cross-correlation with the optimal filter. The
determinant matters as much as the rest: without it, what G takes away of each frame's own noise would push the frames
apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float

from thon import kernels
from thon.algorithms.motion_frames import FrameSpectra, SpectralGrid

_SIGNIFICANT = 5.0


@dataclass(frozen=True)
class SignalModel:
    """Variances by shell.

    Args:
        signal: Of the specimen in one frame without damage, P.
        noise: ν.
        pattern: Of the fixed pattern, γ; zero for none.
    """

    signal: Float[torch.Tensor, "shells"]
    noise: Float[torch.Tensor, "shells"]
    pattern: float = 0.0


@dataclass(frozen=True)
class FrameScores:
    """Where the frames would rather lie.

    Args:
        slope: Of the log likelihood in each frame's displacement, 1/Å.
        curvature: (2, 2), information about a frame's displacement, mean over frames, 1/Å²; as observed.
        share: Information about each frame over their mean, as expected from the damage.
        variance: (2, 2), of the slope of a frame, mean over frames, 1/Å².
        likelihood: Log likelihood, up to a constant that depends on the data alone.
    """

    slope: Float[np.ndarray, "frames 2"]
    curvature: Float[np.ndarray, "2 2"]
    share: Float[np.ndarray, "frames"]
    variance: Float[np.ndarray, "2 2"]
    likelihood: float


def aligned_sum(spectra: FrameSpectra, place: Float[np.ndarray, "frames 2"]) -> Complex[torch.Tensor, "rows half"]:
    """Σ a_k ū_k F_k."""
    total = torch.zeros_like(spectra.values[0])
    kernels.add_aligned(total, spectra.values, spectra.grid.ramps(place), spectra.grid.index, spectra.damage)
    return total


def _overlap(spectra: FrameSpectra, place: Float[np.ndarray, "frames 2"]) -> Complex[torch.Tensor, "rows half"]:
    """m = Σ a_k ū_k: how far the specimen's path lets it pass for a fixed pattern."""
    total = torch.zeros_like(spectra.values[0])
    ones = torch.ones_like(spectra.values[:1])
    row, column = spectra.grid.ramps(place)
    for k in range(len(spectra)):
        ramps = (row[k : k + 1], column[k : k + 1])
        kernels.add_aligned(total, ones, ramps, spectra.grid.index, spectra.damage[k : k + 1])
    return total


def _power(values: torch.Tensor) -> torch.Tensor:
    return values.real**2 + values.imag**2


def fit_signal(
    spectra: FrameSpectra,
    place: Float[np.ndarray, "frames 2"],
    *,
    fixed_pattern: bool,
    total: Complex[torch.Tensor, "rows half"] | None = None,
) -> SignalModel:
    """Variances of specimen, fixed pattern and noise under a track, from the products of different frames.

    Products of frames that are brought together hold the specimen and little of the pattern; those of frames as they
    are hold the pattern and little of the specimen. The pattern is taken to be white, and judged at the finer half of
    the frequencies and where the path is long enough to tell the two apart. `total` is `aligned_sum` of the same, if it
    is at hand.
    """
    grid, damage = spectra.grid, spectra.damage.double()
    count, number = grid.count.clamp(min=1), len(spectra)
    squares, quads = (damage**2).sum(0), (damage**4).sum(0)
    index, own = grid.index.long(), spectra.power.sum(0)
    total = aligned_sum(spectra, place) if total is None else total
    together = (grid.shell_sum(_power(total)) - (spectra.power * damage**2).sum(0)) / count
    pairs = (squares**2 - quads).clamp(min=1e-12)
    pattern = 0.0
    if fixed_pattern and number > 3:
        still = (grid.shell_sum(_power(spectra.values.sum(0))) - own) / count
        overlap = _power(_overlap(spectra, place)) - squares.to(torch.float32)[index]
        mixed, spread = grid.shell_sum(overlap) / count, grid.shell_sum(overlap**2) / count
        specimen = _smooth(together / pairs, grid.count).clamp(min=0)
        terms = (pairs, float(number**2 - number), mixed)
        pattern = _pattern(together, still, terms, spread * specimen**2, grid)
        together = together - pattern * mixed
    signal = _smooth(together / pairs, grid.count)
    doubt = 1 / (pairs.sqrt() * count.sqrt())
    signal = (signal - doubt).clamp(min=0) * (squares > 0)
    noise = (own / number / count - signal * squares / number - pattern).clamp(min=0.1)
    return SignalModel(signal, noise, pattern)


def _pattern(
    together: torch.Tensor,
    still: torch.Tensor,
    pairs: tuple[torch.Tensor, float, torch.Tensor],
    chance: torch.Tensor,
    grid: SpectralGrid,
) -> float:
    """Variance of a white fixed pattern, zero if it is not significant.

    Args:
        together: Mean product of different frames that are brought together, by shell.
        still: The same of frames as they are.
        pairs: Pairs of frames that hold the specimen, the pattern, and each as seen in the other.
        chance: Variance in `still` of one coefficient, from what the specimen happens to be.
        grid: Frequencies.
    """
    count = grid.count
    aligned, unmoved, mixed = pairs
    apart = 1 - mixed**2 / (aligned * unmoved)
    fine = torch.arange(grid.shells, device=count.device) >= grid.shells // 2
    usable = fine & (apart > 0.5) & (count > 0) & (aligned > 1e-6)
    if not bool(usable.any()):
        return 0.0
    found = (still - together * mixed / aligned) / (unmoved * apart)
    variance = ((1 + chance / unmoved) / (unmoved * count * apart**2))[usable]
    value = float((found[usable] / variance).sum() / (1 / variance).sum())
    deviation = float((1 / variance).sum()) ** -0.5
    return value if value > _SIGNIFICANT * deviation else 0.0


def _smooth(values: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Mean over five shells, each with as many votes as it has coefficients."""
    kernel = torch.ones(1, 1, 5, dtype=values.dtype, device=values.device)
    votes = count.clone()
    votes[-1] = 0
    top, bottom = (torch.nn.functional.conv1d(v[None, None], kernel, padding=2)[0, 0] for v in (values * votes, votes))
    return top / bottom.clamp(min=1e-9)


@dataclass(frozen=True)
class Expectation:
    """What all frames together say about specimen and fixed pattern.

    Args:
        reference: R and
        constant: C of `thon.kernels.frame_spectra`.
        likelihood: Log likelihood, up to a constant that depends on the data alone.
    """

    reference: Complex[torch.Tensor, "rows half"]
    constant: Complex[torch.Tensor, "rows half"]
    likelihood: float


def expect(
    spectra: FrameSpectra,
    place: Float[np.ndarray, "frames 2"],
    model: SignalModel,
    *,
    total: Complex[torch.Tensor, "rows half"] | None = None,
) -> Expectation:
    """Likelihood of a track, and what each frame is to be compared with. `total` as in `fit_signal`."""
    grid, index = spectra.grid, spectra.grid.index.long()
    total = aligned_sum(spectra, place) if total is None else total
    squares, inverse, gain = _gain(spectra, model)
    if model.pattern > 0:
        return _with_pattern(spectra, place, model, total, inverse)
    weight = (gain / model.noise).to(torch.float32)
    reference = (2 * grid.share * weight[index]) * total.conj()
    likelihood = float((grid.shell_sum(_power(total)) * weight).sum())
    likelihood -= float((grid.count * torch.log1p(squares / inverse)).sum())
    return Expectation(reference, torch.zeros_like(reference), likelihood)


def _gain(spectra: FrameSpectra, model: SignalModel) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Σ a², ν / P and the inverse of their sum, by shell; the last is zero where nothing is compared."""
    squares = (spectra.damage.double() ** 2).sum(0)
    inverse = torch.where(model.signal > 0, model.noise / model.signal.clamp(min=1e-30), math.inf)
    return squares, inverse, torch.where(squares > 0, 1 / (inverse + squares), 0)


def score(
    spectra: FrameSpectra,
    place: Float[np.ndarray, "frames 2"],
    model: SignalModel,
    *,
    total: Complex[torch.Tensor, "rows half"] | None = None,
) -> FrameScores:
    """Likelihood of a track, and its slope for each frame; the module's docstring has the formulas."""
    grid = spectra.grid
    expected = expect(spectra, place, model, total=total)
    turns = tuple((2 * math.pi * f).to(torch.float32) for f in grid.frequencies)
    found = kernels.score_frames(
        spectra.values, grid.ramps(place), (turns[0], turns[1]), grid.index, spectra.damage, expected.reference,
        expected.constant,
    )  # fmt: skip
    values = found.cpu().numpy()
    level, own = _expected(spectra, model)
    yy, yx, xx = values[:, 2:].mean(0)
    curvature = np.array([[yy, yx], [yx, xx]]) - own * np.eye(2)
    variance = _slope_variance(spectra, expected.reference, model)
    return FrameScores(values[:, :2], curvature, level / level.mean(), variance, expected.likelihood)


def _with_pattern(
    spectra: FrameSpectra,
    place: Float[np.ndarray, "frames 2"],
    model: SignalModel,
    total: torch.Tensor,
    inverse: torch.Tensor,
) -> Expectation:
    """`expect` with a fixed pattern."""
    grid, index = spectra.grid, spectra.grid.index.long()
    squares = (spectra.damage.double() ** 2).sum(0)
    mixed, still = _overlap(spectra, place), spectra.values.sum(0)
    first = (inverse + squares).clamp(max=1e12)[index]
    second = (model.noise / model.pattern + len(spectra))[index]
    determinant = first * second - _power(mixed)
    specimen = ((second * total - mixed * still) / determinant).to(torch.complex64)
    fixed = ((first * still - mixed.conj() * total) / determinant).to(torch.complex64)
    noise = model.noise[index].to(torch.float32)
    share = grid.share * (squares > 0)[index]
    reference = 2 * share * specimen.conj() / noise
    constant = -fixed * reference + 2 * share * (mixed.conj() / determinant).to(torch.complex64)
    fit = (total.conj() * specimen + still.conj() * fixed).real / noise
    volume = torch.log(determinant) - torch.log(first - squares[index] + 1e-300) - torch.log(second - len(spectra))
    return Expectation(reference, constant, float((share * (fit - volume)).double().sum()))


def _expected(spectra: FrameSpectra, model: SignalModel) -> tuple[np.ndarray, float]:
    """Information about each frame along one axis, and the mean curvature that each frame's own power adds."""
    squares, _, gain = _gain(spectra, model)
    grid, damage2 = spectra.grid, spectra.damage.double() ** 2
    turn = (2 * math.pi * grid.shell_frequency) ** 2 * grid.count  # half of it along each axis, twice the real part
    level = (turn * damage2 * gain * model.signal * (squares - damage2) / model.noise).sum(1)
    own = (turn * damage2 * gain * (1 + damage2 * model.signal / model.noise)).sum(1).mean()
    return level.clamp(min=1e-12).cpu().numpy(), float(own)


def _slope_variance(spectra: FrameSpectra, reference: torch.Tensor, model: SignalModel) -> np.ndarray:
    """Variance of a frame's slope that its noise makes, mean over frames."""
    grid = spectra.grid
    rows, columns = ((2 * math.pi * f).to(torch.float32) for f in grid.frequencies)
    damage = ((spectra.damage**2).mean(0) * model.noise).to(torch.float32)[grid.index.long()]
    power = 0.5 * damage * _power(reference)
    power = power / grid.share  # the conjugate twin in column 0 carries the same noise
    along = power.sum(1), power.sum(0)
    yx = float((power * rows[:, None] * columns).sum())
    return np.array([[float((along[0] * rows**2).sum()), yx], [yx, float((along[1] * columns**2).sum())]])
