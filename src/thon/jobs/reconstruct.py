"""Reconstruct tomograms from tilt series: BPT, WBP, FBP, SIRT, SART, ADMM or CG.

Writes NAME_Vol.mrc, with --halves also NAME_EVN_Vol.mrc and NAME_ODD_Vol.mrc from every other image or frame, and a
report. Corrects the CTF of a series that has one, and weights images by their exposure where that is known.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from thon.algorithms.aligned_view import show_aligned
from thon.algorithms.bead_erasure import ErasedImages, find_bead_positions
from thon.algorithms.bead_tracking import BeadTrackingOptions
from thon.algorithms.ctf_correction import TiltImaging, resolve_mode
from thon.algorithms.reconstruct import Reconstruction, ReconstructOptions, plan_reconstruction
from thon.algorithms.reconstruct import reconstruct as reconstruct_volume
from thon.algorithms.reconstruction.output import output_shape
from thon.algorithms.reconstruction.stream import ImageSource
from thon.algorithms.tilt_ctf_geometry import level
from thon.data.alignment import AlignedTiltSeries, ThicknessProfile
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.formats.html_report import write_report
from thon.formats.mrc import MrcWriter, open_mrc
from thon.formats.ome_zarr import write_ome_zarr
from thon.formats.report.content import FscCurve, ReportContent, changed_options
from thon.formats.report.sections import read_central_slices
from thon.formats.tilt_images import TiltImages
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.ops.limits import measure_limits

SUFFIXES = {"full": "_Vol", "even": "_EVN_Vol", "odd": "_ODD_Vol"}


class ReconstructJobOptions(ReconstructOptions):
    """Reconstruction of tilt series in files."""

    volume_mask: Path | None = None
    """Volume of the output's size, zero where the tomogram is to be zero, else one."""

    initial_volume: Path | None = None
    """Volume of the output's size from which iterative methods start."""

    erase_beads: bool = False
    """Find gold beads and replace them by their surroundings before reconstructing."""

    beads: BeadTrackingOptions = BeadTrackingOptions()
    """How beads are found, to be erased."""

    multiscale: bool = False
    """Also write an OME-Zarr pyramid, for viewers."""


def plan_reconstruct(series: TiltSeries, options: ReconstructJobOptions, resources: Resources) -> Plan:
    """What a reconstruction needs: the plan of the algorithm, in words."""
    kept = series.geometry.select(series.kept)
    plan = plan_reconstruction(
        series.image_shape,
        kept,
        series.pixel_size,
        _within(options, resources),
        profile=_profile(series),
        imaging=TiltImaging.of(series, series.kept),
    )
    z, y, x = plan.shape
    where = ", images in a scratch file" if plan.images_on_disk else ""
    known = "" if options.thickness or options.thickness_px or _profile(series) else " (thickness not yet measured)"
    return Plan(
        understood=(
            f"{series.name}: {options.method} of {len(kept)} images, {x} × {y} × {z} voxels of {plan.voxel_size:.2f} Å"
            f"{known}",
            f"computed in {len(plan.rows)} part{'s' * (len(plan.rows) > 1)} along y{where}",
            _describe_correction(series, options),
        ),
        geometry=(
            f"tilts {kept.tilt.min():.1f}° to {kept.tilt.max():.1f}°, axis {kept.rotation.mean():.2f}°, "
            f"{'with' if kept.local is not None else 'no'} local motion, hand: {options.hand} as thon and RELION",
        ),
        memory=plan.memory + 500_000_000,
        disk=plan.output + plan.scratch,
        seconds=plan.seconds,
    )


@each(title="Reconstruct tomogram", stage="tomography", plan=plan_reconstruct)
def reconstruct(series: TiltSeries, options: ReconstructJobOptions, context: Context) -> Tomogram:
    kept = series.kept
    geometry = series.geometry.select(kept)
    images = TiltImages(series, kept)
    source, halves = _sources(images, series, options, context)
    options = _within(options, context.resources)
    imaging, profile = TiltImaging.of(series, kept), _profile(series)
    plan = plan_reconstruction(
        series.image_shape, geometry, series.pixel_size, options, profile=profile, imaging=imaging
    )
    context.log(_describe_correction(series, options))
    started = time.perf_counter()
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                MrcWriter(
                    context.output(f"{series.name}{suffix}.mrc", title="Tomogram" if name == "full" else None),
                    output_shape(plan.shape, options.orientation),
                    plan.voxel_size,
                    dtype=options.precision,
                    kind="volume",
                    labels=(f"thon {options.method}, axes {options.orientation}, {options.hand} hand",),
                )
            )
            for name, suffix in SUFFIXES.items()
            if name == "full" or options.halves
        }
        made = reconstruct_volume(
            source,
            geometry,
            series.pixel_size,
            options,
            order=series.order[kept],
            profile=profile,
            imaging=imaging,
            half_images=halves,
            sink=writers if options.halves else writers["full"],
            scratch=str(context.scratch),
            progress=lambda share: context.progress(share, 1.0, options.method),
            mask=_read(options.volume_mask, context),
            initial=_read(options.initial_volume, context),
        )
    seconds = time.perf_counter() - started
    tomogram = _record(series, options, made, context)
    _report(series, options, made, tomogram, seconds, context)
    images.close()
    return tomogram


