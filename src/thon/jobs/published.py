"""What jobs on particles and maps share when they tell what they found: a page, with its figures as previews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.orientations import ConicalFsc, conical_fsc, sampling_efficiency, view_directions
from thon.base.options import Options
from thon.formats.html_report import write_job_report
from thon.formats.report.content import changed_options
from thon.formats.report.job_page import JobReport, ReportFigure
from thon.formats.report.measures import number
from thon.formats.report.orientations import cones_figure, orientation_figure
from thon.job.context import Context

ANISOTROPIC = 0.5
"""Area ratio below which a map is said to be anisotropic, as cryoSPARC's guide has it."""


def publish(
    context: Context,
    title: str,
    figures: Sequence[ReportFigure | None],
    *,
    numbers: Mapping[str, str],
    options: Options,
    warnings: Sequence[str] = (),
    prefix: str = "",
) -> None:
    """Write an item's page with its figures as PNGs beside it, and show the figures as previews.

    Args:
        context: The item's.
        title: Of the page.
        figures: From top to bottom; None is left out.
        numbers: Those that a person looks for first.
        options: Of the job.
        warnings: Sentences that were said.
        prefix: Of the names of the PNGs.
    """
    shown = [one for one in figures if one is not None]
    report = JobReport(
        title=title,
        figures=shown,
        numbers=numbers,
        warnings=warnings,
        options=changed_options(options),
        versions={"thon": version("thon")},
        prefix=prefix,
    )
    written = write_job_report(context.report(), report)
    for one in shown:
        context.preview(one.name, written[one.name].read_bytes(), one.title)


def views_seen(rotation: Float[np.ndarray, "n 3 3"], symmetry: str) -> tuple[float, ReportFigure]:
    """How evenly a particle was seen from all sides, 0 to 1, and the figure of that."""
    directions = view_directions(rotation, symmetry)
    efficiency = sampling_efficiency(directions)
    return efficiency, orientation_figure(directions, efficiency)


def by_direction(
    first: Float[torch.Tensor, "z y x"],
    second: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    mask: Float[torch.Tensor, "z y x"] | None,
) -> tuple[ConicalFsc, ReportFigure] | None:
    """FSC of two halves by direction, and the figure of that; None for boxes that are not cubic."""
    if len(set(first.shape)) > 1:
        return None
    cones = conical_fsc(first, second, voxel_size, mask=mask)
    return cones, cones_figure(cones.frequency, cones.correlation, cones.ratio)


def anisotropy_warnings(ratio: float) -> list[str]:
    """What to warn of, for the ratio of areas of the FSC by direction (cFAR)."""
    if ratio >= ANISOTROPIC:
        return []
    return [
        f"The map is anisotropic: in the worst direction its halves agree {ratio:.2f} as far as in the best (cFAR; "
        f"below {ANISOTROPIC:g}). Look at the viewing directions."
    ]


def resolution_text(resolution: float) -> str:
    """A resolution, or that there is none."""
    return f"{number(resolution, 2)} Å" if np.isfinite(resolution) else "none: the halves agree no better than noise"


def box_text(shape: tuple[int, ...], voxel_size: float) -> str:
    """A box in voxels with their size."""
    z, y, x = shape
    return f"{x} × {y} × {z} voxels of {voxel_size:.4g} Å"
