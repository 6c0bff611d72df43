"""A folder of IMOD's: `.xf`, `.tlt`, `.xtilt`, `tilt.com` and `newst.com` of one series, read and written together.

`tilt` sees a point (x, y, z) of the specimen at x cos θ + z sin θ, z in the house's sense; the thickness axis of the
volume it writes runs against z. XAXISTILT is the section's slope in that volume, hence minus the house's x-tilt, while
a line of XTILTFILE is plus it. SHIFT moves the volume, hence the specimen's centre the other way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry
from thon.formats.imod_com import (
    NewstackCom,
    TiltCom,
    read_newstack_com,
    read_tilt_com,
    write_newstack_com,
    write_tilt_com,
)
from thon.formats.text import PathLike
from thon.formats.tlt import describe_angles, read_angles, write_angles
from thon.formats.xf import geometry_to_transforms, read_xf, transforms_to_geometry, write_xf

STRETCH_TOLERANCE = 0.5
"""Stretch and shear that move a corner by less than this many px are not worth a sentence."""


@dataclass(frozen=True)
class ImodAlignment:
    """What a folder of IMOD's says.

    Args:
        geometry: The geometry in the stack's order.
        excluded: Reason by image index for the images that IMOD leaves out.
        notes: Sentences about what was found odd or could not be taken along.
        thickness: Of the reconstruction, Å, if given.
        stack: Name of the raw stack, if given.
    """

    geometry: TiltGeometry
    excluded: dict[int, str]
    notes: tuple[str, ...]
    thickness: float | None = None
    stack: str = ""


def read_imod(
    folder: PathLike, image_shape: tuple[int, int], pixel_size: float, *, name: str | None = None
) -> ImodAlignment:
    """Read the alignment of one tilt series from the folder that IMOD worked in.

    Args:
        folder: Folder with an `.xf` and a `.tlt`; `.xtilt`, `tilt.com` and `newst.com` are used where present.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        name: Base name of the series where the folder holds several.

    Raises:
        InputError: If files are missing, ambiguous or do not match each other.
        FormatError: If one cannot be understood.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("there is no such folder", path=folder)
    tilt_com = read_tilt_com(folder / "tilt.com") if (folder / "tilt.com").is_file() else TiltCom()
    newstack = read_newstack_com(folder / "newst.com") if (folder / "newst.com").is_file() else NewstackCom()
    if name is not None and tilt_com.tilt_file and Path(tilt_com.tilt_file).stem != name:
        tilt_com, newstack = TiltCom(), NewstackCom()
    xf = _pick(folder, newstack.transforms, name or Path(tilt_com.tilt_file).stem, ".xf")
    transforms = read_xf(xf)
    angles = read_angles(_pick(folder, tilt_com.tilt_file, name or xf.stem, ".tlt"), len(transforms))
    notes = describe_angles(angles)
    aligned, left_out = transforms_to_geometry(
        transforms,
        angles + tilt_com.angle_offset,
        image_shape,
        pixel_size,
        x_tilt=_x_tilt(folder, tilt_com, name or xf.stem, len(transforms)),
        axis=_axis(tilt_com, newstack, notes),
    )
    geometry = _move_volume(aligned, tilt_com.shift, pixel_size)
    notes += describe_stretch(left_out) + _not_taken(folder, tilt_com)
    beyond = [number for number in tilt_com.excluded if not 1 <= number <= len(transforms)]
    if beyond:
        raise InputError("EXCLUDELIST names images that the series does not have", path=folder, got=beyond)
    return ImodAlignment(
        geometry,
        {number - 1: "excluded in tilt.com" for number in tilt_com.excluded},
        tuple(notes),
        None if tilt_com.thickness is None else tilt_com.thickness * pixel_size,
        newstack.source,
    )


