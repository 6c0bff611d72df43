"""Correct the motion of movies: frames are aligned as a whole and in parts, weighted by dose, and summed.

Writes NAME.mrc, RELION's star file about the movie, a plot of the tracks and, where asked for, the unweighted sum
(NAME_noDW.mrc) and the sums of the even and odd frames (NAME_EVN.mrc, NAME_ODD.mrc).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float

from thon.algorithms.bad_pixels import BadPixelOptions
from thon.algorithms.detector import DetectorCorrection, DetectorOptions, prepare_detector, samples_per_pixel
from thon.algorithms.gain_orientation import find_gain_orientation
from thon.algorithms.motion import MotionCorrected, correct_motion, motion_memory
from thon.algorithms.motion_frames import Exposure
from thon.algorithms.motion_options import MotionOptions
from thon.base.options import Unit
from thon.data.micrograph import Micrograph
from thon.data.movie import Movie
from thon.formats.defects import read_defects
from thon.formats.gain import gain_divides, read_dark, read_gain
from thon.formats.movie_file import MovieFile, open_movie, plan_groups
from thon.formats.mrc import write_mrc
from thon.formats.png import encode_png, write_png
from thon.formats.relion_motion import MovieMotion, write_movie_motion
from thon.formats.report.motion import draw_motion
from thon.formats.report.style import LIGHT, pixels
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.rendered_frames import RenderedFrames

FRAMES = 40
"""Rendered frames that an EER movie becomes where nobody says its exposure."""


LOST = 5.0
"""Standard deviation of the motion that is warned of, Å."""

PATTERN = 0.3
"""Part of the noise that may stay on the detector before the gain is doubted."""


class MotionJobOptions(MotionOptions):
    """Motion correction of movies in files."""

    gain: Path | None = None
    """Gain reference: MRC, TIFF, .gain or DM4."""

    dark: Path | None = None
    """Dark reference."""

    defects: Path | None = None
    """Bad pixels of the detector: MotionCor's or SerialEM's list, or an image that is not zero there."""

    detector: DetectorOptions = DetectorOptions()
    """How the gain lies on the frames."""

    check_gain: bool = True
    """Compare the eight orientations of the gain with the mean frame, and warn where another fits better."""

    bad_pixels: BadPixelOptions = BadPixelOptions()
    """Which further pixels are taken as bad."""

    eer_sampling: Literal[1, 2, 4] = 1
    """Samples across a pixel of the sensor, for EER."""

    eer_group: Annotated[int | None, Ge(1), Unit("1")] = None
    """Raw frames of EER in one frame; by --eer-dose unless given."""

    eer_dose: Annotated[float, Gt(0), Unit("e/Å²")] = 0.5
    """Exposure of the frames that an EER movie is made into."""

    values: Literal["float32", "float16"] = "float32"
    """Type of the numbers in the micrographs."""


def plan_motion(movie: Movie, options: MotionJobOptions, resources: Resources) -> Plan:
    """What motion correction needs, from the movie's size and number of frames."""
    sampling = _sampling(movie.path, options)
    rows, columns = (n * sampling for n in movie.image_shape)
    groups = _groups(movie, options, Path(movie.path))
    within = _within(options, resources)
    known = math.isfinite(movie.exposure)
    frame_exposure = movie.exposure / movie.frames * (groups[0][1] - groups[0][0]) if known else 1.0
    memory, seconds = motion_memory((rows, columns), len(groups), movie.pixel_size / sampling, frame_exposure, within)
    each_image = (4 if options.values == "float32" else 2) * rows * columns / options.sums.bin**2
    count = 1 + options.sums.unweighted + 2 * options.sums.halves
    shape = round(rows / options.sums.bin), round(columns / options.sums.bin)
    size = movie.pixel_size / sampling * options.sums.bin
    return Plan(
        understood=(
            f"{movie.name}: {len(groups)} frames of {columns} × {rows} px at {movie.pixel_size / sampling:.4g} Å",
            f"{movie.exposure / len(groups):.3g} e/Å² a frame" if known else "exposure unknown: no dose weighting",
        ),
        memory=memory,
        disk=int(count * each_image) + 2_000_000,
        seconds=seconds,
        output=Micrograph(movie.name, movie.path, shape, size, movie.optics, movie.exposure, tilt=movie.tilt),
    )


