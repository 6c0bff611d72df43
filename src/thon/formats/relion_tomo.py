"""RELION-5 tomography: `tomograms.star` and the star file of each tilt series, both ways.

RELION-5's model is the house's: rlnTomoXTilt, rlnTomoYTilt and rlnTomoZRot are x-tilt, tilt and rotation, and
rlnTomoXShiftAngst, rlnTomoYShiftAngst the shift, about the same centres (index n // 2). The projection matrices of
RELION 4 (rlnTomoProjX …) are taken apart. Rows stay in the file's order when written again, since RELION counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.ctf_values import select_ctf
from thon.formats.relion_table import (
    OPTICS_LABELS,
    ctf_columns,
    ctf_of_block,
    find_named,
    number_text,
    numbers_column,
    relative_name,
    row_number,
)
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import LARGEST, PathLike

_MATRIX = tuple(f"rlnTomoProj{row}" for row in "XYZ")


@dataclass(frozen=True)
class RelionTomogram:
    """One row of `tomograms.star` with its tilt series.

    Args:
        series: Images in ascending tilt order.
        volume_shape: (z, y, x) of the tomogram in px of the tilt series; None where not given.
        binning: Of the reconstructed tomogram, 1; None where not given.
        columns: The row as it stands in the file, for what the house does not know.
        tilt_columns: The tilt series' table as it stands in the file.
        row: For each image of the series, its row in that table.
        notes: Sentences about what was found odd or could not be taken along.
    """

    series: TiltSeries
    volume_shape: tuple[int, int, int] | None = None
    binning: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    tilt_columns: StarBlock = field(default_factory=StarBlock)
    row: Int[np.ndarray, "tilts"] | None = None
    notes: tuple[str, ...] = ()


def read_tomograms(path: PathLike, image_shape: tuple[int, int]) -> list[RelionTomogram]:
    """Read a `tomograms.star` (or `tilt_series.star`) with the tilt series it names.

    Args:
        path: The file; the paths in it are looked for from its folder and from each folder above.
        image_shape: (rows, columns) of the tilt images, px, which RELION's files do not hold.

    Raises:
        InputError: If a file is missing.
        FormatError: If a table lacks what is needed.
    """
    blocks = read_star(path)
    block = blocks.get("global") or next(iter(blocks.values()))
    if "rlnTomoName" not in block.columns or not len(block):
        raise FormatError("lists no tomograms", path=path, expected="a loop with rlnTomoName")
    return [_read_one(Path(path), row, blocks, image_shape) for row in block.rows()]


def read_tilt_series_star(path: PathLike, name: str | None = None) -> StarBlock:
    """The table of one tilt series.

    Raises:
        FormatError: If the file holds no table of tilts.
    """
    blocks = read_star(path)
    block = blocks.get(name or "") or next(iter(blocks.values()))
    known = {"rlnTomoYTilt", "rlnTomoNominalStageTiltAngle", _MATRIX[0]}
    if not known & set(block.columns) or not len(block):
        raise FormatError("holds no tilts", path=path, expected=" or ".join(sorted(known)))
    return block


def tilt_table_geometry(
    block: StarBlock,
    pixel_size: float,
    *,
    image_shape: tuple[int, int] | None = None,
    volume_shape: tuple[int, int, int] | None = None,
) -> TiltGeometry:
    """Geometry of a tilt series' table, in its row order: refined where it is there, nominal where not.

    Args:
        block: The table.
        pixel_size: Of the tilt series, Å.
        image_shape: (rows, columns), px; only for RELION 4's matrices.
        volume_shape: (z, y, x), px; only for RELION 4's matrices.

    Raises:
        FormatError: If columns are missing or hold no numbers.
    """
    if "rlnTomoYTilt" in block.columns:
        zero = np.zeros(len(block))
        columns = {label: block.numbers(label) if label in block.columns else zero for label in _geometry_labels()}
        for label, values in columns.items():
            if not (np.abs(values) < LARGEST).all():
                raise FormatError(
                    f"{label} holds values that are no geometry", got=values[~(np.abs(values) < LARGEST)][0]
                )
        shift = np.stack([columns["rlnTomoYShiftAngst"], columns["rlnTomoXShiftAngst"]], -1)
        return TiltGeometry(columns["rlnTomoYTilt"], shift, columns["rlnTomoZRot"], columns["rlnTomoXTilt"])
    if _MATRIX[0] in block.columns:
        if image_shape is None or volume_shape is None:
            raise FormatError("RELION 4's matrices need the tomogram's size", expected="rlnTomoSizeX, Y, Z")
        return _from_matrices(block, pixel_size, image_shape, volume_shape)
    tilt = block.numbers("rlnTomoNominalStageTiltAngle")
    axis = "rlnTomoNominalTiltAxisAngle"
    rotation = block.numbers(axis) if axis in block.columns else np.zeros(len(block))
    return TiltGeometry(tilt, np.zeros((len(block), 2)), rotation)


def write_tomograms(path: PathLike, tomograms: Sequence[RelionTomogram], *, relative_to: PathLike = ".") -> list[str]:
    """Write a `tomograms.star` and, beside it, `tilt_series/NAME.star` for each.

    Args:
        path: The file; its folder must exist.
        tomograms: What to write; images that are excluded do not appear.
        relative_to: RELION's project folder, from which the paths in the file are counted.

    Returns:
        Sentences about what RELION's files cannot say.

    Raises:
        InputError: If names occur twice.
    """
    path = Path(path)
    names = [tomogram.series.name for tomogram in tomograms]
    if len(set(names)) < len(names):
        raise InputError("two tomograms have the same name", path=path, got=", ".join(sorted(names)))
    (path.parent / "tilt_series").mkdir(exist_ok=True)
    notes: list[str] = []
    rows: list[dict[str, str]] = []
    for tomogram in tomograms:
        file = path.parent / "tilt_series" / f"{tomogram.series.name}.star"
        write_star(file, {tomogram.series.name: tilt_table(tomogram, relative_to=relative_to)})
        notes += _losses(tomogram.series)
        rows.append(_global_row(tomogram, relative_name(file.absolute(), Path(relative_to))))
    labels = list(dict.fromkeys(label for row in rows for label in row))
    columns = {label: [row.get(label, "") or "None" for row in rows] for label in labels}
    write_star(path, {"global": StarBlock({}, columns)})
    return notes


def tilt_table(tomogram: RelionTomogram, *, relative_to: PathLike = ".") -> StarBlock:
    """The tilt series' table to write: known columns from the series, the others as they were read."""
    series, old = tomogram.series, tomogram.tilt_columns
    row: list[int] = list(range(len(series))) if tomogram.row is None else tomogram.row.tolist()
    kept = [k for k in sorted(range(len(series)), key=row.__getitem__) if k not in series.excluded]
    columns = {label: [values[row[k]] for k in kept] for label, values in old.columns.items()}
    geometry = series.geometry
    numbers: dict[str, Float[np.ndarray, "tilts"]] = {
        "rlnTomoXTilt": geometry.x_tilt,
        "rlnTomoYTilt": geometry.tilt,
        "rlnTomoZRot": geometry.rotation,
        "rlnTomoXShiftAngst": geometry.shift[:, 1],
        "rlnTomoYShiftAngst": geometry.shift[:, 0],
    }
    if np.isfinite(series.prior_exposure).all():
        numbers["rlnMicrographPreExposure"] = series.prior_exposure
    nominal = {"rlnTomoNominalStageTiltAngle": geometry.tilt, "rlnTomoNominalTiltAxisAngle": geometry.rotation}
    numbers |= {label: values for label, values in nominal.items() if label not in columns}
    if series.movies and "rlnMicrographMovieName" not in columns:
        columns["rlnMicrographMovieName"] = [relative_name(series.movies[k], relative_to) for k in kept]
    if "rlnMicrographName" not in columns:
        columns["rlnMicrographName"] = _image_names([series.images[k] for k in kept], relative_to)
    for label in _MATRIX:
        columns.pop(label, None)
    columns |= {label: numbers_column(label, values[kept], columns) for label, values in numbers.items()}
    return StarBlock(
        old.pairs, columns | _half_columns(series, kept, columns, relative_to) | _ctf_columns(series, kept, columns)
    )


