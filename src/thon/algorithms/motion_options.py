"""Every tunable of motion correction."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from thon.base.options import Options, Provided, Unit


class TrackOptions(Options):
    """How frames, and patches of frames, are compared."""

    max_resolution: Annotated[float, Unit("Å"), Ge(1)] = 6.0
    """Finest detail that is compared. Frames are cropped to it in Fourier space."""

    min_resolution: Annotated[float, Unit("Å"), Gt(0)] = 400.0
    """Coarsest detail that is compared; coarser shades belong to the ice and the illumination."""

    bfactors: tuple[float, ...] = (6000.0, 1500.0)
    """B-factors (Å²) of the first search, from coarse to fine; the one under whose track the frames are likeliest is
    refined by the spectral signal that the frames themselves show."""

    iterations: Annotated[int, Unit("1"), Ge(1), Le(50)] = 6
    """Most steps of the refinement."""

    tolerance: Annotated[float, Unit("Å"), Gt(0)] = 0.01
    """Refinement ends when no frame moves further."""

    max_shift: Annotated[float, Unit("Å"), Gt(0)] = 250.0
    """Furthest that the search looks for a frame, in each round."""

    group_exposure: Annotated[float, Unit("e/Å²"), Ge(0)] = 0.5
    """Neighbouring frames with less than this are added up before they are compared. Their tracks run smoothly between
    the middles of these groups."""

    smooth: bool = True
    """Let the frames' own precision and the roughness of the track decide how far neighbours steady each other."""

    fixed_pattern: bool = True
    """Tell what stays on the detector (an imperfect gain, hot pixels) from what moves with the specimen."""


class LocalOptions(Options):
    """How motion that differs from place to place is found."""

    patches: tuple[Annotated[int, Ge(1), Le(40)], Annotated[int, Ge(1), Le(40)]] | None = None
    """Patches along y and x. If not given, by `patch_size`; 1 × 1 leaves local motion out."""

    patch_size: Annotated[float, Unit("Å"), Gt(0)] = 700.0
    """Side of a patch, if their number is not given."""

    overlap: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.25
    """How far patches reach into each other, as a share of their distance."""

    max_shift: Annotated[float, Unit("Å"), Gt(0)] = 40.0
    """Furthest that a patch may lie from the whole frame's motion, in each round of the search."""

    model: Literal["polynomial", "spline"] = "spline"
    """spline: cubic B-splines in time and the plane. polynomial: RELION's, which its polishing reads: quadratic in the
    plane, cubic in time."""

    time_step: Annotated[float, Unit("e/Å²"), Gt(0)] = 4.0
    """Exposure between the knots of the spline in time."""


class SumOptions(Options):
    """Which sums are made, and how."""

    bin: Annotated[float, Unit("1"), Ge(1), Le(64)] = 1.0
    """Pixel size of the micrograph over that of the frames; any number, by cropping in Fourier space."""

    dose_weight: bool = True
    """Weight each spatial frequency of each frame by the signal that radiation has left."""

    unweighted: bool = False
    """Also the plain sum of the frames."""

    halves: bool = False
    """Also the sums of the even and of the odd frames."""

    spectrum: bool = False
    """Also the power spectrum of sums over groups of frames, for CTF fitting."""

    spectrum_exposure: Annotated[float, Unit("e/Å²"), Gt(0)] = 4.0
    """Exposure of such a group."""

    spectrum_size: Annotated[int, Unit("px"), Ge(64), Le(4096)] = 512
    """Side of that spectrum."""

    spectrum_pixel: Annotated[float, Unit("Å"), Gt(0)] = 1.4
    """Finest pixel for which that spectrum is made."""


class MotionOptions(Options):
    """How the frames of a movie become a micrograph."""

    first: Annotated[int, Unit("1"), Ge(0)] = 0
    """Frames to leave out at the start."""

    last: Annotated[int | None, Unit("1"), Ge(0)] = None
    """Last frame to use, counted from 0; to the end if not given."""

    track: TrackOptions = TrackOptions()
    """Comparison of the frames."""

    local: LocalOptions = LocalOptions()
    """Motion that differs from place to place."""

    sums: SumOptions = SumOptions()
    """Output."""

    magnification: tuple[float, float, float] | None = None
    """Anisotropic magnification to undo: how much the image is stretched along its major and its minor axis, and the
    major axis's angle in degrees anticlockwise from x."""

    memory: Annotated[float, Unit("GB"), Gt(0), Provided()] = 2.0
    """Memory that may be used. Frames are read twice, and compared at a coarser pixel, to keep within it."""

    threads: Annotated[int, Unit("1"), Ge(0), Provided()] = 1
    """Threads, or fewer where the memory does not hold a frame for each; 0 leaves the number to PyTorch."""
