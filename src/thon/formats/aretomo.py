"""AreTomo's `.aln` (1.2, 1.3, 2 and 3), `_TLT.txt` and `_CTF.txt`.

A point p of the raw image, in px, falls at R(−ROT) (p − centre − (TX, TY)) in the aligned image, whose y axis is the
tilt axis. The centre is half the size counted from the image's edge (index n / 2 − 0.5), as in IMOD: AreTomo's sources
say so, and its export to IMOD writes A = R(−ROT), d = −A (TX, TY). (Its own resampler then rounds to the nearest pixel
half a pixel further on.) A local row says that the raw image shows at (x, y) + (dx, dy) from centre + (TX, TY), along
the raw image's axes, what the global alignment alone puts at (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.geometry import LocalField, TiltGeometry
from thon.formats.atomic import atomic_path
from thon.formats.local_field import fit_local_field
from thon.formats.text import PathLike, filled_lines, numeric_row, read_text, to_integer, to_number
from thon.formats.xf import edge_centre

_MAGIC = "AreTomo Alignment"
_COLUMNS = 10


@dataclass(frozen=True)
class AreTomoPatches:
    """Local alignment of an `.aln`.

    Args:
        position: (tilts, patches, 2), (x, y) along the raw image's axes from its globally aligned centre, px.
        shift: (tilts, patches, 2), (dx, dy), px.
        good: (tilts, patches), AreTomo's own flag; false also for patches that the file leaves out.
    """

    position: Float[np.ndarray, "tilts patches 2"]
    shift: Float[np.ndarray, "tilts patches 2"]
    good: Bool[np.ndarray, "tilts patches"]


@dataclass(frozen=True)
class AreTomoAlignment:
    """Content of an `.aln`, images counted from 0.

    Args:
        section: Index in the raw stack of each aligned image.
        rotation: ROT, degrees.
        magnification: GMAG.
        shift: (tilts, 2), (TX, TY), px.
        tilt: TILT, degrees.
        dark: Index in the raw stack and tilt angle of the images left out as dark.
        image_shape: (rows, columns) of the raw images, px; None in files of AreTomo 1.2.
        sections: Number of images in the raw stack.
        alpha_offset: Tilt offset found, degrees; None where not given. TILT holds it already if it was applied.
        beta_offset: Inclination along the tilt axis found, degrees; None where not given.
        thickness: Of the sample, px; None where not given.
        patches: Local alignment, if any.
        notes: Sentences about oddities.
    """

    section: Int[np.ndarray, "tilts"]
    rotation: Float[np.ndarray, "tilts"]
    magnification: Float[np.ndarray, "tilts"]
    shift: Float[np.ndarray, "tilts 2"]
    tilt: Float[np.ndarray, "tilts"]
    dark: tuple[tuple[int, float], ...] = ()
    image_shape: tuple[int, int] | None = None
    sections: int = 0
    alpha_offset: float | None = None
    beta_offset: float | None = None
    thickness: float | None = None
    patches: AreTomoPatches | None = None
    notes: tuple[str, ...] = ()


class _Header:
    """The `# Key = values` lines."""

    def __init__(self, path: PathLike):
        self.path = path
        self.values: dict[str, tuple[int, list[str]]] = {}
        self.dark: list[tuple[int, int, float]] = []
        self.old_count = 0

    def take(self, number: int, text: str) -> None:
        key, equals, rest = text.partition("=")
        words = rest.split()
        if not equals:
            if words := text.split():
                # AreTomo 1.2 has a bare "41  0": images and patches.
                self.old_count = int(words[0]) if words[0].isdecimal() and len(words[0]) < 7 else self.old_count
        elif key.strip() == "DarkFrame":
            if len(words) != 3:
                raise FormatError(f"line {number} is no DarkFrame", path=self.path, got=text, expected="three numbers")
            index, section = (to_integer(word, self.path, number) for word in words[:2])
            self.dark.append((index, section, to_number(words[2], self.path, number)))
        else:
            self.values[key.strip()] = number, words

    def number(self, key: str) -> float | None:
        number, words = self.values.get(key, (0, []))
        return to_number(words[0], self.path, number) if words else None

    def size(self) -> tuple[int, int, int] | None:
        if "RawSize" not in self.values:
            return None
        number, words = self.values["RawSize"]
        if len(words) != 3:
            raise FormatError(f"line {number} has no size", path=self.path, got=words, expected="columns rows images")
        columns, rows, sections = (to_integer(word, self.path, number) for word in words)
        if min(columns, rows, sections) < 1 or sections > 100_000:
            raise FormatError(f"line {number} has an impossible size", path=self.path, got=" × ".join(words))
        return columns, rows, sections


def read_aln(path: PathLike) -> AreTomoAlignment:
    """Read an `.aln` of any AreTomo version, with sections counted from 0 or from 1.

    Raises:
        InputError: If there is no such file.
        FormatError: If it is no `.aln`, or lines or images are missing.
    """
    lines = list(filled_lines(read_text(path)))
    if _MAGIC not in lines[0][1]:
        raise FormatError("is no AreTomo alignment", path=path, got=lines[0][1][:60], expected=f"# {_MAGIC} …")
    header, rows, local = _Header(path), list[list[float]](), list[list[float]]()
    is_local = False
    for number, line in lines[1:]:
        if line.startswith("#"):
            is_local = is_local or "Local Alignment" in line
            if not is_local:
                header.take(number, line.lstrip("# "))
        elif is_local:
            local.append(numeric_row(line, path, number, 7))
        else:
            rows.append(numeric_row(line, path, number, _COLUMNS))
    if not rows:
        raise FormatError("holds no aligned image", path=path, mend="it may not have been written completely")
    return _assemble(path, header, np.array(rows), local)


def _assemble(
    path: PathLike, header: _Header, table: Float[np.ndarray, "tilts 10"], local: list[list[float]]
) -> AreTomoAlignment:
    size = header.size()
    sections = size[2] if size else max(header.old_count, len(table) + len(header.dark))
    section = table[:, 0].astype(np.int64)
    if (section != table[:, 0]).any() or len(np.unique(section)) != len(section):
        raise FormatError("section numbers are not whole or occur twice", path=path)
    base = _base(section, header, sections)
    section = section - base
    if section.min() < 0 or section.max() >= sections:
        raise FormatError(
            "section numbers lie outside the raw stack",
            path=path,
            got=f"{section.min() + base} to {section.max() + base}",
            expected=f"{sections} images",
        )
    notes: list[str] = []
    section = _among_all(section, header, sections, notes)
    dark = _dark(header, section, sections, base, notes)
    if len(section) + len(dark) < sections:
        notes.append(f"{sections - len(section) - len(dark)} images of the stack are neither aligned nor dark.")
    if alpha := header.number("AlphaOffset"):
        notes.append(f"AreTomo measured a tilt offset of {alpha:g}°; TILT is taken as it stands.")
    return AreTomoAlignment(
        section=section,
        rotation=table[:, 1],
        magnification=table[:, 2],
        shift=table[:, 3:5],
        tilt=table[:, 9],
        dark=dark,
        image_shape=(size[1], size[0]) if size else None,
        sections=sections,
        alpha_offset=header.number("AlphaOffset"),
        beta_offset=header.number("BetaOffset"),
        thickness=header.number("Thickness"),
        patches=_patches(path, local, len(table)) if local else None,
        notes=tuple(notes),
    )


def _base(section: Int[np.ndarray, "tilts"], header: _Header, sections: int) -> int:
    """Whether sections count from 0 or 1.

    A 0 anywhere means from 0, a number as large as the stack means from 1. In between (the first and the last image are
    dark) AreTomo's versions decide: those that count from 1 are those that also give AlphaOffset and Thickness.
    """
    numbers = [*section, *(dark[1] for dark in header.dark)]
    if max(numbers) >= sections:
        return 1
    if min(section) == 0:
        return 0
    return int("Thickness" in header.values or (min(numbers) > 0 and "AlphaOffset" in header.values))


def _among_all(
    section: Int[np.ndarray, "tilts"], header: _Header, sections: int, notes: list[str]
) -> Int[np.ndarray, "tilts"]:
    """Raw-stack indices also where a version counts SEC among the images that are left, which clashes with the dark."""
    dark = {index for index, _, _ in header.dark}
    consecutive = np.array_equal(section, np.arange(len(section)))
    if not consecutive or dark.isdisjoint(section.tolist()) or len(section) + len(dark) != sections:
        return section
    notes.append("SEC counts the images without the dark ones here.")
    return np.array(sorted(set(range(sections)) - dark), np.int64)


def _dark(
    header: _Header, section: Int[np.ndarray, "tilts"], sections: int, base: int, notes: list[str]
) -> tuple[tuple[int, float], ...]:
    """Raw-stack index and angle of the dark images; AreTomo 2 writes 0 for every section, then the rest is inferred."""
    if not header.dark:
        return ()
    found = [number - base for _, number, _ in header.dark]
    free = sorted(set(range(sections)) - set(section.tolist()))
    if len(set(found)) == len(found) and set(found) <= set(free):
        return tuple((index, tilt) for index, (_, _, tilt) in zip(found, header.dark, strict=True))
    in_order = sorted(header.dark)
    indices = [index for index, _, _ in in_order]
    if set(indices) <= set(free):
        notes.append("The sections of dark images are taken from their place among the sorted tilts.")
        return tuple((index, tilt) for index, _, tilt in in_order)
    notes.append("Which sections the dark images are is not clear; the sections that are not aligned are taken.")
    return tuple((index, tilt) for index, (_, _, tilt) in zip(free, in_order, strict=False))


def _patches(path: PathLike, local: list[list[float]], tilts: int) -> AreTomoPatches:
    table = np.array(local)
    tilt, patch = table[:, 0].astype(int), table[:, 1].astype(int)
    if tilt.min() < 0 or tilt.max() >= tilts or patch.min() < 0 or patch.max() > 10_000:
        raise FormatError("a local row names an image or a patch that is not there", path=path)
    shape = (tilts, int(patch.max()) + 1)
    position, shift, good = np.zeros((*shape, 2)), np.zeros((*shape, 2)), np.zeros(shape, bool)
    position[tilt, patch], shift[tilt, patch], good[tilt, patch] = table[:, 2:4], table[:, 4:6], table[:, 6] > 0.5
    return AreTomoPatches(position, shift, good)


def aln_to_geometry(
    alignment: AreTomoAlignment, image_shape: tuple[int, int], pixel_size: float
) -> tuple[TiltGeometry, dict[int, str]]:
    """The geometry of the whole raw stack, in its order.

    Args:
        alignment: Content of the `.aln`.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.

    Returns:
        Geometry and, by index, why images are excluded. Those get their own tilt angle where the file gives it,
        and the neighbours' axis without shift.

    Raises:
        InputError: If the file says another image size.
    """
    if alignment.image_shape is not None and alignment.image_shape != image_shape:
        raise InputError(
            "the .aln belongs to images of another size",
            got=alignment.image_shape,
            expected=image_shape,
            mend="give the stack that AreTomo aligned",
        )
    count, at = alignment.sections, alignment.section
    tilt, magnification, shift = np.zeros(count), np.ones(count), np.zeros((count, 2))
    rotation = np.full(count, np.median(alignment.rotation))
    excluded = {k: "not aligned by AreTomo" for k in range(count) if k not in set(at.tolist())}
    for index, angle in alignment.dark:
        tilt[index] = angle
        excluded[index] = "dark, says AreTomo"
    tilt[at], rotation[at], magnification[at] = alignment.tilt, alignment.rotation, alignment.magnification
    shift[at] = (alignment.shift + edge_centre(image_shape))[:, ::-1] * pixel_size
    local = None
    if alignment.patches is not None:
        local = _fit_patches(alignment, alignment.patches, count, image_shape, pixel_size)
    return TiltGeometry(tilt, shift, rotation, magnification=magnification, local=local), excluded


def _fit_patches(
    alignment: AreTomoAlignment,
    patches: AreTomoPatches,
    count: int,
    image_shape: tuple[int, int],
    pixel_size: float,
) -> LocalField:
    """The spline through the good patches: as many coefficients as patches along each axis, and a ring around."""
    side = int(np.ceil(np.sqrt(patches.good.shape[1])))
    plane, moved = [np.zeros((0, 2))] * count, [np.zeros((0, 2))] * count
    phi = np.deg2rad(alignment.rotation)
    for k, section in enumerate(alignment.section):
        x, y = patches.position[k, patches.good[k]].T * pixel_size / alignment.magnification[k]
        c, s = np.cos(phi[k]), np.sin(phi[k])
        plane[section] = np.stack([y * c - x * s, x * c + y * s], -1)
        moved[section] = patches.shift[k, patches.good[k]][:, ::-1] * pixel_size
    everywhere = np.abs(np.concatenate(plane)).max(0, initial=0)
    smallest = np.full(2, min(image_shape) * pixel_size / 4)
    extent = np.maximum(everywhere, smallest)
    return fit_local_field(plane, moved, nodes=(side + 2, side + 2), extent=(float(extent[0]), float(extent[1])))


def geometry_to_aln(
    geometry: TiltGeometry,
    image_shape: tuple[int, int],
    pixel_size: float,
    *,
    excluded: dict[int, str] | None = None,
    thickness: float | None = None,
    patches: int = 5,
) -> AreTomoAlignment:
    """A geometry in AreTomo's terms.

    Args:
        geometry: The geometry of the whole raw stack.
        image_shape: (rows, columns) of the raw images, px.
        pixel_size: Of the raw images, Å.
        excluded: Images to write as dark, by index.
        thickness: Of the sample, Å.
        patches: Patches along each side that sample the local displacement, if there is one.

    Returns:
        What `write_aln` writes; its notes say what AreTomo cannot express: tilt about x.
    """
    dark = sorted(excluded or {})
    kept = np.array([k for k in range(len(geometry)) if k not in dark], np.int64)
    notes: list[str] = []
    if np.abs(geometry.x_tilt[kept]).max(initial=0) > 0.005:
        notes.append("The tilt about x is left out: AreTomo's alignment has none.")
    local = None
    if geometry.local is not None:
        field = replace(geometry.local, coefficients=geometry.local.coefficients[kept])
        local = _sample_patches(geometry.select(kept), field, image_shape, pixel_size, patches)
    return AreTomoAlignment(
        section=kept,
        rotation=geometry.rotation[kept],
        magnification=geometry.magnification[kept],
        shift=geometry.shift[kept][:, ::-1] / pixel_size - edge_centre(image_shape),
        tilt=geometry.tilt[kept],
        dark=tuple((k, float(geometry.tilt[k])) for k in dark),
        image_shape=image_shape,
        sections=len(geometry),
        thickness=None if thickness is None else thickness / pixel_size,
        patches=local,
        notes=tuple(notes),
    )


def _sample_patches(
    geometry: TiltGeometry, local: LocalField, image_shape: tuple[int, int], pixel_size: float, side: int
) -> AreTomoPatches:
    rows, columns = image_shape
    where = (np.arange(side) + 0.5) / side - 0.5
    grid = np.meshgrid(where * rows * pixel_size, where * columns * pixel_size, indexing="ij")
    y, x = (axis.ravel() for axis in grid)
    points = np.stack([np.zeros_like(x), y, x], -1)
    rigid = TiltGeometry(geometry.tilt, 0 * geometry.shift, geometry.rotation, magnification=geometry.magnification)
    plane = rigid.plane(points)
    shift = local(plane)[..., ::-1] / pixel_size
    return AreTomoPatches(rigid.to_image(plane)[..., ::-1] / pixel_size, shift, np.ones(shift.shape[:2], bool))


def write_aln(path: PathLike, alignment: AreTomoAlignment, *, precise: bool = True) -> None:
    """Write an `.aln` as AreTomo 3 does, sections counted from 1.

    Args:
        path: File to write.
        alignment: What to write.
        precise: More decimals than AreTomo itself writes, which it reads as well: its two for TILT are worth 0.1 px
            for a point 1000 px above the middle.

    Raises:
        InputError: If the size of the raw images is not known.
    """
    if alignment.image_shape is None:
        raise InputError("an .aln needs the size of the raw images", path=path)
    rows, columns = alignment.image_shape
    patches = 0 if alignment.patches is None else alignment.patches.good.shape[1]
    lines = [f"# {_MAGIC} / Priims bprmMn", f"# RawSize = {columns} {rows} {alignment.sections}"]
    lines.append(f"# NumPatches = {patches}")
    order = np.argsort([*alignment.tilt, *(tilt for _, tilt in alignment.dark)], kind="stable")
    place = {int(k): i for i, k in enumerate(order)}
    for k, (section, tilt) in enumerate(alignment.dark):
        lines.append(f"# DarkFrame =  {place[len(alignment.tilt) + k]:4d} {section + 1:4d} {tilt:8.2f}")
    lines.append(f"# AlphaOffset = {alignment.alpha_offset or 0:8.2f}")
    lines.append(f"# BetaOffset = {alignment.beta_offset or 0:8.2f}")
    lines.append(f"# Thickness = {round(alignment.thickness or 0)}")
    lines.append("# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT")
    angle, scale, shift, tilt = ("11.6f", "11.8f", "11.5f", "11.5f") if precise else ("9.4f", "9.5f", "9.3f", "8.2f")
    for k in range(len(alignment.section)):
        lines.append(
            f"{alignment.section[k] + 1:5d}  {alignment.rotation[k]:{angle}}  {alignment.magnification[k]:{scale}}  "
            f"{alignment.shift[k, 0]:{shift}}  {alignment.shift[k, 1]:{shift}}  "
            f"{1:7.2f}  {1:7.2f}  {1:7.2f}  {0:7.2f}  {alignment.tilt[k]:{tilt}}"
        )
    if alignment.patches is not None:
        lines.append("# Local Alignment")
        lines += _local_lines(alignment.patches, "10.4f" if precise else "8.2f")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _local_lines(patches: AreTomoPatches, spec: str) -> list[str]:
    return [
        f"{t:4d} {p:3d} {patches.position[t, p, 0]:{spec}}  {patches.position[t, p, 1]:{spec}}  "
        f"{patches.shift[t, p, 0]:{spec}}  {patches.shift[t, p, 1]:{spec}}  {float(patches.good[t, p]):4.1f}"
        for t in range(patches.good.shape[0])
        for p in range(patches.good.shape[1])
    ]
