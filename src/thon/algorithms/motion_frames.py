"""Frames of a movie as small, whitened spectra on which their motion is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import scipy
import torch
from jaxtyping import Complex, Float, Int, Num

from thon import kernels
from thon.algorithms.motion_options import MotionOptions
from thon.base.errors import InputError
from thon.ops.dose import exposure_weight
from thon.ops.fourier import frequency_grid
from thon.ops.frame_fourier import Preparation, cropped_spectrum
from thon.ops.threads import map_in_threads

_EDGE = 0.04  # share of each side over which frames fade out
_PLANES = ((7, 4), (4, 2), (2, 1))  # images for a sum and frames at a time, from fast to small
_ALIASED = 0.17  # cycles per pixel up to which halving folds less than 4 % of the noise's power inwards
_LINES = 200  # rows that tell a frame's level and spread
_BOUND = 8.0  # standard deviations at which outlying pixels are held


class FrameSource(Protocol):
    """Rendered frames of one movie, gain-corrected, in the order in which they were taken."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any:
        """Frame as a float32 array or tensor (rows, columns)."""
        ...


@dataclass(frozen=True)
class Exposure:
    """Dose of a movie.

    Args:
        voltage: kV.
        frame: Of one rendered frame, e/Å².
        prior: What the specimen had received before the first frame of the movie, e/Å².
    """

    voltage: float
    frame: float
    prior: float = 0.0

    def before(self, frame: Num[np.ndarray, "frames"]) -> Float[np.ndarray, "frames"]:
        """Exposure by the middle of frames (fractional index), e/Å²."""
        return self.prior + (np.asarray(frame, np.float64) + 0.5) * self.frame


