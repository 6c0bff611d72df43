"""Images of particles straight from their micrographs: the boxes that extraction cuts, when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.extract import ExtractOptions, cut_box, dust_seeds, finish_boxes
from thon.base.errors import InputError
from thon.data.particles import ImageCut, ParticleOptics, Particles


class Micrographs(Protocol):
    """Where parts of micrographs come from."""

    def shape(self, file: int, /) -> tuple[int, int]:
        """Rows and columns of one of the particles' files."""
        ...

    def read(self, file: int, rows: slice, columns: slice, /) -> Float[np.ndarray, "part_rows part_columns"]:
        """A part of it, as recorded."""
        ...


def image_cut(options: ExtractOptions, box: int) -> ImageCut:
    """What particles have to know so that their images can be cut out later.

    Args:
        options: How.
        box: Side, px of the micrograph.
    """
    kept = options.model_dump(include=set(ImageCut.__dataclass_fields__) - {"box"})
    return ImageCut(box=box, **kept)


def cut_particles(
    particles: Particles, indices: Int[np.ndarray, "n"], micrographs: Micrographs
) -> Float[np.ndarray, "n side side"]:
    """Images of particles of one optics group, the same bits as a stack of float32 would hold.

    Args:
        particles: Of groups that say how images are cut.
        indices: Which, of one group.
        micrographs: The particles' files.

    Raises:
        InputError: The group does not say how, coordinates are missing, or a box cannot be normalised.
    """
    group = particles.optics[particles.group[indices[0]]]
    if group.cut is None or particles.coordinates is None or group.micrograph_pixel_size is None:
        raise InputError(
            f"the images of optics group '{group.name}' cannot be cut out of micrographs",
            expected="coordinates, and the micrographs' pixel size",
        )
    centre = particles.coordinates[indices].astype(np.int64)
    boxes = [
        _box(micrographs, file, (y, x), group.cut.box)
        for file, (y, x) in zip(particles.file[indices].tolist(), centre.tolist(), strict=True)
    ]
    return finish_boxes(
        torch.stack(boxes),
        group.micrograph_pixel_size,
        _options(group, group.cut),
        ctf=None if particles.ctf is None else particles.ctf.select(indices),
        group=group,
        seeds=dust_seeds(centre),
    ).numpy()


def cut_in_order(
    particles: Particles, image: Float[np.ndarray, "rows columns"], step: int
) -> Iterator[tuple[slice, Float[np.ndarray, "n side side"]]]:
    """The images of all particles, some at a time, with their places.

    Args:
        particles: Of one micrograph; optics groups may differ, but not in the size of images.
        image: The micrograph.
        step: How many at a time.
    """
    source = _InMemory(image)
    for start in range(0, len(particles), step):
        chosen = np.arange(start, min(start + step, len(particles)))
        groups = particles.group[chosen]
        side = particles.optics[groups[0]].box
        images = np.empty((len(chosen), side, side), np.float32)
        for group in np.unique(groups):
            images[groups == group] = cut_particles(particles, chosen[groups == group], source)
        yield slice(start, start + len(chosen)), images


@dataclass(frozen=True)
class _InMemory:
    """One micrograph, whichever file is asked for."""

    image: Float[np.ndarray, "rows columns"]

    def shape(self, _: int) -> tuple[int, int]:
        rows, columns = self.image.shape
        return rows, columns

    def read(self, _: int, rows: slice, columns: slice) -> Float[np.ndarray, "part_rows part_columns"]:
        return self.image[rows, columns]


def _box(micrographs: Micrographs, file: int, centre: tuple[int, int], box: int) -> Float[torch.Tensor, "box box"]:
    def read(rows: slice, columns: slice) -> np.ndarray:
        return micrographs.read(file, rows, columns)

    return cut_box(read, micrographs.shape(file), centre, box)


def _options(group: ParticleOptics, cut: ImageCut) -> ExtractOptions:
    return ExtractOptions(
        box=cut.box,
        rescale=group.box,
        multiply_ctf=group.premultiplied,
        invert=cut.invert,
        normalise=cut.normalise,
        background_diameter=cut.background_diameter,
        white_dust=cut.white_dust,
        black_dust=cut.black_dust,
    )
