"""A refinement or classification of RELION's, read back: particles with the maps and the model beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from thon.base.errors import InputError
from thon.data.maps import ClassifiedParticles, ParticleClass, RefinedParticles, ShellCurves
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.mrc import open_mrc
from thon.formats.relion_model import RelionClass, RelionModel, read_model
from thon.formats.relion_optimiser import read_optimiser
from thon.formats.relion_particles import ParticleStar, ReadParticles, read_particle_star
from thon.formats.relion_sampling import read_sampling
from thon.formats.relion_table import find_named
from thon.formats.text import PathLike

_NAMES = ("data", "model", "sampling", "optimiser")


def read_refinement(path: PathLike, **how: Unpack[ReadParticles]) -> RefinedParticles:
    """Read a finished Refine3D job.

    Args:
        path: Its `run_data.star`, or another of its stars (`run_model.star`, …).
        how: As for particles alone.

    Raises:
        InputError: A file of it is not there.
        FormatError: A file is not what it should be.
    """
    files = _beside(Path(path))
    model = read_model(files["model"])
    stem = files["data"].name.removesuffix("_data.star")
    volume, first, second = (
        _map(files["data"].with_name(f"{stem}_{name}.mrc"), model)
        for name in ("class001", "half1_class001_unfil", "half2_class001_unfil")
    )
    frequency = np.arange(len(model.classes[0].fsc)) / (model.box * model.pixel_size)
    symmetry, diameter, mask = _searched(files, model)
    return RefinedParticles(
        **_fields(read_particle_star(files["data"], **how)),
        volume=volume,
        first=first,
        second=second,
        symmetry=symmetry,
        resolution=model.resolution,
        curves=ShellCurves(frequency, model.classes[0].fsc),
        diameter=diameter,
        mask=mask,
    )


def read_classification(path: PathLike, **how: Unpack[ReadParticles]) -> ClassifiedParticles:
    """Read an iteration of a Class2D or Class3D job.

    Args:
        path: Its `run_itNNN_data.star`, or another of its stars.
        how: As for particles alone.

    Raises:
        InputError: A file of it is not there.
        FormatError: A file is not what it should be.
    """
    files = _beside(Path(path))
    model = read_model(files["model"])
    symmetry, diameter, _ = _searched(files, model)
    flat = model.dimensions == 2
    return ClassifiedParticles(
        **_fields(read_particle_star(files["data"], **how)),
        classes=tuple(_class(files["model"], one, model) for one in model.classes),
        averages=_averages(files["model"], model) if flat else None,
        symmetry=symmetry,
        diameter=diameter,
    )


def _beside(path: Path) -> dict[str, Path]:
    """The four stars of an iteration; those of sampling and optimiser need not be there."""
    name = next((name for name in _NAMES if path.name.endswith(f"_{name}.star")), None)
    if name is None:
        raise InputError("is no star of a refinement or classification", path=path, expected="a name as run_data.star")
    stem = path.name.removesuffix(f"_{name}.star")
    files = {name: path.with_name(f"{stem}_{name}.star") for name in _NAMES}
    if not files["optimiser"].is_file():
        # RELION 3.1 writes none at the end of a refinement: the last iteration's tells the same.
        files["optimiser"] = max(path.parent.glob(f"{stem}_it*_optimiser.star"), default=files["optimiser"])
    for needed in ("data", "model"):
        if not files[needed].is_file():
            mend = "copy the whole folder of the job" if needed == "model" else "name the star of the particles"
            raise InputError("the star beside it is not there", path=path, got=f"no {files[needed].name}", mend=mend)
    return files


def _fields(star: ParticleStar) -> dict[str, Any]:
    return {entry.name: getattr(star.particles, entry.name) for entry in dataclasses.fields(Particles)}


def _map(path: Path, model: RelionModel) -> Volume:
    with open_mrc(path) as file:
        z, y, x = file.shape
    return Volume(str(path), (z, y, x), model.pixel_size)


def _searched(files: dict[str, Path], model: RelionModel) -> tuple[str, float | None, Volume | None]:
    """Symmetry, diameter of the mask and solvent mask, where somebody said."""
    symmetry = read_sampling(files["sampling"]).symmetry if files["sampling"].is_file() else "C1"
    if not files["optimiser"].is_file():
        return symmetry, None, None
    optimiser = read_optimiser(files["optimiser"])
    mask = None if optimiser.mask is None else _map(find_named(files["optimiser"], optimiser.mask), model)
    return symmetry, optimiser.diameter if optimiser.diameter > 0 else None, mask


def _class(path: Path, one: RelionClass, model: RelionModel) -> ParticleClass:
    volume = None if model.dimensions == 2 else _map(_named_beside(path, one.image), model)
    return ParticleClass(one.share, one.resolution, volume=volume)


def _averages(path: Path, model: RelionModel) -> Volume:
    """The stack of averages, in which class k is image k."""
    return _map(_named_beside(path, model.classes[0].image.rpartition("@")[2]), model)


def _named_beside(path: Path, name: str) -> Path:
    """A file counted from the project, or beside the star where a job's folder was copied alone."""
    beside = path.with_name(Path(name).name)
    return beside if beside.is_file() else find_named(path, name)
