"""What the viewers in `static/viewers` ask for: tiles, slices, surfaces, curves and tables of finished items.

Which viewers an item has is told by the data type of its record (`kinds.py`), and `records.py` finds the part of the
record that a viewer shows. Everything here reads files and numbers; nothing loads job types or torch.
"""

from __future__ import annotations

from fastapi import APIRouter

from thon.web.views import (
    curves,
    files,
    gallery,
    images,
    maps,
    picking,
    planes,
    spectrum,
    surfaces,
    tables,
    tilts,
    tracks,
)

router = APIRouter(tags=["views"])
for _module in (files, images, picking, spectrum, tracks, gallery, curves, surfaces, planes, tilts, tables, maps):
    router.include_router(_module.router)
