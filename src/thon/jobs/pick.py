"""Find particles in micrographs: blobs without references, Laplacian of Gaussian as RELION, or given references.

References are a stack of images or a map (matter bright) in a file, or the class averages of a job. Foil and its edges
are left out, and the threshold is found from the scores. Writes NAME_pick.star as RELION does, NAME_picks.png, and a
report of each micrograph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt

from thon.algorithms.pick import PickOptions, PickResult, Templates, pick_particles
from thon.algorithms.pick_template import project_map
from thon.base.errors import InputError
from thon.base.options import Unit
from thon.data.maps import ClassifiedParticles, HalfMaps, Picks
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.formats.images import open_images
from thon.formats.relion_coordinates import write_coordinates
from thon.formats.report.measures import number
from thon.formats.report.picks import PickPicture, picks_figure
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each
from thon.jobs.published import publish


class PickJobOptions(PickOptions):
    """Picking in files."""

    references_pixel_size: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Pixel size of --references; that of its header unless given."""


def plan_pick(micrograph: Micrograph, options: PickJobOptions, resources: Resources) -> Plan:
    """What picking needs, from the micrograph's size and that of the binned one."""
    rows, columns = micrograph.image_shape
    size = max(micrograph.pixel_size, options.max_resolution / 2)
    binned = rows * columns * (micrograph.pixel_size / size) ** 2
    return Plan(
        understood=(
            f"{micrograph.name}: {columns} × {rows} px at {micrograph.pixel_size:g} Å, searched at {size:g} Å",
        ),
        memory=int(350_000_000 + 22 * rows * columns + 200 * binned),
        disk=2_000_000,
        seconds=1.5 + 1.2e-7 * rows * columns + 1e-6 * binned,
    )


@each(title="Pick particles", stage="particles", plan=plan_pick)
def pick(
    micrograph: Micrograph,
    options: PickJobOptions,
    context: Context,
    references: Path | None = None,
    averages: ClassifiedParticles | None = None,
    map: HalfMaps | None = None,
) -> Picks:
    with open_images(micrograph.path) as file:
        image = torch.from_numpy(file.image(0).astype(np.float32))
    fitted = CtfMicrograph.of(micrograph)
    found = pick_particles(
        image,
        micrograph.pixel_size,
        options,
        templates=_templates(references, averages, map, options, context),
        ctf=None if fitted.fit is None else fitted.fit.ctf,
        optics=micrograph.optics,
    )
    for note in found.notes:
        context.log(note)
    if len(found.score):
        context.log(f"{len(found.score)} particles above a score of {found.threshold:.3g}.")
    else:
        context.warn(f"There are no particles in {micrograph.name}.")
    picks = Picks(fitted, found.coordinates, found.score, found.diameter, found.class_number, found.psi)
    write_coordinates(context.output(f"{micrograph.name}_pick.star"), picks)
    _report(picks, found, options, context)
    return picks


def _templates(
    references: Path | None,
    averages: ClassifiedParticles | None,
    volume: HalfMaps | None,
    options: PickJobOptions,
    context: Context,
) -> Templates | None:
    """The references out of the one port that was connected."""
    if sum(given is not None for given in (references, averages, volume)) > 1:
        raise InputError("references come from one source", mend="give one of --references, --averages and --map")
    if averages is not None and averages.averages is None:
        raise InputError("these classes have no two-dimensional averages", mend="give their map with --map")
    named = averages.averages if averages is not None else volume.volume if volume is not None else None
    path = named.path if named is not None else references
    if path is None:
        return None
    context.uses(path)
    with open_images(path) as file:
        images, stored = torch.from_numpy(file.asarray().astype(np.float32)), file.pixel_size
    pixel_size = options.references_pixel_size or stored
    if pixel_size is None:
        raise InputError("the references' pixel size is not known", path=path, mend="--references-pixel-size")
    if averages is None and images.shape[0] == images.shape[1] == images.shape[2]:
        return project_map(images, pixel_size, step=options.view_step, resolution=options.max_resolution)
    return Templates(images, pixel_size)


def _report(picks: Picks, found: PickResult, options: PickJobOptions, context: Context) -> None:
    image, micrograph = found.image, picks.micrograph
    shown = PickPicture(
        -image.values.cpu().numpy(),
        image.spacing,
        image.from_micrograph(found.coordinates),
        found.diameter,
        found.foil,
        found.candidates,
        found.threshold,
    )
    fit, (rows, columns) = micrograph.fit, micrograph.image_shape
    defocus = {} if fit is None else {"Defocus": f"{(fit.ctf.defocus_u + fit.ctf.defocus_v) / 2e4:.2f} µm"}
    publish(
        context,
        f"Picks in {micrograph.name}",
        [picks_figure(shown, found.notes)],
        numbers={
            "Picks": f"{len(picks):,} of {len(found.candidates):,} maxima",
            "Threshold": number(found.threshold, 3),
            "Diameter": f"{np.median(picks.diameter):.0f} Å (median)" if len(picks) else "–",
            "Left out as foil": f"{100 * found.foil.mean():.0f} % of the micrograph",
            "Micrograph": f"{columns} × {rows} px of {micrograph.pixel_size:.4g} Å",
            **defocus,
        },
        options=options,
        warnings=[] if len(picks) else [f"There are no particles in {micrograph.name}."],
        prefix=f"{micrograph.name}_",
    )
