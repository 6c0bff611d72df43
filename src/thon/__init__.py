"""thon: from what the microscope writes to a structure."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from thon.base.deferred import defer

if TYPE_CHECKING:
    from thon.data.geometry import LocalField, TiltGeometry
    from thon.data.tilt_series import TiltSeries

# These take seconds to load; every face of thon must answer before that.
for _name in ("torch", "numba", "scipy"):
    defer(_name)

_public = {
    "TiltGeometry": "thon.data.geometry",
    "LocalField": "thon.data.geometry",
    "TiltSeries": "thon.data.tilt_series",
}
__all__ = ["LocalField", "TiltGeometry", "TiltSeries"]


def __getattr__(name: str) -> object:
    if name in _public:
        return getattr(importlib.import_module(_public[name]), name)
    raise AttributeError(f"module 'thon' has no attribute {name!r}")
