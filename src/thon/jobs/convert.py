"""Convert stacks, volumes and alignments from one format to another; the suffix of OUT names the format.

Images and volumes: MRC (.mrc, .st, .mrcs, .rec, .map, .ali), EMAN2's HDF5 (.hdf, .h5), TIFF; binned by Fourier crop,
stored as another type of number. Alignments: .xf (with .tlt beside it), .aln, .star, .tlt, Warp's .xml (read only), or
a folder of IMOD's; they need the raw images' size and pixel size, best given with --like STACK.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.formats.alignments import read_alignment, write_alignment
from thon.formats.image_stack import ImageStack
from thon.formats.images import MRC_SUFFIXES, open_images, write_images
from thon.formats.mrc import MrcFile
from thon.formats.mrc_writer import ByteScale, MrcWriter
from thon.job.context import Context
from thon.job.spec import each
from thon.ops.fourier import fourier_crop

ALIGNMENT_SUFFIXES = (".xf", ".prexf", ".prexg", ".tltxf", ".aln", ".xml", ".star", ".tlt", ".rawtlt")


class ConvertOptions(Options):
    target: str = "converted.mrc"
    """Name of the new file; its suffix names the format."""

    bin: Annotated[int, Ge(1), Unit("1")] = 1
    """Reduce rows and columns by this factor, by Fourier crop."""

    bin_sections: bool = False
    """Reduce the sections as well, as for a volume."""

    values: Literal["keep", "float32", "float16", "int16", "uint16", "int8"] = "keep"
    """Type of the stored numbers; keep stores binned images as float32."""

    scale: bool = False
    """Fit the values into int8; a label of the MRC file states the scale."""

    pixel_size: Annotated[float | None, Gt(0), Unit("Å")] = None
    """Pixel size of the input, in place of what it says."""

    like: Path | None = None
    """For alignments: the raw stack, for its size and pixel size."""

    image_size: tuple[Annotated[int, Gt(0)], Annotated[int, Gt(0)]] | None = None
    """For alignments: rows and columns of the raw images, px, where there is no stack."""

    angles: Path | None = None
    """For an .xf without its .tlt: the tilt angles."""


@each(title="Convert", stage="tools", standalone=True)
def convert(source: Path, options: ConvertOptions, context: Context) -> Path:
    target = context.output(options.target)
    if source.is_dir() or source.suffix.lower() in ALIGNMENT_SUFFIXES:
        _convert_alignment(source, target, options, context)
    else:
        _convert_images(source, target, options, context)
    return target


def _convert_alignment(source: Path, target: Path, options: ConvertOptions, context: Context) -> None:
    if options.like is not None:
        with open_images(options.like) as stack:
            shape, pixel_size, count = stack.shape[1:], options.pixel_size or stack.pixel_size, len(stack)
    else:
        shape, pixel_size, count = options.image_size, options.pixel_size, None
    if shape is None or not pixel_size:
        missing = "image size" if shape is None else "pixel size"
        raise InputError(
            f"an alignment says nothing of the raw images' {missing}",
            path=source,
            mend="give --like STACK, or --image-size ROWS COLUMNS and --pixel-size",
        )
    found = read_alignment(source, shape, pixel_size, tilt=options.angles, count=count)
    if not target.suffix:
        target.mkdir()
    notes = write_alignment(target, found.geometry, shape, pixel_size, excluded=found.excluded)
    for note in (*found.notes, *notes):
        context.warn(note)
    context.log(f"{len(found.geometry)} images, {len(found.excluded)} of them excluded.")


def _convert_images(source: Path, target: Path, options: ConvertOptions, context: Context) -> None:
    with open_images(source) as stack:
        pixel_size = options.pixel_size or stack.pixel_size
        if not pixel_size:
            raise InputError("the pixel size is not known", path=source, mend="give it with --pixel-size, in Å")
        images = Binned(stack, options.bin, context) if options.bin > 1 else stack
        if options.bin > 1 and options.bin_sections:
            images = _bin_sections(images.asarray(), options.bin)
        dtype = images.dtype if options.values == "keep" else np.dtype(options.values)
        if target.suffix.lower() in MRC_SUFFIXES:
            binned = pixel_size * options.bin
            sizes = (binned if options.bin_sections else pixel_size, binned, binned)
            _write_mrc(target, images, sizes, dtype, options, stack)
        elif options.scale:
            raise InputError("only MRC files can state how values were scaled", path=target.name, mend="name it .mrc")
        else:
            write_images(target, images, pixel_size * options.bin, dtype=dtype)
    context.log(f"{' × '.join(map(str, images.shape))} {dtype}, {pixel_size * options.bin:g} Å.")


def _write_mrc(
    target: Path,
    images: np.ndarray | ImageStack,
    voxel_size: tuple[float, float, float],
    dtype: np.dtype,
    options: ConvertOptions,
    source: ImageStack,
) -> None:
    """Write section by section, with the source's extended header where its sections are still the same."""
    if options.scale and options.values not in ("keep", "int8"):
        raise InputError("--scale fits values into int8 only", got=f"--values {options.values}", expected="int8")
    scale = ByteScale.of(images) if options.scale else None
    extended = source.extended if isinstance(source, MrcFile) and options.bin == 1 else None
    number = np.dtype("int8") if options.scale else dtype
    with MrcWriter(target, images.shape, voxel_size, dtype=number, scale=scale, extended=extended) as writer:
        for k in range(len(images)):
            writer[k] = images[k]


class Binned(ImageStack):
    """A stack whose images are reduced by Fourier crop as they are read."""

    def __init__(self, stack: ImageStack, bin_: int, context: Context):
        count, rows, columns = stack.shape
        self.path, self.dtype = stack.path, np.dtype(np.float32)
        self.shape = (count, rows // bin_, columns // bin_)
        self.pixel_size = stack.pixel_size
        if min(self.shape) < 1:
            raise InputError("the bin leaves nothing of the images", path=stack.path, got=bin_)
        self._stack, self._context = stack, context

    def image(self, k: int) -> np.ndarray:
        self._context.progress(k + 1, len(self), "binning")
        image = torch.from_numpy(self._stack.image(k).astype(np.float32))
        return fourier_crop(image, self.shape[1:]).numpy()

    def close(self) -> None:
        self._stack.close()


def _bin_sections(volume: np.ndarray, bin_: int) -> np.ndarray:
    """Reduce the first axis by Fourier crop."""
    sections, _, columns = volume.shape
    standing = torch.from_numpy(volume).transpose(0, 1)
    return fourier_crop(standing, (max(sections // bin_, 1), columns)).transpose(0, 1).contiguous().numpy()
