"""RELION's model star written so that RELION 3.1 to 5 read it; `thon.formats.relion_model` says what it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from thon.formats.relion_model import ANGLE_PRIORS, GENERAL, SHELLS, RelionModel
from thon.formats.relion_sampling import RelionSampling
from thon.formats.relion_table import number_text
from thon.formats.star import StarBlock, write_star
from thon.formats.text import PathLike

UNKNOWN = 999.0
"""What RELION writes for what it has not estimated, and for the spacing of the first shell."""


def write_model(path: PathLike, model: RelionModel, sampling: RelionSampling, *, for_relion_3: bool = False) -> None:
    """Write a model star.

    Args:
        path: File to write.
        model: What it says.
        sampling: Its directions, over which the classes' particles are taken as uniform.
        for_relion_3: Also tell the noise of each group, by which RELION 3.1 knows it.
    """
    blocks = {"model_general": StarBlock(_general_pairs(model)), "model_classes": _class_table(model)}
    for k, one in enumerate(model.classes, 1):
        columns = {label: _spectrum_texts(getattr(one, name)) for name, label in SHELLS.items()}
        blocks[f"model_class_{k}"] = StarBlock({}, _shell_columns(model) | columns)
    blocks["model_groups"] = _group_table(model)
    tables = [StarBlock({}, _shell_columns(model) | {"rlnSigma2Noise": _spectrum_texts(one)}) for one in model.noise]
    blocks |= {f"model_optics_group_{k}": table for k, table in enumerate(tables, 1)}
    if for_relion_3:
        blocks |= {f"model_group_{k}": tables[0] for k in range(1, len(model.groups) + 1)}
    if sampling.directions is not None:
        uniform = [f"{1 / sampling.directions:.6e}"] * sampling.directions
        for k in range(1, len(model.classes) + 1):
            blocks[f"model_pdf_orient_class_{k}"] = StarBlock({}, {"rlnOrientationDistribution": uniform})
    write_star(path, blocks)


def _general_pairs(model: RelionModel) -> dict[str, str]:
    whole = {
        "rlnReferenceDimensionality": model.dimensions,
        "rlnDataDimensionality": 2,
        "rlnOriginalImageSize": model.box,
        "rlnCurrentImageSize": _current_size(model),
        "rlnIsHelix": 0,
        "rlnFourierSpaceInterpolator": 1,
        "rlnMinRadiusNnInterpolation": 10,
        "rlnNrClasses": len(model.classes),
        "rlnNrBodies": 1,
        "rlnNrGroups": len(model.groups),
        "rlnNrOpticsGroups": len(model.noise),
        "rlnOrientationalPriorMode": int(model.local_search is not None),
    }
    numbers = {label: getattr(model, name) for name, label in GENERAL.items()}
    numbers |= {"rlnPaddingFactor": 2.0, "rlnPixelSize": model.pixel_size}
    numbers |= dict.fromkeys(ANGLE_PRIORS, model.local_search or 0.0)
    return {label: str(value) for label, value in whole.items()} | {
        label: number_text(value) for label, value in numbers.items()
    }


def _current_size(model: RelionModel) -> int:
    """Side of the part of the transforms that was used: a little beyond the resolution."""
    reached = 2 * round(1.25 * model.box * model.pixel_size / model.resolution)
    return int(min(model.box, max(reached, 16)))


def _class_table(model: RelionModel) -> StarBlock:
    rows = [
        {
            "rlnReferenceImage": one.image,
            "rlnClassDistribution": number_text(one.share),
            "rlnAccuracyRotations": number_text(np.nan_to_num(one.accuracy[0], nan=UNKNOWN)),
            "rlnAccuracyTranslationsAngst": number_text(np.nan_to_num(one.accuracy[1], nan=UNKNOWN)),
            "rlnEstimatedResolution": number_text(np.nan_to_num(one.resolution, nan=UNKNOWN)),
            "rlnOverallFourierCompleteness": "1.000000",
        }
        | ({"rlnClassPriorOffsetX": "0.000000", "rlnClassPriorOffsetY": "0.000000"} if model.dimensions == 2 else {})
        for one in model.classes
    ]
    return StarBlock({}, {label: [row[label] for row in rows] for label in rows[0]})


def _group_table(model: RelionModel) -> StarBlock:
    counts, scales = zip(*model.groups.values(), strict=True)
    columns = {
        "rlnGroupNumber": [str(k) for k in range(1, len(model.groups) + 1)],
        "rlnGroupName": list(model.groups),
        "rlnGroupNrParticles": [str(count) for count in counts],
        "rlnGroupScaleCorrection": [number_text(scale) for scale in scales],
    }
    return StarBlock({}, columns)


def _shell_columns(model: RelionModel) -> dict[str, list[str]]:
    """The shells themselves; RELION writes 999 Å for the first."""
    frequency = np.arange(model.box // 2 + 1) / (model.box * model.pixel_size)
    return {
        "rlnSpectralIndex": [str(k) for k in range(len(frequency))],
        "rlnResolution": [f"{value:.6f}" for value in frequency.tolist()],
        "rlnAngstromResolution": [number_text(UNKNOWN), *(number_text(1 / value) for value in frequency[1:].tolist())],
    }


def _spectrum_texts(values: Float[np.ndarray, "shells"]) -> list[str]:
    return [f"{value:.6e}" for value in values.tolist()]
