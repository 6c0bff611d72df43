"""What a stack of tilted images, or an `.mdoc`, tells of itself: gathered for import-tilts, in the file's own order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.tilt_series import ImageRef
from thon.formats.images import open_images
from thon.formats.mdoc_series import MdocSeries, describe_mdoc, find_movies, read_mdoc_series
from thon.formats.mrc import MrcFile


@dataclass(frozen=True)
class TiltSource:
    """What is known of a series before it is put in order; None where nobody says.

    Args:
        images: Where each image is.
        image_shape: (rows, columns), px.
        pixel_size: Å.
        tilt: Stage tilt of each image, degrees.
        order: Acquisition order, from 0.
        exposure: e/Å² of each image.
        movies: Path or name of each image's movie.
        rotation: Tilt axis, degrees.
        voltage: kV.
        notes: Sentences about how it was understood.
        files: Image files read besides the source itself.
    """

    images: tuple[ImageRef, ...]
    image_shape: tuple[int, int]
    pixel_size: float | None
    tilt: Float[np.ndarray, "tilts"] | None = None
    order: Int[np.ndarray, "tilts"] | None = None
    exposure: Float[np.ndarray, "tilts"] | None = None
    movies: tuple[str, ...] = ()
    rotation: float | None = None
    voltage: float | None = None
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def read_source(path: Path, movies: Path | None = None) -> TiltSource:
    """Look into a stack, with the `.mdoc` beside it if there is one, or into an `.mdoc`.

    Args:
        path: Stack of images, or `.mdoc`.
        movies: Folder with the images or movies that an mdoc names; the mdoc's own unless given.

    Raises:
        InputError: Files are missing or do not match each other.
        FormatError: A file is not what it says.
    """
    if path.suffix.lower() == ".mdoc":
        return _from_mdoc(path, movies)
    beside = path.with_name(f"{path.name}.mdoc")
    if beside.exists():
        source = _on_stack(path, beside, read_mdoc_series(beside))
        return _with_notes(source, f"{beside.name} was found beside the stack and read.")
    return _from_stack(path)


def _from_stack(path: Path) -> TiltSource:
    with open_images(path) as stack:
        said = stack.sections if isinstance(stack, MrcFile) else None
        count, shape, pixel_size = len(stack), stack.shape[1:], stack.pixel_size
    source = TiltSource(tuple(ImageRef(str(path), k) for k in range(count)), shape, pixel_size)
    if said is None:
        return source
    tilt, exposure = _complete(said.tilt, count), _complete(said.dose, count)
    voltage = None if said.voltage is None else float(np.nanmedian(said.voltage)) or None
    read = [name for name, column in (("Tilt angles", tilt), ("exposures", exposure)) if column is not None]
    notes = (f"{' and '.join(read)} were read from the extended header.",) if read else ()
    return replace(source, tilt=tilt, exposure=exposure, voltage=voltage, notes=notes)


def _complete(column: Float[np.ndarray, "sections"] | None, count: int) -> Float[np.ndarray, "tilts"] | None:
    """A column that says something about every image; programs that know nothing write zeros."""
    usable = column is not None and len(column) == count and bool(np.isfinite(column).all()) and bool(column.any())
    return column if usable else None


def _from_mdoc(path: Path, movies: Path | None) -> TiltSource:
    found = read_mdoc_series(path)
    for stack in (path.with_suffix(""), path.parent / found.stack if found.stack else None):
        if stack is not None and stack.is_file() and movies is None:
            return _on_stack(stack, path, found)
    return _on_single_images(path, found, movies or path.parent)


def _on_stack(stack: Path, mdoc: Path, found: MdocSeries) -> TiltSource:
    """An mdoc that describes a stack's images."""
    with open_images(stack) as images:
        count, shape, pixel_size = len(images), images.shape[1:], images.pixel_size
    if len(found) != count or found.section.max() >= count:
        raise InputError(
            "the mdoc and its stack do not match in number",
            path=mdoc,
            got=f"{len(found)} images in the mdoc, the last with ZValue {found.section.max()}",
            expected=f"{count} images as in {stack.name}",
        )
    binned = _binning(found, shape)
    said = found.pixel_size * binned if found.pixel_size else pixel_size
    return _described(found, tuple(ImageRef(str(stack), int(k)) for k in found.section), shape, said, (stack,))


def _on_single_images(mdoc: Path, found: MdocSeries, folder: Path) -> TiltSource:
    """An mdoc whose images lie in one file each, named like the movies."""
    if not any(found.movies):
        raise InputError(
            "the stack that this mdoc describes is missing",
            path=mdoc,
            got=f"no {found.stack or mdoc.stem} beside it, and it names no movies",
            mend="put the stack beside the mdoc, or give the stack with --angles",
        )
    paths = find_movies(found.movies, folder)
    files = tuple(Path(paths[name]) for name in found.movies)
    with open_images(files[0]) as first:
        shape, pixel_size = first.shape[1:], first.pixel_size
    for file in files:
        with open_images(file) as image:
            if len(image) != 1:
                raise InputError(
                    "is a movie, not an image", path=file, got=f"{len(image)} frames", mend="correct its motion first"
                )
            if image.shape[1:] != shape:
                raise FormatError("its size differs from the others'", path=file, got=image.shape[1:], expected=shape)
    images = tuple(ImageRef(str(file)) for file in files)
    return _described(found, images, shape, pixel_size if _plausible(pixel_size) else found.pixel_size, files)


def _described(
    found: MdocSeries,
    images: tuple[ImageRef, ...],
    shape: tuple[int, int],
    pixel_size: float | None,
    files: tuple[Path, ...],
) -> TiltSource:
    return TiltSource(
        images,
        shape,
        pixel_size,
        tilt=found.tilt,
        order=found.order,
        exposure=found.exposure,
        movies=found.movies if any(found.movies) else (),
        rotation=found.rotation,
        voltage=found.voltage,
        notes=tuple(describe_mdoc(found)),
        files=files,
    )


def _binning(found: MdocSeries, shape: tuple[int, int]) -> float:
    """By how much a stack was reduced after its mdoc was written."""
    return 1.0 if found.image_shape is None else found.image_shape[1] / shape[1]


def _plausible(pixel_size: float | None) -> bool:
    """Whether a header's pixel size was set: programs that do not know it write 0 or 1."""
    return pixel_size is not None and pixel_size > 0 and pixel_size != 1


def _with_notes(source: TiltSource, *notes: str) -> TiltSource:
    return replace(source, notes=(*notes, *source.notes))