def write_imod(
    folder: PathLike,
    name: str,
    geometry: TiltGeometry,
    image_shape: tuple[int, int],
    pixel_size: float,
    *,
    thickness: float | None = None,
    excluded: dict[int, str] | None = None,
    stack: str = "",
    precise: bool = True,
) -> list[str]:
    """Write an alignment so that `submfg newst.com tilt.com` reconstructs from it.

    Args:
        folder: Existing folder.
        name: Base name of the files.
        geometry: What to write.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        thickness: Of the reconstruction, Å; a quarter of the width where not given.
        excluded: Images that take no part, by index.
        stack: Name of the raw stack for `newst.com`; `NAME.st` where not given.
        precise: More decimals than IMOD itself writes.

    Returns:
        Sentences about what IMOD's files cannot say: the local displacement.
    """
    folder = Path(folder)
    decimals = 6 if precise else 2
    write_xf(folder / f"{name}.xf", geometry_to_transforms(geometry, image_shape, pixel_size), precise=precise)
    write_angles(folder / f"{name}.tlt", geometry.tilt, decimals=decimals)
    # One tilt about x for all images goes to XAXISTILT, which IMOD applies faster.
    common = float(geometry.x_tilt[0]) if np.ptp(geometry.x_tilt) < 1e-9 else 0.0
    write_angles(folder / f"{name}.xtilt", geometry.x_tilt - common, decimals=decimals)
    rows, columns = image_shape
    turned = abs(np.sin(np.deg2rad(np.median(geometry.rotation)))) > np.sqrt(0.5)
    size = (rows, columns) if turned else (columns, rows)
    source, aligned = stack or f"{name}.st", f"{name}_ali.mrc"
    write_newstack_com(folder / "newst.com", NewstackCom(source, aligned, f"{name}.xf", size))
    com = TiltCom(
        projections=aligned,
        output=f"{name}_full_rec.mrc",
        tilt_file=f"{name}.tlt",
        x_tilt_file=f"{name}.xtilt",
        thickness=round(thickness / pixel_size) if thickness else size[0] // 4,
        x_axis_tilt=-common,
        full_image=size,
        excluded=tuple(sorted(index + 1 for index in excluded or {})),
        radial=(0.35, 0.035),
    )
    write_tilt_com(folder / "tilt.com", com)
    return [] if geometry.local is None else ["The local displacement is left out: IMOD's files here are rigid."]


def describe_stretch(left_out: Float[np.ndarray, "tilts"]) -> list[str]:
    """A sentence about stretch and shear that a geometry leaves out, if they matter."""
    if left_out.max(initial=0) < STRETCH_TOLERANCE:
        return []
    worst = int(left_out.argmax())
    return [
        f"The transforms hold stretch or shear, which a tilt geometry leaves out: up to {left_out.max():.1f} px at a "
        f"corner (image {worst + 1}), {np.median(left_out):.1f} px in the median image."
    ]


def _pick(folder: Path, named: str, name: str | None, suffix: str) -> Path:
    """The file that a com file names, else the one with the base name, else the only one of its kind."""
    for candidate in (folder / named if named else None, folder / f"{name}{suffix}" if name else None):
        if candidate is not None and candidate.is_file():
            return candidate
    found = sorted(folder.glob(f"*{suffix}"))
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"which {suffix} file belongs to the series is not clear" if found else f"holds no {suffix} file",
        path=folder,
        got=", ".join(path.name for path in found[:8]) or None,
        expected=named or f"{name or 'NAME'}{suffix}",
        mend="give the base name of the series" if found else None,
    )


def _x_tilt(folder: Path, com: TiltCom, name: str, count: int) -> Float[np.ndarray, "tilts"]:
    path = folder / (com.x_tilt_file or f"{name}.xtilt")
    if com.x_tilt_file and not path.is_file():
        raise InputError("the XTILTFILE of tilt.com is missing", path=path)
    own = read_angles(path, count) if path.is_file() else np.zeros(count)
    return own - com.x_axis_tilt


def _axis(com: TiltCom, newstack: NewstackCom, notes: list[str]) -> tuple[float, float]:
    """Where `tilt` has the specimen's centre in the transformed image, (x, y) px from the raw image's centre."""
    if newstack.size is None or com.full_image is None:
        return com.axis_offset, 0.0
    x, y = (
        full / 2 - start - size * newstack.binning / 2 + offset
        for full, start, size, offset in zip(
            com.full_image, com.subset_start, newstack.size, newstack.offset, strict=True
        )
    )
    if abs(x) > 0.5 or abs(y) > 0.5:
        notes.append(f"IMOD's tilt axis passes ({x:g}, {y:g}) px beside the centre of the aligned images.")
    return x + com.axis_offset, y


def _move_volume(geometry: TiltGeometry, shift: tuple[float, float], pixel_size: float) -> TiltGeometry:
    """The geometry about the centre of a volume moved by SHIFT (x, z), px."""
    if shift == (0.0, 0.0):
        return geometry
    centre = np.array([[shift[1], 0.0, -shift[0]]]) * pixel_size
    return replace(geometry, shift=geometry.project(centre)[:, 0])


def _not_taken(folder: Path, com: TiltCom) -> list[str]:
    missing: list[str] = []
    for what, file in (("local alignments", com.local_file), ("z factors", com.z_factor_file)):
        if file and (folder / file).is_file() and not file.endswith(".xtilt"):
            missing.append(f"IMOD's {what} ({file}) are not taken along; the alignment read is the global one.")
    return missing
