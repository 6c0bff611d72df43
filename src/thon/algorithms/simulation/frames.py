"""Frames of one exposure: the contrast fades with the dose, moves, and is counted electron by electron."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Complex, Float, Shaped

from thon import kernels
from thon.algorithms.simulation.camera import Camera, event_transfer, image_transfer
from thon.algorithms.simulation.layers import Field
from thon.algorithms.simulation.motion import NODES, frame_to_micrograph
from thon.algorithms.simulation.wave import Contrast, whole_spectrum
from thon.data.motion import FrameMotion
from thon.kernels.electron_counts import TILE, draw_counts, draw_events
from thon.ops.dose import exposure_weight
from thon.ops.fourier import frequency_grid, phase_ramp, radius_grid
from thon.ops.frame_fourier import image_of_spectrum

EVENT_GRID = 4
"""Places of an electron along a pixel, as EER has them."""

OVERSAMPLING = 1.25
"""Samples to a pixel of what local motion is read from, so that splines lose little near Nyquist's frequency."""

EVENT_OVERSAMPLING = 1.5
"""The same for electrons at continuous places."""

_REFRESH = 1.0


@dataclass(frozen=True)
class Exposure:
    """What happens to the specimen and the camera during one movie.

    Args:
        field: Grid of the contrast.
        motion: Of each frame.
        frame_exposure: Electrons that hit the specimen during a frame, e/Å².
        prior_exposure: Before the movie, e/Å².
        voltage: kV.
        damage: Whether the dose takes contrast away.
        transmission: Share of the electrons that leave the specimen for the camera.
        seed: Of the counting.
    """

    field: Field
    motion: FrameMotion
    frame_exposure: float
    prior_exposure: float
    voltage: float
    damage: bool
    transmission: float
    seed: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.motion)

    def mean_counts(self, camera: Camera) -> float:
        """Counts of a good pixel in a frame."""
        area = self.field.pixel_size**2
        return self.frame_exposure * area * self.transmission * camera.options.efficiency

    def count_type(self, camera: Camera) -> np.dtype:
        """Type of numbers that hold the counts of a frame."""
        return np.dtype(np.uint8 if self.mean_counts(camera) < 20 else np.uint16)


def noise_free_frames(contrast: Contrast, exposure: Exposure, camera: Camera) -> Iterator[torch.Tensor]:
    """Relative contrast of each frame as the camera would see it with endless electrons; (rows, columns)."""
    fading = _Fading(contrast, exposure, image_transfer(exposure.field.shape, camera.options))
    finer = _refine(exposure.field, OVERSAMPLING)
    for frame in range(exposure.frames):
        spectrum = fading.spectrum(frame + 0.5)
        if exposure.motion.local is None:
            yield _drift(spectrum, exposure, frame)
        else:
            yield _move(_to_grid(spectrum, exposure.field, finer), exposure, finer, frame)


def count_frames(
    contrast: Contrast, exposure: Exposure, camera: Camera
) -> Iterator[Shaped[np.ndarray, "rows columns"]]:
    """Counts of each frame, one after another."""
    mean = exposure.mean_counts(camera)
    sensitivity, extra = camera.sensitivity, camera.extra(mean)
    for frame, image in enumerate(noise_free_frames(contrast, exposure, camera)):
        counts = np.empty(camera.shape, exposure.count_type(camera))
        draw_counts(image.numpy(), mean, sensitivity, extra, _seed(exposure.seed, frame), counts)
        yield counts


