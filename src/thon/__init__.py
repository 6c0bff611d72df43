"""thon: from what the microscope writes to a structure."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from thon.base.deferred import defer

if TYPE_CHECKING:
    from thon.algorithms.align_tilts import AlignTiltsOptions, align_tilt_series
    from thon.algorithms.reconstruct import ReconstructOptions, reconstruct
    from thon.data.geometry import LocalField, TiltGeometry
    from thon.data.tilt_series import TiltSeries
    from thon.web.client import connect

# These take seconds to load; every face of thon must answer before that.
for _name in ("torch", "numba", "scipy"):
    defer(_name)

_public = {
    "AlignTiltsOptions": "thon.algorithms.align_tilts",
    "ReconstructOptions": "thon.algorithms.reconstruct",
    "align_tilt_series": "thon.algorithms.align_tilts",
    "reconstruct": "thon.algorithms.reconstruct",
    "TiltGeometry": "thon.data.geometry",
    "LocalField": "thon.data.geometry",
    "TiltSeries": "thon.data.tilt_series",
    "connect": "thon.web.client",
}
__all__ = [
    "AlignTiltsOptions",
    "LocalField",
    "ReconstructOptions",
    "TiltGeometry",
    "TiltSeries",
    "align_tilt_series",
    "connect",
    "reconstruct",
]


def __getattr__(name: str) -> object:
    if name in _public:
        return getattr(importlib.import_module(_public[name]), name)
    raise AttributeError(f"module 'thon' has no attribute {name!r}")
