"""Small particle sets in files, with what is true of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thon.data.maps import ClassifiedParticles, ParticleClass, RefinedParticles, ShellCurves
from thon.data.particles import Particles
from thon.formats.maps import write_map
from thon.formats.mrc import write_mrc
from thon.formats.relion_particles import read_particles
from thon.formats.relion_results import write_results
from thon.formats.star import StarBlock, write_star

PIXEL_SIZE = 1.7
OPTICS = {
    "rlnOpticsGroupName": "left",
    "rlnOpticsGroup": "1",
    "rlnMtfFileName": "mtf_k2.star",
    "rlnMicrographOriginalPixelSize": "0.850000",
    "rlnVoltage": "200.000000",
    "rlnSphericalAberration": "1.400000",
    "rlnAmplitudeContrast": "0.070000",
    "rlnImagePixelSize": "1.700000",
    "rlnImageSize": "12",
    "rlnImageDimensionality": "2",
    "rlnCtfDataAreCtfPremultiplied": "1",
    "rlnBeamTiltX": "0.043489",
    "rlnBeamTiltY": "-0.01409",
    "rlnOddZernike": "[0.0680480107376,-1.79877045848,0]",
    "rlnEvenZernike": "[45.4677386628,-1.53244542745]",
    "rlnMagMat00": "1.010000",
    "rlnMagMat01": "0.002000",
    "rlnMagMat10": "0.003000",
    "rlnMagMat11": "0.990000",
    "rlnSomethingNew": "kept",
}


def known(values: np.ndarray | None) -> np.ndarray:
    """An array that is there."""
    assert values is not None
    return values


def optics_block(*groups: Mapping[str, str]) -> StarBlock:
    return StarBlock({}, {label: [group[label] for group in groups] for label in groups[0]})


def write_stacks(
    folder: Path, counts: Sequence[int] = (5, 4), box: int = 12, pixel_size: float = PIXEL_SIZE
) -> list[np.ndarray]:
    """Stacks `a.mrcs`, `b.mrcs`, … of noise in `Extract`."""
    random = np.random.default_rng(11)
    (folder / "Extract").mkdir(exist_ok=True)
    stacks = [random.normal(size=(count, box, box)).astype(np.float32) for count in counts]
    for name, stack in zip("abcdef", stacks, strict=False):
        write_mrc(folder / "Extract" / f"{name}.mrcs", stack, pixel_size)
    return stacks


def particle_table(**changes: Sequence[str] | None) -> dict[str, list[str]]:
    """Six particles of two stacks, in no particular order, with columns in an unusual one."""
    columns: dict[str, Sequence[str] | None] = {
        "rlnAngleRot": ["10.000000", "-20.50000", "0.000000", "170.000000", "33.250000", "1.000000"],
        "wrpUnknown": ["x", "y y", "", "#", "0.10", "None"],
        "rlnImageName": [
            f"{k:06d}@Extract/{s}.mrcs" for k, s in ((2, "b"), (5, "a"), (1, "a"), (4, "b"), (3, "a"), (1, "b"))
        ],
        "rlnMicrographName": ["mic2.mrc", "mic1.mrc", "mic1.mrc", "mic2.mrc", "mic1.mrc", "mic2.mrc"],
        "rlnOpticsGroup": ["1"] * 6,
        "rlnCoordinateX": ["100.500000", "20.000000", "3.000000", "44.000000", "5.000000", "6.000000"],
        "rlnCoordinateY": ["10.000000", "21.000000", "33.000000", "4.000000", "55.000000", "66.000000"],
        "rlnDefocusU": ["12000.000000", "13000.00", "1.4e4", "15000.000000", "16000.000000", "17000.000000"],
        "rlnDefocusV": ["11000.000000", "13500.00", "13900", "14500.000000", "15900.000000", "17000.000000"],
        "rlnDefocusAngle": ["-160.39000", "20.000000", "30.0", "40.000000", "50.000000", "60.000000"],
        "rlnPhaseShift": ["0.000000", "10.000000", "0.000000", "0.000000", "0.000000", "90.000000"],
        "rlnCtfBfactor": ["0.000000", "5.000000", "0.000000", "0.000000", "0.000000", "0.000000"],
        "rlnCtfScalefactor": ["1.000000", "0.900000", "1.000000", "1.000000", "1.000000", "1.000000"],
        "rlnAngleTilt": ["90.000000", "30.000000", "0.000000", "-45.000000", "180.000000", "12.000000"],
        "rlnAnglePsi": ["5.000000", "-170.0000", "12.000000", "99.000000", "7.000000", "8.000000"],
        "rlnOriginXAngst": ["1.250000", "-3.00000", "0.000000", "2.000000", "4.000000", "5.000000"],
        "rlnOriginYAngst": ["-0.12345", "6.000000", "0.000000", "1.000000", "2.000000", "3.000000"],
        "rlnRandomSubset": ["1", "2", "1", "2", "1", "2"],
        "rlnClassNumber": ["3", "1", "1", "2", "2", "3"],
        "rlnAutopickFigureOfMerit": ["0.500000", "-999.00000", "0.300000", "0.200000", "0.100000", "0.900000"],
        "rlnGroupName": ["g1", "g2", "g1", "g2", "g1", "g2"],
    }
    columns |= changes
    return {label: list(texts) for label, texts in columns.items() if texts is not None}


def write_particle_star(
    folder: Path, table: Mapping[str, Sequence[str]] | None = None, optics: StarBlock | None = None
) -> Path:
    """`Refine3D/job007/run_data.star` of a project whose stacks are in `Extract`."""
    path = folder / "Refine3D" / "job007" / "run_data.star"
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = {"optics": optics_block(OPTICS) if optics is None else optics}
    write_star(path, blocks | {"particles": StarBlock({}, particle_table() if table is None else table)})
    return path


NOISE = np.linspace(3e-5, 1e-5, 7)


def refined(folder: Path) -> RefinedParticles:
    """The particles with a map of noise and its halves, at 6 Å."""
    write_stacks(folder)
    random = np.random.default_rng(5)
    halves = random.normal(size=(2, 12, 12, 12)).astype(np.float32)
    names = ("mean", "one", "two")
    maps = [halves.mean(0), *halves]
    mean, first, second = (write_map(folder / f"{k}.mrc", m, PIXEL_SIZE) for k, m in zip(names, maps, strict=True))
    return RefinedParticles(
        **_fields(read_particles(write_particle_star(folder))),
        volume=mean,
        first=first,
        second=second,
        symmetry="D2",
        resolution=6.0,
        curves=ShellCurves(np.arange(7) / (12 * PIXEL_SIZE), np.array([1.0, 0.99, 0.9, 0.5, 0.1, 0.02, -0.01])),
        diameter=18.0,
        mask=write_map(folder / "mask.mrc", np.ones((12, 12, 12), np.float32), PIXEL_SIZE),
    )


def classified(folder: Path, *, flat: bool = True) -> ClassifiedParticles:
    """The particles in three classes, of two or three dimensions."""
    write_stacks(folder)
    images = np.random.default_rng(6).normal(size=(3, 12, 12, 12)).astype(np.float32)
    volumes = [write_map(folder / f"class{k}.mrc", image, PIXEL_SIZE) for k, image in enumerate(images)]
    averages = write_map(folder / "averages.mrcs", images[0, :3], PIXEL_SIZE)
    known = zip((0.5, 0.3, 0.2), (5.0, 6.0, 7.0), volumes, strict=True)
    classes = [ParticleClass(share, resolution, volume=None if flat else one) for share, resolution, one in known]
    return ClassifiedParticles(
        **_fields(read_particles(write_particle_star(folder))),
        classes=tuple(classes),
        averages=averages if flat else None,
        symmetry="C1" if flat else "C4",
        diameter=18.0,
    )


def write_refinement(folder: Path) -> Path:
    """`Refine3D/job001/run_data.star` of a RELION project."""
    write_results(folder / "project_of_relion", refined(folder), [NOISE])
    return folder / "project_of_relion" / "Refine3D" / "job001" / "run_data.star"


def write_classification(folder: Path) -> Path:
    """`Class2D/job001/run_it025_data.star` of a RELION project."""
    write_results(folder / "project_of_relion", classified(folder), [NOISE])
    return folder / "project_of_relion" / "Class2D" / "job001" / "run_it025_data.star"


def _fields(particles: Particles) -> dict[str, Any]:
    return {entry.name: getattr(particles, entry.name) for entry in dataclasses.fields(Particles)}
