"""Motion correction: from the frames of a movie to a micrograph.

The frames' motion as a whole is found first, then, patch by patch, what differs from place to place; both are applied
while the frames are read a second time and added. The micrograph lies where the specimen lay in the first frame that is
used, as RELION has it: its displacement is zero, and so is the local model's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy
import torch
from jaxtyping import Float

from thon.algorithms.motion_frames import (
    Exposure,
    FramePlan,
    FrameSource,
    FrameSpectra,
    adding_bytes,
    load_spectra,
    plan_frames,
    streaming_bytes,
)
from thon.algorithms.motion_likelihood import aligned_sum
from thon.algorithms.motion_local import LocalMotion, find_local_motion, patch_counts
from thon.algorithms.motion_options import MotionOptions
from thon.algorithms.motion_sum import FrameSummation
from thon.algorithms.motion_tracks import Track, find_track
from thon.base.errors import InputError
from thon.data.motion import FrameMotion

Progress = Callable[[float, str], None]

_SPECTRUM_TIME = 1.2e-8  # seconds to read a pixel of a frame and crop its spectrum
_TRACK_TIME = 4e-7  # seconds for a coefficient of the spectra that are compared, all stages together
_SUM_TIME = 1.6e-8  # seconds to move, warp and add a pixel


@dataclass(frozen=True)
class MotionCorrected:
    """A corrected movie.

    Args:
        motion: Where the specimen lay in each frame.
        weighted: Micrograph: with dose weights, over the root of the sum of their squares, so that its noise is that
            of one frame at every frequency; without them the plain sum.
        unweighted: Plain sum, if asked for.
        even: As `weighted`, of frames 0, 2, 4 …, if asked for.
        odd: As `weighted`, of frames 1, 3, 5 …, if asked for.
        spectrum: Half power spectrum of groups of frames, origin in the corner, in units of one frame's noise power per
            pixel; if asked for.
        spectrum_pixel_size: Pixel size of the square image that such a spectrum belongs to, Å.
        pixel_size: Of the images, Å.
        correlation: How like the sum of the others each compared group of frames is, −1 to 1, at the frequencies and
            with the weights of the alignment.
        fixed_pattern: Standard deviation of what stays on the detector over that of one frame's noise; 0 where none was
            found.
        note: What was decided about the local motion, and why.
    """

    motion: FrameMotion
    weighted: Float[torch.Tensor, "rows columns"]
    unweighted: Float[torch.Tensor, "rows columns"] | None
    even: Float[torch.Tensor, "rows columns"] | None
    odd: Float[torch.Tensor, "rows columns"] | None
    spectrum: Float[torch.Tensor, "size half"] | None
    spectrum_pixel_size: float
    pixel_size: float
    correlation: Float[np.ndarray, "groups"]
    fixed_pattern: float
    note: str


def correct_motion(
    frames: FrameSource,
    pixel_size: float,
    options: MotionOptions,
    *,
    exposure: Exposure,
    device: str = "cpu",
    progress: Progress | None = None,
) -> MotionCorrected:
    """Find how the specimen moved during a movie, and add its frames accordingly.

    Args:
        frames: Rendered, gain-corrected frames. Each is asked for twice, in order, unless all fit the memory.
        pixel_size: Of the frames, Å.
        options: What to do.
        exposure: Dose; a NaN is allowed where nothing is dose-weighted.
        device: Where to work.
        progress: Called with the share that is done and what is being done.

    Raises:
        InputError: No frame is left, frames differ in shape or hold values that are not finite, the dose is missing, or
            a frame does not fit the declared memory.
    """
    if options.sums.dose_weight and not math.isfinite(exposure.frame + exposure.prior):
        raise InputError("dose weighting needs the exposure", got=(exposure.frame, exposure.prior),
                         mend="state the exposure of a frame, or switch dose weighting off")  # fmt: skip
    tell = progress or _silent
    known = math.isfinite(exposure.frame + exposure.prior)
    # Tracks need no more than a rough idea of how fast the signal fades.
    fading = exposure if known else replace(exposure, frame=1.0, prior=0.0)
    threads = torch.get_num_threads()
    try:
        found = _correct(frames, pixel_size, options, fading, torch.device(device), tell)
        return replace(found, motion=replace(found.motion, frame_exposure=exposure.frame))
    finally:
        torch.set_num_threads(threads)


def _silent(share: float, what: str) -> None:
    pass


def _correct(
    frames: FrameSource,
    pixel_size: float,
    options: MotionOptions,
    exposure: Exposure,
    device: torch.device,
    tell: Progress,
) -> MotionCorrected:
    first = frames[options.first] if len(frames) > options.first else np.empty((0, 0))
    shape = (int(first.shape[0]), int(first.shape[1]))
    plan = plan_frames(shape, len(frames), pixel_size, exposure.frame, options)
    torch.set_num_threads(plan.threads)
    tell(0.0, "reading frames")
    spectra, held = load_spectra(frames, plan, pixel_size, exposure, options, device)
    tell(0.3, "tracking the frames")
    track = find_track(spectra, options.track) if len(spectra) > 1 else None
    motion, note, correlation = _still(plan, exposure), "a single frame does not move", np.ones(1)
    if track is not None:
        correlation = _correlation(spectra, track)
        tell(0.4, "tracking patches")
        local = _local(spectra, track, plan, pixel_size, options)
        motion, note = _motion(spectra, track, local, plan, exposure), local.note if local else "whole frames only"
    pattern = math.sqrt(track.model.pattern) if track is not None else 0.0
    del spectra
    tell(0.6, "adding frames")
    summation = FrameSummation(plan, motion, pixel_size, exposure, options, device)
    summation.add_all(frames, held)
    sums = summation.finish()
    return MotionCorrected(
        motion, sums.weighted, sums.unweighted, sums.even, sums.odd, sums.spectrum, sums.spectrum_pixel_size,
        sums.pixel_size, correlation, pattern, note,
    )  # fmt: skip


def _local(
    spectra: FrameSpectra, track: Track, plan: FramePlan, pixel_size: float, options: MotionOptions
) -> LocalMotion | None:
    counts = patch_counts(plan.image_shape, pixel_size, options.local)
    if min(counts) < 3 or len(spectra) < 4:
        return None
    return find_local_motion(spectra, track, counts, plan.number, options.local)


def _still(plan: FramePlan, exposure: Exposure) -> FrameMotion:
    return FrameMotion(np.zeros((plan.number, 2)), first=plan.first, frame_exposure=exposure.frame)


def _motion(
    spectra: FrameSpectra, track: Track, local: LocalMotion | None, plan: FramePlan, exposure: Exposure
) -> FrameMotion:
    """The motion of each frame, zero in the first."""
    index = np.arange(plan.number, dtype=np.float64)
    place = _between(spectra.frame, track.place, index)
    if local is not None and local.whole is not None:
        place = place + local.whole(index)
    return FrameMotion(
        place - place[0],
        local=None if local is None else local.model,
        patches=None if local is None else local.patches,
        sigma=track.sigma,
        first=plan.first,
        frame_exposure=exposure.frame,
        bfactor=track.bfactor,
    )


def _between(
    known: Float[np.ndarray, "groups"], place: Float[np.ndarray, "groups 2"], index: Float[np.ndarray, "frames"]
) -> Float[np.ndarray, "frames 2"]:
    """Places at all frames, from those in the middle of groups."""
    if len(known) == len(index):
        return place
    if len(known) < 4:
        return np.stack([np.interp(index, known, place[:, axis]) for axis in (0, 1)], -1)
    return np.asarray(scipy.interpolate.CubicSpline(known, place, bc_type="natural")(index))


def _correlation(spectra: FrameSpectra, track: Track) -> Float[np.ndarray, "groups"]:
    """Correlation of each group of frames with all the others, weighted by what the specimen shows."""
    total = aligned_sum(spectra, track.place)
    grid, index = spectra.grid, spectra.grid.index.long()
    weight = (track.model.signal / track.model.noise).to(torch.float32)[index] * grid.share
    row, column = grid.ramps(track.place)
    found = np.empty(len(spectra))
    for k in range(len(spectra)):
        frame = spectra.damage[k][index] * (row[k][:, None] * column[k]) * spectra.values[k]
        rest = total - frame
        norms = [float((weight * (v.real**2 + v.imag**2)).sum()) for v in (frame, rest)]
        product = float((weight * (frame * rest.conj()).real).sum())
        found[k] = product / max(math.sqrt(norms[0] * norms[1]), 1e-30)
    return found


def motion_memory(
    image_shape: tuple[int, int], frames: int, pixel_size: float, frame_exposure: float, options: MotionOptions
) -> tuple[int, float]:
    """Peak memory in bytes, and CPU seconds on one core, that a movie will take; decoding it is not counted."""
    plan = plan_frames(image_shape, frames, pixel_size, frame_exposure, options)
    pixels = plan.number * math.prod(image_shape)
    held = 4 * pixels if plan.held else 0
    adding = adding_bytes(image_shape, options, plan.planes, plan.batch)
    memory = held + max(plan.comparing_bytes, adding) + streaming_bytes(image_shape, options, plan.threads)
    seconds = _SPECTRUM_TIME * pixels + _TRACK_TIME * plan.spectra_bytes / 8 + _SUM_TIME * pixels
    return int(memory), seconds
