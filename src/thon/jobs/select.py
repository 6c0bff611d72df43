"""Take the particles of good classes: those named, or those whose averages score well.

`thon select J005 --classes 1,4,7`, or `thon select J005 --min-score 0.4`. Writes a report with what was taken.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float

from thon.algorithms.class_ranking import rank_classes
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.maps import ClassifiedParticles, ParticleClass
from thon.data.particles import Particles
from thon.formats.images import open_images
from thon.formats.maps import read_map
from thon.formats.report.classes import by_size, gallery_figure
from thon.formats.report.origin import origin_figure
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.published import publish


class SelectOptions(Options):
    classes: tuple[Annotated[int, Unit("1"), Ge(1)], ...] = ()
    """Classes to take, by number; several are separated by commas. Without, classes are taken by their scores."""

    min_score: Annotated[float, Unit("1"), Ge(0), Le(1)] = 0.4
    """Score from which classes are taken, where none are named."""

    max_resolution: Annotated[float | None, Unit("Å"), Ge(0)] = None
    """Classes that are coarser are not taken, where none are named."""

    min_particles: Annotated[int, Unit("1"), Ge(0)] = 0
    """Take at least so many particles: further classes by falling score, where none are named."""

    min_classes: Annotated[int, Unit("1"), Ge(0)] = 0
    """Take at least so many classes, in the same way."""

    invert: bool = False
    """Take the particles of the other classes."""


@each(title="Select classes", stage="particles")
def select(particles: ClassifiedParticles, options: SelectOptions, context: Context) -> Particles:
    if particles.class_number is None:
        raise InputError("the particles have no classes", mend="take those of a classification")
    images, pixel_size = _pictures(particles)
    classes = _scored(particles, images, pixel_size)
    taken = _named(options.classes, len(classes)) if options.classes else _by_score(particles, classes, options)
    if options.invert:
        taken = sorted(set(range(1, len(classes) + 1)) - set(taken))
    chosen = np.isin(particles.class_number, taken)
    total = len(particles)
    gallery = None if images is None else gallery_figure(images, classes, total, pixel_size, taken=taken)
    publish(
        context,
        f"Select classes: {int(chosen.sum()):,} of {total:,} particles",
        [gallery, origin_figure(particles.plain().select(chosen))],
        numbers={
            "Taken": f"{int(chosen.sum()):,} of {total:,} particles ({100 * chosen.mean():.0f} %)",
            "Classes": f"{len(taken)} of {len(classes)}",
            "By": "number" if options.classes else f"score, from {options.min_score:g}",
        },
        options=options,
        prefix="selected_",
    )
    if not chosen.any():
        best = max((one.score for one in classes if math.isfinite(one.score)), default=math.nan)
        raise InputError(
            "no particle is in the classes to take",
            got=f"classes {', '.join(map(str, taken)) or 'none'}; the best score is {best:.2f}",
            mend="name classes with --classes, or lower --min-score",
        )
    names = ", ".join(map(str, taken))
    context.log(f"{int(chosen.sum()):,} of {len(particles):,} particles, of classes {names}.")
    return particles.plain().select(chosen).compact()


def _pictures(particles: ClassifiedParticles) -> tuple[Float[np.ndarray, "classes rows columns"] | None, float]:
    """Averages, or projections of maps along z; None where there are neither."""
    if particles.averages is not None:
        with open_images(particles.averages.path) as file:
            return file.asarray().astype(np.float32), particles.averages.voxel_size
    maps = [one.volume for one in particles.classes if one.volume is not None]
    if len(maps) < len(particles.classes):
        return None, 1.0
    return np.stack([read_map(one)[0].sum(0) for one in maps]), maps[0].voxel_size


def _scored(
    particles: ClassifiedParticles, images: Float[np.ndarray, "classes rows columns"] | None, pixel_size: float
) -> tuple[ParticleClass, ...]:
    """The classes, those of two dimensions with scores where they came without."""
    classes = particles.classes
    if particles.averages is None or images is None or all(math.isfinite(one.score) for one in classes):
        return classes
    radius = images.shape[-1] / 2 if particles.diameter is None else particles.diameter / 2 / pixel_size
    resolution, share = [one.resolution for one in classes], [one.share for one in classes]
    scores = rank_classes(images, resolution, share, radius=radius)
    return tuple(
        ParticleClass(one.share, one.resolution, score, one.volume)
        for one, score in zip(classes, scores.tolist(), strict=True)
    )


def _named(numbers: tuple[int, ...], count: int) -> list[int]:
    wrong = [number for number in numbers if number > count]
    if wrong:
        raise InputError("there is no such class", got=", ".join(map(str, wrong)), expected=f"1 to {count}")
    return sorted(set(numbers))


def _by_score(particles: ClassifiedParticles, classes: tuple[ParticleClass, ...], options: SelectOptions) -> list[int]:
    """Classes that are good enough, and further ones until there are enough particles and classes."""
    if not any(math.isfinite(one.score) for one in classes):
        raise InputError("the classes have no scores", mend="name those to take with --classes")
    assert particles.class_number is not None
    members = np.bincount(particles.class_number, minlength=len(classes) + 1)
    taken: list[int] = []
    for k in sorted(by_size(classes), key=lambda k: -np.nan_to_num(classes[k].score)):
        fine = options.max_resolution is None or classes[k].resolution <= options.max_resolution
        good = fine and classes[k].score >= options.min_score
        short = members[taken].sum() < options.min_particles or len(taken) < options.min_classes
        if members[k + 1] and (good or short):
            taken.append(k + 1)
    return sorted(taken)
