"""Make a soft mask around the particle in a map, for post-processing and refinement.

Takes a refinement, or half maps in files; of any other map `thon volume MAP OUT --to mask` makes one. Writes
NAME_mask.mrc and a report.
"""

from __future__ import annotations

from pathlib import Path

import torch

from thon.algorithms.mask import MaskOptions, make_mask
from thon.data.maps import HalfMaps
from thon.data.volume import Volume
from thon.formats.maps import read_map, write_map
from thon.formats.report.volume_views import mask_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.published import box_text, publish


class MaskJobOptions(MaskOptions):
    """Masks of maps in files."""

    other: Path | None = None
    """Another map or mask that takes part as --combine says."""


def plan_mask(maps: HalfMaps, options: MaskJobOptions, resources: Resources) -> Plan:
    """What a mask needs, from the box."""
    z, y, x = maps.volume.shape
    return Plan(
        understood=(f"{x} × {y} × {z} voxels of {maps.volume.voxel_size:g} Å",),
        memory=300_000_000 + 60 * z * y * x,
        disk=4 * z * y * x,
        seconds=1 + 6e-7 * z * y * x,
        output=maps.volume,
    )


@each(title="Mask", stage="post-process", plan=plan_mask)
def mask(maps: HalfMaps, options: MaskJobOptions, context: Context) -> Volume:
    values, size = read_map(maps.volume)
    other = None
    if options.other is not None:
        context.uses(options.other)
        other = torch.from_numpy(read_map(options.other)[0])
    made = make_mask(torch.from_numpy(values), size, options, other=other)
    at = "" if made.threshold is None else f", density from {made.threshold:.4g}"
    context.log(f"The mask takes {100 * made.share:.1f} % of the box{at}.")
    publish(
        context,
        f"Mask: {100 * made.share:.1f} % of the box",
        [mask_figure(values, made.mask.numpy(), size)],
        numbers={
            "Shape": options.shape,
            "Density from": "–" if made.threshold is None else f"{made.threshold:.4g}",
            "Box": box_text(values.shape, size),
        },
        options=options,
    )
    return write_map(context.output(f"{context.item}_mask.mrc", title="Mask"), made.mask.numpy(), size)
