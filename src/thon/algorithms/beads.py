"""Gold beads in images: find them, and measure where each is to a fraction of a pixel.

A bead is a disc with a soft edge. A matched filter, blind to slow background, finds candidates; a least-squares fit of
the disc, its contrast and a sloping background then measures each, with its standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import scipy
from annotated_types import Ge, Gt
from jaxtyping import Float

from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit

EDGE = 0.9  # softness of a bead's edge, px: pixel integration and interpolation of the detector


class BeadOptions(Options):
    """What counts as a bead."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Diameter of the beads; measured from the images if not given."""

    polarity: Literal["dark", "bright"] = "dark"
    """Whether beads are darker or brighter than what surrounds them."""

    threshold: Annotated[float, Unit("1"), Gt(0)] = 8.0
    """Signal over noise of the matched filter that makes a candidate."""

    margin: Annotated[float, Unit("1"), Ge(0), Advanced()] = 0.6
    """Distance from the image's edge within which beads are ignored, in diameters."""


@dataclass(frozen=True)
class Beads:
    """Beads found in one image.

    Args:
        position: (beads, 2), (y, x) in px from the corner (pixel centres at integers).
        sigma: Standard deviation of each coordinate, px.
        signal: Signal over noise of the matched filter, 1; strongest first.
    """

    position: Float[np.ndarray, "beads 2"]
    sigma: Float[np.ndarray, "beads"]
    signal: Float[np.ndarray, "beads"]


def find_beads(
    image: Float[np.ndarray, "rows columns"], pixel_size: float, options: BeadOptions | None = None
) -> Beads:
    """Find the beads in one image.

    Args:
        image: Raw image.
        pixel_size: Å.
        options: Diameter, polarity and threshold; without a diameter it is measured from this image.

    Raises:
        InputError: Pixel size not positive, diameter below three pixels or too large for the image.
    """
    options = options or BeadOptions()
    diameter = options.diameter or measure_bead_diameter(image[None], pixel_size, options)
    radius = _radius(diameter, pixel_size, image.shape)
    bright = _bright(image, options)
    response = bead_response(bright, radius)
    peaks = _peaks(response, radius, options.threshold, options.margin)
    position, sigma = fit_discs(bright, peaks, radius)
    good = np.isfinite(sigma) & (sigma < radius)
    strength = response[tuple(peaks[good].T)]
    unique = _separate(position[good], radius)
    return Beads(position[good][unique], sigma[good][unique], strength[unique])


def measure_bead_diameter(
    images: Float[np.ndarray, "images rows columns"],
    pixel_size: float,
    options: BeadOptions | None = None,
    strongest: int = 10,
) -> float:
    """Diameter of the beads in Å: the one whose matched filter responds best, then the width at half contrast.

    Args:
        images: A few raw images; the median over them counts.
        pixel_size: Å.
        options: Polarity is taken from here.
        strongest: Number of peaks per image that vote.
    """
    bright = [_bright(image, options or BeadOptions()) for image in images]
    largest = min(images.shape[1:]) / 12
    trials = np.geomspace(1.5, max(largest, 3.0), 16)
    votes = np.zeros((len(trials), len(images)))
    for row, radius in enumerate(trials):
        for column, image in enumerate(bright):
            response = bead_response(image, radius)
            peaks = _peaks(response, radius, 5.0, 1.0)[:strongest]
            votes[row, column] = np.sort(response[tuple(peaks.T)])[::-1].sum() if len(peaks) else 0.0
    radius = float(trials[np.median(votes, axis=1).argmax()])
    return 2 * pixel_size * float(np.median([_half_contrast_radius(image, radius, strongest) for image in bright]))


def bead_response(bright: Float[np.ndarray, "rows columns"], radius: float) -> Float[np.ndarray, "rows columns"]:
    """Matched filter for bright discs of a radius in px, blind to slopes, over its own noise."""
    reach = int(np.ceil(1.8 * radius + 1))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = np.hypot(y, x)
    disc = _disc(distance, radius)
    ring = (1 - _disc(distance, 1.25 * radius)) * _disc(distance, 1.8 * radius)
    kernel = disc / disc.sum() - ring / ring.sum()
    padded = np.pad(bright, reach, mode="reflect")
    response = scipy.signal.fftconvolve(padded, kernel, mode="valid")
    middle = np.median(response)
    noise = 1.4826 * np.median(np.abs(response - middle))
    return (response - middle) / max(float(noise), 1e-30)


def _bright(image: np.ndarray, options: BeadOptions) -> Float[np.ndarray, "rows columns"]:
    """The image with bright beads, what is not a number replaced by the median."""
    values = np.asarray(image, np.float64)
    finite = np.isfinite(values)
    filled = np.where(finite, values, np.median(values[finite]) if finite.any() else 0.0)
    return -filled if options.polarity == "dark" else filled


def _disc(distance: np.ndarray, radius: float) -> np.ndarray:
    return 0.5 * scipy.special.erfc((distance - radius) / (np.sqrt(2) * EDGE))


def _radius(diameter: float, pixel_size: float, shape: tuple[int, ...]) -> float:
    """Radius in px, checked."""
    if not pixel_size > 0:
        raise InputError("pixel size must be positive", got=pixel_size)
    radius = diameter / pixel_size / 2
    if radius < 1.5 or 4 * radius > min(shape):
        raise InputError(
            "bead diameter does not suit the images",
            got=f"{2 * radius:.1f} px",
            expected=f"3 to {min(shape) // 2} px",
            mend="use images with a finer pixel, or give the right diameter",
        )
    return radius


