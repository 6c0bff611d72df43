"""Local resolution: the FSC of two half maps within a soft sphere that moves over a grid, and a map filtered by it.

Windows just large enough for the sphere are transformed, many at a time, instead of the whole box for every place; what
the sphere itself correlates is taken off with halves whose phases were randomised once.

Source: Cardone et al. 2013, with the correction of Chen et al. 2013.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from thon.algorithms.half_correlation import THRESHOLD
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.ops.fsc import ShellCorrelation, fourier_shell_correlation
from thon.ops.randomise import randomise_phases
from thon.ops.volume_fourier import b_factor_transfer, low_pass_transfer, volume_shape
from thon.ops.volume_mask import centre_distance, sphere_mask

BATCH = 1 << 22
"""Voxels of windows that are transformed at a time."""
LEVELS_PER_SHELL = 0.5
"""Filtered maps between which the locally filtered one is interpolated, for each shell."""


class LocalResolutionOptions(Options):
    """Where and how the resolution is measured."""

    step: Annotated[float, Unit("Å"), Gt(0)] = 25.0
    """Distance between the places at which the resolution is measured."""

    radius: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the sphere; half the step unless given."""

    edge: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Width of its raised cosine; the step unless given."""

    randomise_from: Annotated[float, Unit("Å"), Gt(0)] = 10.0
    """Resolution from which phases are randomised."""

    floor: Annotated[float, Unit("Å"), Gt(0)] = 50.0
    """Lowest resolution that is given."""

    filter_edge: Annotated[float, Unit("shells"), Ge(0.5)] = 2.0
    """Width of the local filter's raised cosine."""


@dataclass(frozen=True)
class LocalResolution:
    """A map's resolution everywhere.

    Args:
        resolution: Å, of the mean frequency that the spheres around each voxel say, weighted by them.
        filtered: The sharpened map, filtered to it.
        places: (z, y, x) at which it was measured, voxels.
        values: What was measured there, Å.
    """

    resolution: Float[torch.Tensor, "z y x"]
    filtered: Float[torch.Tensor, "z y x"]
    places: Int[torch.Tensor, "n 3"]
    values: Float[torch.Tensor, "n"]


