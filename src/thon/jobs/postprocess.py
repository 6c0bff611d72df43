"""Post-process a map: FSC of its halves within a mask, resolution, B-factor sharpening, FSC weighting, filtering.

Takes a refinement, or half maps in files. The mask is the one connected (--mask), that of --mask-file, that of the
refinement, or one made from the map. Writes NAME_sharpened.mrc, the same within the mask, postprocess.star as RELION
writes it, and a report.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt
from jaxtyping import Float

from thon.algorithms.orientations import ConicalFsc
from thon.algorithms.postprocess import Postprocessed, PostprocessOptions, postprocess_map
from thon.base.options import Unit
from thon.data.maps import HalfMaps, SharpenedMap
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.maps import write_map
from thon.formats.mtf import read_mtf
from thon.formats.relion_postprocess import write_postprocess
from thon.formats.report.job_page import ReportFigure
from thon.formats.report.measures import number
from thon.formats.report.postprocess import fsc_figure, guinier_figure
from thon.formats.report.volume_views import views_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.map_sources import find_mask, read_halves
from thon.jobs.published import anisotropy_warnings, box_text, by_direction, publish, resolution_text, views_seen
from thon.ops.fsc import shells
from thon.ops.symmetry import symmetry_rotations


class PostprocessJobOptions(PostprocessOptions):
    """Post-processing of maps in files."""

    mask_file: Path | None = None
    """Mask to use where none is connected."""

    masked: bool = True
    """Compare the halves within a mask."""

    mtf: Path | None = None
    """Star file with the modulation transfer of the detector, which the map is divided by."""

    mtf_pixel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Pixel size of the detector that the MTF is of; the voxel size unless given."""

    calibrated_voxel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Voxel size in place of the nominal one, as calibrated, for instance against an atomic model."""


def plan_postprocess(maps: HalfMaps, options: PostprocessJobOptions, resources: Resources) -> Plan:
    """What post-processing needs, from the box."""
    z, y, x = maps.volume.shape
    voxels = z * y * x
    return Plan(
        understood=(f"half maps of {x} × {y} × {z} voxels of {maps.volume.voxel_size:g} Å",),
        memory=400_000_000 + 80 * voxels,
        disk=16 * voxels + 1_000_000,
        seconds=3 + 2e-6 * voxels,
    )


@each(title="Post-process", stage="post-process", plan=plan_postprocess)
def postprocess(
    maps: HalfMaps, options: PostprocessJobOptions, context: Context, mask: Volume | None = None
) -> SharpenedMap:
    first, second, nominal = read_halves(maps)
    size = options.calibrated_voxel_size or nominal
    found_mask = find_mask(maps, first, second, mask or options.mask_file, context) if options.masked else None
    within, used = found_mask or (None, None)
    made = postprocess_map(
        first,
        second,
        size,
        options,
        mask=within,
        transfer=_transfer(options, maps.volume.shape, nominal),
        symmetry_order=len(symmetry_rotations(maps.symmetry)),
        seed=context.seed % 2**31,
    )
    name, volume = context.item, made.volume.numpy()
    found = SharpenedMap(
        volume=write_map(context.output(f"{name}_sharpened.mrc", title="Sharpened map"), volume, size),
        unsharpened=write_map(context.output(f"{name}_unsharpened.mrc"), made.unsharpened.numpy(), size),
        first=replace(maps.first, voxel_size=size),
        second=replace(maps.second, voxel_size=size),
        symmetry=maps.symmetry,
        resolution=made.correlation.resolution,
        curves=made.correlation.curves,
        diameter=None if maps.diameter is None else maps.diameter * size / nominal,
        mask=None if used is None else replace(used, voxel_size=size),
        b_factor=made.b_factor,
        guinier=made.guinier,
    )
    masked = None
    if within is not None:
        inside = volume * within.numpy()
        masked = Path(write_map(context.output(f"{name}_sharpened_masked.mrc"), inside, size).path)
    write_postprocess(context.output("postprocess.star", title="Curves"), found, masked, context.output("."))
    views = None
    if isinstance(maps, Particles) and maps.rotation is not None:
        views = views_seen(maps.rotation, maps.symmetry)
    _report(made, found, within, views, by_direction(first, second, size, within), options, context)
    return found


def _transfer(
    options: PostprocessJobOptions, shape: tuple[int, int, int], voxel_size: float
) -> Float[np.ndarray, "shells"] | None:
    """The detector's transfer at each shell; calibration changes both pixel sizes alike."""
    if options.mtf is None:
        return None
    _, frequency = shells(shape)
    return read_mtf(options.mtf).at(frequency.numpy() * (options.mtf_pixel_size or voxel_size) / voxel_size)