def _peaks(response: np.ndarray, radius: float, threshold: float, margin: float) -> np.ndarray:
    """Pixels of local maxima above the threshold, strongest first."""
    size = 2 * max(round(0.8 * radius), 1) + 1
    top = (response == scipy.ndimage.maximum_filter(response, size)) & (response > threshold)
    edge = int(np.ceil(2 * radius * margin))
    if edge:
        inside = np.zeros_like(top)
        inside[edge:-edge, edge:-edge] = True
        top &= inside
    peaks = np.argwhere(top)
    return peaks[np.argsort(-response[tuple(peaks.T)])]


def _separate(position: np.ndarray, radius: float) -> np.ndarray:
    """Indices that remain when each bead drops the weaker ones closer than 0.7 diameters."""
    kept: list[int] = []
    for index, here in enumerate(position):
        if not kept or np.linalg.norm(position[kept] - here, axis=1).min() > 1.4 * radius:
            kept.append(index)
    return np.array(kept, np.int64)


def fit_discs(
    bright: Float[np.ndarray, "rows columns"], start: np.ndarray, radius: float, steps: int = 12
) -> tuple[Float[np.ndarray, "beads 2"], Float[np.ndarray, "beads"]]:
    """Least-squares position of bright discs near starting positions, in px; and the standard deviations.

    Pixels that are nearer to another starting position are left out, so that neighbours do not pull. σ is infinite
    where the fit ran away, or the disc came out dark.
    """
    position = np.asarray(start, np.float64).copy()
    sigma = np.full(len(position), np.inf)
    for index in range(len(position)):
        others = np.delete(np.asarray(start, np.float64), index, axis=0)
        position[index], sigma[index] = _fit_disc(bright, position[index], others, radius, steps)
    return position, sigma


def _fit_disc(
    bright: np.ndarray, start: np.ndarray, others: np.ndarray, radius: float, steps: int
) -> tuple[np.ndarray, float]:
    """Gauss–Newton on the position, contrast and background of one disc."""
    reach = 1.7 * radius + 1
    low = np.maximum(np.ceil(start - reach), 0).astype(int)
    high = np.minimum(np.floor(start + reach) + 1, bright.shape).astype(int)
    grid = np.moveaxis(np.mgrid[low[0] : high[0], low[1] : high[1]], 0, -1).reshape(-1, 2).astype(np.float64)
    own = np.linalg.norm(grid - start, axis=1)
    use = own <= reach
    if len(others):
        use &= own < np.linalg.norm(grid[:, None] - others, axis=2).min(1)
    grid, values = grid[use], bright[low[0] : high[0], low[1] : high[1]].reshape(-1)[use]
    if len(grid) < 12:
        return start, np.inf
    here = start.astype(np.float64)
    for _ in range(steps):
        design, contrast, residual = _disc_design(grid, values, here, start, radius)
        solution = np.linalg.lstsq(design, residual, rcond=None)[0]
        move = np.clip(solution[:2], -0.5, 0.5)
        here = here + move
        if contrast <= 0 or np.linalg.norm(here - start) > radius:
            return start, np.inf
        if np.abs(move).max() < 1e-4:
            break
    design, contrast, residual = _disc_design(grid, values, here, start, radius)
    variance = np.square(residual).sum() / max(len(grid) - 6, 1)
    covariance = variance * np.linalg.pinv(design.T @ design)
    return here, float(np.sqrt(max(covariance[0, 0] + covariance[1, 1], 0) / 2))


def _disc_design(
    grid: np.ndarray, values: np.ndarray, here: np.ndarray, middle: np.ndarray, radius: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """Derivatives by (y, x, contrast, background, slopes), the contrast, and the residual at a position."""
    offset = grid - here
    distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
    linear = np.column_stack([_disc(distance, radius), np.ones(len(grid)), grid - middle])
    amplitudes = np.linalg.lstsq(linear, values, rcond=None)[0]
    slope = np.exp(-0.5 * ((distance - radius) / EDGE) ** 2) / (np.sqrt(2 * np.pi) * EDGE)
    by_position = amplitudes[0] * (slope / distance)[:, None] * offset
    return np.column_stack([by_position, linear]), float(amplitudes[0]), values - linear @ amplitudes


def _half_contrast_radius(bright: np.ndarray, radius: float, strongest: int) -> float:
    """Radius in px at which the mean profile of the strongest beads falls to half its contrast."""
    response = bead_response(bright, radius)
    peaks = _peaks(response, radius, 5.0, 1.0)[:strongest]
    if not len(peaks):
        return radius
    position, sigma = fit_discs(bright, peaks, radius)
    position = position[np.isfinite(sigma)]
    distance = np.arange(0, 2 * radius, 0.25)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    ring = np.stack([np.sin(angle), np.cos(angle)], -1)[None, None] * distance[:, None, None]
    samples = position[:, None, None] + ring
    profile = scipy.ndimage.map_coordinates(bright, samples.reshape(-1, 2).T, order=1, mode="nearest")
    profile = np.median(profile.reshape(len(position), len(distance), -1).mean(-1), axis=0)
    half = (profile[: len(distance) // 4].mean() + profile[-len(distance) // 5 :].mean()) / 2
    below = np.nonzero(profile < half)[0]
    return float(distance[below[0]]) if len(below) and below[0] else radius
