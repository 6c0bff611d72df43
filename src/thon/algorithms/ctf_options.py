"""How the CTF of a micrograph is fitted."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from thon.base.options import Advanced, Options, Unit


class CtfFitOptions(Options):
    """How the CTF of a micrograph is fitted."""

    min_defocus: Annotated[float, Unit("Å"), Ge(500), Le(200000)] = 2000.0
    """Smallest mean defocus that is looked for."""

    max_defocus: Annotated[float, Unit("Å"), Ge(1000), Le(300000)] = 60000.0
    """Largest mean defocus that is looked for."""

    max_resolution: Annotated[float, Unit("Å"), Ge(1)] = 3.0
    """Finest rings used; never beyond 0.95 of what the pixels hold."""

    min_resolution: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Coarsest rings used; 30 Å, or 7.5 pixels where that is more, if not given."""

    fit_phase: bool = False
    """Fit the phase shift of a phase plate."""

    phase_shift: Annotated[float, Unit("degrees"), Ge(0), Le(180)] = 0.0
    """Phase shift where it is not fitted."""

    phase_range: tuple[float, float] = (0.0, 180.0)
    """Smallest and largest phase shift that is looked for, degrees."""

    fit_astigmatism: bool = True
    """Fit the difference of defocus between directions; else there is none."""

    max_astigmatism: Annotated[float, Unit("Å"), Ge(0)] = 2500.0
    """Largest astigmatism that is looked for."""

    expected_astigmatism: Annotated[float, Unit("Å"), Gt(0)] = 2000.0
    """Its expected size; smaller values hold weak images nearer to none."""

    tilt: Literal["none", "given", "fit"] = "none"
    """none: one defocus for the whole image. given: a plane, inclined as is handed over. fit: a plane that is found."""

    fit_thickness: bool = False
    """Fit the thickness of the sample from the nodes where the rings of its layers cancel."""

    local: bool = False
    """Map how defocus differs over the micrograph."""

    local_nodes: Annotated[int, Unit("1"), Ge(2), Le(24)] = 5
    """Nodes of that map along the shorter side."""

    local_step: Annotated[float, Unit("Å"), Gt(0), Advanced()] = 150.0
    """How much defocus is expected to bend from node to node of that map."""

    tile_size: Annotated[int, Unit("px"), Ge(128), Le(2048)] = 512
    """Side of the tiles over which defocus is followed, of pixels of at least 1.4 Å, and of the diagnostic picture."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_defocus <= self.min_defocus:
            raise ValueError("max_defocus must be larger than min_defocus")
        if self.phase_range[1] < self.phase_range[0]:
            raise ValueError("phase_range must ascend")
        if self.min_resolution is not None and self.min_resolution <= self.max_resolution:
            raise ValueError("min_resolution, in Å, must be larger than max_resolution")
        return self
