"""A project with one small item of each data type, written down without running jobs, so that the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from thon.data.alignment import AlignedTiltSeries, AlignmentDiagnostics, TiltSigma
from thon.data.ctf import Ctf, CtfCurves, CtfFit
from thon.data.geometry import TiltGeometry
from thon.data.maps import (
    ClassifiedParticles,
    GuinierPlot,
    LocalResolutionMap,
    ParticleClass,
    Picks,
    SharpenedMap,
    ShellCurves,
)
from thon.data.micrograph import CtfMicrograph
from thon.data.motion import FrameMotion, PatchTracks
from thon.data.optics import Optics
from thon.data.particles import ImageCut, ParticleCtf, ParticleOptics, Particles
from thon.data.tilt_series import ImageRef
from thon.data.volume import Tomogram, Volume
from thon.formats.mrc import write_mrc
from thon.job.folder import JobFolder
from thon.job.record import ItemResult, JobRecord, RunSettings, Software
from thon.project.project import Project

OPTICS = Optics(300.0, 2.7, 0.1)
FITTED = Ctf(18_000.0, 16_500.0, 35.0, 10.0)
ROWS, COLUMNS = 1301, 1102
"""Of the micrograph: odd, not square, more than two tiles."""
VOLUME = (13, 34, 47)
RADIUS, CENTRE = 9.0, (13.2, 20.4, 17.1)


def make_project(folder: Path) -> Project:
    """The project, with a job for each data type, J001 to J008."""
    project = Project.create(folder)
    for kind, item, make in (
        ("ctf-fit", "mic_1", micrograph),
        ("pick", "mic_1", picks),
        ("classify2d", "all", classes),
        ("postprocess", "all", sharpened),
        ("align-tilts", "TS_1", tilt_series),
        ("reconstruct", "TS_1", tomogram),
        ("extract", "mic_1", cut_particles),
        ("local-resolution", "all", local_resolution),
    ):
        add_job(project, kind, {item: make})
    return project


def add_job(project: Project, kind: str, items: dict[str, Callable[[Path, Project], Any]]) -> JobFolder:
    """A finished job with some items."""
    job = project.new_folder(kind)
    number = job.path.name.split("-")[0]
    settings, software = RunSettings(), Software(version="0")
    made = "2026-01-01T00:00:00+00:00"
    job.write(
        JobRecord(
            id=number,
            type=kind,
            title=kind,
            state="finished",
            options={},
            settings=settings,
            items={item: {} for item in items},
            inputs={},
            software=software,
            created=made,
            results={item: ItemResult(state="done") for item in items},
        )
    )
    for item, make in items.items():
        unfinished = job.begin_item(item)
        job.commit_item(item, unfinished, make(unfinished, project))
    return job


def micrograph_values() -> np.ndarray:
    """What is in the micrograph: a slope with noise, so that each pixel is told from the others."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    noise = np.random.default_rng(5).normal(size=(ROWS, COLUMNS))
    return (0.002 * y - 0.001 * x + noise).astype(np.float32)


def micrograph(folder: Path, project: Project) -> CtfMicrograph:
    write_mrc(folder / "mic_1.mrc", micrograph_values(), 1.5)
    (folder / "notes.txt").write_text("a line\n")
    (folder / "table.star").write_text("data_a\n\nloop_\n_x\n_name\n1.5 one\n2.5 two\n-3 three\n")
    frequency = np.linspace(0.02, 0.3, 20)
    curves = CtfCurves(frequency, frequency * 0 + 0.5, frequency * 0 + 0.4, frequency, frequency)
    tracks = PatchTracks(np.array([[-0.25, 0.25], [0.25, -0.25]]), np.zeros((2, 3, 2)), {1: "too little signal"}, 0.5)
    return CtfMicrograph(
        "mic_1",
        str(folder / "mic_1.mrc"),
        (ROWS, COLUMNS),
        1.5,
        OPTICS,
        motion=FrameMotion(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 8.0]]), patches=tracks, frame_exposure=2.0),
        fit=CtfFit(FITTED, Ctf(10, 10, 1, 0.1), 0.7, 4.2, (30.0, 4.0), curves=curves),
    )


def picks(folder: Path, project: Project) -> Picks:
    places = np.array([[100.0, 200.0], [640.5, 500.25], [1200.0, 1000.0]])
    score, whole = np.array([0.9, np.nan, 0.2]), np.zeros(3, np.int64)
    found = project.job("J001").output("mic_1")
    return Picks(found, places, score, np.full(3, 150.0), whole, np.zeros(3))


