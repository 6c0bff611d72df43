"""Simulate tilt series of an atomic model (PDB, mmCIF) or a map in thick ice, with the truth about them.

The new folder holds an `.mdoc` for each series, `movies/`, the camera's gain and list of defects, and in `truth/` STAR
files as RELION-5 has them: of the series with their true geometry and CTF, of the particles and beads with their places
and poses, and of each movie's motion.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms import simulate
from thon.algorithms.simulate import SimulatedSeries
from thon.algorithms.simulation.camera import make_camera
from thon.algorithms.simulation.options import SimulateTomoOptions
from thon.data.ctf import TiltCtf
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.mdoc import Mdoc, MdocSection, write_mdoc
from thon.formats.relion_tomo import RelionTomogram, write_tomograms
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

_START = datetime(2026, 1, 5, 9, 0, 0)
_BETWEEN = timedelta(seconds=40)
_SIZES = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")


@each(title="Simulate tilt series", stage="simulate", standalone=True)
def simulate_tomo(model: Path, options: SimulateTomoOptions, context: Context) -> Path:
    torch.set_num_threads(1)  # More threads gain little in these transforms, and cost much where cores are shared.
    scatterers = read_scatterers(model, options.pixel_size, options)
    camera = make_camera(options.shape, options.camera, np.random.default_rng([context.seed, 1]))
    gain = write_references(camera, options, options.pixel_size, context)
    tomograms: list[RelionTomogram] = []
    made: list[SimulatedSeries] = []
    for index, series in enumerate(simulate.simulate_tomo(scatterers, options, context.seed)):
        files = [""] * len(series.movies)
        for done, k in enumerate(np.argsort(series.order).tolist()):
            context.progress(index + done / len(files), options.series, series.movies[k].name)
            files[k] = write_movie(series.movies[k], camera, options, context)
            write_truth(series.movies[k], files[k], gain, camera, options, context)
        write_mdoc(context.output(f"{options.target}/{series.name}.mdoc"), _mdoc(series, files, options))
        tomograms.append(_tomogram(series, files, options))
        made.append(series)
        untilted = series.movies[len(files) // 2]
        context.preview(series.name, untilted.micrograph().numpy(), "The untilted image without noise of counting.")
    folder = context.output(f"{options.target}/truth")
    write_tomograms(folder / "tomograms.star", tomograms, relative_to=context.output(options.target))
    _write_places(made, options, context)
    context.log(f"{len(made)} tilt series with {sum(len(_within(series, options)) for series in made)} particles.")
    return context.output(options.target)


def _tomogram(series: SimulatedSeries, files: list[str], options: SimulateTomoOptions) -> RelionTomogram:
    count = len(files)
    ctfs = [movie.lens.ctf for movie in series.movies]
    known = [np.array([getattr(ctf, name) for ctf in ctfs]) for name in ("defocus_u", "defocus_v", "angle")]
    record = TiltSeries(
        name=series.name,
        images=tuple(ImageRef(file) for file in files),
        image_shape=options.shape,
        pixel_size=options.pixel_size,
        geometry=series.geometry,
        order=series.order,
        exposure=np.full(count, options.dose),
        prior_exposure=series.order * options.dose,
        movies=tuple(files),
        optics=options.optics,
        hand=1 if options.hand == "+" else -1,
        tilt_axis=options.tilt_axis,
        ctf=TiltCtf(
            *known,
            phase_shift=np.array([ctf.phase_shift for ctf in ctfs]),
            sigma=np.zeros((count, 4)),
            score=np.ones(count),
            resolution=np.full(count, 2 * options.pixel_size),
        ),
    )
    depth = 2 * round(options.thickness * 0.75 / options.pixel_size)
    return RelionTomogram(record, (depth, *options.shape))


def _mdoc(series: SimulatedSeries, files: list[str], options: SimulateTomoOptions) -> Mdoc:
    rows, columns = options.shape
    header = {
        "DataMode": "1",
        "ImageSize": f"{columns} {rows}",
        "ImageFile": f"{series.name}.mrc",
        "PixelSpacing": f"{options.pixel_size:g}",
        "Voltage": f"{options.microscope.voltage:g}",
    }
    titles = (
        "SerialEM: Simulated by thon",
        f"    Tilt axis angle = {options.tilt_axis:.1f}, binning = 1  spot = 8  camera = 0",
    )
    sections: list[MdocSection] = []
    for value, k in enumerate(np.argsort(series.order).tolist()):
        defocus = series.movies[k].lens.ctf.defocus
        dose = options.dose / options.frames
        entries = {
            "TiltAngle": f"{series.geometry.tilt[k]:.4f}",
            "Magnification": "42000",
            "ExposureDose": f"{options.dose:g}",
            "PriorRecordDose": f"{series.order[k] * options.dose:g}",
            "PixelSpacing": f"{options.pixel_size:g}",
            "Defocus": f"{-defocus * 1e-4:.4f}",
            "TargetDefocus": f"{-np.mean(options.microscope.defocus) * 1e-4:.2f}",
            "Binning": "1",
            "ExposureTime": "0.5",
            "RotationAngle": f"{options.tilt_axis + 90:.1f}",
            "SubFramePath": f"X:\\simulated\\{files[k].rsplit('/', 1)[-1]}",
            "NumSubFrames": str(options.frames),
            "FrameDosesAndNumber": f"{dose:g} {options.frames}",
            "DateTime": (_START + value * _BETWEEN).strftime("%d-%b-%Y  %H:%M:%S"),
        }
        sections.append(MdocSection("ZValue", str(value), entries))
    return Mdoc(header, titles, tuple(sections))


def _within(series: SimulatedSeries, options: SimulateTomoOptions) -> Float[np.ndarray, "particles"]:
    """Particles in the tomogram, which is as wide as the untilted image."""
    half = np.array(options.shape) * options.pixel_size / 2
    return np.flatnonzero((np.abs(series.specimen.position[:, 1:]) < half).all(1)).astype(np.float64)


def _write_places(made: list[SimulatedSeries], options: SimulateTomoOptions, context: Context) -> None:
    """RELION-5's table of particles, and one of beads."""
    names: list[str] = []
    particles, beads = [np.zeros((0, 3))], [np.zeros((0, 3))]
    rotation = [np.zeros((0, 3, 3))]
    bead_names: list[str] = []
    for series in made:
        kept = _within(series, options).astype(np.int64)
        names += [series.name] * len(kept)
        particles.append(series.specimen.position[kept])
        rotation.append(series.specimen.rotation[kept])
        bead_names += [series.name] * len(series.specimen.beads)
        beads.append(series.specimen.beads)
    table = {**_places(particles), **angle_columns(np.concatenate(rotation))}
    numbered = [f"{name}/{number}" for number, name in enumerate(names, 1)]
    columns = {"rlnTomoName": names, "rlnTomoParticleName": numbered, "rlnOpticsGroup": ["1"] * len(names)}
    more = {
        "rlnTomoTiltSeriesPixelSize": f"{options.pixel_size:.6f}",
        "rlnImagePixelSize": f"{options.pixel_size:.6f}",
    }
    blocks = {
        "optics": optics_block(options, options.pixel_size, more),
        "particles": StarBlock({}, {**columns, **number_columns(table)}),
    }
    write_star(context.output(f"{options.target}/truth/particles.star"), blocks)
    marked = {"rlnTomoName": bead_names, **number_columns(_places(beads))}
    write_star(context.output(f"{options.target}/truth/beads.star"), {"particles": StarBlock({}, marked)})


def _places(parts: list[Float[np.ndarray, "_ 3"]]) -> dict[str, Float[np.ndarray, "points"]]:
    z, y, x = np.concatenate(parts).T
    return dict(zip(_SIZES, (x, y, z), strict=True))
