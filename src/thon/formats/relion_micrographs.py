"""RELION's `corrected_micrographs.star` and `micrographs_ctf.star`, and Gctf's star of CTFs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.data.ctf import Ctf, CtfFit, TiltCtf
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.optics import Optics
from thon.formats.ctf_values import UNKNOWN, collect_fits
from thon.formats.mrc import open_mrc
from thon.formats.relion_motion import accumulated_motion
from thon.formats.relion_optics import OpticsGroup, find_group, optics_table, read_optics
from thon.formats.relion_table import (
    ctf_columns,
    ctf_of_block,
    file_column,
    file_value,
    find_named,
    numbers_column,
    row_number,
)
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike

_FILES = {
    "rlnCtfPowerSpectrum": "spectrum",
    "rlnMicrographName": "path",
    "rlnMicrographNameNoDW": "unweighted",
    "rlnMicrographNameEven": "even",
    "rlnMicrographNameOdd": "odd",
    "rlnMicrographMetadata": "metadata",
}
_MOTION = ("rlnAccumMotionTotal", "rlnAccumMotionEarly", "rlnAccumMotionLate")


@dataclass(frozen=True)
class RelionMicrographs:
    """Micrographs with RELION's tables about them.

    Args:
        micrographs: In the file's order; `CtfMicrograph` where their CTF is known.
        optics: The table of optics groups as it stands in the file.
        columns: The micrographs' table as it stands in the file, for what the house does not know.
    """

    micrographs: tuple[Micrograph, ...]
    optics: StarBlock = field(default_factory=StarBlock)
    columns: StarBlock = field(default_factory=StarBlock)

    def __post_init__(self) -> None:
        if len(self.columns) not in (0, len(self.micrographs)):
            raise InputError("table and micrographs differ in number", got=len(self.columns), expected=len(self))

    def __len__(self) -> int:
        return len(self.micrographs)


@dataclass(frozen=True)
class ListedCtfs:
    """CTFs of images that are only known by name, from a star file of RELION's or Gctf's.

    Args:
        names: Of the images, as in the file.
        ctf: Of each.
        optics: Microscope of each.
    """

    names: tuple[str, ...]
    ctf: TiltCtf
    optics: tuple[Optics, ...]


def read_micrographs(path: PathLike, image_shape: tuple[int, int] | None = None) -> RelionMicrographs:
    """Read a star file of micrographs, with their CTFs where it has them.

    Args:
        path: The file.
        image_shape: (rows, columns) of the micrographs, px, which RELION's files do not hold; read from each
            micrograph's header where not given.

    Raises:
        InputError: If there is no such file, or a micrograph whose size is needed is missing.
        FormatError: If it lists no micrographs, a value is no number or the pixel size is missing.
    """
    path = Path(path)
    blocks = read_star(path)
    block = blocks.get("micrographs") or list(blocks.values())[-1]
    if "rlnMicrographName" not in block.columns or not len(block):
        raise FormatError("lists no micrographs", path=path, expected="a loop with rlnMicrographName")
    optics = blocks.get("optics", StarBlock())
    groups = read_optics(path, optics)
    plain = [_micrograph(path, row, find_group(path, groups, row), image_shape) for row in block.rows()]
    ctf = ctf_of_block(block)
    if ctf is None:
        return RelionMicrographs(tuple(plain), optics, block)
    ice = _column_or_nan(block, "rlnCtfIceRingDensity")
    pictures = block.columns.get("rlnCtfImage", ["None"] * len(block))
    with_ctf = [
        CtfMicrograph(
            **{entry.name: getattr(micrograph, entry.name) for entry in fields(micrograph)},
            fit=_fit(ctf, k, float(ice[k])),
            diagnostic=file_value(pictures[k].removesuffix(":mrc")),
        )
        for k, micrograph in enumerate(plain)
    ]
    return RelionMicrographs(tuple(with_ctf), optics, block)


def write_micrographs(
    path: PathLike,
    micrographs: RelionMicrographs | Sequence[Micrograph],
    *,
    relative_to: PathLike = ".",
    frame_pixel_size: float | None = None,
) -> list[str]:
    """Write `corrected_micrographs.star`, or `micrographs_ctf.star` where every micrograph's CTF is fitted.

    Args:
        path: File to write.
        micrographs: What it lists; columns that were read and the house does not know are written again.
        relative_to: RELION's project folder, from which file names are counted.
        frame_pixel_size: Of the movies' frames as they were rendered, Å: what each movie's metadata star says. Only
            for super-resolved EER does it differ from the movie's own, which stands where it is not given.

    Returns:
        Sentences about what was left out.

    Raises:
        InputError: If there are no micrographs.
    """
    listed = micrographs if isinstance(micrographs, RelionMicrographs) else RelionMicrographs(tuple(micrographs))
    if not len(listed):
        raise InputError("there are no micrographs to write", path=path)
    groups = _groups(Path(path), listed, frame_pixel_size)
    optics, numbers = optics_table(groups, listed.optics)
    old = listed.columns.columns
    columns = {label: list(texts) for label, texts in old.items()}
    columns |= _file_columns(listed, relative_to) | {"rlnOpticsGroup": numbers}
    columns |= _motion_columns(listed, groups)
    fitted = [m for m in listed.micrographs if isinstance(m, CtfMicrograph) and m.fit is not None]
    notes: list[str] = []
    if len(fitted) == len(listed):
        columns |= _ctf_columns(fitted, columns, relative_to)
    elif fitted:
        notes.append(f"The CTFs are left out: {len(listed) - len(fitted)} of {len(listed)} micrographs have none.")
    write_star(path, {"optics": optics, "micrographs": StarBlock(listed.columns.pairs, columns)})
    return notes


def read_ctf_star(path: PathLike) -> ListedCtfs:
    """Read the CTFs of a star file without looking for its images: Gctf's, or RELION's of micrographs.

    Raises:
        InputError: If there is no such file.
        FormatError: If it holds no CTFs.
    """
    path = Path(path)
    blocks = read_star(path)
    block = blocks.get("micrographs") or list(blocks.values())[-1]
    ctf = ctf_of_block(block)
    if ctf is None or not len(ctf) or "rlnMicrographName" not in block.columns:
        raise FormatError("holds no CTFs of micrographs", path=path, expected="rlnMicrographName and rlnDefocusU")
    groups = read_optics(path, blocks.get("optics", StarBlock()))
    own = "rlnVoltage" in block.columns
    inside = read_optics(path, block)
    optics = [
        inside.get(row.get("rlnOpticsGroup", str(k)), OpticsGroup(Optics())) if own else find_group(path, groups, row)
        for k, row in enumerate(block.rows(), 1)
    ]
    return ListedCtfs(tuple(block.columns["rlnMicrographName"]), ctf, tuple(group.optics for group in optics))


def _micrograph(path: Path, row: dict[str, str], group: OpticsGroup, image_shape: tuple[int, int] | None) -> Micrograph:
    name = row["rlnMicrographName"]
    pixel_size = group.pixel_size or group.frame_pixel_size
    if pixel_size is None or pixel_size <= 0:
        raise FormatError(f"the pixel size of {name} is missing", path=path, expected="rlnMicrographPixelSize")
    return Micrograph(
        name=PurePosixPath(name).stem,
        path=name,
        image_shape=_image_shape(find_named(path, name)) if image_shape is None else image_shape,
        pixel_size=pixel_size,
        optics=group.optics,
        prior_exposure=row_number(path, row, "rlnMicrographPreExposure") or 0.0,
        unweighted=file_value(row.get("rlnMicrographNameNoDW")),
        even=file_value(row.get("rlnMicrographNameEven")),
        odd=file_value(row.get("rlnMicrographNameOdd")),
        spectrum=file_value(row.get("rlnCtfPowerSpectrum")),
        metadata=file_value(row.get("rlnMicrographMetadata")),
    )


def _image_shape(file: Path) -> tuple[int, int]:
    with open_mrc(file) as image:
        return image.shape[1], image.shape[2]


def _fit(ctf: TiltCtf, index: int, ice_ring: float) -> CtfFit:
    score, resolution = float(ctf.score[index]), float(ctf.resolution[index])
    nothing = (float("nan"), float("nan"))
    return CtfFit(ctf.of(index), UNKNOWN, score, resolution, fit_range=nothing, ice_ring=ice_ring)


def _column_or_nan(block: StarBlock, label: str) -> np.ndarray:
    return block.numbers(label) if label in block.columns else np.full(len(block), np.nan)


def _groups(path: Path, listed: RelionMicrographs, frame_pixel_size: float | None) -> list[OpticsGroup]:
    """Optics group of each; the name and the frames' pixel size from the table that was read where only that knows."""
    old = read_optics(path, listed.optics)
    numbers = listed.columns.columns.get("rlnOpticsGroup", [""] * len(listed))
    groups: list[OpticsGroup] = []
    for micrograph, number in zip(listed.micrographs, numbers, strict=True):
        before = old.get(number, OpticsGroup(micrograph.optics, micrograph.pixel_size))
        movie_size = before.frame_pixel_size if micrograph.movie is None else micrograph.movie.pixel_size
        groups.append(
            OpticsGroup(micrograph.optics, frame_pixel_size or movie_size, micrograph.pixel_size, before.name)
        )
    return groups