def _half_columns(
    series: TiltSeries, kept: list[int], old: Mapping[str, Sequence[str]], project: PathLike
) -> dict[str, list[str]]:
    labels = ("rlnMicrographNameEven", "rlnMicrographNameOdd")
    if not series.halves:
        return {}
    names = [_image_names([series.halves[k][j] for k in kept], project) for j in range(len(labels))]
    # RELION counts rows without leading zeros as well: a name that was read keeps its text.
    return {
        label: [
            old[label][i] if label in old and _image(old[label][i]) == series.halves[k][j] else names[j][i]
            for i, k in enumerate(kept)
        ]
        for j, label in enumerate(labels)
    }


def _ctf_columns(series: TiltSeries, kept: list[int], old: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The CTFs, if every image that is written has one, with the weight that RELION gives to inclined ice."""
    if series.ctf is None or not np.isfinite(series.ctf.defocus[kept]).all():
        return {}
    columns = ctf_columns(select_ctf(series.ctf, kept), old)
    if "rlnDefocusU" not in old and "rlnCtfScalefactor" not in old:
        columns["rlnCtfScalefactor"] = [number_text(float(v)) for v in np.cos(np.deg2rad(series.geometry.tilt[kept]))]
    return columns


def _geometry_labels() -> tuple[str, ...]:
    return ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot", "rlnTomoXShiftAngst", "rlnTomoYShiftAngst")


def _read_one(
    path: Path, row: dict[str, str], blocks: Mapping[str, StarBlock], image_shape: tuple[int, int]
) -> RelionTomogram:
    name = row["rlnTomoName"]
    if "rlnTomoTiltSeriesStarFile" in row:
        block = read_tilt_series_star(find_named(path, row["rlnTomoTiltSeriesStarFile"]), name)
    elif name in blocks:
        block = blocks[name]
    else:
        raise FormatError(f"says nothing of the tilts of {name}", path=path, expected="rlnTomoTiltSeriesStarFile")
    pixel_size = row_number(path, row, "rlnTomoTiltSeriesPixelSize", "rlnMicrographOriginalPixelSize")
    if pixel_size is None or pixel_size <= 0:
        raise FormatError(f"the pixel size of {name} is missing", path=path, expected="rlnTomoTiltSeriesPixelSize")
    sizes = [row_number(path, row, f"rlnTomoSize{axis}") for axis in "ZYX"]
    volume = (int(sizes[0]), int(sizes[1]), int(sizes[2])) if sizes[0] and sizes[1] and sizes[2] else None
    geometry = tilt_table_geometry(block, pixel_size, image_shape=image_shape, volume_shape=volume)
    order = np.argsort(geometry.tilt, kind="stable")
    prior = np.full(len(block), np.nan)
    notes: list[str] = []
    if "rlnMicrographPreExposure" in block.columns:
        prior = block.numbers("rlnMicrographPreExposure")
    else:
        notes.append(f"{name} has no rlnMicrographPreExposure: acquisition order and dose are unknown.")
    if "rlnTomoDeformationCoefficients" in block.columns:
        notes.append(f"The image deformation of {name} is not taken along.")
    images, movies = _paths(path, name, block, order)
    hand = row_number(path, row, "rlnTomoHand")
    series = TiltSeries(
        name=name,
        images=tuple(_image(image) for image in images),
        image_shape=image_shape,
        pixel_size=pixel_size,
        geometry=geometry.select(order),
        order=np.argsort(np.argsort(prior, kind="stable"))[order],
        exposure=_exposure(prior, row_number(path, row, "rlnTomoImportFractionalDose"))[order],
        prior_exposure=prior[order],
        movies=movies,
        optics=Optics(*(row_number(path, row, label) for label in OPTICS_LABELS)),
        hand=None if hand is None else (1 if hand > 0 else -1),
        ctf=_ctf(block, order),
        halves=_halves(block, order),
    )
    binning = row_number(path, row, "rlnTomoTomogramBinning")
    return RelionTomogram(series, volume, binning, row, block, order, tuple(notes))


def _paths(
    path: Path, name: str, block: StarBlock, order: Int[np.ndarray, "tilts"]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Image and movie names in the given order; a series that has only movies so far names them for both."""
    movie_names = block.columns.get("rlnMicrographMovieName")
    image_names = block.columns.get("rlnMicrographName")
    movies = () if movie_names is None else tuple(movie_names[int(k)] for k in order)
    images = movies if image_names is None else tuple(image_names[int(k)] for k in order)
    if not images:
        raise FormatError(f"names no images of {name}", path=path, expected="rlnMicrographName")
    return images, movies


def _halves(block: StarBlock, order: Int[np.ndarray, "tilts"]) -> tuple[tuple[ImageRef, ImageRef], ...]:
    even, odd = block.columns.get("rlnMicrographNameEven"), block.columns.get("rlnMicrographNameOdd")
    if even is None or odd is None:
        return ()
    return tuple((_image(even[int(k)]), _image(odd[int(k)])) for k in order)


def _ctf(block: StarBlock, order: Int[np.ndarray, "tilts"]) -> TiltCtf | None:
    ctf = ctf_of_block(block)
    return None if ctf is None else select_ctf(ctf, order)


def _exposure(prior: Float[np.ndarray, "tilts"], dose: float | None) -> Float[np.ndarray, "tilts"]:
    """Exposure per tilt: as imported, else the smallest step of the exposure before (tilts may have been removed)."""
    if dose is not None:
        return np.full(len(prior), dose)
    steps = np.diff(np.sort(prior))
    steps = steps[steps > 0]
    return np.full(len(prior), steps.min() if len(steps) else np.nan)


def _from_matrices(
    block: StarBlock, pixel_size: float, image_shape: tuple[int, int], volume_shape: tuple[int, int, int]
) -> TiltGeometry:
    """Geometry from RELION 4's 4 × 4 matrices, which map tomogram voxels to image pixels, both counted from 0."""
    matrix = np.array([[_vector(value) for value in block.columns[label]] for label in _MATRIX]).transpose(1, 0, 2)
    rotation, offset = matrix[:, :, :3], matrix[:, :, 3]
    centre = np.array([size // 2 for size in volume_shape[::-1]])
    image_centre = np.array([image_shape[1] // 2, image_shape[0] // 2])
    seen = (rotation @ centre + offset)[:, :2] - image_centre
    scale = np.cbrt(np.linalg.det(rotation))
    rotation = rotation / scale[:, None, None]
    return TiltGeometry(
        tilt=np.rad2deg(np.arcsin(np.clip(-rotation[:, 2, 0], -1, 1))),
        shift=seen[:, ::-1] * pixel_size,
        rotation=np.rad2deg(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])),
        x_tilt=np.rad2deg(np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])),
        magnification=scale,
    )


def _vector(text: str) -> list[float]:
    try:
        values = [float(word) for word in text.strip("[]").split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise FormatError("a projection matrix cannot be read", got=text, expected="[a,b,c,d]")
    return values


def _image(name: str) -> ImageRef:
    section, at, file = name.partition("@")
    if at and section.isdecimal():
        return ImageRef(file.removesuffix(":mrcs"), int(section) - 1)
    return ImageRef(name.removesuffix(":mrc"))


def _image_names(images: Sequence[ImageRef], project: PathLike) -> list[str]:
    """Images as RELION names them; it takes an .mrc for one image unless told `:mrcs`."""
    in_stacks = any(image.section for image in images)
    names: list[str] = []
    for image in images:
        name = relative_name(image.path, project)
        section = f"{image.section + 1:06d}@"
        if name.endswith((".mrcs", ".st", ".ali")):
            names.append(f"{section}{name}")
        else:
            names.append(f"{section}{name}:mrcs" if in_stacks else name)
    return names


def _common_dose(series: TiltSeries) -> float | None:
    dose = series.exposure[series.kept]
    return float(dose[0]) if len(dose) and np.ptp(dose) <= 1e-3 * np.abs(dose).max() else None


def _losses(series: TiltSeries) -> list[str]:
    notes: list[str] = []
    if series.geometry.local is not None:
        notes.append(f"The local displacement of {series.name} is left out.")
    if np.abs(series.geometry.magnification - 1).max(initial=0) > 1e-5:
        notes.append(f"The magnification of each image of {series.name} is left out: RELION's geometry has none.")
    if series.ctf is not None and not np.isfinite(series.ctf.defocus[series.kept]).all():
        missing = [int(k) + 1 for k in series.kept if not np.isfinite(series.ctf.defocus[k])]
        notes.append(f"The CTFs of {series.name} are left out, since there is none for image {missing[0]}.")
    if series.hand is None:
        notes.append(f"The hand of {series.name} is not known: RELION wants rlnTomoHand, +1 or -1, to be put in.")
    dose = series.exposure[series.kept]
    if len(dose) and np.ptp(dose) > 1e-3 * np.abs(dose).max():
        notes.append(f"The images of {series.name} differ in dose, RELION has one: what was before each is written.")
    return notes


def _global_row(tomogram: RelionTomogram, tilt_file: str) -> dict[str, str]:
    series = tomogram.series
    row = dict(tomogram.columns)
    row["rlnTomoName"] = series.name
    row["rlnTomoTiltSeriesStarFile"] = tilt_file
    values: dict[str, float | None] = {
        "rlnVoltage": series.optics.voltage,
        "rlnSphericalAberration": series.optics.cs,
        "rlnAmplitudeContrast": series.optics.amplitude_contrast,
        "rlnTomoTiltSeriesPixelSize": series.pixel_size,
        "rlnTomoHand": series.hand,
        "rlnTomoTomogramBinning": tomogram.binning,
    }
    if "rlnTomoImportFractionalDose" in row or "rlnTomoName" not in tomogram.columns:
        values["rlnTomoImportFractionalDose"] = _common_dose(series)
    for label, value in values.items():
        if value is not None:
            row[label] = number_text(value, row.get(label))
    row.setdefault("rlnMicrographOriginalPixelSize", f"{series.pixel_size:.6f}")
    row.setdefault("rlnOpticsGroupName", "opticsGroup1")
    if tomogram.volume_shape is not None:
        for axis, size in zip("ZYX", tomogram.volume_shape, strict=True):
            row[f"rlnTomoSize{axis}"] = str(size)
    return row
