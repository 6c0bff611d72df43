"""Align tilt series: without markers, or on gold beads.

Writes the alignment as IMOD's .xf, .tlt and .xtilt, as AreTomo's .aln, and a report.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from thon.algorithms.align_tilts import AlignTiltsOptions, align_tilt_series, alignment_memory
from thon.algorithms.aligned_view import show_aligned
from thon.base.errors import InputError
from thon.data.alignment import AlignedTiltSeries
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import TiltSeries
from thon.formats.alignments import write_alignment
from thon.formats.html_report import write_report
from thon.formats.images import open_images
from thon.formats.report.content import ReportContent, changed_options
from thon.formats.tilt_images import TiltImages
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each


class AlignTiltsJobOptions(AlignTiltsOptions):
    """Alignment of tilt series in files."""

    mask: Path | None = None
    """Image or stack of the raw images' size, zero where they must not be looked at: a beam stop, carbon, ice."""


def plan_align_tilts(series: TiltSeries, options: AlignTiltsJobOptions, resources: Resources) -> Plan:
    """What an alignment needs, from the number and size of the images."""
    memory, seconds = alignment_memory(len(series), series.image_shape, options)
    rows, columns = series.image_shape
    return Plan(
        understood=(f"{series.name}: {len(series)} images of {columns} × {rows} px at {series.pixel_size:g} Å",),
        geometry=(
            f"tilts {series.geometry.tilt.min():.1f}° to {series.geometry.tilt.max():.1f}°",
            "tilt axis searched over half a turn"
            if series.tilt_axis is None
            else f"tilt axis within {options.axis_range:g}° of {series.tilt_axis:.1f}°",
        ),
        memory=memory,
        disk=6 * 1024**2,
        seconds=seconds,
        output=series,
    )


@each(title="Align tilt series", stage="tomography", plan=plan_align_tilts)
def align_tilts(
    series: TiltSeries, options: AlignTiltsJobOptions, context: Context, start: AlignedTiltSeries | None = None
) -> AlignedTiltSeries:
    images = TiltImages(series)
    found = align_tilt_series(
        images,
        series.geometry.tilt,
        series.pixel_size,
        options,
        tilt_axis=series.tilt_axis,
        excluded=series.excluded,
        mask=_read_mask(options.mask, series, context),
        start=None if start is None else _known_geometry(series, start),
        progress=lambda share, what: context.progress(share, 1.0, what),
    )
    for sentence in found.diagnostics.warnings:
        context.warn(sentence)
    fields = {name: getattr(series, name) for name in TiltSeries.__dataclass_fields__}
    fields |= {"geometry": found.geometry, "excluded": found.excluded}
    aligned = AlignedTiltSeries(**fields, diagnostics=found.diagnostics)
    for suffix in (".xf", ".aln"):
        lost = write_alignment(
            context.output(series.name + suffix),
            found.geometry,
            series.image_shape,
            series.pixel_size,
            excluded=found.excluded,
            thickness=None if found.diagnostics.profile is None else found.diagnostics.profile.thickness,
        )
        for sentence in lost:
            context.log(f"{series.name}{suffix}: {sentence}")
    _report(aligned, series, images, options, context)
    images.close()
    return aligned


def _known_geometry(series: TiltSeries, earlier: TiltSeries) -> TiltGeometry:
    """The geometry that an earlier alignment gave each image; for those it did not have, a shift of NaN."""
    rows = {image: k for k, image in enumerate(earlier.images) if k not in earlier.excluded}
    at = np.array([rows.get(image, -1) for image in series.images])
    known = earlier.geometry.select(np.maximum(at, 0))
    shift = np.where((at < 0)[:, None], np.nan, known.shift)
    tilt = np.where(at < 0, series.geometry.tilt, known.tilt)
    return TiltGeometry(tilt, shift, known.rotation, known.x_tilt, known.magnification)


def _read_mask(path: Path | None, series: TiltSeries, context: Context) -> np.ndarray | None:
    if path is None:
        return None
    context.uses(path)
    with open_images(path) as stack:
        if stack.shape[1:] != series.image_shape or len(stack) not in (1, len(series)):
            expected = f"1 or {len(series)} images of {series.image_shape}"
            raise InputError("the mask does not fit the images", path=path, got=stack.shape, expected=expected)
        return stack.asarray()


def _report(
    aligned: AlignedTiltSeries, series: TiltSeries, images: TiltImages, options: AlignTiltsJobOptions, context: Context
) -> None:
    """Draw the page and a preview of the aligned series."""
    upright, raw, pixel_size = show_aligned(images, aligned.geometry, series.pixel_size)
    lowest = int(np.argmin(np.abs(aligned.geometry.tilt)))
    context.preview("aligned", upright[lowest], "Aligned image at the lowest tilt, tilt axis upright")
    write_report(
        context.report(),
        ReportContent(
            title=series.name,
            series=aligned,
            nominal=series.geometry,
            aligned=upright,
            aligned_pixel_size=pixel_size,
            raw=raw,
            options=changed_options(options),
            versions={"thon": version("thon")},
        ),
    )