def _file_columns(listed: RelionMicrographs, project: PathLike) -> dict[str, list[str]]:
    found = {
        label: file_column((getattr(m, name) for m in listed.micrographs), str(project))
        for label, name in _FILES.items()
    }
    return {label: texts for label, texts in found.items() if texts is not None}


def _motion_columns(listed: RelionMicrographs, groups: Sequence[OpticsGroup]) -> dict[str, list[str]]:
    """Accumulated motion, where every micrograph's is known; else what was read stands."""
    rows: list[tuple[float, float, float]] = []
    for micrograph, group in zip(listed.micrographs, groups, strict=True):
        if micrograph.motion is None:
            return {}
        pixel_size = group.frame_pixel_size or micrograph.pixel_size
        rows.append(accumulated_motion(micrograph.motion, pixel_size, micrograph.prior_exposure))
    table = np.array(rows)
    return {label: numbers_column(label, table[:, i], {}) for i, label in enumerate(_MOTION)}


def _ctf_columns(fitted: Sequence[CtfMicrograph], old: dict[str, list[str]], project: PathLike) -> dict[str, list[str]]:
    fits = [micrograph.fit or CtfFit(Ctf(0, 0), UNKNOWN, 0, 0, (0, 0)) for micrograph in fitted]
    columns: dict[str, list[str]] = {}
    pictures = file_column((micrograph.diagnostic for micrograph in fitted), str(project))
    if pictures is not None:
        columns["rlnCtfImage"] = [_as_mrc(name) for name in pictures]
    columns |= ctf_columns(collect_fits(fits), old)
    ice = np.array([fit.ice_ring for fit in fits])
    if np.isfinite(ice).all():
        columns["rlnCtfIceRingDensity"] = numbers_column("rlnCtfIceRingDensity", ice, old)
    return columns


def _as_mrc(name: str) -> str:
    """RELION is told the format of a file that its suffix does not tell by `:mrc`."""
    return name if name == "None" or name.endswith((".mrc", ".mrcs", ":mrc")) else f"{name}:mrc"