def _sharpening(made: Postprocessed, options: PostprocessOptions) -> tuple[float | None, str]:
    """The B-factor that the map was sharpened by, if it was, and a sentence about that."""
    if options.b_factor is not None:
        return options.b_factor, f"The map was sharpened by {number(options.b_factor, 0)} Å², as given."
    if np.isfinite(made.guinier.slope):
        return made.b_factor, f"The map was sharpened by the fitted B-factor of {number(made.b_factor, 0)} Å²."
    resolution = made.correlation.resolution
    if not np.isfinite(resolution):
        return None, "No B-factor was fitted and the map was not sharpened: its halves have no resolution."
    finest = f"the resolution, {resolution:.1f} Å" if options.fit_to is None else f"--fit-to, {options.fit_to:g} Å"
    return None, (
        "No B-factor was fitted and the map was not sharpened: a fit needs three shells between --fit-from, "
        f"{options.fit_from:g} Å, and {finest}. Give --b-factor, or a coarser --fit-from."
    )


def _report(
    made: Postprocessed,
    found: SharpenedMap,
    within: Float[torch.Tensor, "z y x"] | None,
    views: tuple[float, ReportFigure] | None,
    cones: tuple[ConicalFsc, ReportFigure] | None,
    options: PostprocessJobOptions,
    context: Context,
) -> None:
    """Say what was found, and write the page."""
    common, size = made.correlation, found.volume.voxel_size
    b_factor, sharpening = _sharpening(made, options)
    warnings = list(common.warnings)
    if np.isfinite(common.resolution):
        context.log(f"Resolution {common.resolution:.2f} Å. {sharpening}")
        warnings += [] if cones is None else anisotropy_warnings(cones[0].ratio)
    for sentence in warnings:
        context.warn(sentence)
    evenness = {}
    if views is not None:
        evenness["Efficiency of the views"] = f"{views[0]:.2f}"
        context.log(f"Efficiency of the viewing directions {views[0]:.2f}.")
    if cones is not None:
        evenness["FSC area ratio (cFAR)"] = f"{cones[0].ratio:.2f}"
        context.log(f"FSC by direction: area ratio (cFAR) {cones[0].ratio:.2f}.")
    shown = made.volume if within is None else made.volume * within
    publish(
        context,
        f"Post-process: resolution {resolution_text(common.resolution)}",
        [
            views_figure(shown.numpy(), size, title="Sharpened map"),
            fsc_figure(common.curves, common.resolution, randomised_from=common.randomised_from),
            guinier_figure(made.guinier, b_factor, sharpening),
            views and views[1],
            cones and cones[1],
        ],
        numbers={
            "Resolution": resolution_text(common.resolution),
            "B-factor": "none was fitted" if b_factor is None else f"{number(b_factor, 0)} Å²",
            "Filtered to": f"{made.low_pass:.2f} Å",
            "Mask": "none" if within is None else f"{100 * float(within.mean()):.1f} % of the box",
            "Symmetry": found.symmetry,
            "Map": box_text(found.volume.shape, size),
            **evenness,
        },
        options=options,
        warnings=warnings,
        prefix=f"{context.item}_",
    )
