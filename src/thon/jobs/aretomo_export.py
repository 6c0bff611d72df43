"""The files that AreTomo3 leaves of a series, written for programs that read them: stacks, volumes, tables, IMOD."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from thon.base.errors import InputError
from thon.data.alignment import AlignedTiltSeries
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.formats.aretomo_folder import AreTomoNames, aligned_geometry, write_aretomo_tables, write_imod_folder
from thon.formats.aretomo_session import (
    SESSION_FILE,
    TimeStamp,
    append_done,
    append_metrics,
    append_time,
    measure_series,
)
from thon.formats.images import open_images
from thon.formats.mrc import MrcWriter, open_mrc
from thon.formats.tilt_images import TiltImages
from thon.ops.projection import lay_out

ROWS = 64
"""Rows of a volume that are turned at a time."""


@dataclass(frozen=True)
class AreTomoParts:
    """Which of AreTomo's files are wanted.

    Args:
        stacks: The stack of the images, and those of the even and odd frames where there are any.
        imod: Variant of the `_Imod` folder, 1 to 3; 0 for none.
        second: Voxels that are averaged along each axis for a second, coarser volume; 1 for none.
    """

    stacks: bool
    imod: int
    second: int = 1


def write_aretomo(folder: Path, tomogram: Tomogram, series: TiltSeries, parts: AreTomoParts) -> list[str]:
    """Write a series' files into the folder of a session; the last are its rows in the session's tables.

    Returns:
        Sentences about what AreTomo's files cannot say.
    """
    names = AreTomoNames(folder, series.name)
    notes = write_aretomo_tables(folder, series, thickness=tomogram.thickness)
    volumes = {names.volume: tomogram.volume, names.even_volume: tomogram.even, names.odd_volume: tomogram.odd}
    for path, volume in volumes.items():
        if volume is not None:
            _write_sections_along_y(path, volume)
    if parts.second > 1:
        _write_coarser(names.volume, names.second_volume, parts.second)
    if parts.stacks or parts.imod == 1:
        _write_stack(names.stack, series, series.images)
    if parts.stacks and series.halves:
        _write_stack(names.even, series, [even for even, _ in series.halves])
        _write_stack(names.odd, series, [odd for _, odd in series.halves])
    if series.ctf is not None and series.ctf.spectra is not None:
        link(Path(series.ctf.spectra), names.spectra)
    if parts.imod:
        depth = tomogram.volume.shape[0] * tomogram.volume.voxel_size
        stack, at, more = write_imod_folder(folder, series, parts.imod, thickness=depth)
        notes += more
        if parts.imod == 2:
            _write_stack(stack, series, [series.images[int(k)] for k in at])
        elif parts.imod == 3:
            _write_aligned(stack, series, at)
    if isinstance(series, AlignedTiltSeries):
        append_metrics(folder, measure_series(series))
    since = (folder / SESSION_FILE).stat().st_mtime
    append_time(folder, TimeStamp(series.name, 0, "ProcessExit", max(0.0, time.time() - since)))
    append_done(folder, f"{series.name}.mdoc")
    return notes


def link(source: Path, target: Path) -> None:
    """Give a file another name without copying it, where the disk can; a copy otherwise. An older file is replaced."""
    part = target.with_name(f".{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(target)


def _write_sections_along_y(path: Path, volume: Volume) -> None:
    """The volume with its sections along y, as AreTomo and IMOD write it."""
    z, y, x = volume.shape
    with open_mrc(volume.path) as file:
        along_y = file.shape == (y, z, x) and y != z
        with MrcWriter(path, (y, z, x), volume.voxel_size, dtype=file.dtype, kind="volume") as writer:
            for start in range(0, y, ROWS):
                rows = slice(start, min(start + ROWS, y))
                # Their z points the other way: a turn about x, which keeps the hand.
                part = file[rows, ::-1] if along_y else file[::-1, rows].transpose(1, 0, 2)
                writer[rows] = np.ascontiguousarray(part)


def _write_coarser(source: Path, target: Path, factor: int) -> None:
    """The volume with blocks of voxels averaged; what is left over at the far edges is dropped."""
    with open_mrc(source) as file:
        sections, rows, columns = (n // factor for n in file.shape)
        if min(sections, rows, columns) < 1:
            raise InputError("the second volume would be empty", path=source, got=f"{file.shape} by {factor}")
        size = (file.pixel_size or 1.0) * factor
        with MrcWriter(target, (sections, rows, columns), size, dtype=file.dtype, kind="volume") as writer:
            for k in range(sections):
                part = file[k * factor : (k + 1) * factor, : rows * factor, : columns * factor].astype(np.float32)
                writer[k] = part.reshape(factor, rows, factor, columns, factor).mean((0, 2, 4))


def _write_stack(path: Path, series: TiltSeries, images: Iterable[ImageRef]) -> None:
    chosen = list(images)
    with MrcWriter(path, (len(chosen), *series.image_shape), series.pixel_size, kind="images") as writer:
        for k, image in enumerate(chosen):
            with open_images(image.path) as file:
                writer[k : k + 1] = file.image(image.section).astype(np.float32)[None]


def _write_aligned(path: Path, series: TiltSeries, at: np.ndarray) -> None:
    """The images with their tilt axis upright and their shifts and local motion undone."""
    geometry, shape = aligned_geometry(series.geometry.select(at), series.image_shape)
    with (
        TiltImages(series, at) as images,
        MrcWriter(path, (len(geometry), *shape), series.pixel_size, kind="images") as writer,
    ):
        for k in range(len(geometry)):
            image = torch.from_numpy(images[k])[None]
            upright = lay_out(image, series.geometry.select([int(at[k])]), series.pixel_size, *shape)
            writer[k : k + 1] = upright.transpose(1, 2).contiguous().numpy()
