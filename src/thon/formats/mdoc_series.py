"""What an `.mdoc` says about a tilt series: order, dose, tilt axis, pixel size, and where its movies are.

The house's rotation is SerialEM's "Tilt axis angle", the tilt axis anticlockwise from +y in the image as recorded.
Where only RotationAngle is given, that of SerialEM is 90° more. Acquisition order is that of DateTime, else of ZValue.
Dose is ExposureDose, else the sum of FrameDosesAndNumber, else DoseRate × ExposureTime over the pixel's area, which is
what reached the camera rather than the specimen.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.mdoc import Mdoc, MdocSection, base_name, parse_date, read_mdoc
from thon.formats.text import PathLike, to_number
from thon.formats.tlt import describe_angles

MOVIE_SUFFIXES = (".eer", ".tif", ".tiff", ".mrc", ".mrcs", ".mrc.bz2", ".mrc.gz")
# Entries of an image that all programs write, in about this order.
_USUAL = ("TiltAngle", "SubFramePath", "DateTime")
_AXIS = re.compile(r"tilt\s*axis\s*angle\s*=\s*([+-]?\d+\.?\d*)", re.IGNORECASE)


@dataclass(frozen=True)
class MdocSeries:
    """A tilt series as an mdoc tells it, in the mdoc's order.

    Args:
        section: Index in the image stack.
        tilt: Stage tilt, degrees.
        order: Acquisition order, from 0.
        exposure: e/Å² of each image; NaN where nothing is said.
        prior_exposure: The same before each image.
        movies: Base name of each image's movie; empty text where nothing is said.
        rotation: Tilt axis in the house's sense, degrees; None where nothing is said.
        pixel_size: Å; None where nothing is said.
        image_shape: (rows, columns), px; None where nothing is said.
        voltage: kV; None where nothing is said.
        stack: Base name of the image stack; empty where nothing is said.
        notes: Sentences: how each was understood, and oddities.
    """

    section: Int[np.ndarray, "tilts"]
    tilt: Float[np.ndarray, "tilts"]
    order: Int[np.ndarray, "tilts"]
    exposure: Float[np.ndarray, "tilts"]
    prior_exposure: Float[np.ndarray, "tilts"]
    movies: tuple[str, ...]
    rotation: float | None
    pixel_size: float | None
    image_shape: tuple[int, int] | None
    voltage: float | None
    stack: str
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tilt)


def read_mdoc_series(path: PathLike) -> MdocSeries:
    """Understand an `.mdoc` as a tilt series.

    Raises:
        InputError: If there is no such file, or it is a montage.
        FormatError: If it cannot be understood, or an image has no tilt angle.
    """
    mdoc = read_mdoc(path)
    notes = list(mdoc.notes)
    if mdoc.header.get("Montage") == "1" or mdoc.of_kind("MontSection"):
        raise InputError("is the mdoc of a montage, not of a tilt series", path=path)
    sections = _images(mdoc, path, notes)
    tilt = np.array([_tilt(section, path) for section in sections])
    pixel_size = _first_number(mdoc, sections, "PixelSpacing", path)
    exposure = _exposures(sections, pixel_size, path, notes)
    order = _order(sections, path, notes)
    in_time = np.argsort(order)
    prior = np.zeros(len(tilt))
    prior[in_time[1:]] = np.cumsum(exposure[in_time])[:-1]
    before = sections[int(in_time[0])].number("PriorRecordDose", path)
    if before is not None and before > 0.5:
        notes.append(f"The area had received {before:g} e/Å² before the series (PriorRecordDose), not counted here.")
    notes += describe_angles(np.sort(tilt))
    return MdocSeries(
        section=_stack_index(sections),
        tilt=tilt,
        order=order,
        exposure=exposure,
        prior_exposure=prior,
        movies=tuple(base_name(section.entries.get("SubFramePath", "")) for section in sections),
        rotation=_rotation(mdoc, sections, path, notes),
        pixel_size=pixel_size if pixel_size and pixel_size > 0 else None,
        image_shape=_image_shape(mdoc, sections),
        voltage=_first_number(mdoc, sections, "Voltage", path),
        stack=base_name(mdoc.header.get("ImageFile", "")),
        notes=tuple(notes),
    )


def find_movies(names: list[str] | tuple[str, ...], folder: PathLike) -> dict[str, str]:
    """Where movies are, anywhere below a folder.

    A movie under the same name with another suffix (compressed, say) counts; of several, the one closest to the folder.

    Returns:
        Path by name.

    Raises:
        InputError: If there is no such folder, or movies are missing; it lists them.
    """
    if not Path(folder).is_dir():
        raise InputError("there is no such folder of movies", path=folder)
    exact: dict[str, str] = {}
    by_stem: dict[str, str] = {}
    for at, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            if file.lower().endswith(MOVIE_SUFFIXES):
                for found, key in ((exact, file), (by_stem, _stem(file))):
                    if key not in found or at.count(os.sep) < found[key].count(os.sep) - 1:
                        found[key] = os.path.join(at, file)
    paths = {name: exact.get(name) or by_stem.get(_stem(name), "") for name in names}
    missing = [name for name, path in paths.items() if not path]
    if missing:
        shown = ", ".join(name or "(an image that names no movie)" for name in missing[:20])
        more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        raise InputError(
            f"{len(missing)} of {len(paths)} movies are missing",
            path=folder,
            got=shown + more,
            mend="copy them below this folder, or name the folder that holds them",
        )
    return paths


def tilt_series_from_mdoc(
    path: PathLike,
    *,
    name: str | None = None,
    stack: PathLike | None = None,
    movies: PathLike | None = None,
    pixel_size: float | None = None,
    image_shape: tuple[int, int] | None = None,
    exposure: float | None = None,
) -> tuple[TiltSeries, list[str]]:
    """The tilt series of an `.mdoc`, in ascending tilt order.

    Args:
        path: The mdoc.
        name: Name of the series; that of the file where not given.
        stack: Stack with the images; without it the movies, if a folder is given, else the stack the mdoc names.
        movies: Folder with the movies somewhere below.
        pixel_size: Å, in place of what the mdoc says.
        image_shape: (rows, columns), px, in place of what the mdoc says.
        exposure: Of each image, e/Å², in place of what the mdoc says.

    Returns:
        The series, and sentences about how the mdoc was understood.

    Raises:
        InputError: If movies are missing, or nobody says the pixel size or the image size.
        FormatError: If the mdoc cannot be understood.
    """
    found = read_mdoc_series(path)
    pixel_size = pixel_size or found.pixel_size
    image_shape = image_shape or found.image_shape
    if pixel_size is None or image_shape is None:
        what = "pixel size" if pixel_size is None else "image size"
        raise InputError(f"the mdoc does not say the {what}", path=path, mend=f"give the {what}")
    by_tilt = np.lexsort((found.order, found.tilt))
    doses = found.exposure if exposure is None else np.full(len(found), float(exposure))
    prior = found.prior_exposure if exposure is None else found.order * float(exposure)
    paths = find_movies(found.movies, movies) if movies is not None else {}
    names = [found.movies[int(k)] for k in by_tilt]
    movie = tuple(paths.get(movie, movie) for movie in names)
    if stack is not None or movies is None:
        stack_path = os.fspath(stack) if stack is not None else str(Path(path).parent / found.stack)
        images = tuple(ImageRef(stack_path, int(found.section[k])) for k in by_tilt)
    else:
        images = tuple(ImageRef(file) for file in movie)
    series = TiltSeries(
        name=name or Path(path).name.split(".")[0],
        images=images,
        image_shape=image_shape,
        pixel_size=pixel_size,
        geometry=TiltGeometry.nominal(found.tilt[by_tilt], found.rotation or 0.0),
        order=found.order[by_tilt],
        exposure=doses[by_tilt],
        prior_exposure=prior[by_tilt],
        movies=movie if any(movie) else (),
        optics=Optics(voltage=found.voltage),
    )
    return series, describe_mdoc(found)


def describe_mdoc(found: MdocSeries) -> list[str]:
    """What was understood of an mdoc, as sentences for a dry run; oddities last."""
    angles, start = np.sort(found.tilt), found.tilt[found.order.argmin()]
    lines = [f"{len(found)} images from {angles[0]:g}° to {angles[-1]:g}°, the first taken at {start:g}°."]
    if np.isfinite(found.exposure).all():
        lines.append(f"{np.median(found.exposure):.3g} e/Å² per image, {found.exposure.sum():.4g} e/Å² in all.")
    said: dict[str, str | float | None] = {
        "pixel size": found.pixel_size and f"{found.pixel_size:g} Å",
        "image size": found.image_shape and f"{found.image_shape[1]} × {found.image_shape[0]} px",
        "voltage": found.voltage and f"{found.voltage:g} kV",
        "tilt axis": None if found.rotation is None else f"{found.rotation:g}°",
        "stack": found.stack,
    }
    lines.append("; ".join(f"{what} {value}" for what, value in said.items() if value) + ".")
    unsaid = [what for what, value in said.items() if not value]
    if unsaid:
        lines.append("Not said: " + ", ".join(unsaid) + ".")
    named = [movie for movie in found.movies if movie]
    if named:
        lines.append(f"{len(set(named))} movies are named, such as {named[0]}.")
    return lines + list(found.notes)


def _images(mdoc: Mdoc, path: PathLike, notes: list[str]) -> list[MdocSection]:
    """Sections that are images: ZValue, or FrameSet in the mdoc of a single movie; of repeated ones the later."""
    sections = mdoc.of_kind("ZValue") or mdoc.of_kind("FrameSet")
    if not sections:
        kinds = sorted({section.kind for section in mdoc.sections})
        raise FormatError("holds no images", path=path, got=", ".join(kinds), expected="[ZValue = …]")
    sections = _without_cut(sections, notes)
    latest: dict[tuple[str, int], MdocSection] = {}
    for section in sections:
        key = section.value, round(_tilt(section, path))
        if key in latest:
            notes.append(f"Line {section.line}: ZValue {section.value} occurs again at its tilt; the later counts.")
        latest.pop(key, None)
        latest[key] = section
    values = [value for value, _ in latest]
    if len(set(values)) < len(values):
        notes.append("ZValues occur twice at different tilts; images are counted in the order of the file.")
    movies = [base_name(section.entries["SubFramePath"]) for section in sections if "SubFramePath" in section.entries]
    if len(set(movies)) < len(movies):
        notes.append("Several images name the same movie.")
    return list(latest.values())


def _without_cut(sections: list[MdocSection], notes: list[str]) -> list[MdocSection]:
    """All but a last section that lacks what all others have: the file is cut there, or still being written."""
    if len(sections) < 2:
        return sections
    *others, last = sections
    lacking = [key for key in _USUAL if key not in last.entries and all(key in other.entries for other in others)]
    if not lacking:
        return sections
    notes.append(
        f"Line {last.line}: {last.kind} {last.value} has no {lacking[0]}: the mdoc ends in it; it is left out."
    )
    return others


def _stack_index(sections: list[MdocSection]) -> Int[np.ndarray, "tilts"]:
    values = [section.value for section in sections]
    if len(set(values)) == len(values) and all(value.isdecimal() and len(value) < 9 for value in values):
        return np.array([int(value) for value in values])
    return np.arange(len(sections))


def _tilt(section: MdocSection, path: PathLike) -> float:
    tilt = section.number("TiltAngle", path)
    if tilt is None:
        what = f"line {section.line}: {section.kind} {section.value} has no TiltAngle"
        raise FormatError(what, path=path, mend="complete the mdoc, or give a stack and its angles instead")
    return tilt


def _first_number(mdoc: Mdoc, sections: list[MdocSection], key: str, path: PathLike) -> float | None:
    for section in (*sections, *mdoc.sections, MdocSection("header", "", mdoc.header)):
        value = section.number(key, path)
        if value is not None:
            return value
    return None


def _exposures(
    sections: list[MdocSection], pixel_size: float | None, path: PathLike, notes: list[str]
) -> Float[np.ndarray, "tilts"]:
    found = [_exposure(section, pixel_size, path) for section in sections]
    sources = {source for _, source in found}
    if "DoseRate" in sources:
        notes.append("Dose is estimated from DoseRate at the camera, which is less than what the specimen received.")
    elif len(sources - {""}) > 1:
        notes.append("Dose stands under different keys in different images: " + ", ".join(sorted(sources)) + ".")
    if "" in sources:
        count = sum(source == "" for _, source in found)
        notes.append(f"{count} images do not say their dose; the exposures before the others are not known either.")
    return np.array([dose for dose, _ in found])


def _exposure(section: MdocSection, pixel_size: float | None, path: PathLike) -> tuple[float, str]:
    """Dose of an image, e/Å², and the key it is from."""
    dose = section.number("ExposureDose", path)
    if dose:
        return dose, "ExposureDose"
    frames = section.entries.get("FrameDosesAndNumber", "").split()
    numbers = [to_number(word, path, section.line) for word in frames]
    total = sum(dose * count for dose, count in zip(numbers[::2], numbers[1::2], strict=False))
    if total > 0:
        return total, "FrameDosesAndNumber"
    rate, time = section.number("DoseRate", path), section.number("ExposureTime", path)
    if rate and time and pixel_size:
        # The rate is per unbinned pixel of the camera.
        return rate * time / (pixel_size / (section.number("Binning", path) or 1)) ** 2, "DoseRate"
    return float("nan"), ""


def _order(sections: list[MdocSection], path: PathLike, notes: list[str]) -> Int[np.ndarray, "tilts"]:
    times = [parse_date(section.entries.get("DateTime", "")) for section in sections]
    received = [section.number("PriorRecordDose", path) for section in sections]
    tells = len({dose for dose in received if dose is not None}) == len(sections)
    by_dose = np.argsort(np.argsort([dose or 0.0 for dose in received], kind="stable"))
    if all(time is not None for time in times):
        # Not timestamps, which a change to or from summer time would put in disorder.
        seconds = [(time - datetime.min).total_seconds() for time in times if time is not None]
        order = np.argsort(np.argsort(seconds, kind="stable"))
        if tells and (order != by_dose).any():
            notes.append("PriorRecordDose tells another order than DateTime, as if the clock had been set; it counts.")
            return by_dose
        if len(set(seconds)) < len(seconds):
            notes.append("Several images have the same DateTime; among them the order of the file counts.")
        return order
    if any("DateTime" in section.entries for section in sections):
        bad = next(s for s, time in zip(sections, times, strict=True) if time is None)
        notes.append(
            f"Line {bad.line}: DateTime '{bad.entries.get('DateTime', '')}' is no date; ZValue is taken as the order."
        )
    elif tells:
        notes.append("There is no DateTime; PriorRecordDose tells the acquisition order.")
        return by_dose
    else:
        notes.append("There is no DateTime; ZValue is taken as the acquisition order.")
    return np.argsort(np.argsort(_stack_index(sections), kind="stable"))


def _rotation(mdoc: Mdoc, sections: list[MdocSection], path: PathLike, notes: list[str]) -> float | None:
    for title in mdoc.titles:
        if match := _AXIS.search(title):
            return float(match[1])
    named = _first_number(mdoc, sections, "TiltAxisAngle", path)
    if named is not None:
        return named
    turned = _first_number(mdoc, sections, "RotationAngle", path)
    if turned is None:
        notes.append("Nothing is said about the tilt axis.")
        return None
    serial_em = "SerialEM" in mdoc.header.get("Version", "") or any("SerialEM" in title for title in mdoc.titles)
    angle = turned - 90 if serial_em else turned
    angle = float((angle + 180) % 360 - 180)
    notes.append(f"The tilt axis is taken from RotationAngle ({turned:g}°{' less 90°' if serial_em else ''}).")
    return angle


def _image_shape(mdoc: Mdoc, sections: list[MdocSection]) -> tuple[int, int] | None:
    texts = [mdoc.header.get("ImageSize", "")]
    texts += [s.entries.get("ImageSize") or s.entries.get("UncroppedSize", "") for s in sections[:1]]
    for text in texts:
        words = text.replace("-", "").split()
        if len(words) == 2 and all(word.isdecimal() and 0 < int(word) < 10**6 for word in words):
            return int(words[1]), int(words[0])
    return None


def _stem(name: str) -> str:
    lower = name.lower()
    suffix = max((s for s in MOVIE_SUFFIXES if lower.endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]
