"""The values that matter in IMOD's command files `tilt.com` and `newst.com`; lengths in unbinned pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass

from thon.base.errors import FormatError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, filled_lines, numeric_row, read_text


@dataclass(frozen=True)
class TiltCom:
    """What `tilt` is told.

    Args:
        projections: Aligned stack.
        output: Reconstruction.
        tilt_file: Tilt angles.
        x_tilt_file: Tilts about x per image; empty for none.
        local_file: Local alignments; empty for none.
        z_factor_file: Shifts proportional to z; empty for none.
        thickness: THICKNESS, px.
        x_axis_tilt: XAXISTILT, degrees.
        angle_offset: First value of OFFSET, added to all tilt angles, degrees.
        axis_offset: Second value of OFFSET, the tilt axis from the centre along x, px.
        shift: SHIFT of the volume, (x, z), px.
        excluded: EXCLUDELIST and EXCLUDELIST2, image numbers from 1 as in the file.
        binning: IMAGEBINNED.
        full_image: FULLIMAGE, (x, y), px.
        subset_start: SUBSETSTART, (x, y), px.
        radial: RADIAL, cutoff and fall-off, cycles/px.
    """

    projections: str = ""
    output: str = ""
    tilt_file: str = ""
    x_tilt_file: str = ""
    local_file: str = ""
    z_factor_file: str = ""
    thickness: float | None = None
    x_axis_tilt: float = 0.0
    angle_offset: float = 0.0
    axis_offset: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    excluded: tuple[int, ...] = ()
    binning: float = 1.0
    full_image: tuple[float, float] | None = None
    subset_start: tuple[float, float] = (0.0, 0.0)
    radial: tuple[float, float] | None = None


@dataclass(frozen=True)
class NewstackCom:
    """What `newstack` is told when it makes the aligned stack.

    Args:
        source: Raw stack.
        output: Aligned stack.
        transforms: `.xf` file.
        size: SizeToOutputInXandY, (x, y), px of the output.
        offset: OffsetsInXandY, (x, y), px of the raw stack.
        binning: BinByFactor.
    """

    source: str = ""
    output: str = ""
    transforms: str = ""
    size: tuple[float, float] | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    binning: float = 1.0


class _Options:
    """Options of one command, found without regard to case, with the line they stand on."""

    def __init__(self, path: PathLike, program: str):
        self.path = path
        self.found: dict[str, list[tuple[int, str]]] = {}
        inside = False
        for number, line in filled_lines(read_text(path)):
            if line.startswith("$"):
                inside = re.match(rf"\$\s*(\S*/)?{program}\b", line, re.IGNORECASE) is not None
                self.seen = inside or getattr(self, "seen", False)
            elif inside and not line.startswith("#"):
                key, _, value = line.replace("\t", " ").partition(" ")
                self.found.setdefault(key.lower(), []).append((number, value.strip()))
        if not getattr(self, "seen", False):
            raise FormatError(f"does not run {program}", path=path, expected=f"a line that starts with ${program}")

    def text(self, key: str) -> str:
        return self.found.get(key.lower(), [(0, "")])[-1][1]

    def values(self, key: str, least: int = 1) -> list[float]:
        """Numbers after a key, [] if it is absent."""
        if key.lower() not in self.found:
            return []
        number, value = self.found[key.lower()][-1]
        values = numeric_row(value, self.path, number)
        if len(values) < least:
            raise FormatError(f"line {number}: {key} needs {least} values", path=self.path, got=value)
        return values

    def number(self, key: str, default: float) -> float:
        values = self.values(key)
        return values[0] if values else default

    def pair(self, key: str, default: float | None = None) -> tuple[float, float] | None:
        """Two numbers; the second may be missing where a default is given."""
        values = self.values(key, 2 if default is None else 1)
        if not values:
            return None
        return values[0], values[1] if len(values) > 1 else default or 0.0

    def numbers_listed(self, *keys: str) -> tuple[int, ...]:
        listed: set[int] = set()
        for key in keys:
            for number, value in self.found.get(key.lower(), []):
                listed |= set(parse_list(value, self.path, number))
        return tuple(sorted(listed))


def parse_list(text: str, path: PathLike, line: int) -> list[int]:
    """Numbers of a list such as ``1,4-6,9``.

    Raises:
        FormatError: If it is no such list.
    """
    numbers: list[int] = []
    for part in text.replace(",", " ").split():
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        if match is None:
            raise FormatError(f"line {line} holds no list of images", path=path, got=text, expected="such as 1,4-6,9")
        first, last = int(match[1]), int(match[2] or match[1])
        numbers += range(min(first, last), max(first, last) + 1)
    return numbers


def read_tilt_com(path: PathLike) -> TiltCom:
    """Read `tilt.com`.

    Raises:
        InputError: If there is no such file.
        FormatError: If it does not run tilt, or a value is not what its key needs.
    """
    options = _Options(path, "tilt")
    offset = options.pair("OFFSET", 0.0) or (0.0, 0.0)
    thickness = options.values("THICKNESS")
    return TiltCom(
        projections=options.text("InputProjections"),
        output=options.text("OutputFile"),
        tilt_file=options.text("TILTFILE"),
        x_tilt_file=options.text("XTILTFILE"),
        local_file=options.text("LOCALFILE"),
        z_factor_file=options.text("ZFACTORFILE"),
        thickness=thickness[0] if thickness else None,
        x_axis_tilt=options.number("XAXISTILT", 0.0),
        angle_offset=offset[0],
        axis_offset=offset[1],
        shift=options.pair("SHIFT", 0.0) or (0.0, 0.0),
        excluded=options.numbers_listed("EXCLUDELIST", "EXCLUDELIST2", "EXCLUDE"),
        binning=options.number("IMAGEBINNED", 1.0),
        full_image=options.pair("FULLIMAGE"),
        subset_start=options.pair("SUBSETSTART") or (0.0, 0.0),
        radial=options.pair("RADIAL"),
    )


def read_newstack_com(path: PathLike) -> NewstackCom:
    """Read `newst.com`.

    Raises:
        InputError: If there is no such file.
        FormatError: If it does not run newstack, or a value is not what its key needs.
    """
    options = _Options(path, "newst(?:ack)?")
    return NewstackCom(
        source=options.text("InputFile"),
        output=options.text("OutputFile"),
        transforms=options.text("TransformFile"),
        size=options.pair("SizeToOutputInXandY") or options.pair("SizeToOutput"),
        offset=options.pair("OffsetsInXandY") or (0.0, 0.0),
        binning=options.number("BinByFactor", 1.0),
    )


def write_tilt_com(path: PathLike, com: TiltCom) -> None:
    """Write a `tilt.com` that `submfg tilt.com` runs."""
    lines = ["$tilt -StandardInput", f"InputProjections {com.projections}", f"OutputFile {com.output}"]
    lines += [f"IMAGEBINNED {com.binning:g}", f"TILTFILE {com.tilt_file}"]
    files = {"XTILTFILE": com.x_tilt_file, "LOCALFILE": com.local_file, "ZFACTORFILE": com.z_factor_file}
    lines += [f"{key} {value}" for key, value in files.items() if value]
    if com.thickness is not None:
        lines.append(f"THICKNESS {com.thickness:g}")
    if com.radial is not None:
        lines += [f"RADIAL {com.radial[0]:g} {com.radial[1]:g}", "FalloffIsTrueSigma 1"]
    if com.full_image is not None:
        lines.append(f"FULLIMAGE {com.full_image[0]:g} {com.full_image[1]:g}")
        lines.append(f"SUBSETSTART {com.subset_start[0]:g} {com.subset_start[1]:g}")
    offset = f"{com.angle_offset:.8g} {com.axis_offset:.8g}" if com.axis_offset else f"{com.angle_offset:.8g}"
    lines += [f"XAXISTILT {com.x_axis_tilt + 0.0:.8g}", f"OFFSET {offset}"]
    # The scale and what to do without a GPU are etomo's: other readers of this file do not go without them.
    lines += [f"SHIFT {com.shift[0]:.8g} {com.shift[1]:.8g}", "SCALE 0.0 250.0", "PERPENDICULAR", "MODE 2"]
    lines += ["AdjustOrigin", "ActionIfGPUFails 1,2"]
    if com.excluded:
        lines.append("EXCLUDELIST " + ",".join(str(number) for number in com.excluded))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def write_newstack_com(path: PathLike, com: NewstackCom) -> None:
    """Write a `newst.com` that `submfg newst.com` runs."""
    lines = ["$newstack -StandardInput", f"InputFile {com.source}", f"OutputFile {com.output}"]
    lines += [f"TransformFile {com.transforms}", "TaperAtFill 1,1", "AdjustOrigin"]
    lines += [f"OffsetsInXandY {com.offset[0]:g},{com.offset[1]:g}", "ImagesAreBinned 1.0"]
    lines.append(f"BinByFactor {com.binning:g}")
    if com.size is not None:
        lines.append(f"SizeToOutputInXandY {com.size[0]:g},{com.size[1]:g}")
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
