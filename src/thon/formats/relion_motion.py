"""RELION's star file about one motion-corrected movie, from which its polishing takes the tracks.

RELION's shifts correct the motion, so they are minus the house's displacements, in px of the frames as they were
rendered. The local model holds 36 coefficients, first those of x: {1, x, x², y, y², xy} each times {z, z², z³}, the
order of `PolynomialMotion`; x and y run from −½ to ½, z is the frame's number after the first one used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError
from thon.data.motion import FrameMotion, PatchTracks, PolynomialMotion, SplineMotion
from thon.formats.relion_table import file_value, number_text, relative_name, row_number
from thon.formats.star import StarBlock, StarFile, read_star, write_star
from thon.formats.text import PathLike

_NOT_OBSERVED = -9999.0
_EARLY = 4.0
_KNOWN = frozenset(
    (
        *("rlnImageSizeX", "rlnImageSizeY", "rlnImageSizeZ", "rlnMicrographMovieName", "rlnMicrographGainName"),
        *("rlnMicrographDefectFile", "rlnMicrographBinning", "rlnMicrographOriginalPixelSize", "rlnVoltage"),
        *("rlnMicrographDoseRate", "rlnMicrographPreExposure", "rlnMicrographStartFrame", "rlnEERUpsampling"),
        *("rlnEERGrouping", "rlnMotionModelVersion"),
    )
)


@dataclass(frozen=True)
class MovieMotion:
    """Content of a movie's metadata star.

    Args:
        movie: File of the movie, as text.
        frame_shape: (rows, columns) of a rendered frame, px.
        frames: Rendered frames in the movie.
        pixel_size: Of a rendered frame, Å.
        motion: How the specimen moved; its frames are those that were summed.
        binning: Of the sum against the rendered frame, 1.
        voltage: kV; None where not given.
        prior_exposure: Before the movie, e/Å².
        gain: File of the gain; None for none.
        defects: File of the defects; None for none.
        hot_pixels: (pixels, 2), (row, column) in the rendered frame.
        eer_upsampling: 1, 2 or 4 for EER; None for others. The raw frames in a rendered one are `motion.group`.
        more: Values of the general table that the house does not know, as text.
    """

    movie: str
    frame_shape: tuple[int, int]
    frames: int
    pixel_size: float
    motion: FrameMotion
    binning: float = 1.0
    voltage: float | None = None
    prior_exposure: float = 0.0
    gain: str | None = None
    defects: str | None = None
    hot_pixels: Int[np.ndarray, "pixels 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    eer_upsampling: int | None = None
    more: Mapping[str, str] = field(default_factory=dict[str, str])


def accumulated_motion(
    motion: FrameMotion, pixel_size: float, prior_exposure: float = 0.0
) -> tuple[float, float, float]:
    """RELION's rlnAccumMotionTotal, Early and Late: length of the path, px of the rendered frame.

    Early are the steps to frames that end by 4 e/Å², as RELION 3.1 counts them; without a dose all are late.

    Args:
        motion: How the specimen moved.
        pixel_size: Of the rendered frame, Å.
        prior_exposure: Before the movie, e/Å².
    """
    steps = np.linalg.norm(np.diff(motion.displacement, axis=0), axis=1) / pixel_size
    ends = prior_exposure + (motion.first + 2 + np.arange(len(steps))) * motion.frame_exposure
    early = float(steps[ends <= _EARLY + 1e-6].sum())
    return float(steps.sum()), early, float(steps.sum()) - early


def read_movie_motion(path: PathLike) -> MovieMotion:
    """Read a movie's metadata star.

    Raises:
        InputError: If there is no such file.
        FormatError: If a table or a value is missing, frames are skipped, or the model is not of third order.
    """
    path = Path(path)
    blocks = read_star(path)
    general = blocks.get("general", StarBlock()).pairs
    sizes = [_require(path, general, f"rlnImageSize{axis}") for axis in "YXZ"]
    pixel_size = _require(path, general, "rlnMicrographOriginalPixelSize")
    if min(*sizes, pixel_size) <= 0:
        raise FormatError("has a size or a pixel size that is not positive", path=path, got=[*sizes, pixel_size])
    frames, shift = _global_shift(path, blocks)
    upsampling = row_number(path, general, "rlnEERUpsampling")
    motion = FrameMotion(
        displacement=-shift * pixel_size,
        local=_local_model(path, blocks, general, pixel_size),
        patches=_patches(path, blocks, frames, (int(sizes[0]), int(sizes[1])), pixel_size),
        first=int(frames[0]) - 1,
        group=int(row_number(path, general, "rlnEERGrouping") or 1),
        frame_exposure=_given(row_number(path, general, "rlnMicrographDoseRate"), float("nan")),
    )
    return MovieMotion(
        movie=general.get("rlnMicrographMovieName", ""),
        frame_shape=(int(sizes[0]), int(sizes[1])),
        frames=int(sizes[2]),
        pixel_size=pixel_size,
        motion=motion,
        binning=_given(row_number(path, general, "rlnMicrographBinning"), 1.0),
        voltage=row_number(path, general, "rlnVoltage"),
        prior_exposure=_given(row_number(path, general, "rlnMicrographPreExposure"), 0.0),
        gain=file_value(general.get("rlnMicrographGainName")),
        defects=file_value(general.get("rlnMicrographDefectFile")),
        hot_pixels=_hot_pixels(blocks),
        eer_upsampling=None if upsampling is None else int(upsampling),
        more={label: text for label, text in general.items() if label not in _KNOWN},
    )


def write_movie_motion(path: PathLike, movie: MovieMotion, *, relative_to: PathLike = ".") -> list[str]:
    """Write a movie's metadata star so that RELION's polishing reads it.

    Args:
        path: File to write.
        movie: Its content. A spline is fitted by RELION's polynomial.
        relative_to: RELION's project folder, from which file names are counted.

    Returns:
        Sentences about what RELION's model cannot say.
    """
    motion, notes = movie.motion, list[str]()
    if isinstance(motion.local, SplineMotion):
        motion, note = _as_polynomial(motion, motion.local)
        notes.append(note)
    numbers = motion.first + 1 + np.arange(len(motion))
    shift = np.full((movie.frames, 2), _NOT_OBSERVED)
    shift[motion.first : motion.first + len(motion)] = -motion.displacement / movie.pixel_size
    blocks: StarFile = {
        "general": StarBlock(_general(movie, relative_to), {}),
        "global_shift": StarBlock(
            {},
            {
                "rlnMicrographFrameNumber": [str(number) for number in range(1, movie.frames + 1)],
                "rlnMicrographShiftX": [number_text(value) for value in shift[:, 1]],
                "rlnMicrographShiftY": [number_text(value) for value in shift[:, 0]],
            },
        ),
    }
    if isinstance(motion.local, PolynomialMotion):
        # Third powers of the frame's number make the last coefficients tiny: these need their digits.
        values = (-motion.local.coefficients[::-1] / movie.pixel_size).ravel()
        columns = {
            "rlnMotionModelCoeffsIdx": [str(k) for k in range(len(values))],
            "rlnMotionModelCoeff": [f"{value + 0.0:.9e}" for value in values],
        }
        blocks["local_motion_model"] = StarBlock({}, columns)
    if len(movie.hot_pixels):
        y, x = movie.hot_pixels.T
        columns = {"rlnCoordinateX": [f"{v:.6f}" for v in x], "rlnCoordinateY": [f"{v:.6f}" for v in y]}
        blocks["hot_pixels"] = StarBlock({}, columns)
    if motion.patches is not None:
        blocks["local_shift"] = StarBlock({}, _patch_columns(motion.patches, numbers, movie))
    write_star(path, blocks)
    return notes


def fit_polynomial(spline: SplineMotion) -> tuple[PolynomialMotion, float, float]:
    """RELION's polynomial closest to a spline, which it counts from the first frame.

    Returns:
        The polynomial; the root mean square difference over micrograph and frames, Å; and the root mean square
        displacement that the spline has in the first frame and a polynomial cannot have, Å.
    """
    at = (np.arange(9) + 0.5) / 9 - 0.5
    place = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    z = np.arange(spline.frames, dtype=np.float64)
    moved = spline(place, z)
    start, moved = moved[0], moved - moved[0]
    y, x = place.T
    terms = np.stack([np.ones_like(x), x, x**2, y, y**2, x * y], -1)
    scaled = z / max(spline.frames - 1, 1)
    powers = np.stack([scaled, scaled**2, scaled**3], -1)
    design = np.einsum("ft,ps->fpst", powers, terms).reshape(-1, 18)
    found = np.linalg.lstsq(design, moved.reshape(-1, 2), rcond=None)[0]
    difference = float(np.sqrt(((design @ found - moved.reshape(-1, 2)) ** 2).sum(1).mean()))
    scale = max(spline.frames - 1, 1) ** -np.arange(1.0, 4.0)
    model = PolynomialMotion(found.T.reshape(2, 6, 3) * scale)
    return model, difference, float(np.sqrt((start**2).sum(1).mean()))


def _as_polynomial(motion: FrameMotion, spline: SplineMotion) -> tuple[FrameMotion, str]:
    model, difference, start = fit_polynomial(spline)
    note = f"The local motion's spline is written as RELION's polynomial, {difference:.2f} Å RMS from it"
    if start > 0.005:
        note += f"; what it has in the first frame, {start:.2f} Å RMS, is left out"
    return replace(motion, local=model), note + "."


def _general(movie: MovieMotion, project: PathLike) -> dict[str, str]:
    motion = movie.motion
    rows, columns = movie.frame_shape
    pairs = {"rlnImageSizeX": str(columns), "rlnImageSizeY": str(rows), "rlnImageSizeZ": str(movie.frames)}
    pairs["rlnMicrographMovieName"] = relative_name(movie.movie, project)
    for label, file in (("rlnMicrographGainName", movie.gain), ("rlnMicrographDefectFile", movie.defects)):
        if file is not None:
            pairs[label] = relative_name(file, project)
    pairs["rlnMicrographBinning"] = number_text(movie.binning)
    pairs["rlnMicrographOriginalPixelSize"] = number_text(movie.pixel_size)
    if np.isfinite(motion.frame_exposure):
        pairs["rlnMicrographDoseRate"] = number_text(motion.frame_exposure)
        pairs["rlnMicrographPreExposure"] = number_text(movie.prior_exposure)
    if movie.voltage is not None:
        pairs["rlnVoltage"] = number_text(movie.voltage)
    pairs["rlnMicrographStartFrame"] = str(motion.first + 1)
    if movie.eer_upsampling is not None:
        pairs |= {"rlnEERUpsampling": str(movie.eer_upsampling), "rlnEERGrouping": str(motion.group)}
    pairs["rlnMotionModelVersion"] = str(int(motion.local is not None))
    return pairs | dict(movie.more)


def _patch_columns(
    patches: PatchTracks, numbers: Int[np.ndarray, "frames"], movie: MovieMotion
) -> dict[str, list[str]]:
    """Measured shifts of the patches that took part, frame by frame, at their centres in px."""
    used = [k for k in range(len(patches.place)) if k not in patches.rejected]
    centre = (patches.place[used] + 0.5) * movie.frame_shape
    shift = -patches.displacement[used].transpose(1, 0, 2).reshape(-1, 2) / movie.pixel_size
    tiled = np.tile(centre, (len(numbers), 1))
    values = {
        "rlnCoordinateX": tiled[:, 1],
        "rlnCoordinateY": tiled[:, 0],
        "rlnMicrographShiftX": shift[:, 1],
        "rlnMicrographShiftY": shift[:, 0],
    }
    columns = {"rlnMicrographFrameNumber": [str(number) for number in np.repeat(numbers, len(used))]}
    return columns | {label: [number_text(value) for value in column] for label, column in values.items()}


def _require(path: Path, general: Mapping[str, str], label: str) -> float:
    value = row_number(path, general, label)
    if value is None:
        raise FormatError(f"lacks {label}", path=path, expected="the data_general of a motion-corrected movie")
    return value


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _global_shift(path: Path, blocks: StarFile) -> tuple[Int[np.ndarray, "frames"], Float[np.ndarray, "frames 2"]]:
    """Numbers of the frames that were used, and (y, x) in px."""
    block = blocks.get("global_shift", StarBlock())
    if not len(block):
        raise FormatError("holds no frame shifts", path=path, expected="data_global_shift")
    numbers = block.integers("rlnMicrographFrameNumber")
    shift = np.stack([block.numbers("rlnMicrographShiftY"), block.numbers("rlnMicrographShiftX")], -1)
    used = (shift > _NOT_OBSERVED + 0.5).all(1)
    numbers, shift = numbers[used], shift[used]
    order = np.argsort(numbers, kind="stable")
    if not len(numbers) or numbers.min() < 1 or (np.diff(numbers[order]) != 1).any():
        got = ", ".join(map(str, numbers[order]))[:80]
        raise FormatError("frame numbers are not consecutive", path=path, got=got, expected="numbers from 1")
    return numbers[order], shift[order]


def _local_model(
    path: Path, blocks: StarFile, general: Mapping[str, str], pixel_size: float
) -> PolynomialMotion | None:
    version = row_number(path, general, "rlnMotionModelVersion") or 0
    if version not in (0, 1):
        raise FormatError("has a motion model that is not known", path=path, got=version, expected="0 (none) or 1")
    block = blocks.get("local_motion_model")
    if block is None:
        if version:
            raise FormatError(
                "announces a local motion model and has none", path=path, expected="data_local_motion_model"
            )
        return None
    index, values = block.integers("rlnMotionModelCoeffsIdx"), block.numbers("rlnMotionModelCoeff")
    if sorted(index.tolist()) != list(range(36)):
        got = f"{len(index)} coefficients"
        raise FormatError("has an incomplete motion model", path=path, got=got, expected="coefficients 0 to 35")
    coefficients = values[np.argsort(index)].reshape(2, 6, 3)[::-1]
    return PolynomialMotion(-coefficients * pixel_size)


def _hot_pixels(blocks: StarFile) -> Int[np.ndarray, "pixels 2"]:
    block = blocks.get("hot_pixels", StarBlock())
    if not len(block):
        return np.zeros((0, 2), np.int64)
    return np.stack([block.integers("rlnCoordinateY"), block.integers("rlnCoordinateX")], -1)


def _patches(
    path: Path, blocks: StarFile, frames: Int[np.ndarray, "frames"], shape: tuple[int, int], pixel_size: float
) -> PatchTracks | None:
    """Measured tracks, where the file has them; patches are told apart by their centres."""
    block = blocks.get("local_shift", StarBlock())
    if not len(block):
        return None
    centre = np.stack([block.numbers("rlnCoordinateY"), block.numbers("rlnCoordinateX")], -1)
    shift = np.stack([block.numbers("rlnMicrographShiftY"), block.numbers("rlnMicrographShiftX")], -1)
    at = block.integers("rlnMicrographFrameNumber") - frames[0]
    places, patch = np.unique(centre, axis=0, return_inverse=True)
    if len(block) != len(places) * len(frames) or at.min() < 0 or at.max() >= len(frames):
        got = f"{len(block)} shifts of {len(places)} patches"
        raise FormatError(
            "local shifts are missing", path=path, got=got, expected=f"one for each of {len(frames)} frames"
        )
    displacement = np.full((len(places), len(frames), 2), np.nan)
    displacement[patch.ravel(), at] = -shift * pixel_size
    return PatchTracks(places / shape - 0.5, displacement)
