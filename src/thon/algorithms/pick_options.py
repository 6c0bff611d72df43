"""How particles are looked for in micrographs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from thon.base.options import Advanced, Options, Unit


class PickOptions(Options):
    """How particles are looked for in a micrograph."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 250.0
    """Longest extent of the particle."""

    min_diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Smallest diameter looked for by --method log; 0.8 of the diameter unless given."""

    method: Literal["auto", "blob", "log", "template"] = "auto"
    """blob: the mean view of a globular particle. log: Laplacian of Gaussian over several scales, as RELION. template:
    given references. auto takes templates where there are references, else blobs."""

    white: bool = False
    """Particles are brighter than their surroundings; as recorded, they are darker."""

    threshold: Annotated[float | None, Unit("1")] = None
    """Lowest score of a particle. Unless given it is found: where maxima of particles outnumber those of the
    background, or for --method log, as RELION, the mean score of what has a wanted size."""

    adjust_threshold: Annotated[float, Unit("1")] = 0.0
    """Standard deviations of the score by which the threshold is raised, where it is found: fewer particles."""

    upper_threshold: Annotated[float | None, Unit("1")] = None
    """Highest score of a particle; no limit unless given."""

    separation: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Least distance of two particles; 0.6 of the diameter unless given, and for --method log as RELION the mean of
    the smallest and the found diameter."""

    max_resolution: Annotated[float, Unit("Å"), Gt(0)] = 20.0
    """Finest detail that counts; the micrograph is binned to half of it."""

    border: Annotated[float | None, Unit("Å"), Ge(0)] = None
    """Least distance of a particle from the edges; half the diameter unless given."""

    psi_step: Annotated[float, Unit("degrees"), Gt(0), Le(180)] = 5.0
    """In-plane step of templates."""

    view_step: Annotated[float, Unit("degrees"), Ge(5), Le(90)] = 30.0
    """Angle between the views in which a reference map is projected."""

    surroundings: Annotated[float, Unit("1"), Ge(1), Advanced()] = 5.0
    """Diameter of the circle by whose standard deviation the score of a template is divided, over the particle's. With
    1 it is the correlation coefficient under the mask."""

    use_ctf: bool = True
    """Multiply templates by the micrograph's CTF where it is known."""

    max_local_sd: Annotated[float | None, Unit("1"), Gt(0)] = None
    """Largest standard deviation around a particle, over that of the whole micrograph; no limit unless given (RELION's
    template picker: 1.1)."""

    avoid_foil: bool = True
    """Leave out carbon and gold foil, found by its edge."""

    avoid_contamination: bool = True
    """Leave out maxima that stand out from all others as crystals of ice and dirt do."""

    foil_edge: Annotated[float, Unit("1"), Gt(0), Advanced()] = 8.0
    """How far, in robust standard deviations, the contrast of an edge of foil stands out."""

    @property
    def smallest(self) -> float:
        """Smallest diameter looked for, Å."""
        return 0.8 * self.diameter if self.min_diameter is None else self.min_diameter

    @property
    def margin(self) -> float:
        """Least distance from the edges, Å."""
        return self.diameter / 2 if self.border is None else self.border

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.smallest > self.diameter:
            raise ValueError("min_diameter must not be larger than diameter")
        return self
