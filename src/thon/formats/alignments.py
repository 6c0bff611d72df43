"""One door to every alignment format: `read_alignment` and `write_alignment` choose by suffix and content."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.formats.aretomo import aln_to_geometry, geometry_to_aln, read_aln, write_aln
from thon.formats.imod import describe_stretch, read_imod, write_imod
from thon.formats.relion_tomo import read_tilt_series_star, tilt_table_geometry
from thon.formats.star import StarBlock, write_star
from thon.formats.text import PathLike
from thon.formats.tlt import describe_angles, read_angles, write_angles
from thon.formats.warp import read_warp
from thon.formats.xf import geometry_to_transforms, read_xf, transforms_to_geometry, write_xf

_TRANSFORM_SUFFIXES = (".xf", ".prexf", ".prexg", ".tltxf", ".xg")
_ANGLE_SUFFIXES = (".tlt", ".rawtlt")


@dataclass(frozen=True)
class Alignment:
    """What an alignment file says about the raw stack, in its order.

    Args:
        geometry: One entry per raw image.
        excluded: Reason by index for images that take no part.
        notes: Sentences about oddities and about what could not be taken along.
    """

    geometry: TiltGeometry
    excluded: dict[int, str] = field(default_factory=dict[int, str])
    notes: tuple[str, ...] = ()


def read_alignment(
    path: PathLike,
    image_shape: tuple[int, int],
    pixel_size: float,
    *,
    tilt: PathLike | np.ndarray | None = None,
    count: int | None = None,
) -> Alignment:
    """Read an alignment of any known format.

    Args:
        path: `.aln` (AreTomo), `.xf` (IMOD; `.tlt` and `.xtilt` of the same name beside it), a folder of IMOD's,
            `.xml` (Warp), `.star` (a RELION-5 tilt series), `.tlt` or `.rawtlt` (angles only).
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        tilt: Angles, or a file of them, for an `.xf` without its `.tlt`.
        count: Number of raw images that the alignment must cover.

    Raises:
        InputError: If files are missing, do not match each other or the images, or the suffix is unknown.
        FormatError: If the content is not what the suffix says.
    """
    if not pixel_size > 0:
        raise InputError("the pixel size must be positive", got=pixel_size, mend="give it with --pixel-size")
    path = Path(path)
    found = _read(path, image_shape, pixel_size, tilt)
    if count is not None and len(found.geometry) != count:
        raise InputError(
            "alignment and images do not match in number",
            path=path,
            got=f"{len(found.geometry)} images in the alignment",
            expected=f"{count} images",
        )
    return found


def write_alignment(
    path: PathLike,
    geometry: TiltGeometry,
    image_shape: tuple[int, int],
    pixel_size: float,
    *,
    excluded: dict[int, str] | None = None,
    thickness: float | None = None,
    precise: bool = True,
) -> list[str]:
    """Write an alignment in the format that the suffix names; an existing folder means IMOD's set of files.

    Args:
        path: `.aln`, `.xf` (with `.tlt` and `.xtilt` beside it), `.star`, `.tlt`, or a folder for IMOD's files.
        geometry: What to write, one entry per raw image.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        excluded: Images that take no part, by index.
        thickness: Of the sample, Å.
        precise: More decimals than IMOD and AreTomo themselves write, which they read as well.

    Returns:
        Sentences about what the format cannot say.

    Raises:
        InputError: If the suffix is unknown.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir():
        return write_imod(
            path, path.name, geometry, image_shape, pixel_size, thickness=thickness, excluded=excluded, precise=precise
        )
    if suffix == ".aln":
        alignment = geometry_to_aln(geometry, image_shape, pixel_size, excluded=excluded, thickness=thickness)
        write_aln(path, alignment, precise=precise)
        return list(alignment.notes)
    if suffix == ".xf":
        return _write_xf(path, geometry, image_shape, pixel_size, excluded or {}, precise)
    if suffix == ".star":
        return _write_star(path, geometry, excluded or {})
    if suffix in _ANGLE_SUFFIXES:
        write_angles(path, geometry.tilt, decimals=6 if precise else 2)
        return ["Only the tilt angles are written."]
    raise InputError(
        "no alignment format has this suffix",
        path=path,
        expected=".aln, .xf, .star, .tlt, or a folder for IMOD's files",
    )