def count_events(contrast: Contrast, exposure: Exposure, camera: Camera) -> Iterator[Shaped[np.ndarray, "events 2"]]:
    """Electrons of each frame as (row, column) on a grid `EVENT_GRID` times as fine as the pixels."""
    shape, finer = exposure.field.shape, _refine(exposure.field, EVENT_OVERSAMPLING)
    fading = _Fading(contrast, exposure, event_transfer(shape, camera.options) / _spline_response(shape, finer))
    mean = exposure.mean_counts(camera)
    sensitivity, hot = camera.sensitivity, np.argwhere(camera.hot)
    largest, chance = float(sensitivity.max()), -math.expm1(-float(camera.extra(mean).max()))
    block = max(round(_REFRESH / exposure.frame_exposure), 1)
    spacing = (camera.shape[0] / (NODES - 3), camera.shape[1] / (NODES - 3))
    coefficients, bounds = np.zeros((0, 0), np.float32), (0.0, 0.0)
    for frame in range(exposure.frames):
        if frame % block == 0:
            middle = frame + min(block, exposure.frames - frame) / 2
            coefficients = _to_grid(fading.spectrum(middle), exposure.field, finer).add_(1).numpy()
            # A spline nowhere leaves the range of its coefficients.
            bounds = (max(float(coefficients.min()), 0.0), float(coefficients.max()) * largest)
        moved = frame_to_micrograph(exposure.motion, frame, camera.shape, exposure.field.pixel_size)
        seed = _seed(exposure.seed, frame)
        places = _draw_places(coefficients, sensitivity, _EventPlan(moved, spacing, finer, bounds, mean, seed))
        noise = np.random.default_rng([seed, 1]).random((len(hot), 3))
        lit = noise[:, 0] < chance
        places = np.concatenate([places, hot[lit] + noise[lit, 1:] - 0.5])
        yield np.floor((places + 0.5) * EVENT_GRID).astype(np.int64)


def _spline_response(shape: tuple[int, int], finer: _FinerField) -> Float[torch.Tensor, "rows half"]:
    """What a cubic B-spline on the finer grid makes of its coefficients, on the half spectrum of the coarser one."""
    rows, columns = (
        (2 + torch.cos(2 * math.pi * one / scale)) / 3
        for one, scale in zip(frequency_grid(shape), finer.scale, strict=True)
    )
    return rows * columns


@dataclass(frozen=True)
class _EventPlan:
    """How the electrons of one frame are drawn: arguments of `draw_events`, and counts in a good pixel."""

    moved: Float[np.ndarray, "nodes nodes 2"]
    spacing: tuple[float, float]
    finer: _FinerField
    bounds: tuple[float, float]
    mean: float
    seed: int


def _draw_places(
    coefficients: Float[np.ndarray, "field_rows field_columns"],
    sensitivity: Float[np.ndarray, "rows columns"],
    plan: _EventPlan,
) -> Float[np.ndarray, "events 2"]:
    """(row, column) of a frame's electrons, px."""
    high, wide = (np.minimum(TILE, n - np.arange(0, n, TILE)) for n in sensitivity.shape)
    expected = plan.mean * plan.bounds[1] * np.outer(high, wide)
    trials = np.random.default_rng(plan.seed).poisson(expected)
    places = np.empty((trials.sum(), 2))
    moved = np.ascontiguousarray(plan.moved.transpose(2, 0, 1))
    grid = (*plan.finer.start, *plan.finer.scale)
    kept = draw_events(coefficients, grid, moved, plan.spacing, sensitivity, plan.bounds, plan.seed, trials, places)
    return places[:kept]


@dataclass(frozen=True)
class _FinerField:
    """The same field with more samples, between which splines are exact enough.

    Args:
        shape: (rows, columns), samples.
        start: Row and column of the image's first pixel, samples.
        scale: Samples to a pixel along rows and columns.
    """

    shape: tuple[int, int]
    start: tuple[float, float]
    scale: tuple[float, float]


def _refine(field: Field, factor: float) -> _FinerField:
    rows, columns = (scipy.fft.next_fast_len(math.ceil(n * factor), real=True) for n in field.shape)
    scale = (rows / field.shape[0], columns / field.shape[1])
    return _FinerField((rows, columns), (field.start[0] * scale[0], field.start[1] * scale[1]), scale)


