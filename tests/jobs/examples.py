"""A small input for each job type, for the conformance tests; made from nothing, so the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.algorithms.picking_scene import make_scene
from tests.formats.particle_files import write_classification, write_particle_star, write_refinement, write_stacks
from tests.jobs.map_files import write_halves, write_symmetric_map
from tests.jobs.movies import write_model, write_movie, write_tilt_movies
from tests.jobs.seen_particles import write_phantom, write_simulated
from thon.cli.main import main
from thon.data.geometry import TiltGeometry
from thon.formats.images import write_images
from thon.project.project import Project

PIXEL_SIZE = 12.5


def geometry(tilts: int = 13) -> TiltGeometry:
    """A geometry with shifts and an axis that is not along the columns."""
    random = np.random.default_rng(3)
    shift = random.normal(size=(tilts, 2)) * 1.5 * PIXEL_SIZE
    return TiltGeometry(np.linspace(-54, 54, tilts), shift, rotation=np.full(tilts, -4.0))


def write_series(folder: Path, shape: tuple[int, int] = (90, 100), tilts: int = 13) -> Path:
    """A tilt series of blobs in a slab, seen through `geometry`, with its angles beside it."""
    random = np.random.default_rng(4)
    rows, columns = shape
    extent = np.array([8, rows / 2, columns / 2]) * PIXEL_SIZE
    points = random.uniform(-1, 1, (60, 3)) * extent
    seen = geometry(tilts).project(points) / PIXEL_SIZE + np.array([rows // 2, columns // 2])
    y, x = np.mgrid[:rows, :columns]
    images = np.zeros((tilts, rows, columns), np.float32)
    for k, places in enumerate(seen):
        for row, column in places:
            images[k] -= np.exp(-((y - row) ** 2 + (x - column) ** 2) / 4).astype(np.float32)
    images += random.normal(0, 0.2, images.shape).astype(np.float32)
    path = folder / "series.st"
    write_images(path, images, PIXEL_SIZE)
    np.savetxt(folder / "series.tlt", geometry(tilts).tilt, fmt="%.2f")
    return path


def _series(folder: Path) -> list[str]:
    return [str(write_series(folder)), "--angles", str(folder / "series.tlt"), "--tilt-axis", "-4"]


NO_PATCHES = ["--local-patches", "1", "1"]


def _micrograph(folder: Path) -> list[str]:
    """An image of white noise with rings."""
    size = 320
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")) / 2.5
    wavelength = 0.0196875
    rings = np.sin(np.pi * wavelength * frequency**2 * (18_000 - 1.35e7 * wavelength**2 * frequency**2) + 0.1)
    noise = np.random.default_rng(6).normal(size=(2, size, size))
    image = np.fft.ifft2(np.fft.fft2(noise[0]) * rings).real + 0.5 * noise[1]
    write_images(folder / "micrograph.mrc", image.astype(np.float32), 2.5)
    return [str(folder / "micrograph.mrc")]


def _tilt_movies(folder: Path) -> list[str]:
    return [str(write_tilt_movies(folder)), *NO_PATCHES]


def _after(folder: Path, *command: str) -> list[str]:
    """The last job of another command, run in the example's project."""
    project = folder / "project"
    if main([*command, "-o", str(project), "--quiet"]) != 0:
        raise RuntimeError(f"{command[0]} did not run")
    return [Project(project).jobs()[-1].path.name.split("-")[0]]


def _particles(folder: Path) -> list[str]:
    """Particles of two stacks in RELION's star."""
    write_stacks(folder)
    return [str(write_particle_star(folder))]


def _picked(folder: Path) -> Path:
    """A micrograph with particles."""
    write_images(folder / "picked.mrc", make_scene(shape=(300, 340), number=15, contrast=3).image, 5.0)
    return folder / "picked.mrc"


def _coordinates(folder: Path) -> list[str]:
    """The same, and where somebody saw particles in it."""
    (folder / "picked.box").write_text("100 120 40 40\n200 150 40 40\n")
    return [str(_picked(folder)), "--coordinates", str(folder / "picked.box")]


CLASSES = ["--diameter", "100", "--iterations", "2", "--classes", "2"]


EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    "import-tilts": _series,
    "align-tilts": _series,
    "reconstruct": lambda folder: [*_series(folder), "--thickness", "200"],
    "convert": lambda folder: [str(write_series(folder)), str(folder / "small.mrc"), "--bin", "2"],
    "tomo": _series,
    "import-movies": lambda folder: [str(write_movie(folder / "movie.mrc")), "--dose", "12"],
    "motion": lambda folder: [str(write_movie(folder / "movie.mrc")), "--frame-dose", "2", *NO_PATCHES],
    "import-micrographs": _micrograph,
    "ctf-fit": _micrograph,
    "export-micrographs": _micrograph,
    "simulate-spa": lambda folder: [
        *(str(write_model(folder)), str(folder / "made"), "--size", "96", "--movies", "1", "--frames", "2")
    ],
    "simulate-tomo": lambda folder: [
        *(str(write_model(folder)), str(folder / "made"), "--size", "96", "--frames", "2"),
        *("--pixel-size", "6", "--max-tilt", "40", "--step", "20"),
    ],
    "tilt-ctf": lambda folder: [*_series(folder), "--min-resolution", "60"],
    "tilt-series": lambda folder: _after(folder, "motion", *_tilt_movies(folder)),
    "export-tomograms": lambda folder: _after(folder, "reconstruct", *_series(folder), "--thickness", "200"),
    "vote-hand": _series,
    "export-picks": lambda folder: _after(folder, "pick", str(_picked(folder)), "--diameter", "180"),
    "pick": lambda folder: [str(_picked(folder)), "--diameter", "180"],
    "import-coordinates": _coordinates,
    "curate-picks": lambda folder: [
        *_after(folder, "import-coordinates", *_coordinates(folder)),
        *("--removed", "picked:1", "--added", "picked:80/90.5,picked:33/60"),
    ],
    "extract": lambda folder: [*_after(folder, "import-coordinates", *_coordinates(folder)), "--box", "64"],
    "import-particles": _particles,
    "subset": lambda folder: [*_particles(folder), "--field", "defocus", "--minimum", "12000", "--number", "3"],
    "join": _particles,
    "remove-duplicates": lambda folder: [*_particles(folder), "--distance", "20"],
    "import-relion-refinement": lambda folder: [str(write_refinement(folder))],
    "import-relion-classes": lambda folder: [str(write_classification(folder))],
    "export-particles": lambda folder: [*_particles(folder), "--write", "relion,cryosparc", "--stacks"],
    "import-halves": lambda folder: [str(write_halves(folder))],
    "mask": lambda folder: [str(write_halves(folder))],
    "postprocess": lambda folder: [str(write_halves(folder))],
    "local-resolution": lambda folder: [str(write_halves(folder)), "--step", "16"],
    "volume": lambda folder: [str(write_symmetric_map(folder)), str(folder / "small.mrc"), "--box", "32"],
    "symmetry": lambda folder: [
        *(*_particles(folder), "--map-file", str(write_symmetric_map(folder))),
        *("--symmetry", "D3", "--resolution", "20"),
    ],
    "classify2d": lambda folder: [str(write_simulated(folder)), *CLASSES],
    "classify3d": lambda folder: [
        *(str(write_simulated(folder)), *CLASSES, "--level", "2", "--offset-range", "2"),
        *("--references", str(write_phantom(folder))),
    ],
    "refine3d": lambda folder: [
        *(str(write_simulated(folder)), "--reference", str(write_phantom(folder)), "--diameter", "100"),
        *("--iterations", "3", "--offset-range", "2", "--initial-lowpass", "30"),
    ],
    "ab-initio": lambda folder: [
        *(str(write_simulated(folder)), "--diameter", "100", "--mini-batches", "10", "--offset-range", "2"),
    ],
    "select": lambda folder: [*_after(folder, "classify2d", str(write_simulated(folder)), *CLASSES), "--classes", "1"],
    "reconstruct-particles": lambda folder: [str(write_simulated(folder, poses=True)), "--diameter", "100"],
    "project": lambda folder: [str(write_phantom(folder)), "--angular-step", "60"],
    "expand-symmetry": lambda folder: [*_particles(folder), "--symmetry", "D2"],
    "spa": lambda folder: [str(_picked(folder)), "--diameter", "180"],
    "spa-movies": lambda folder: [str(write_movie(folder / "movie.mrc")), "--dose", "12", "--diameter", "180"],
    "live": lambda folder: [str(write_tilt_movies(folder).parent), "--idle", "0", "--settle", "0.1", *NO_PATCHES],
}
"""What is typed after `thon JOB`, without the output folder."""