@dataclass(frozen=True)
class SpectralGrid:
    """Frequencies of a set of half spectra.

    Args:
        shape: (rows, columns) of the images, px.
        pixel: Their pixel's size along rows and columns, Å.
        spacing: Distance of the shells into which quantities that depend on the frequency's length are sorted, 1/Å.
        shells: Number of them; the last one takes all that lies beyond, and is never used.
        device: Where the grids lie.
    """

    shape: tuple[int, int]
    pixel: tuple[float, float]
    spacing: float
    shells: int
    device: torch.device

    @cached_property
    def frequencies(self) -> tuple[Float[torch.Tensor, "rows"], Float[torch.Tensor, "half"]]:
        """Frequencies along rows and half columns, 1/Å."""
        rows, columns = frequency_grid(self.shape, self.device, torch.float64)
        return rows[:, 0] / self.pixel[0], columns[0] / self.pixel[1]

    @cached_property
    def index(self) -> Int[torch.Tensor, "rows half"]:
        """Shell of each frequency."""
        rows, columns = self.frequencies
        shell = (torch.sqrt(rows[:, None] ** 2 + columns**2) / self.spacing).round()
        return shell.clamp(max=self.shells - 1).to(torch.int32)

    @cached_property
    def share(self) -> Float[torch.Tensor, "half"]:
        """One, and a half for the column in which each frequency comes with its conjugate."""
        share = torch.ones(self.shape[1] // 2 + 1, device=self.device)
        share[0] = 0.5
        return share

    @cached_property
    def count(self) -> Float[torch.Tensor, "shells"]:
        """Independent coefficients in each shell."""
        return self.shell_sum(torch.ones(self.index.shape, device=self.device))

    def shell_sum(self, values: Float[torch.Tensor, "rows half"]) -> Float[torch.Tensor, "shells"]:
        """Sum of a quantity over each shell's independent coefficients."""
        weighted = (values * self.share).reshape(-1)
        return torch.bincount(self.index.reshape(-1), weighted, self.shells).double()

    def ramps(
        self, place: Float[np.ndarray, "frames 2"]
    ) -> tuple[Complex[torch.Tensor, "frames rows"], Complex[torch.Tensor, "frames half"]]:
        """Factors that move images back by displacements (y, x), Å."""
        shift = torch.from_numpy(2 * math.pi * np.asarray(place, np.float64)).to(self.device)
        phases = [shift[:, axis, None] * self.frequencies[axis] for axis in (0, 1)]
        row, column = (torch.polar(torch.ones_like(p), p).to(torch.complex64) for p in phases)
        return row, column

    @property
    def shell_frequency(self) -> Float[torch.Tensor, "shells"]:
        """Frequency of each shell, 1/Å."""
        return torch.arange(self.shells, device=self.device, dtype=torch.float64) * self.spacing


@dataclass(frozen=True)
class FrameSpectra:
    """Spectra of frames, or of sums of neighbouring frames, whose noise has variance 1.

    Args:
        values: One for each group of frames; replaced, never changed.
        grid: Their frequencies.
        damage: Amplitude that radiation has left, by group and shell; zero where nothing is compared.
        frame: Index of the frame in the middle of each group, counted from the first that is used.
        exposure: That the specimen had received in this movie by then, e/Å².
    """

    values: Complex[torch.Tensor, "groups rows half"]
    grid: SpectralGrid
    damage: Float[torch.Tensor, "groups shells"]
    frame: Float[np.ndarray, "groups"]
    exposure: Float[np.ndarray, "groups"]

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def power(self) -> Float[torch.Tensor, "groups shells"]:
        """Sum of the squared amplitudes in each shell, by group."""
        return torch.stack([self.grid.shell_sum(v.real**2 + v.imag**2) for v in self.values])


@dataclass(frozen=True)
class FramePlan:
    """Which frames are used, and on which grid they are compared.

    Args:
        image_shape: (rows, columns) of a frame, px.
        first: First frame that is used.
        number: Frames that are used.
        group: Frames that are added before they are compared.
        shape: Grid on which they are compared.
        planes: Images for a sum into which frames are added, with different weights.
        batch: Frames that are added at a time.
        threads: Threads, each of which has a frame on its way.
        held: Whether all frames stay in memory between the two passes.
    """

    image_shape: tuple[int, int]
    first: int
    number: int
    group: int
    shape: tuple[int, int]
    planes: int
    batch: int
    threads: int
    held: bool

    @property
    def groups(self) -> int:
        """Sums that are compared. A short rest joins the last."""
        return max(1, self.number // self.group)

    @property
    def spectra_bytes(self) -> int:
        """Memory of the spectra that are compared."""
        return 8 * self.groups * self.shape[0] * (self.shape[1] // 2 + 1)

    @property
    def comparing_bytes(self) -> int:
        """Memory while they are compared: with a copy less a fixed pattern, and four of what a B-factor leaves."""
        return int(3.6 * self.spectra_bytes)


def plan_frames(
    image_shape: tuple[int, int], frames: int, pixel_size: float, frame_exposure: float, options: MotionOptions
) -> FramePlan:
    """Choose frames, groups and the grid that keeps within the declared memory.

    Raises:
        InputError: No frame is left, or not even one frame fits the memory.
    """
    last = frames - 1 if options.last is None else min(options.last, frames - 1)
    number = last - options.first + 1
    if number < 1:
        raise InputError("no frame is left", got=f"frames {options.first} to {last} of {frames}")
    wanted = options.track.group_exposure / frame_exposure if frame_exposure > 0 else 1.0
    group = max(1, min(round(wanted), number // 4))
    threads, planes, batch, free = _fit_memory(image_shape, options)
    pixel = max(options.track.max_resolution / 2, pixel_size)
    while True:
        shape = (_fast(image_shape[0] * pixel_size / pixel), _fast(image_shape[1] * pixel_size / pixel))
        shape = (min(shape[0], image_shape[0]), min(shape[1], image_shape[1]))
        plan = FramePlan(image_shape, options.first, number, group, shape, planes, batch, threads, held=False)
        if plan.comparing_bytes <= free or min(shape) <= 64:
            break
        pixel *= 1.1
    frame_bytes = 4 * number * image_shape[0] * image_shape[1]
    adding = adding_bytes(image_shape, options, planes, batch)
    return replace(plan, held=max(plan.comparing_bytes, adding) + frame_bytes <= free)


def _fit_memory(image_shape: tuple[int, int], options: MotionOptions) -> tuple[int, int, int, float]:
    """Threads, planes and frames at a time that the memory allows, and what is left beside frames on their way, bytes.

    Raises:
        InputError: Not even one frame fits.
    """
    budget, smallest = options.memory * 1e9, adding_bytes(image_shape, options, *_PLANES[-1])
    threads = options.threads or torch.get_num_threads()
    while threads > 1 and budget < streaming_bytes(image_shape, options, threads) + smallest:
        threads -= 1
    free = budget - streaming_bytes(image_shape, options, threads)
    if free < smallest:
        needed = f"at least {(budget - free + smallest) * 1.01 / 1e9:.2f} GB"
        raise InputError("a frame of this size does not fit the declared memory", got=f"{options.memory:g} GB",
                         expected=needed, mend="allow more memory, or use a larger bin")  # fmt: skip
    planes, batch = next(pair for pair in _PLANES if adding_bytes(image_shape, options, *pair) <= free)
    return threads, planes, batch, free


def streaming_bytes(image_shape: tuple[int, int], options: MotionOptions, threads: int) -> int:
    """Memory of frames on their way, one for each thread: as their source makes them, and their half-transformed rows.

    What PyTorch and Numba take for themselves is a part of it.
    """
    frame = 4 * math.prod(image_shape)
    return int(350e6 + threads * (2.2 * frame + frame / options.sums.bin))


def adding_bytes(image_shape: tuple[int, int], options: MotionOptions, planes: int, batch: int) -> int:
    """Memory of what frames are added to, of a batch of frames, and of a spectrum and an image on their way."""
    output = 4 * math.prod(image_shape) / options.sums.bin**2
    halves, twin = options.sums.halves, options.sums.unweighted
    totals = planes * (1 + halves) + twin + options.sums.spectrum
    spectra = 1 + halves + twin + (1 + halves) * halves  # the halves are scaled beside the whole
    return int((totals + batch + spectra + 2) * output)


def _fast(n: float) -> int:
    """An even length near n that transforms fast."""
    half = max(8, round(n / 2))
    return 2 * int(scipy.fft.next_fast_len(half))


def load_spectra(
    frames: FrameSource,
    plan: FramePlan,
    pixel_size: float,
    exposure: Exposure,
    options: MotionOptions,
    device: torch.device,
) -> tuple[FrameSpectra, list[torch.Tensor]]:
    """Read the frames, crop their spectra and make their noise white.

    Returns:
        The spectra, and the frames themselves if the plan holds them.
    """
    halvings = _halvings(plan)
    smaller = tuple(n >> halvings for n in plan.image_shape)
    windows = tuple(_fade(n, device) for n in smaller)
    held: dict[int, torch.Tensor] = {}

    def load(k: int) -> torch.Tensor:
        total: torch.Tensor | None = None
        for index in _members(plan, k):
            frame = frame_tensor(frames, plan, index, device)
            if plan.held:
                held[index] = frame
            total = frame if total is None else total + frame
        assert total is not None
        spread, mean = torch.std_mean(total[:: max(1, len(total) // _LINES)])
        level, bound = float(mean), _BOUND * float(spread)
        for _ in range(halvings):
            total = kernels.halve_image(total, level, bound)
            level, bound = 0.0, math.inf
        return cropped_spectrum(total, plan.shape, Preparation(level, bound, window=(windows[0], windows[1])))

    stack = torch.stack(map_in_threads(load, range(plan.groups)))
    pixel = tuple(pixel_size * (o << halvings) / n for o, n in zip(smaller, plan.shape, strict=True))
    spacing = 1 / max(n * p for n, p in zip(plan.shape, pixel, strict=True))
    limit = min(0.5 / max(pixel), 1 / options.track.max_resolution)
    grid = SpectralGrid(plan.shape, (pixel[0], pixel[1]), spacing, int(limit / spacing) + 1, device)
    middle = np.array([float(np.mean(_members(plan, k))) for k in range(plan.groups)])
    damage = _damage(grid, exposure.before(plan.first + middle), exposure.voltage, options)
    spectra = FrameSpectra(_whitened(stack, grid), grid, damage, middle, (middle + 0.5) * exposure.frame)
    return spectra, [held[k] for k in sorted(held)]


def _halvings(plan: FramePlan) -> int:
    """How often frames may be halved before they are transformed, without noise from beyond the grid's frequencies."""
    finest = max(m / n / 2 for m, n in zip(plan.shape, plan.image_shape, strict=True))  # cycles per pixel
    return max(0, 1 + math.floor(math.log2(_ALIASED / finest)))


def frame_tensor(frames: FrameSource, plan: FramePlan, index: int, device: torch.device) -> torch.Tensor:
    """One frame of those that are used, checked.

    Raises:
        InputError: It has another shape, or holds something that is not a number.
    """
    frame = torch.as_tensor(frames[plan.first + index], dtype=torch.float32, device=device).contiguous()
    if tuple(frame.shape) != plan.image_shape:
        raise InputError(f"frame {plan.first + index} has another shape", got=tuple(frame.shape),
                         expected=plan.image_shape)  # fmt: skip
    if not math.isfinite(float(frame.sum())):
        raise InputError(f"frame {plan.first + index} holds values that are not finite",
                         mend="check the gain reference for zeros")  # fmt: skip
    return frame


def _members(plan: FramePlan, k: int) -> range:
    stop = plan.number if k == plan.groups - 1 else (k + 1) * plan.group
    return range(k * plan.group, stop)


def _fade(n: int, device: torch.device) -> torch.Tensor:
    edge = max(1, round(_EDGE * n))
    distance = torch.minimum(torch.arange(n), torch.arange(n).flip(0)) + 0.5
    return (0.5 - 0.5 * torch.cos(math.pi * (distance / edge).clamp(max=1))).to(device)


def damage_table(
    grid: SpectralGrid, exposure: Float[np.ndarray, "frames"], voltage: float
) -> Float[torch.Tensor, "frames shells"]:
    """Amplitude that is left in each shell after exposures, e/Å²."""
    levels = torch.from_numpy(np.asarray(exposure, np.float64)).to(grid.device)[:, None]
    return exposure_weight(grid.shell_frequency.expand(len(levels), -1), levels, voltage)


def _damage(
    grid: SpectralGrid, exposure: np.ndarray, voltage: float, options: MotionOptions
) -> Float[torch.Tensor, "groups shells"]:
    frequency = grid.shell_frequency
    if np.isfinite(exposure).all():
        weight = damage_table(grid, exposure, voltage)
    else:
        weight = torch.ones(len(exposure), grid.shells, dtype=torch.float64, device=grid.device)
    used = (frequency >= 1 / options.track.min_resolution) & (torch.arange(grid.shells, device=grid.device) > 1)
    used[-1] = False
    return (weight * used).to(torch.float32)


def _whitened(stack: torch.Tensor, grid: SpectralGrid) -> torch.Tensor:
    """Divide by the root of the mean power in each shell, smoothed; changes the stack, which belongs to the caller."""
    power = torch.zeros(grid.index.shape, device=grid.device)
    for spectrum in stack:
        power += spectrum.real**2 + spectrum.imag**2
    mean = grid.shell_sum(power / len(stack)) / grid.count.clamp(min=1)
    factor = torch.where(mean > 0, mean, math.inf).rsqrt().to(torch.float32)
    factor[-1] = 0
    scale = factor[grid.index.long()]
    for k in range(len(stack)):
        stack[k].mul_(scale)
    return stack
