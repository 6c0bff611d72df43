"""What both kinds of simulation read and write: the model, movies, references of the camera, motion, images."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from thon.algorithms.simulate import SimulatedMovie
from thon.algorithms.simulation.camera import Camera
from thon.algorithms.simulation.frames import count_events, count_frames
from thon.algorithms.simulation.options import SimulateOptions
from thon.algorithms.simulation.potential import Scatterers, scatterers_from_atoms, scatterers_from_map
from thon.base.errors import InputError
from thon.formats.atomic_model import is_atomic_model, read_atomic_model
from thon.formats.image_stack import ImageStack
from thon.formats.images import open_images, write_images
from thon.formats.mrc import MrcWriter
from thon.formats.relion_euler import euler_from_rotation
from thon.formats.relion_motion import MovieMotion, write_movie_motion
from thon.formats.star import StarBlock
from thon.job.context import Context

SUFFIX = {"tiff": ".tiff", "eer": ".eer", "mrc": ".mrc"}
_SECONDS = 0.05


def read_scatterers(path: Path, pixel_size: float, options: SimulateOptions) -> Scatterers:
    """The molecule of an atomic model or a map.

    Raises:
        InputError: If it is neither, or holds nothing that scatters.
    """
    try:
        if is_atomic_model(path):
            return scatterers_from_atoms(read_atomic_model(path), pixel_size, bfactor=options.bfactor)
        with open_images(path) as volume:
            voxel_size = volume.pixel_size
            density = volume.asarray().astype(np.float32)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(str(error), path=path) from error
    if not voxel_size or len(density) < 2:
        raise InputError(
            "is no map with a voxel size", path=path, got=density.shape, expected="a volume, or a PDB or mmCIF file"
        )
    return scatterers_from_map(density, voxel_size, pixel_size, contour=options.contour)


def write_references(camera: Camera, options: SimulateOptions, pixel_size: float, context: Context) -> str:
    """The camera's gain and defects, as its maker would give them; returns the gain's name."""
    name = "gain.mrc"
    if options.format == "eer":
        name = "camera.gain"
        # TIFF under the suffix that EPU gives it, which alone begins with the bottom row.
        written = context.output(f"{options.target}/gain.tiff")
        write_images(written, camera.gain[::-1], pixel_size)
        written.rename(context.output(f"{options.target}/{name}"))
    else:
        write_images(context.output(f"{options.target}/{name}"), camera.gain, pixel_size)
    rectangles = "".join(f"{x} {y} {w} {h}\n" for x, y, w, h in camera.defects)
    context.output(f"{options.target}/defects.txt").write_text(rectangles)
    return name


class _Counted(ImageStack):
    """A movie whose frames are counted as they are written, once and in their order: memory holds one of them."""

    def __init__(self, path: Path, movie: SimulatedMovie, camera: Camera) -> None:
        exposure = movie.exposure
        self.path, self.pixel_size = path, exposure.field.pixel_size
        self.shape, self.dtype = (exposure.frames, *camera.shape), exposure.count_type(camera)
        self._frames = count_frames(movie.contrast, exposure, camera)

    def image(self, k: int) -> np.ndarray:
        self.require(k)
        return next(self._frames)

    def close(self) -> None:
        """There is no file to let go of."""


def write_movie(movie: SimulatedMovie, camera: Camera, options: SimulateOptions, context: Context) -> str:
    """Count the electrons of a movie into a file; returns its name, counted from the target."""
    name = f"movies/{movie.name}{SUFFIX[options.format]}"
    path = context.output(f"{options.target}/{name}")
    exposure, pixel_size = movie.exposure, movie.exposure.field.pixel_size
    if options.format == "eer":
        write_eer = importlib.import_module("thon.formats.eer_write").write_eer
        events = count_events(movie.contrast, exposure, camera)
        write_eer(path, events, camera.shape, metadata=_eer_metadata(movie))
    elif options.format == "mrc":
        counts = count_frames(movie.contrast, exposure, camera)
        kind = np.int8 if exposure.mean_counts(camera) < 1 else np.uint16
        with MrcWriter(path, (exposure.frames, *camera.shape), pixel_size, dtype=kind, kind="images") as writer:
            for k, frame in enumerate(counts):
                writer[k] = np.minimum(frame, 127).astype(kind) if kind == np.int8 else frame.astype(kind)
    else:
        frames = _Counted(path, movie, camera)
        importlib.import_module("thon.formats.tiff").write_tiff(path, frames, pixel_size, compression="lzw")
    return name


def _eer_metadata(movie: SimulatedMovie) -> dict[str, str | float]:
    exposure = movie.exposure
    seconds = exposure.frames * _SECONDS / 10
    total = exposure.frames * exposure.frame_exposure * exposure.field.pixel_size**2
    metres = exposure.field.pixel_size * 1e-10
    return {
        "exposureTime": seconds,
        "totalDose": total,
        "meanDoseRate": total / seconds,
        "sensorPixelSize.width": metres,
        "sensorPixelSize.height": metres,
    }


def write_truth(
    movie: SimulatedMovie, file: str, gain: str, camera: Camera, options: SimulateOptions, context: Context
) -> None:
    """The motion of a movie as RELION writes it and, if asked for, its image without noise."""
    exposure = movie.exposure
    truth = MovieMotion(
        movie=file,
        frame_shape=camera.shape,
        frames=exposure.frames,
        pixel_size=exposure.field.pixel_size,
        motion=movie.motion,
        voltage=exposure.voltage,
        prior_exposure=exposure.prior_exposure,
        gain=gain,
        defects="defects.txt",
        hot_pixels=np.argwhere(camera.hot),
        eer_upsampling=1 if options.format == "eer" else None,
    )
    write_movie_motion(context.output(f"{options.target}/truth/motion/{movie.name}.star"), truth)
    if options.truth_images:
        image = movie.micrograph().numpy()
        write_images(context.output(f"{options.target}/truth/{movie.name}.mrc"), image, exposure.field.pixel_size)


def optics_block(options: SimulateOptions, pixel_size: float, more: Mapping[str, str]) -> StarBlock:
    """RELION's table of one optics group."""
    microscope = options.microscope
    row = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": "1",
        "rlnVoltage": f"{microscope.voltage:.6f}",
        "rlnSphericalAberration": f"{microscope.cs:.6f}",
        "rlnAmplitudeContrast": f"{microscope.amplitude_contrast:.6f}",
        "rlnMicrographOriginalPixelSize": f"{pixel_size:.6f}",
        "rlnBeamTiltX": f"{microscope.beam_tilt[1]:.6f}",
        "rlnBeamTiltY": f"{microscope.beam_tilt[0]:.6f}",
        **more,
    }
    return StarBlock({}, {label: [value] for label, value in row.items()})


def number_columns(columns: Mapping[str, Shaped[np.ndarray, "rows"]], digits: int = 4) -> dict[str, list[str]]:
    """Columns of numbers as text."""
    return {label: [f"{value + 0.0:.{digits}f}" for value in values.tolist()] for label, values in columns.items()}


def angle_columns(rotation: Float[np.ndarray, "rows 3 3"]) -> dict[str, Shaped[np.ndarray, "rows"]]:
    """RELION's Euler angles of rotations."""
    rot, tilt, psi = euler_from_rotation(rotation).T
    return {"rlnAngleRot": rot, "rlnAngleTilt": tilt, "rlnAnglePsi": psi}