def local_resolution(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    options: LocalResolutionOptions,
    *,
    mask: Float[torch.Tensor, "z y x"] | None = None,
    b_factor: float = 0.0,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> LocalResolution:
    """Measure the resolution of a map from place to place.

    Args:
        first: Half map, not filtered.
        second: The other one.
        voxel_size: Å.
        options: Spheres and grid.
        mask: Where to measure; the largest sphere in the box unless given.
        b_factor: To sharpen the filtered map by, Å².
        seed: Of the random phases.
        progress: Told the share that is done.

    Raises:
        InputError: The spheres do not fit into the box, or no place lies within the mask.
    """
    shape = volume_shape(first)
    sphere = _sphere(shape, voxel_size, options)
    places = _places(shape, voxel_size, options, mask)
    start = max(1, round(max(shape) * voxel_size / options.randomise_from))
    halves = torch.stack([first, second])
    random = torch.stack([randomise_phases(half, start, seed + k) for k, half in enumerate(halves)])
    values = torch.cat(
        [
            _measure(halves, random, part, sphere, voxel_size, options)
            for part in _parts(places, sphere.numel(), progress)
        ]
    )
    blurred = _blend(places, values, sphere, shape, options.floor)
    filtered = filter_locally((first + second) / 2, blurred, voxel_size, b_factor, edge=options.filter_edge)
    return LocalResolution(blurred, filtered, places, values)


def filter_locally(
    volume: Float[torch.Tensor, "z y x"],
    resolution: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    b_factor: float = 0.0,
    *,
    edge: float = 2,
) -> Float[torch.Tensor, "z y x"]:
    """A map low-passed at every voxel to the resolution there (Å), interpolated between maps filtered as a whole.

    Args:
        volume: The map.
        resolution: Å.
        voxel_size: Å.
        b_factor: To sharpen by, Å².
        edge: Width of the filter's raised cosine, shells.
    """
    shape = volume_shape(volume)
    spectrum = torch.fft.rfftn(volume) * b_factor_transfer(shape, voxel_size, b_factor)
    frequency = 1 / resolution
    low, high = float(frequency.min()), float(frequency.max())
    count = 1 + max(1, math.ceil((high - low) * max(shape) * voxel_size * LEVELS_PER_SHELL))
    levels = torch.linspace(low, max(high, low * 1.000001), count)
    # The place of each voxel among the levels: what lies between two takes from both.
    place = (frequency - low) / (levels[1] - levels[0])
    result = torch.zeros_like(volume)
    for k, level in enumerate(levels.tolist()):
        share = (1 - (place - k).abs()).clamp(min=0)
        transfer = low_pass_transfer(shape, voxel_size, 1 / level, edge=edge)
        result += share * torch.fft.irfftn(spectrum * transfer, s=shape)
    return result


def _sphere(shape: tuple[int, int, int], voxel_size: float, options: LocalResolutionOptions) -> torch.Tensor:
    """The soft sphere in the smallest even window that holds it."""
    radius = (options.radius or options.step / 2) / voxel_size
    edge = (options.edge or options.step) / voxel_size
    side = 2 * math.ceil(radius + edge)
    if side > min(shape):
        raise InputError(
            "the sphere does not fit into the box",
            got=f"{side * voxel_size:.0f} Å",
            expected=f"at most {min(shape) * voxel_size:.0f} Å",
            mend="make --step, or --radius and --edge, smaller",
        )
    return sphere_mask((side, side, side), radius, edge=edge)


def _places(
    shape: tuple[int, int, int], voxel_size: float, options: LocalResolutionOptions, mask: torch.Tensor | None
) -> Int[torch.Tensor, "n 3"]:
    """Voxels of a grid through the box's centre that lie within the mask, or near enough to be seen in it."""
    step = max(1, round(options.step / voxel_size))
    grid = torch.cartesian_prod(*(torch.arange(n // 2 % step, n, step) for n in shape))
    if mask is None:
        inside = centre_distance(shape)[tuple(grid.T)] <= min(shape) / 2
    else:
        around = [tuple(slice(max(c - step, 0), c + step + 1) for c in place) for place in grid.tolist()]
        inside = torch.tensor([float(mask[part].max()) > 0.5 for part in around])
    if not bool(inside.any()):
        raise InputError("no place of the grid lies within the mask", mend="make --step smaller, or the mask larger")
    return grid[inside]


def _parts(places: torch.Tensor, window: int, progress: Callable[[float], None]):
    size = max(1, BATCH // (4 * window))
    for start in range(0, len(places), size):
        yield places[start : start + size]
        progress(min(1.0, (start + size) / len(places)))


def _measure(
    halves: Float[torch.Tensor, "2 z y x"],
    random: Float[torch.Tensor, "2 z y x"],
    places: Int[torch.Tensor, "n 3"],
    sphere: Float[torch.Tensor, "side side side"],
    voxel_size: float,
    options: LocalResolutionOptions,
) -> Float[torch.Tensor, "n"]:
    """Resolution at each place, Å."""
    first, second = _windows(halves, places, len(sphere))
    seen = fourier_shell_correlation(first, second, voxel_size, mask=sphere)
    first, second = _windows(random, places, len(sphere))
    chance = fourier_shell_correlation(first, second, voxel_size, mask=sphere).correlation.nan_to_num(0)
    masked = seen.correlation.nan_to_num(0)
    # The sphere smears one shell of the window into the next.
    settled = seen.frequency >= 1 / options.randomise_from + seen.frequency[1]
    corrected = torch.where(settled, (masked - chance) / (1 - chance).clamp(min=1e-6), masked)
    corrected[:, 0] = 1
    crossing = ShellCorrelation(seen.frequency, corrected, seen.count).crossing(THRESHOLD)
    return (1 / crossing.clamp(min=1 / options.floor)).to(halves.dtype)


def _windows(
    volumes: Float[torch.Tensor, "2 z y x"], places: Int[torch.Tensor, "n 3"], side: int
) -> Float[torch.Tensor, "2 n side side side"]:
    """Windows around places; what lies beyond the box wraps around, where there is solvent."""
    offset = torch.arange(side) - side // 2
    z, y, x = ((places[:, k, None] + offset) % volumes.shape[k + 1] for k in range(3))
    return volumes[:, z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]]


def _blend(
    places: Int[torch.Tensor, "n 3"],
    values: Float[torch.Tensor, "n"],
    sphere: Float[torch.Tensor, "side side side"],
    shape: tuple[int, int, int],
    floor: float,
) -> Float[torch.Tensor, "z y x"]:
    """Mean frequency of the measured values around each voxel, weighted by the spheres; the floor where none reaches.

    Frequencies and not resolutions are averaged: one place in the solvent would outweigh all others.
    """
    total, weight = (np.zeros(shape) for _ in range(2))
    side, ball = len(sphere), sphere.double().numpy()
    for place, value in zip(places.tolist(), values.tolist(), strict=True):
        index = np.ix_(*((c + np.arange(side) - side // 2) % n for c, n in zip(place, shape, strict=True)))
        total[index] += ball / value
        weight[index] += ball
    blended = np.divide(weight, total, out=np.full(shape, floor), where=weight > 1e-6)
    return torch.from_numpy(blended.astype(np.float32))
