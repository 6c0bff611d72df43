"""What a reconstruction will need, before it runs, and how it is cut to fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from thon.algorithms.reconstruction.grid import ReconstructionGrid
from thon.algorithms.reconstruction.options import Precision, ReconstructOptions
from thon.base.errors import InputError
from thon.ops.filters import padded_length
from thon.ops.projection import SlabProjector

_LANES = 64  # rows that the projectors take at a time
_RATE = 3.5e9  # voxel updates a second and core
_BASE = 48_000_000  # bytes that the libraries take for themselves
_PIXEL_TIME = 1.5e-7  # seconds to crop and lay out one pixel
_BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}


@dataclass(frozen=True)
class ReconstructionPlan:
    """Cuts and costs of a reconstruction.

    Args:
        strategy: Slabs one after the other, or the whole volume in blocks.
        shape: (z, y, x) of the output, voxels.
        voxel_size: Å.
        rows: Rows in each slab, or block.
        images_on_disk: Whether the laid-out images lie in a scratch file.
        state_on_disk: Whether the solver's volumes do.
        memory: Peak, bytes, beyond what Python and its libraries take.
        scratch: Scratch files, bytes.
        output: All output volumes, bytes.
        updates: Voxel updates: one voxel, one image, one direction.
        seconds: Estimate.
    """

    strategy: Literal["slabs", "whole"]
    shape: tuple[int, int, int]
    voxel_size: float
    rows: tuple[int, ...]
    images_on_disk: bool
    state_on_disk: bool
    memory: int
    scratch: int
    output: int
    updates: int
    seconds: float


@dataclass(frozen=True)
class Footprint:
    """Arrays that a method needs at a time, in volumes and sets of images.

    Args:
        volumes: Kept for all rows that are solved together.
        images: Kept likewise.
        block_volumes: Passing, for one block.
        block_images: Passing likewise.
    """

    volumes: int
    images: int
    block_volumes: int
    block_images: int

    @classmethod
    def of(cls, options: ReconstructOptions) -> Footprint:
        """The footprint of a method."""
        match options.method:
            case "SIRT":
                return cls(1, 1, 2, 2)
            case "SART":
                return cls(1, 1, 2, 1)
            case "CG":
                return cls(3, 2, 2, 2)
            case "ADMM":
                variation, voxelwise = options.admm.total_variation > 0, options.admm.sparsity > 0
                voxelwise |= options.iterations.positive
                return cls(4 + 3 * variation + voxelwise, 1, 15 if variation else 4, 2)
            case _:
                return cls(0, 0, 2, 1)


def passes(options: ReconstructOptions) -> int:
    """Forward and back-projections of all images that a method makes."""
    number = options.iterations.number
    match options.method:
        case "SIRT" | "SART":
            return 2 * number
        case "CG":
            return 2 * number + 2
        case "ADMM":
            return number * (2 + 2 * options.admm.inner)
        case _:
            return 1


def plan_for(
    grid: ReconstructionGrid,
    options: ReconstructOptions,
    *,
    keeps_output: bool,
    masked: bool = False,
    restored: bool = False,
) -> ReconstructionPlan:
    """Plan a reconstruction on a grid.

    Args:
        grid: Of the reconstruction.
        options: Method and budget.
        keeps_output: Whether the volumes stay in memory, for lack of a sink.
        masked: Whether there is a mask.
        restored: Whether images are corrected as they are read.

    Raises:
        InputError: Not even the smallest slab fits the budget, or the strategy does not suit the geometry.
    """
    projector = grid.projector()
    whole = _is_whole(options, projector)
    foot, budget = Footprint.of(options), int(options.memory * 1e9)
    if masked:
        foot = replace(foot, volumes=foot.volumes + 1)
    halo = projector.rows_halo
    voxels, pixels = 4 * projector.depth * grid.width, 4 * len(projector) * projector.columns  # bytes a row
    layout = pixels * projector.image_rows
    sets = 3 if options.halves else 1
    output = sets * math.prod(grid.shape) * _BYTES[options.precision]
    waiting = sets * math.prod(grid.shape) * 4 if options.precision == "int8" else 0
    fixed = (output if keeps_output else 0) + _central_boxes(grid, options)
    loading = _loading(grid, projector, options, restored=restored)
    state = grid.rows * (foot.volumes * voxels + foot.images * pixels)
    if whole and options.halves:
        state += layout
    row = foot.block_volumes * voxels + foot.block_images * pixels
    if not whole:
        row += foot.volumes * voxels + foot.images * pixels
        if options.halves:
            row += pixels // 2
    margin = _passing(foot, projector, pixels)
    if halo:
        row += pixels  # rows of several blocks are put together

    def peak(rows: int, images_on_disk: bool, state_on_disk: bool) -> int:
        kept = fixed + (0 if images_on_disk else layout)
        if not state_on_disk:
            kept += waiting + (state if whole else 0)
        return kept + max(loading, rows * row + margin)

    for images_on_disk, state_on_disk in ((False, False), (False, True), (True, True)):
        for size in _sizes(grid.rows):
            memory = peak(size, images_on_disk, state_on_disk)
            if memory <= budget:
                scratch = layout * images_on_disk + (waiting + (state if whole else 0)) * state_on_disk
                updates = len(projector) * projector.depth * grid.width * grid.rows * passes(options)
                updates *= 2 if options.halves else 1
                seconds = updates / _RATE / max(options.threads, 1)
                seconds += len(projector) * math.prod(grid.padded) * _PIXEL_TIME / 2 + layout / 4 * _PIXEL_TIME
                return ReconstructionPlan(
                    "whole" if whole else "slabs", grid.shape, grid.voxel_size, _cuts(grid.rows, size),
                    images_on_disk, state_on_disk, memory, scratch, output, updates, seconds,
                )  # fmt: skip
    raise InputError(
        "the reconstruction does not fit the declared memory",
        got=f"{options.memory:g} GB",
        expected=f"at least {peak(_sizes(grid.rows)[-1], True, True) / 1e9:.2f} GB",
        mend="allow more memory, use a larger bin, or a smaller volume",
    )


def _passing(foot: Footprint, projector: SlabProjector, pixels: int) -> int:
    """Bytes that pass whatever the block's rows: its halo, the filter's lines, the libraries' own buffers."""
    halo = 2 * projector.rows_halo * pixels * (foot.block_images + 2)
    return halo + padded_length(projector.columns) * 128 * 12 + _BASE


