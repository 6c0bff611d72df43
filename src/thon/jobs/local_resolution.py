"""Measure the local resolution of a map from its halves, and filter the map by it.

Takes a post-processed map, a refinement, or half maps in files. Writes NAME_locres.mrc (Å), NAME_locres_filtered.mrc
and a report with the map in colours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Le

from thon.algorithms.local_resolution import LocalResolutionOptions
from thon.algorithms.local_resolution import local_resolution as measure
from thon.algorithms.postprocess import PostprocessOptions, postprocess_map
from thon.base.errors import InputError
from thon.base.options import Unit
from thon.data.maps import HalfMaps, LocalResolutionMap, SharpenedMap
from thon.data.volume import Volume
from thon.formats.maps import write_map
from thon.formats.report.measures import number
from thon.formats.report.postprocess import fsc_figure
from thon.formats.report.volume_views import local_resolution_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.map_sources import find_mask, read_halves
from thon.jobs.published import box_text, publish, resolution_text


class LocalResolutionJobOptions(LocalResolutionOptions):
    """Local resolution of maps in files."""

    mask_file: Path | None = None
    """Mask within which to measure, where none is connected."""

    b_factor: Annotated[float | None, Unit("Å²"), Le(0)] = None
    """B-factor to sharpen by (negative); that of the post-processed map, or fitted, unless given."""


def plan_local_resolution(maps: HalfMaps, options: LocalResolutionJobOptions, resources: Resources) -> Plan:
    """What the measurement needs, from the box."""
    z, y, x = maps.volume.shape
    voxels = z * y * x
    places = voxels * (maps.volume.voxel_size / options.step) ** 3
    return Plan(
        understood=(f"{x} × {y} × {z} voxels of {maps.volume.voxel_size:g} Å, up to {places:.0f} places",),
        memory=700_000_000 + 100 * voxels,
        disk=12 * voxels,
        seconds=2 + 3e-6 * voxels,
    )


@each(title="Local resolution", stage="post-process", plan=plan_local_resolution)
def local_resolution(
    maps: HalfMaps, options: LocalResolutionJobOptions, context: Context, mask: Volume | None = None
) -> LocalResolutionMap:
    first, second, size = read_halves(maps)
    found_mask = find_mask(maps, first, second, mask or options.mask_file, context)
    if found_mask is None:
        raise InputError("the half maps have no resolution: they agree no better than noise does", path=maps.first.path)
    within, used = found_mask
    b_factor = options.b_factor
    if b_factor is None and isinstance(maps, SharpenedMap):
        b_factor = maps.b_factor
    if b_factor is None:
        b_factor = postprocess_map(first, second, size, PostprocessOptions(), mask=within).b_factor
    found = measure(
        first,
        second,
        size,
        options,
        mask=within,
        b_factor=b_factor,
        seed=context.seed % 2**31,
        progress=lambda share: context.progress(share, 1.0, "local resolution"),
    )
    inside, name = found.resolution[within > 0.5].numpy(), context.item
    best, middle, worst = np.percentile(inside, (5, 50, 95))
    context.log(f"{len(found.places)} places: {best:.1f} to {worst:.1f} Å within the mask, median {middle:.1f} Å.")
    publish(
        context,
        f"Local resolution: median {middle:.1f} Å",
        [
            local_resolution_figure(found.filtered.numpy(), found.resolution.numpy(), within.numpy()),
            None if maps.curves is None else fsc_figure(maps.curves, maps.resolution),
        ],
        numbers={
            "Median": f"{middle:.2f} Å",
            "5 to 95 % of the mask": f"{best:.2f} to {worst:.2f} Å",
            "Global resolution": "–" if maps.curves is None else resolution_text(maps.resolution),
            "Places": f"{len(found.places):,}",
            "B-factor": f"{number(b_factor, 0)} Å²" if b_factor else "none: the map was not sharpened",
            "Map": box_text(found.filtered.shape, size),
        },
        options=options,
        prefix=f"{name}_",
    )
    return LocalResolutionMap(
        volume=write_map(context.output(f"{name}_locres_filtered.mrc"), found.filtered.numpy(), size),
        local=write_map(context.output(f"{name}_locres.mrc"), found.resolution.numpy(), size),
        first=maps.first,
        second=maps.second,
        symmetry=maps.symmetry,
        resolution=maps.resolution,
        curves=maps.curves,
        diameter=maps.diameter,
        mask=used,
        b_factor=b_factor,
    )