def particles(folder: Path, number: int = 230) -> dict[str, Any]:
    """Fields of particles whose images are all of one value, that of their number."""
    images = np.broadcast_to(np.arange(number, dtype=np.float32)[:, None, None], (number, 12, 16)).copy()
    images = images[:, :12, :12] + np.eye(12, dtype=np.float32)
    write_mrc(folder / "particles.mrcs", images, 2.0)
    zero, k = np.zeros(number, np.int64), np.arange(number, dtype=float)
    return {
        "optics": (ParticleOptics("one", OPTICS, 2.0, 12),),
        "group": zero,
        "files": (str(folder / "particles.mrcs"),),
        "file": zero,
        "section": np.arange(number),
        "micrographs": ("/data/mic_0001.mrc", "/data/mic_0002.mrc"),
        "micrograph": np.arange(number) % 2,
        "ctf": ParticleCtf.of(10_000 + 10 * k, 9_900 + 10 * k, k),
        "score": (k * 7) % number,
        "columns": {"rlnNote": tuple("abc"[j % 3] for j in range(number))},
    }


def classes(folder: Path, project: Project) -> ClassifiedParticles:
    fields = particles(folder)
    number = len(fields["group"])
    averages = np.random.default_rng(1).normal(size=(117, 20, 20)).astype(np.float32)
    write_mrc(folder / "classes.mrcs", averages, 2.0)
    known = tuple(ParticleClass(0.01 * k, 8.0 + k, float("nan") if k == 3 else 0.5) for k in range(117))
    volume = Volume(str(folder / "classes.mrcs"), (117, 20, 20), 2.0)
    return ClassifiedParticles(**fields, class_number=np.arange(number) % 4 + 1, classes=known, averages=volume)


def ball() -> np.ndarray:
    """Height over a sphere: zero on it, positive inside."""
    z, y, x = np.indices((29, 40, 36))
    return (RADIUS - np.sqrt((z - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + (x - CENTRE[2]) ** 2)).astype(np.float32)


def sharpened(folder: Path, project: Project) -> SharpenedMap:
    write_mrc(folder / "map.mrc", ball(), 1.25)
    volume = Volume(str(folder / "map.mrc"), (29, 40, 36), 1.25)
    frequency = np.linspace(0, 0.4, 41)
    falling = 1 - 2.5 * frequency
    line = np.linspace(0, 0.16, 5)
    return SharpenedMap(
        volume=volume,
        first=volume,
        second=volume,
        curves=ShellCurves(frequency, falling),
        b_factor=-80.0,
        unsharpened=volume,
        guinier=GuinierPlot(line, line, line, line, -20.0, 1.0, 0.99),
    )


def local_resolution(folder: Path, project: Project) -> LocalResolutionMap:
    volume = project.job("J004").output("all").volume
    z = np.indices((29, 40, 36))[0].astype(np.float32)
    write_mrc(folder / "local.mrc", z, 1.25)
    local = Volume(str(folder / "local.mrc"), (29, 40, 36), 1.25)
    return LocalResolutionMap(volume=volume, first=volume, second=volume, local=local, b_factor=0.0)


def tilt_series(folder: Path, project: Project) -> AlignedTiltSeries:
    """Three images with one bright spot each, where the geometry puts the specimen's point (0, 60, −90) Å."""
    geometry = TiltGeometry(np.array([-30.0, 0.0, 30.0]), np.array([[20.0, -35.0], [0, 0], [-10.0, 15.0]]), 25.0)
    spots = geometry.project(np.array([[0.0, 60.0, -90.0]]))[:, 0] / 5.0
    images = np.zeros((3, 101, 120), np.float32)
    y, x = np.mgrid[:101, :120]
    for k, (row, column) in enumerate(spots + np.array([50, 60])):
        images[k] = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
    write_mrc(folder / "TS_1.st", images, 5.0)
    zero = np.zeros(3)
    return AlignedTiltSeries(
        "TS_1",
        tuple(ImageRef(str(folder / "TS_1.st"), k) for k in range(3)),
        (101, 120),
        5.0,
        geometry,
        np.array([1, 0, 2]),
        zero + 3,
        zero + np.array([3.0, 0, 6]),
        excluded={2: "dark"},
        diagnostics=AlignmentDiagnostics("joint", TiltSigma(np.ones((3, 2)), zero, zero, zero, zero), zero + 0.5, 0.8),
    )


def volume_values() -> np.ndarray:
    return np.random.default_rng(2).integers(-100, 100, VOLUME).astype(np.int8)


def tomogram(folder: Path, project: Project) -> Tomogram:
    write_mrc(folder / "TS_1_Vol.mrc", volume_values(), 10.0)
    return Tomogram(
        "TS_1", Volume(str(folder / "TS_1_Vol.mrc"), VOLUME, 10.0), tilts=project.job("J005").output("TS_1")
    )


def cut_particles(folder: Path, project: Project) -> Particles:
    """Particles whose images are cut out of the micrograph when they are read; the second at its edge."""
    path = project.job("J001").output("mic_1").path
    zero = np.zeros(2, np.int64)
    group = ParticleOptics("one", OPTICS, 1.5, 32, 1.5, cut=ImageCut(32, invert=True))
    places = np.array([[300.0, 400.0], [3.0, 1100.0]])
    return Particles(
        optics=(group,), group=zero, files=(path,), file=zero, section=zero, micrograph=zero - 1, coordinates=places
    )
