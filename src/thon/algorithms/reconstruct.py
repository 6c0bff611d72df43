"""A tilt series becomes a volume: BPT, WBP, FBP, SIRT, SART, ADMM and CG with one projector pair.

The volume's values are densities per voxel: summed along the beam they give the images' grey values (less the images'
means, unless `background` is "none"). Geometry enters through the projector alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from thon.algorithms.ctf_correction import CtfCorrectionOptions, ImageRestoration, TiltImaging
from thon.algorithms.reconstruction.grid import reconstruction_grid
from thon.algorithms.reconstruction.options import (
    AdmmOptions,
    FilterOptions,
    IterationOptions,
    Method,
    ReconstructOptions,
)
from thon.algorithms.reconstruction.output import Sink, scale_to_int8
from thon.algorithms.reconstruction.plan import ReconstructionPlan, plan_for
from thon.algorithms.reconstruction.run import Reconstruction, Run, compare_halves
from thon.algorithms.reconstruction.stream import ImageSource
from thon.base.errors import InputError
from thon.data.alignment import ThicknessProfile
from thon.data.geometry import TiltGeometry

__all__ = [
    "AdmmOptions",
    "CtfCorrectionOptions",
    "FilterOptions",
    "IterationOptions",
    "Method",
    "ReconstructOptions",
    "Reconstruction",
    "ReconstructionPlan",
    "TiltImaging",
    "plan_reconstruction",
    "reconstruct",
    "scale_to_int8",
]


def plan_reconstruction(
    image_shape: tuple[int, int],
    geometry: TiltGeometry,
    pixel_size: float,
    options: ReconstructOptions | None = None,
    *,
    profile: ThicknessProfile | None = None,
    imaging: TiltImaging | None = None,
    keeps_output: bool = False,
) -> ReconstructionPlan:
    """What a reconstruction will need, without reading an image.

    Args:
        image_shape: (rows, columns) of the raw images, px.
        geometry: One entry per image.
        pixel_size: Å.
        options: Method, extent and budget.
        profile: Measured thickness, used where the options give none.
        imaging: How the images were taken, where they are to be corrected.
        keeps_output: Whether the volumes stay in memory, as without a sink.

    Raises:
        InputError: Something cannot be right, or does not fit the declared memory.
    """
    options = options or ReconstructOptions()
    grid = reconstruction_grid(image_shape, geometry, pixel_size, options, profile)
    restored = _restoration(imaging, grid.geometry, options) is not None
    return plan_for(grid, options, keeps_output=keeps_output, restored=restored)


def reconstruct(
    images: ImageSource,
    geometry: TiltGeometry,
    pixel_size: float,
    options: ReconstructOptions | None = None,
    *,
    order: Int[np.ndarray, "tilts"] | None = None,
    profile: ThicknessProfile | None = None,
    imaging: TiltImaging | None = None,
    half_images: tuple[ImageSource, ImageSource] | None = None,
    initial: Any = None,
    mask: Any = None,
    sink: Sink | Mapping[str, Sink] | None = None,
    scratch: str | None = None,
    callback: Callable[[int, float], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reconstruction:
    """Reconstruct a volume from a tilt series.

    Images are read one at a time, cropped in Fourier space to the voxel size and resampled once. Rows are then solved
    in slabs, or all together where they depend on each other, within `options.memory`.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index: a tensor, an array, a memory map.
            A tensor determines device and dtype, all else is computed in float32 on the CPU.
        geometry: One entry per image.
        pixel_size: Å.
        options: Method, extent and budget.
        order: Acquisition order of the images, for the halves; by index if not given.
        profile: Measured thickness, used where the options give none.
        imaging: How the images were taken; without it neither CTF nor exposure are corrected.
        half_images: The same images from the even and from the odd frames alone, for halves.
        initial: Start of the iterative methods; an array that lies as the output does.
        mask: Zero where the volume is to be zero, else one; an array that lies as the output does. Iterative methods
            then explain the images without those voxels; filtered ones are multiplied.
        sink: Takes each slab, as `sink[index] = slab` or `sink(index, slab)` with a tuple of slices into the output;
            with halves a mapping with "full", "even" and "odd". Without, the volume is returned.
        scratch: Folder for scratch files, which have no names and vanish with the process.
        callback: Called with each iteration's number and the relative residual before it; once per slab.
        progress: Called with the share that is done, 0 to 1.

    Raises:
        InputError: The input cannot be right, or the job does not fit the declared memory or the disk.
    """
    options = options or ReconstructOptions()
    if len(images.shape) != 3 or images.shape[0] != len(geometry):
        raise InputError(
            "images and geometry do not match",
            got=f"images {tuple(images.shape)}",
            expected=f"({len(geometry)}, rows, columns), one image per tilt",
        )
    grid = reconstruction_grid((images.shape[1], images.shape[2]), geometry, pixel_size, options, profile)
    by_frames = _halves_by_frames(options, half_images)
    sets = _tilt_sets(len(geometry), order, options.halves and not by_frames)
    sinks = _sinks(sink, options.halves)
    restore = _restoration(imaging, grid.geometry, options)
    report: Callable[[float], None] = progress or (lambda share: None)

    def prepare(source: ImageSource, sets: dict[str, np.ndarray]) -> Run:
        own = {name: sinks[name] for name in sets}
        return Run(source, grid, options, sets, own, initial=initial, mask=mask, scratch=scratch, restore=restore)

    with _threads(options.threads):
        if half_images is None or not by_frames:
            return prepare(images, sets)(callback, report)
        # The full images come first: what is measured in them serves the halves too.
        whole = prepare(images, sets)(callback, lambda share: report(share / 3))
        even, odd = (
            prepare(source, {name: sets["full"]})
            for name, source in zip(("even", "odd"), _checked_halves(half_images, images), strict=True)
        )
        first = even(None, lambda share: report((1 + share) / 3))
        second = odd(None, lambda share: report((2 + share) / 3))
    statistics = whole.statistics | first.statistics | second.statistics
    return replace(whole, even=first.even, odd=second.odd, statistics=statistics, fsc=compare_halves(even, odd))


def _restoration(
    imaging: TiltImaging | None, geometry: TiltGeometry, options: ReconstructOptions
) -> ImageRestoration | None:
    """What corrects the images; None where nothing is to be done, or nothing is known."""
    if imaging is None:
        if options.ctf.mode in ("auto", "none"):
            return None
        raise InputError("a CTF correction needs to know how the images were taken", got="no CTF", expected="imaging")
    restore = ImageRestoration(imaging, geometry, options.ctf, options.dose_weight)
    return None if restore.is_idle else restore


def _halves_by_frames(options: ReconstructOptions, half_images: tuple[ImageSource, ImageSource] | None) -> bool:
    if not options.halves:
        return False
    if options.halves_from == "frames" and half_images is None:
        raise InputError(
            "halves by frames need images from half the frames",
            got="a series without",
            mend="correct motion with even and odd sums, or make halves from tilts",
        )
    return half_images is not None and options.halves_from != "tilts"


def _checked_halves(
    half_images: tuple[ImageSource, ImageSource], images: ImageSource
) -> tuple[ImageSource, ImageSource]:
    for half in half_images:
        if tuple(half.shape) != tuple(images.shape):
            raise InputError("half images differ from the images", got=tuple(half.shape), expected=tuple(images.shape))
    return half_images


@contextmanager
def _threads(number: int) -> Generator[None]:
    """Let PyTorch, and with it the projectors, use a number of threads for a while."""
    before = torch.get_num_threads()
    if number:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tilt_sets(tilts: int, order: np.ndarray | None, halves: bool) -> dict[str, np.ndarray]:
    """Indices of the images of each volume."""
    every = np.arange(tilts)
    if not halves:
        return {"full": every}
    if order is not None and len(order) != tilts:
        raise InputError("acquisition order and images differ in number", got=len(order), expected=tilts)
    if tilts < 4:
        raise InputError("halves need at least 4 images", got=tilts)
    place = np.argsort(np.argsort(every if order is None else order, kind="stable"), kind="stable")
    return {"full": every, "even": np.flatnonzero(place % 2 == 0), "odd": np.flatnonzero(place % 2 == 1)}


def _sinks(sink: Sink | Mapping[str, Sink] | None, halves: bool) -> dict[str, Sink | None]:
    names = ("full", "even", "odd") if halves else ("full",)
    if isinstance(sink, Mapping):
        if set(names) - set(sink):
            raise InputError("sinks are missing", got=sorted(sink), expected=sorted(names))
        return {name: sink[name] for name in names}
    if sink is not None and halves:
        raise InputError("halves need three sinks", expected='a mapping with "full", "even" and "odd"')
    return dict.fromkeys(names, sink)