def _to_grid(
    spectrum: Complex[torch.Tensor, "rows half"], field: Field, finer: _FinerField
) -> Float[torch.Tensor, "finer_rows finer_columns"]:
    """The image of a half spectrum with more samples; its first sample stays where it is."""
    rows, half = spectrum.shape
    # Nyquist's own row and column have no phase on the coarser grid, and are left out.
    keep, columns = (rows - 1) // 2 + 1, half - (field.shape[1] % 2 == 0)
    wide = spectrum.new_zeros(finer.shape[0], columns)
    wide[:keep] = spectrum[:keep, :columns]
    wide[1 - keep :] = spectrum[1 - keep :, :columns]
    return image_of_spectrum(wide, finer.shape[1]).mul_(finer.scale[0] * finer.scale[1])


def _drift(
    spectrum: Complex[torch.Tensor, "field_rows half"], exposure: Exposure, frame: int
) -> Float[torch.Tensor, "rows columns"]:
    """What a frame shows of a field that moves as one."""
    field = exposure.field
    shift = torch.from_numpy(exposure.motion.displacement[frame] / field.pixel_size).to(torch.float32)
    image = torch.fft.irfft2(spectrum * phase_ramp(field.shape, shift), s=field.shape)
    (row, column), (rows, columns) = field.start, field.image_shape
    return image[row : row + rows, column : column + columns].contiguous()


def _move(
    image: Float[torch.Tensor, "finer_rows finer_columns"], exposure: Exposure, finer: _FinerField, frame: int
) -> Float[torch.Tensor, "rows columns"]:
    """What a frame shows of the field: each pixel is read where its piece of specimen was at first."""
    field, scale = exposure.field, finer.scale
    moved = torch.from_numpy(frame_to_micrograph(exposure.motion, frame, field.image_shape, field.pixel_size))
    moved = moved * torch.tensor(scale, dtype=torch.float64)
    rows, columns = field.image_shape
    # The output's axes are called columns and rows: swapping them in the maps gives rows and columns.
    maps = torch.tensor([[[0.0, scale[0], finer.start[0]], [scale[1], 0.0, finer.start[1]]]], dtype=torch.float64)
    knots = torch.tensor([[[0.0, (NODES - 3) / rows, 1.0], [(NODES - 3) / columns, 0.0, 1.0]]], dtype=torch.float64)
    return kernels.sample_images(image[None], maps, (rows, columns), displacement=moved[None], knots=knots)[0]


class _Fading:
    """The contrast after more and more dose."""

    def __init__(self, contrast: Contrast, exposure: Exposure, transfer: Float[torch.Tensor, "rows half"]):
        self._contrast, self._exposure, self._transfer = contrast, exposure, transfer
        frequency = radius_grid(exposure.field.shape) / exposure.field.pixel_size
        self._loss = exposure_weight(frequency, 1.0, exposure.voltage).log() if exposure.damage else None

    def spectrum(self, frame: float) -> Complex[torch.Tensor, "rows half"]:
        """Half spectrum of the relative contrast after so many frames."""
        received = self._exposure.prior_exposure + frame * self._exposure.frame_exposure
        weight = None if self._loss is None else torch.exp(received * self._loss)
        if self._contrast.wave:
            return self._intensity(weight)
        spectrum = self._contrast.fading * (self._transfer if weight is None else self._transfer * weight)
        if self._contrast.lasting is not None:
            spectrum += self._contrast.lasting * self._transfer
        return spectrum

    def _intensity(self, weight: Float[torch.Tensor, "rows half"] | None) -> Complex[torch.Tensor, "rows half"]:
        spectrum = self._contrast.fading
        if weight is not None:
            spectrum = spectrum * whole_spectrum(weight, self._exposure.field.shape)
        wave = torch.fft.ifft2(spectrum)
        return torch.fft.rfft2(wave.abs().square() + 2 * wave.real) * self._transfer


def _seed(seed: int, frame: int) -> int:
    """Start of a frame's own sequence of numbers."""
    return int(np.random.SeedSequence([seed, frame]).generate_state(1, np.uint64)[0] >> np.uint64(1))