@each(title="Correct motion", stage="preprocess", gpus=1, plan=plan_motion)
def motion(movie: Movie, options: MotionJobOptions, context: Context) -> Micrograph:
    options = _weightable(movie, options, context)
    with open_movie(movie.path, sampling=_sampling(movie.path, options)) as file:
        groups = _groups(movie, options, Path(movie.path))
        sampling = file.image_shape[0] // file.physical_shape[0]
        frames = RenderedFrames(
            file,
            groups,
            _detector(file, options, context),
            options.bad_pixels,
            sampling=max(sampling, samples_per_pixel(file.image_shape)),
            memory=_left_over(movie, len(groups), file.image_shape, options, context.resources),
            seed=context.seed,
            progress=lambda share: context.progress(0.3 * share, 1.0, "decoding"),
        )
        _check_gain(frames, options, file.path, context)
        context.log(f"{len(frames.found)} bad pixels found, {frames.filled} filled in all.")
        corrected = _correct(frames, movie, movie.pixel_size / sampling, groups, options, context)
    return _write(movie, frames, corrected, movie.pixel_size / sampling, options, context)


def _weightable(movie: Movie, options: MotionJobOptions, context: Context) -> MotionJobOptions:
    """The options without dose weights where nobody knows the dose, which is said."""
    if not options.sums.dose_weight or math.isfinite(movie.exposure + movie.prior_exposure):
        return options
    context.warn("The exposure is not known: frames are summed without dose weights.")
    return options.model_copy(update={"sums": options.sums.model_copy(update={"dose_weight": False})})


def _sampling(path: str, options: MotionJobOptions) -> Literal[1, 2, 4]:
    return options.eer_sampling if path.lower().endswith(".eer") else 1


