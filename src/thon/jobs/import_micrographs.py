"""Import micrographs: images that others motion-corrected, one by one, by folder, or as RELION's star file lists them.

From a star file come pixel size, optics, and CTFs where they are fitted; nothing is copied.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.micrograph import Micrograph
from thon.data.optics import Optics
from thon.formats.images import open_images
from thon.formats.relion_micrographs import read_micrographs
from thon.formats.relion_table import find_named
from thon.job.context import Context
from thon.job.spec import each

SUFFIXES = (".mrc", ".tif", ".tiff")


class ImportMicrographsOptions(Options):
    pixel_size: Annotated[float | None, Gt(0), Unit("Å")] = None
    """Pixel size; that of the star file or the image unless given."""

    dose: Annotated[float | None, Gt(0), Unit("e/Å²")] = None
    """Exposure of each micrograph."""

    voltage: Annotated[float | None, Gt(0), Unit("kV")] = None
    """Acceleration voltage; that of the star file unless given, else 300."""

    cs: Annotated[float | None, Ge(0), Unit("mm")] = None
    """Spherical aberration; that of the star file unless given, else 2.7."""

    amplitude_contrast: Annotated[float | None, Ge(0), Lt(1), Unit("1")] = None
    """Fraction of amplitude contrast; that of the star file unless given, else 0.1."""


def expand_micrographs(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """The micrographs in a folder or a star file, or the one that a path is.

    Raises:
        InputError: If one that a star file lists is missing.
    """
    if path.suffix.lower() == ".star":
        files = [(find_named(path, one.path), path) for one in _read_star(path, path.stat().st_mtime_ns).values()]
        return {file.stem: {"image": (file,), "listing": (star,)} for file, star in files}
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        return {file.stem: {"image": (file,)} for file in found}
    return {path.stem: {"image": (path,)}}


@each(title="Import micrographs", stage="import", expand=expand_micrographs)
def import_micrographs(
    image: Path, options: ImportMicrographsOptions, context: Context, listing: Path | None = None
) -> Micrograph:
    known = None if listing is None else _read_star(listing, listing.stat().st_mtime_ns).get(image.stem)
    with open_images(image) as file:
        if len(file) != 1:
            raise InputError("not a micrograph", path=image, got=f"{len(file)} images", expected="one image")
        shape, stored = (file.shape[1], file.shape[2]), file.pixel_size
    pixel_size = options.pixel_size or (known.pixel_size if known else None) or (stored if stored != 1 else None)
    if pixel_size is None:
        raise InputError("the pixel size is not known", path=image, mend="give it with --pixel-size, in Å")
    optics = known.optics if known else Optics()
    optics = Optics(
        options.voltage or optics.voltage or 300.0,
        optics.cs if options.cs is None and optics.cs is not None else 2.7 if options.cs is None else options.cs,
        options.amplitude_contrast or optics.amplitude_contrast or 0.1,
    )
    found = known or Micrograph(context.item, str(image), shape, pixel_size)
    exposure = found.exposure if options.dose is None else options.dose
    context.log(f"{shape[1]} × {shape[0]} px at {pixel_size:g} Å, {optics.voltage:g} kV.")
    return replace(
        found,
        name=context.item,
        path=str(image),
        image_shape=shape,
        pixel_size=pixel_size,
        optics=optics,
        exposure=exposure,
    )


@lru_cache(maxsize=8)
def _read_star(path: Path, modified: int) -> dict[str, Micrograph]:
    """Micrographs of a star file by the stem of their names; their size is looked up in the images."""
    return {Path(one.path).stem: one for one in read_micrographs(path, (0, 0)).micrographs}
