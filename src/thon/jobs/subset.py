"""Take some particles of a set: by class, half, micrograph or any value known of them, at random, or one of N parts.

What is asked for together is met together. `thon subset J004 --field defocus --maximum 20000 --number 5000`
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Ge
from jaxtyping import Bool
from pydantic import model_validator

from thon.algorithms.particle_sets import choose_random, in_range, of_micrographs, particle_values, split
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.particles import Particles, join_particles
from thon.job.context import Context
from thon.job.spec import whole


class SubsetOptions(Options):
    classes: tuple[Annotated[int, Unit("1")], ...] = ()
    """Classes to take; several are separated by commas."""

    half: Literal[1, 2] | None = None
    """Half set to take."""

    micrographs: tuple[str, ...] = ()
    """Micrographs to take, by name; * stands for anything."""

    field: str | None = None
    """Value to choose by: score, probability, defocus, shift, … or a column of the star file (rlnCtfMaxResolution)."""

    minimum: Annotated[float | None, Unit("that of the value")] = None
    """Least value to take."""

    maximum: Annotated[float | None, Unit("that of the value")] = None
    """Largest value to take."""

    invert: bool = False
    """Take those that do not meet the conditions above."""

    number: Annotated[int | None, Ge(1), Unit("1")] = None
    """Take so many of them at random."""

    parts: Annotated[int, Ge(1), Unit("1")] = 1
    """Divide them into so many parts at random, and take one."""

    part: Annotated[int, Ge(1), Unit("1")] = 1
    """Which part to take, from 1."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.part > self.parts:
            raise ValueError("part must be one of parts")
        if (self.field is None) != (self.minimum is None and self.maximum is None):
            raise ValueError("field goes together with minimum or maximum")
        return self


@whole(title="Subset of particles", stage="particles")
def subset(particles: tuple[Particles, ...], options: SubsetOptions, context: Context) -> Particles:
    together = join_particles(particles)
    meets = _conditions(together, options)
    chosen = np.flatnonzero(~meets if options.invert else meets)
    if options.number is not None:
        chosen = chosen[choose_random(len(chosen), options.number, context.seed)]
    if options.parts > 1:
        chosen = chosen[split(len(chosen), options.parts, context.seed)[options.part - 1]]
    if not len(chosen):
        raise InputError("no particle meets the conditions", got=f"{len(together)} particles")
    context.log(f"{len(chosen):,} of {len(together):,} particles.")
    return together.select(chosen).compact()


def _conditions(particles: Particles, options: SubsetOptions) -> Bool[np.ndarray, "n"]:
    meets = np.ones(len(particles), bool)
    if options.classes:
        meets &= np.isin(particle_values(particles, "class_number"), options.classes)
    if options.half is not None:
        meets &= particle_values(particles, "half") == options.half
    if options.micrographs:
        meets &= of_micrographs(particles, options.micrographs)
    if options.field is not None:
        meets &= in_range(particle_values(particles, options.field), options.minimum, options.maximum)
    return meets
