"""Warp's `.tomostar`: the movies of a tilt series with angle, axis and dose, in the series' order.

Angles and axes are the house's, as in Warp's XML: what `WarpTools ts_import --dont_invert` writes from the same mdoc.
Warp's volumes have z against the house's then. wrpDose is the exposure before the image; movies are named from the
folder that the file lies in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError, InputError
from thon.data.tilt_series import TiltSeries
from thon.formats.star import StarBlock, read_star, write_star
from thon.formats.text import PathLike


@dataclass(frozen=True)
class Tomostar:
    """Content of a `.tomostar`.

    Args:
        movies: As named in the file.
        tilt: degrees.
        axis: Tilt axis, degrees; zeros where not given.
        prior_exposure: Before each image, e/Å²; NaN where not given.
        intensity: Average of each image; NaN where not given.
        masked: Fraction of each image that is masked, 1; NaN where not given.
        columns: The table as it stands in the file, for what the house does not know.
    """

    movies: tuple[str, ...]
    tilt: Float[np.ndarray, "tilts"]
    axis: Float[np.ndarray, "tilts"]
    prior_exposure: Float[np.ndarray, "tilts"]
    intensity: Float[np.ndarray, "tilts"]
    masked: Float[np.ndarray, "tilts"]
    columns: StarBlock = field(default_factory=StarBlock)

    def __len__(self) -> int:
        return len(self.movies)


def read_tomostar(path: PathLike) -> Tomostar:
    """Read a `.tomostar`.

    Raises:
        InputError: If there is no such file.
        FormatError: If it lists no movies with their angles.
    """
    block = next(iter(read_star(path).values()))
    if not {"wrpMovieName", "wrpAngleTilt"} <= set(block.columns) or not len(block):
        raise FormatError("lists no tilts", path=path, expected="a loop with wrpMovieName and wrpAngleTilt")

    def numbers(label: str, default: float) -> Float[np.ndarray, "tilts"]:
        return block.numbers(label) if label in block.columns else np.full(len(block), default)

    return Tomostar(
        movies=tuple(block.columns["wrpMovieName"]),
        tilt=block.numbers("wrpAngleTilt"),
        axis=numbers("wrpAxisAngle", 0.0),
        prior_exposure=numbers("wrpDose", np.nan),
        intensity=numbers("wrpAverageIntensity", np.nan),
        masked=numbers("wrpMaskedFraction", np.nan),
        columns=block,
    )


def write_tomostar(
    path: PathLike,
    series: TiltSeries,
    *,
    intensity: Float[np.ndarray, "tilts"] | None = None,
    masked: Float[np.ndarray, "tilts"] | None = None,
) -> list[str]:
    """Write a `.tomostar`; excluded images do not appear.

    Args:
        path: File to write.
        series: Its movies are named, or its images where nobody said what the movies were.
        intensity: Average of each image of the series; left out where not given.
        masked: Masked fraction of each; 0 where not given.

    Returns:
        Sentences about what the file cannot say.

    Raises:
        InputError: If no image takes part, or the dose before an image is unknown.
    """
    kept = series.kept
    if not len(kept):
        raise InputError("no image of the series takes part", path=path, got=series.name)
    if not np.isfinite(series.prior_exposure[kept]).all():
        raise InputError("the dose before an image is unknown, and Warp needs it", path=path, mend="give the dose")
    names: Sequence[str] = series.movies or [image.path for image in series.images]
    folder = Path(path).absolute().parent
    columns = {
        "wrpMovieName": [_from_folder(names[k], folder) for k in kept],
        "wrpAngleTilt": [f"{series.geometry.tilt[k] + 0.0:.4f}" for k in kept],
        "wrpAxisAngle": [f"{series.geometry.rotation[k] + 0.0:.4f}" for k in kept],
        "wrpDose": [f"{series.prior_exposure[k] + 0.0:.4f}" for k in kept],
    }
    if intensity is not None:
        columns["wrpAverageIntensity"] = [f"{intensity[k]:.3f}" for k in kept]
        fraction = np.zeros(len(series)) if masked is None else masked
        columns["wrpMaskedFraction"] = [f"{fraction[k]:.3f}" for k in kept]
    write_star(path, {"": StarBlock({}, columns)})
    if np.abs(series.geometry.shift[kept]).max() > 0 or np.abs(series.geometry.x_tilt[kept]).max() > 0:
        return [f"The shifts and the x-tilt of {series.name} are left out: a .tomostar has none; import its .xf."]
    return []


def _from_folder(name: str, folder: Path) -> str:
    return Path(os.path.relpath(name, folder)).as_posix() if Path(name).is_absolute() else name
