"""Simulate movies of single particles from an atomic model (PDB, mmCIF) or a map, with the truth about them.

The new folder holds `movies/`, the camera's gain and list of defects, and in `truth/` STAR files as RELION has them: of
the movies with their CTF, of the particles with their places and poses, and of each movie's motion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from thon.algorithms import simulate
from thon.algorithms.simulate import SimulatedMovie
from thon.algorithms.simulation.camera import make_camera
from thon.algorithms.simulation.options import SimulateSpaOptions
from thon.formats.star import StarBlock, write_star
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.simulated_files import (
    angle_columns,
    number_columns,
    optics_block,
    read_scatterers,
    write_movie,
    write_references,
    write_truth,
)


@each(title="Simulate single particles", stage="simulate", standalone=True)
def simulate_spa(model: Path, options: SimulateSpaOptions, context: Context) -> Path:
    torch.set_num_threads(1)  # More threads gain little in these transforms, and cost much where cores are shared.
    scatterers = read_scatterers(model, options.pixel_size, options)
    camera = make_camera(options.shape, options.camera, np.random.default_rng([context.seed, 1]))
    gain = write_references(camera, options, options.pixel_size, context)
    movies: list[dict[str, str]] = []
    particles: list[StarBlock] = []
    for movie in simulate.simulate_spa(scatterers, options, context.seed):
        context.progress(len(movies), options.movies, movie.name)
        file = write_movie(movie, camera, options, context)
        write_truth(movie, file, gain, camera, options, context)
        movies.append(_movie_row(movie, file))
        particles.append(_particles(movie, file, options))
        _show(movie, context)
    optics = optics_block(options, options.pixel_size, {})
    columns = {label: [row[label] for row in movies] for label in movies[0]}
    truth = context.output(f"{options.target}/truth/movies.star")
    write_star(truth, {"optics": optics, "movies": StarBlock({}, columns)})
    _write_particles(particles, options, context)
    context.log(f"{len(movies)} movies with {sum(map(len, particles))} particles.")
    return context.output(options.target)


def _movie_row(movie: SimulatedMovie, file: str) -> dict[str, str]:
    ctf = movie.lens.ctf
    return {
        "rlnMicrographMovieName": file,
        "rlnMicrographMetadata": f"truth/motion/{movie.name}.star",
        "rlnOpticsGroup": "1",
        "rlnDefocusU": f"{ctf.defocus_u:.4f}",
        "rlnDefocusV": f"{ctf.defocus_v:.4f}",
        "rlnDefocusAngle": f"{ctf.angle:.4f}",
        "rlnPhaseShift": f"{ctf.phase_shift:.4f}",
    }


def _particles(movie: SimulatedMovie, file: str, options: SimulateSpaOptions) -> StarBlock:
    seen, ctf = movie.seen, movie.lens.ctf
    row, column = movie.pixel[seen].T
    height = movie.view.height[seen]
    one = np.ones(len(seen))
    numbers = {
        "rlnCoordinateX": column,
        "rlnCoordinateY": row,
        **angle_columns(movie.view.rotation[seen]),
        "rlnOriginXAngst": 0 * one,
        "rlnOriginYAngst": 0 * one,
        "rlnDefocusU": ctf.defocus_u + height,
        "rlnDefocusV": ctf.defocus_v + height,
        "rlnDefocusAngle": ctf.angle * one,
        "rlnPhaseShift": ctf.phase_shift * one,
    }
    names = {
        "rlnMicrographName": [f"{movie.name}.mrc"] * len(seen),
        "rlnMicrographMovieName": [file] * len(seen),
        "rlnOpticsGroup": ["1"] * len(seen),
    }
    return StarBlock({}, {**names, **number_columns(numbers)})


def _write_particles(particles: list[StarBlock], options: SimulateSpaOptions, context: Context) -> None:
    labels = particles[0].columns
    columns = {label: [value for block in particles for value in block.columns[label]] for label in labels}
    optics = optics_block(options, options.pixel_size, {"rlnImagePixelSize": f"{options.pixel_size:.6f}"})
    path = context.output(f"{options.target}/truth/particles.star")
    write_star(path, {"optics": optics, "particles": StarBlock({}, columns)})


def _show(movie: SimulatedMovie, context: Context) -> None:
    context.preview(movie.name, movie.micrograph().numpy(), "What the movie would show without noise of counting.")