def _is_whole(options: ReconstructOptions, projector: SlabProjector) -> bool:
    couples = options.couples_rows or (options.iterative and projector.rows_halo > 0)
    if couples and options.strategy == "slabs":
        raise InputError(
            "an x-tilt, or a pitch, lets rows depend on each other: strategy 'slabs' cannot iterate on them",
            mend="use strategy 'auto' or 'whole'",
        )
    return couples or options.strategy == "whole"


def _central_boxes(grid: ReconstructionGrid, options: ReconstructOptions) -> int:
    """Bytes of the boxes kept aside for the halves' FSC, and of their transforms in float64."""
    if not options.halves:
        return 0
    side = min(CENTRAL_BOX, grid.rows), min(CENTRAL_BOX, grid.width)
    return 4 * 6 * grid.depth * side[0] * side[1]


def _loading(grid: ReconstructionGrid, projector: SlabProjector, options: ReconstructOptions, *, restored: bool) -> int:
    """Bytes that pass while one image is read, cropped and laid out."""
    laid = projector.columns * projector.image_rows * (2 if options.iterative else 1)
    images = 4 * math.prod(grid.padded) + 4 * math.prod(grid.cropped)
    if restored:  # spectra of overlapping tiles; filters and their results, on mirrored margins
        images += 6 * math.prod(grid.padded) + 14 * math.prod(grid.cropped)
    return 4 * (images + 2 * laid)


def _sizes(rows: int) -> list[int]:
    """Rows of a slab to try, from the most to the least welcome."""
    sizes = [n for n in (4 * _LANES, 2 * _LANES, _LANES, 32, 16, 8) if n < rows]
    return [rows, *sizes] if rows <= 4 * _LANES else sizes


def _cuts(rows: int, size: int) -> tuple[int, ...]:
    return tuple(min(size, rows - start) for start in range(0, rows, size))


CENTRAL_BOX = 256
"""Side along x and y of the box on which the halves are compared, voxels."""