def _within(options: ReconstructJobOptions, resources: Resources) -> ReconstructJobOptions:
    """The options with what the job may use."""
    return options.model_copy(update={"memory": resources.memory / 1e9, "threads": resources.threads})


def _profile(series: TiltSeries) -> ThicknessProfile | None:
    found = series.diagnostics if isinstance(series, AlignedTiltSeries) else None
    return None if found is None else found.profile


def _read(path: Path | None, context: Context) -> np.ndarray | None:
    if path is None:
        return None
    context.uses(path)
    with open_mrc(path) as volume:
        return volume.asarray()


def _sources(
    images: TiltImages, series: TiltSeries, options: ReconstructJobOptions, context: Context
) -> tuple[ImageSource, tuple[ImageSource, ImageSource] | None]:
    """The images, and those from half the frames where there are such, without beads where asked for."""
    halves = None
    if options.halves and series.halves:
        even, odd = (replace(series, images=tuple(pair[half] for pair in series.halves)) for half in (0, 1))
        halves = TiltImages(even, series.kept), TiltImages(odd, series.kept)
    if not options.erase_beads:
        return images, halves
    geometry = series.geometry.select(series.kept)
    positions, diameter = find_bead_positions(images, geometry, series.pixel_size, options.beads)
    context.log(f"{positions.shape[0]} beads of {diameter:.0f} Å are erased")

    def erase(source: TiltImages) -> ErasedImages:
        return ErasedImages(source, positions, diameter, series.pixel_size)

    return erase(images), None if halves is None else (erase(halves[0]), erase(halves[1]))


def _describe_correction(series: TiltSeries, options: ReconstructOptions) -> str:
    """What will be done about CTF and exposure, in words."""
    imaging = TiltImaging.of(series, series.kept)
    mode = resolve_mode(options.ctf, imaging)
    even = ", taken as even over each image for want of the hand" if imaging.hand is None else ""
    ctf = "no CTF correction" if mode == "none" else f"CTF corrected: {mode}{even}"
    weighted = options.dose_weight and imaging.knows_exposure
    return f"{ctf}; {'weighted by exposure' if weighted else 'not weighted by exposure'}"


def _record(series: TiltSeries, options: ReconstructJobOptions, made: Reconstruction, context: Context) -> Tomogram:
    """The tomogram as a record, its pyramid written where asked for."""
    volumes = {
        name: Volume(str(context.output(f"{series.name}{suffix}.mrc")), made.shape, made.voxel_size, made.origin)
        for name, suffix in SUFFIXES.items()
        if name == "full" or options.halves
    }
    if options.multiscale:
        with open_mrc(volumes["full"].path) as volume:
            write_ome_zarr(context.output(f"{series.name}_Vol.zarr"), volume, made.voxel_size)
    if made.residuals:
        first, last = made.residuals[0], made.residuals[-1]
        context.log(f"relative residual {first:.3f} before the first iteration, {last:.3f} before the last")
    profile = _profile(series)
    return Tomogram(
        series=series.name,
        volume=volumes["full"],
        even=volumes.get("even"),
        odd=volumes.get("odd"),
        method=options.method,
        thickness=None if profile is None else profile.thickness,
        tilts=series.with_geometry(level(series.geometry, (options.tilt_offset, options.pitch))),
    )


def _report(
    series: TiltSeries,
    options: ReconstructJobOptions,
    made: Reconstruction,
    tomogram: Tomogram,
    seconds: float,
    context: Context,
) -> None:
    """Draw the page, with what the alignment found where there was one, and a preview."""
    sections_along_y, mirrored = options.orientation == "xzy", options.hand == "mirrored"
    slices = read_central_slices(tomogram.volume, sections_along_y=sections_along_y, mirrored=mirrored)
    context.preview("central-slice", slices.xy, "Central slice of the tomogram")
    with TiltImages(series) as images:
        upright, raw, pixel_size = show_aligned(images, series.geometry, series.pixel_size)
    found = series.diagnostics.seconds if isinstance(series, AlignedTiltSeries) and series.diagnostics else {}
    fsc = None
    if made.fsc is not None:
        shown = np.isfinite(made.fsc.correlation.numpy())
        fsc = FscCurve(made.fsc.frequency.double().numpy()[shown], made.fsc.correlation.double().numpy()[shown])
    write_report(
        context.report(),
        ReportContent(
            title=series.name,
            series=series,
            aligned=upright,
            aligned_pixel_size=pixel_size,
            raw=raw,
            slices=slices,
            tomogram=tomogram,
            fsc=fsc,
            understood={
                "Volume": f"{made.shape[2]} × {made.shape[1]} × {made.shape[0]} voxels of {made.voxel_size:.2f} Å",
                "Throughput": f"{made.plan.updates / seconds / 1e9:.2f} G voxel updates/s with reading and writing",
                "Hand": f"{options.hand} as thon and RELION; axes {options.orientation}",
            },
            options=changed_options(options),
            seconds=found | {"reconstruct": seconds},
            limit_share={"reconstruct": _share_of_limit(made, seconds, context.threads)},
            versions={"thon": version("thon")},
        ),
    )


def _share_of_limit(made: Reconstruction, seconds: float, threads: int) -> float:
    """What was achieved of this machine's arithmetic, at two multiply-adds a voxel update, measured here and now."""
    return 2 * made.plan.updates / seconds / (measure_limits(512, 1 << 24).multiply_adds * threads)