def _groups(movie: Movie, options: MotionJobOptions, path: Path) -> list[tuple[int, int]]:
    """Raw frames of each rendered frame: only those of EER are so short that several are one."""
    if path.suffix.lower() != ".eer":
        return plan_groups(movie.frames)
    if options.eer_group is None and math.isfinite(movie.exposure):
        per_frame = movie.exposure / movie.frames
        return plan_groups(movie.frames, exposure_per_frame=per_frame, target_exposure=options.eer_dose)
    return plan_groups(movie.frames, group=options.eer_group or max(1, movie.frames // FRAMES))


def _within(options: MotionJobOptions, resources: Resources) -> MotionJobOptions:
    """The options with what the job may use."""
    return options.model_copy(update={"memory": resources.memory / 1e9, "threads": resources.threads})


def _detector(file: MovieFile, options: MotionJobOptions, context: Context) -> DetectorCorrection:
    for path in (options.gain, options.dark, options.defects):
        if path is not None:
            context.uses(path)
    return prepare_detector(
        file.image_shape,
        None if options.gain is None else read_gain(options.gain),
        None if options.dark is None else read_dark(options.dark),
        None if options.defects is None else read_defects(options.defects, file.physical_shape),
        divides=options.gain is not None and gain_divides(options.gain, file.path),
        options=options.detector,
    )


def _left_over(
    movie: Movie, frames: int, shape: tuple[int, int], options: MotionJobOptions, resources: Resources
) -> int:
    """Memory for decoded frames: what motion correction does not need, bytes."""
    pixel_size = movie.pixel_size * movie.image_shape[0] / shape[0]
    exposure = movie.exposure / frames if math.isfinite(movie.exposure) else 1.0
    needed, _ = motion_memory(shape, frames, pixel_size, exposure, _within(options, resources))
    return max(0, resources.memory - needed)


def _check_gain(frames: RenderedFrames, options: MotionJobOptions, movie: Path, context: Context) -> None:
    raw_sum, bad = frames.take_sum()
    if options.gain is None or not options.check_gain:
        return
    detector = options.detector
    found = find_gain_orientation(
        raw_sum,
        read_gain(options.gain),
        rotate=detector.rotate_gain,
        flip=detector.flip_gain,
        inverted=gain_divides(options.gain, movie) if detector.invert_gain is None else detector.invert_gain,
        bad=bad,
    )
    if found.warning:
        context.warn(f"{found.warning[0].upper()}{found.warning[1:]}.")


def _correct(
    frames: RenderedFrames,
    movie: Movie,
    pixel_size: float,
    groups: list[tuple[int, int]],
    options: MotionJobOptions,
    context: Context,
) -> MotionCorrected:
    raw = movie.exposure / movie.frames

    def tell(share: float, what: str) -> None:
        context.progress(0.3 + 0.7 * share, 1.0, what)

    found = correct_motion(
        frames,
        pixel_size,
        _within(options, context.resources),
        exposure=Exposure(
            voltage=movie.optics.voltage or 300.0,
            frame=raw * (groups[-1][1] - groups[0][0]) / len(groups),
            prior=movie.prior_exposure + raw * groups[0][0],
        ),
        device=context.device,
        progress=tell,
    )
    context.log(found.note)
    if found.motion.sigma > LOST:
        context.warn(f"The frames show too little to be tracked: their motion is known to {found.motion.sigma:.0f} Å.")
    if found.fixed_pattern > PATTERN:
        context.warn(
            f"A pattern with {found.fixed_pattern:.0%} of a frame's noise stays on the detector: is the gain right?"
        )
    return replace(found, motion=replace(found.motion, group=groups[0][1] - groups[0][0]))


def _write(
    movie: Movie,
    frames: RenderedFrames,
    found: MotionCorrected,
    pixel_size: float,
    options: MotionJobOptions,
    context: Context,
) -> Micrograph:
    name = movie.name
    images = {"": found.weighted, "_noDW": found.unweighted, "_EVN": found.even, "_ODD": found.odd}
    paths: dict[str, str | None] = {}
    for suffix, image in images.items():
        path = context.output(f"{name}{suffix}.mrc", title=None if suffix else "Micrograph")
        paths[suffix] = None if image is None else str(path)
        if image is not None:
            write_mrc(path, np.asarray(image), found.pixel_size, dtype=options.values)
    spectrum = None
    if found.spectrum is not None:
        spectrum = context.output(f"{name}_PS.mrc")
        write_mrc(spectrum, _centred(np.asarray(found.spectrum, np.float32)), found.spectrum_pixel_size)
    metadata = context.output(f"{name}.star")
    content = MovieMotion(
        movie=movie.path,
        frame_shape=(frames.shape[1], frames.shape[2]),
        frames=len(frames),
        pixel_size=pixel_size,
        motion=found.motion,
        binning=found.pixel_size / pixel_size,
        voltage=movie.optics.voltage,
        prior_exposure=movie.prior_exposure if math.isfinite(movie.prior_exposure) else 0.0,
        gain=_gain_for_others(options, context),
        defects=None if options.defects is None else str(options.defects),
        hot_pixels=frames.found.numpy(),
        eer_upsampling=_sampling(movie.path, options) if movie.path.lower().endswith(".eer") else None,
    )
    for note in write_movie_motion(metadata, content, relative_to=metadata.parent):
        context.log(note)
    shown = np.asarray(found.weighted, np.float32)
    picture = pixels(draw_motion(found.motion, shown, found.pixel_size, LIGHT))
    write_png(context.output(f"{name}_motion.png", title="Motion"), picture)
    context.preview("motion", encode_png(picture), "Motion of the whole frame and of its parts")
    return Micrograph(
        name=name,
        path=paths[""] or "",
        image_shape=(shown.shape[0], shown.shape[1]),
        pixel_size=found.pixel_size,
        optics=movie.optics,
        exposure=movie.exposure,
        prior_exposure=movie.prior_exposure,
        tilt=movie.tilt,
        movie=movie,
        dose_weighted=options.sums.dose_weight,
        unweighted=paths["_noDW"],
        even=paths["_EVN"],
        odd=paths["_ODD"],
        spectrum=None if spectrum is None else str(spectrum),
        gain=None if options.gain is None else str(options.gain),
        metadata=str(metadata),
        motion=found.motion,
    )


def _gain_for_others(options: MotionJobOptions, context: Context) -> str | None:
    """The gain's file for those who read the movie again; none where it does not lie on the frames as it is."""
    if options.gain is None:
        return None
    detector = options.detector
    if detector.rotate_gain or detector.flip_gain != "none":
        context.log("The star file of the movie names no gain, for it was turned: RELION's polishing needs it turned.")
        return None
    return str(options.gain)


def _centred(half: Float[np.ndarray, "size half"]) -> Float[np.ndarray, "size size"]:
    """A whole power spectrum, origin in the centre, of a half one."""
    size, columns = half.shape
    mirrored = np.roll(half[::-1], 1, 0)[:, columns - 2 + size % 2 : 0 : -1]
    return np.fft.fftshift(np.concatenate([half, mirrored], 1))
