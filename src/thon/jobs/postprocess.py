"""Post-process a map: FSC of its halves within a mask, resolution, B-factor sharpening, FSC weighting, filtering.

Takes a refinement, or half maps in files. The mask is the one connected (--mask), that of --mask-file, that of the
refinement, or one made from the map. Writes NAME_sharpened.mrc, the same within the mask, postprocess.star as RELION
writes it, and figures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from annotated_types import Gt
from jaxtyping import Float

from thon.algorithms.orientations import conical_fsc, sampling_efficiency, view_directions
from thon.algorithms.postprocess import Postprocessed, PostprocessOptions, postprocess_map
from thon.base.options import Unit
from thon.data.maps import HalfMaps, SharpenedMap
from thon.data.particles import Particles
from thon.data.volume import Volume
from thon.formats.maps import write_map
from thon.formats.mtf import read_mtf
from thon.formats.png import encode_png, write_png
from thon.formats.relion_postprocess import write_postprocess
from thon.formats.report.orientations import draw_conical_fsc, draw_orientations
from thon.formats.report.postprocess import draw_guinier, draw_half_fsc
from thon.formats.report.style import LIGHT, pixels
from thon.formats.report.volume_views import draw_views
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.map_sources import find_mask, read_halves
from thon.ops.fsc import shells
from thon.ops.symmetry import symmetry_rotations

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    _tell(made, context)
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
    _draw(made, maps, within, size, context)
    _draw_cones(first, second, within, size, context)
    return found


def _transfer(
    options: PostprocessJobOptions, shape: tuple[int, int, int], voxel_size: float
) -> Float[np.ndarray, "shells"] | None:
    """The detector's transfer at each shell; calibration changes both pixel sizes alike."""
    if options.mtf is None:
        return None
    _, frequency = shells(shape)
    return read_mtf(options.mtf).at(frequency.numpy() * (options.mtf_pixel_size or voxel_size) / voxel_size)


def _tell(made: Postprocessed, context: Context) -> None:
    found = made.correlation
    for sentence in found.warnings:
        context.warn(sentence)
    if np.isfinite(found.resolution):
        context.log(f"Resolution {found.resolution:.2f} Å, B-factor {made.b_factor:.0f} Å².")


def _draw(
    made: Postprocessed, maps: HalfMaps, within: Float[torch.Tensor, "z y x"] | None, size: float, context: Context
) -> None:
    found, volume = made.correlation, made.volume if within is None else made.volume * within
    figures = {
        "Fourier shell correlation": (
            "fsc",
            draw_half_fsc(found.curves, found.resolution, LIGHT, randomised_from=found.randomised_from),
        ),
        "Guinier plot": ("guinier", draw_guinier(made.guinier, made.b_factor, LIGHT)),
        "Sections and projections": ("views", draw_views(volume.numpy(), size, LIGHT)),
    }
    if isinstance(maps, Particles) and maps.rotation is not None:
        directions = view_directions(maps.rotation, maps.symmetry)
        efficiency = sampling_efficiency(directions)
        context.log(f"Efficiency of the viewing directions {efficiency:.2f}.")
        figures["Viewing directions"] = ("directions", draw_orientations(directions, efficiency, LIGHT))
    for caption, (name, figure) in figures.items():
        _show(figure, name, caption, context)


def _draw_cones(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    within: Float[torch.Tensor, "z y x"] | None,
    size: float,
    context: Context,
) -> None:
    """FSC by direction, for cubes."""
    if len(set(first.shape)) > 1:
        return
    cones = conical_fsc(first, second, size, mask=within)
    context.log(f"FSC by direction: area ratio (cFAR) {cones.ratio:.2f}.")
    _show(
        draw_conical_fsc(cones.frequency, cones.correlation, cones.ratio, LIGHT), "cones", "FSC by direction", context
    )


def _show(figure: Figure, name: str, caption: str, context: Context) -> None:
    picture = pixels(figure)
    write_png(context.output(f"{context.item}_{name}.png"), picture)
    context.preview(name, encode_png(picture), caption)
