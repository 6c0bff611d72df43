"""The columns of RELION's stars of particles, from the house's records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from thon.data.particles import ParticleCtf, Particles
from thon.formats.ctf_values import order_defocus
from thon.formats.relion_euler import euler_from_rotation, rotation_from_euler
from thon.formats.relion_table import relative_name
from thon.formats.star import StarBlock
from thon.formats.text import PathLike

MANUAL_SCORE = -999.0
"""RELION's figure of merit of what a person picked."""

LABELS = (
    "rlnCoordinateX",
    "rlnCoordinateY",
    "rlnAutopickFigureOfMerit",
    "rlnClassNumber",
    "rlnImageName",
    "rlnMicrographName",
    "rlnOpticsGroup",
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnAngleRot",
    "rlnAngleTilt",
    "rlnAnglePsi",
    "rlnOriginXAngst",
    "rlnOriginYAngst",
    "rlnNormCorrection",
    "rlnRandomSubset",
    "rlnLogLikeliContribution",
    "rlnMaxValueProbDistribution",
    "rlnNrOfSignificantSamples",
)
"""Columns that stand for fields of `Particles`, in the order in which they are written."""


class _Numbers(NamedTuple):
    """Some columns that belong together: where all are the same as before, their texts stay."""

    labels: tuple[str, ...]
    values: Float[np.ndarray, "n columns"] | Int[np.ndarray, "n columns"]


def particle_columns(
    particles: Particles, project: PathLike, like: StarBlock | None = None
) -> tuple[dict[str, list[str]], list[str]]:
    """The columns, and sentences about what is left out.

    Args:
        particles: The particles.
        project: Folder from which file names are counted.
        like: The table that they were read from, row by row, for places and texts.
    """
    old = {} if like is None else like.columns
    columns, notes = _texts(particles, project), list[str]()
    coordinates = particles.coordinates
    if coordinates is not None and not np.isfinite(coordinates).all():
        notes.append("The coordinates are left out: some particles have none.")
    for numbers in _numbers(particles):
        columns |= _number_columns(numbers, old)
    columns |= {label: list(texts) for label, texts in particles.columns.items() if label not in columns}
    places = [*old, *LABELS, *columns] if old else [*LABELS, *columns]
    return {label: columns[label] for label in dict.fromkeys(places) if label in columns}, notes


def _texts(particles: Particles, project: PathLike) -> dict[str, list[str]]:
    files = [_as_stack(relative_name(name, project)) for name in particles.files]
    sections, stacks = particles.section.tolist(), particles.file.tolist()
    columns = {
        "rlnImageName": [f"{k + 1:06d}@{files[stack]}" for k, stack in zip(sections, stacks, strict=True)],
        "rlnOpticsGroup": [str(k + 1) for k in particles.group.tolist()],
    }
    if (particles.micrograph >= 0).any():
        # Python's last entry is the one that −1, for no micrograph, finds.
        names = [*(relative_name(name, project) for name in particles.micrographs), "None"]
        columns["rlnMicrographName"] = [names[k] for k in particles.micrograph.tolist()]
    return columns


def _as_stack(name: str) -> str:
    """RELION takes a file for a volume unless its name ends in .mrcs, or says so after a colon."""
    return name if name.endswith(".mrcs") else f"{name}:mrcs"


def _numbers(particles: Particles) -> list[_Numbers]:
    """All numeric columns that there are."""
    found: list[_Numbers] = []
    if particles.coordinates is not None and np.isfinite(particles.coordinates).all():
        found.append(_Numbers(("rlnCoordinateX", "rlnCoordinateY"), particles.coordinates[:, ::-1]))
    if particles.ctf is not None:
        found += _ctf_numbers(particles.ctf)
    if particles.rotation is not None:
        found.append(_Numbers(("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"), euler_from_rotation(particles.rotation)))
    if particles.shift is not None:
        found.append(_Numbers(("rlnOriginXAngst", "rlnOriginYAngst"), -particles.shift[:, ::-1]))
    score = None if particles.score is None else np.nan_to_num(particles.score, nan=MANUAL_SCORE)
    single = {
        "rlnAutopickFigureOfMerit": score,
        "rlnClassNumber": particles.class_number,
        "rlnNormCorrection": particles.norm,
        "rlnRandomSubset": particles.half,
        "rlnLogLikeliContribution": particles.likelihood,
        "rlnMaxValueProbDistribution": particles.probability,
        "rlnNrOfSignificantSamples": particles.significant,
    }
    return found + [_Numbers((label,), values[:, None]) for label, values in single.items() if values is not None]


def _ctf_numbers(ctf: ParticleCtf) -> list[_Numbers]:
    defocus = np.stack([ctf.defocus_u, ctf.defocus_v, ctf.angle], -1)
    single = {"rlnPhaseShift": ctf.phase_shift, "rlnCtfBfactor": ctf.b_factor, "rlnCtfScalefactor": ctf.scale}
    return [
        _Numbers(("rlnDefocusU", "rlnDefocusV", "rlnDefocusAngle"), defocus),
        *(_Numbers((label,), values[:, None]) for label, values in single.items()),
    ]


def _number_columns(numbers: _Numbers, old: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    values = numbers.values.astype(np.float64)
    written = np.round(values, 6) + 0.0
    whole = numbers.values.dtype.kind in "iu"
    columns = {
        label: [str(value) for value in numbers.values[:, i].tolist()]
        if whole
        else [f"{value:.6f}" for value in written[:, i].tolist()]
        for i, label in enumerate(numbers.labels)
    }
    if all(label in old for label in numbers.labels):
        before = np.array([np.array(old[label], np.float64) for label in numbers.labels]).T
        same = np.flatnonzero(_same(numbers.labels, before, values)).tolist()
        for label, texts in columns.items():
            kept = old[label]
            for k in same:
                texts[k] = kept[k]
    return columns


def _same(
    labels: tuple[str, ...], before: Float[np.ndarray, "n columns"], now: Float[np.ndarray, "n columns"]
) -> Bool[np.ndarray, "n"]:
    """Rows that mean what they meant: angles the same pose, defoci the same CTF whichever is named first."""
    if labels[0] == "rlnAngleRot":
        before, now = (rotation_from_euler(angles).reshape(-1, 9) for angles in (before, now))
    elif labels[0] == "rlnDefocusU":
        before = np.stack(order_defocus(*before.T), -1)
    return np.asarray(np.isclose(before, now, rtol=1e-9, atol=1e-9).all(1))