def _read(path: Path, image_shape: tuple[int, int], pixel_size: float, tilt: PathLike | np.ndarray | None) -> Alignment:
    suffix = path.suffix.lower()
    if path.is_dir():
        imod = read_imod(path, image_shape, pixel_size)
        return Alignment(imod.geometry, imod.excluded, imod.notes)
    if suffix == ".aln":
        aln = read_aln(path)
        geometry, excluded = aln_to_geometry(aln, image_shape, pixel_size)
        return Alignment(geometry, excluded, aln.notes)
    if suffix in _TRANSFORM_SUFFIXES:
        return _read_xf(path, image_shape, pixel_size, tilt)
    if suffix == ".xml":
        warp = read_warp(path, image_shape, pixel_size)
        return Alignment(warp.geometry, warp.excluded, warp.notes)
    if suffix == ".star":
        block = read_tilt_series_star(path)
        geometry = tilt_table_geometry(block, pixel_size, image_shape=image_shape)
        return Alignment(geometry, {}, tuple(describe_angles(geometry.tilt)))
    if suffix in _ANGLE_SUFFIXES:
        angles = read_angles(path)
        return Alignment(TiltGeometry.nominal(angles), {}, tuple(describe_angles(angles)))
    if not path.exists():
        raise InputError("there is no such alignment", path=path)
    raise FormatError(
        "is no alignment that is known by its suffix",
        path=path,
        expected=".aln, .xf, .xml (Warp), .star (RELION-5), .tlt, or a folder of IMOD's",
    )


def _read_xf(
    path: Path, image_shape: tuple[int, int], pixel_size: float, tilt: PathLike | np.ndarray | None
) -> Alignment:
    transforms = read_xf(path)
    if isinstance(tilt, np.ndarray):
        angles = tilt
    else:
        beside = [path.with_suffix(suffix) for suffix in _ANGLE_SUFFIXES]
        files = [Path(os.fspath(tilt))] if tilt is not None else [file for file in beside if file.is_file()]
        if not files:
            raise InputError("has no tilt angles beside it", path=path, expected=beside[0].name, mend="give the angles")
        angles = read_angles(files[0], len(transforms))
    x_tilt_file = path.with_suffix(".xtilt")
    x_tilt = read_angles(x_tilt_file, len(transforms)) if x_tilt_file.is_file() else np.zeros(len(transforms))
    geometry, left_out = transforms_to_geometry(transforms, angles, image_shape, pixel_size, x_tilt=x_tilt)
    return Alignment(geometry, {}, (*describe_angles(angles), *describe_stretch(left_out)))


def _write_xf(
    path: Path,
    geometry: TiltGeometry,
    image_shape: tuple[int, int],
    pixel_size: float,
    excluded: dict[int, str],
    precise: bool,
) -> list[str]:
    write_xf(path, geometry_to_transforms(geometry, image_shape, pixel_size), precise=precise)
    write_angles(path.with_suffix(".tlt"), geometry.tilt, decimals=6 if precise else 2)
    write_angles(path.with_suffix(".xtilt"), geometry.x_tilt, decimals=6 if precise else 2)
    notes = [] if geometry.local is None else ["The local displacement is left out: an .xf is rigid."]
    if excluded:
        notes.append("The excluded images are written like the others: an .xf cannot tell them.")
    return notes


def _write_star(path: Path, geometry: TiltGeometry, excluded: dict[int, str]) -> list[str]:
    kept = [k for k in range(len(geometry)) if k not in excluded]
    chosen = geometry.select(kept)
    columns = {
        "rlnTomoXTilt": chosen.x_tilt,
        "rlnTomoYTilt": chosen.tilt,
        "rlnTomoZRot": chosen.rotation,
        "rlnTomoXShiftAngst": chosen.shift[:, 1],
        "rlnTomoYShiftAngst": chosen.shift[:, 0],
    }
    texts = {label: [f"{value + 0.0:.6f}" for value in values] for label, values in columns.items()}
    write_star(path, {path.stem: StarBlock({}, texts)})
    notes = ["Excluded images are left out of the table."] if excluded else []
    if geometry.local is not None:
        notes.append("The local displacement is left out of the star file.")
    if np.abs(geometry.magnification - 1).max(initial=0) > 1e-5:
        notes.append("The magnification of each image is left out: RELION's geometry has none.")
    return notes
