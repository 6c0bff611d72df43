"""RELION's model star: what a classification or refinement knows besides its particles; read from RELION 3.0 to 5.

Spectra of noise and signal are in RELION's scale: of transforms divided by the number of pixels, the variance of the
real part, and of the imaginary part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.base.errors import FormatError
from thon.formats.relion_table import row_number
from thon.formats.star import StarBlock, read_star
from thon.formats.text import PathLike

SHELLS = {
    "ssnr": "rlnSsnrMap",
    "fsc": "rlnGoldStandardFsc",
    "sigma2": "rlnReferenceSigma2",
    "tau2": "rlnReferenceTau2",
}
GENERAL = {
    "resolution": "rlnCurrentResolution",
    "tau2_fudge": "rlnTau2FudgeFactor",
    "norm_average": "rlnNormCorrectionAverage",
    "sigma_offset": "rlnSigmaOffsetsAngst",
    "log_likelihood": "rlnLogLikelihood",
    "probability": "rlnAveragePmax",
}
ANGLE_PRIORS = ("rlnSigmaPriorRotAngle", "rlnSigmaPriorTiltAngle", "rlnSigmaPriorPsiAngle")


@dataclass(frozen=True, kw_only=True)
class RelionClass:
    """One class of a model.

    Args:
        image: Its map, or its average as `000001@classes.mrcs`, counted from the project.
        share: Of the particles, 0 to 1.
        resolution: Estimated, Å.
        accuracy: Of rotations, degrees, and of shifts, Å; NaN where not estimated.
        ssnr: Signal over noise of the map, by shell.
        fsc: Of the two halves, by shell.
        sigma2: Variance of its noise, by shell.
        tau2: Variance of its signal, by shell.
    """

    image: str
    share: float
    resolution: float
    accuracy: tuple[float, float] = (float("nan"), float("nan"))
    ssnr: Float[np.ndarray, "shells"]
    fsc: Float[np.ndarray, "shells"]
    sigma2: Float[np.ndarray, "shells"]
    tau2: Float[np.ndarray, "shells"]


@dataclass(frozen=True, kw_only=True)
class RelionModel:
    """A model of RELION's.

    Args:
        dimensions: 2 for class averages, 3 for maps.
        box: px.
        pixel_size: Å.
        classes: From number 1 on.
        groups: Number of particles and intensity scale of each group (micrograph), by name.
        noise: Variance of the noise, by optics group and shell; RELION 3.1's of groups are averaged.
        resolution: Å.
        tau2_fudge: RELION's T.
        norm_average: Mean of the norm corrections.
        sigma_offset: Standard deviation of the shifts, Å.
        log_likelihood: Of all particles.
        probability: Mean share of the best poses.
        local_search: Standard deviation of angles about the last ones, degrees; None for searches of all directions.
    """

    dimensions: int
    box: int
    pixel_size: float
    classes: tuple[RelionClass, ...]
    groups: Mapping[str, tuple[int, float]]
    noise: tuple[Float[np.ndarray, "shells"], ...]
    resolution: float
    tau2_fudge: float = 1.0
    norm_average: float = 1.0
    sigma_offset: float = 3.0
    log_likelihood: float = 0.0
    probability: float = 0.0
    local_search: float | None = None


def read_model(path: PathLike) -> RelionModel:
    """Read a model star.

    Raises:
        InputError: There is no such file.
        FormatError: It is no model, or a number in it is none.
    """
    path = Path(path)
    blocks = read_star(path)
    if "model_general" not in blocks or "model_classes" not in blocks:
        raise FormatError(
            "is no model star", path=path, got=", ".join(blocks), expected="data_model_general and others"
        )
    general = blocks["model_general"].pairs
    values = {name: row_number(path, general, label) for name, label in GENERAL.items()}
    pixel_size = needed_number(path, general, "rlnPixelSize")
    if values["sigma_offset"] is None and (offset := row_number(path, general, "rlnSigmaOffsets")) is not None:
        values["sigma_offset"] = offset * pixel_size
    local = row_number(path, general, ANGLE_PRIORS[0])
    return RelionModel(
        dimensions=round(needed_number(path, general, "rlnReferenceDimensionality")),
        box=round(needed_number(path, general, "rlnOriginalImageSize")),
        pixel_size=pixel_size,
        classes=tuple(
            _read_class(path, row, blocks.get(f"model_class_{k}", StarBlock()), pixel_size)
            for k, row in enumerate(blocks["model_classes"].rows(), 1)
        ),
        groups=_read_groups(blocks.get("model_groups", StarBlock())),
        noise=_read_noise(blocks),
        local_search=local if round(row_number(path, general, "rlnOrientationalPriorMode") or 0) else None,
        **{name: value for name, value in values.items() if value is not None},
    )


def needed_number(path: Path, pairs: Mapping[str, str], label: str) -> float:
    """A number that must be there.

    Raises:
        FormatError: It is not, or it is none.
    """
    value = row_number(path, pairs, label)
    if value is None:
        raise FormatError(f"{label} is missing", path=path)
    return value


def _read_class(path: Path, row: Mapping[str, str], shells: StarBlock, pixel_size: float) -> RelionClass:
    curves = {
        name: shells.numbers(label) if label in shells.columns else np.zeros(len(shells))
        for name, label in SHELLS.items()
    }
    shift = _loose(row, "rlnAccuracyTranslationsAngst")
    if np.isnan(shift):
        shift = _loose(row, "rlnAccuracyTranslations") * pixel_size
    return RelionClass(
        image=row["rlnReferenceImage"],
        share=needed_number(path, row, "rlnClassDistribution"),
        resolution=_loose(row, "rlnEstimatedResolution"),
        accuracy=(_loose(row, "rlnAccuracyRotations"), shift),
        **curves,
    )


def _loose(row: Mapping[str, str], label: str) -> float:
    """A number where RELION also writes inf and -nan, for what it has not estimated."""
    value = float(row.get(label, "nan"))
    return value if np.isfinite(value) else float("nan")


def _read_groups(block: StarBlock) -> dict[str, tuple[int, float]]:
    if not len(block):
        return {}
    names = block.columns.get("rlnGroupName", block.columns["rlnGroupNumber"])
    counts = block.numbers("rlnGroupNrParticles").astype(int).tolist()
    scales = block.numbers("rlnGroupScaleCorrection").tolist()
    return dict(zip(names, zip(counts, scales, strict=True), strict=True))


def _read_noise(blocks: Mapping[str, StarBlock]) -> tuple[Float[np.ndarray, "shells"], ...]:
    for prefix in ("model_optics_group_", "model_group_"):
        tables = [blocks[name] for name in blocks if name.startswith(prefix)]
        noise = [table.numbers("rlnSigma2Noise") for table in tables if len(table)]
        if noise:
            return tuple(noise) if prefix == "model_optics_group_" else (np.mean(noise, 0),)
    return ()
