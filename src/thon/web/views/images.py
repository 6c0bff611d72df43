"""Micrographs, and any image in a file, as tiles."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Depends, Query, Response
from pydantic import AllowInfNan

from thon.data.maps import Picks
from thon.data.micrograph import Micrograph
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Volume
from thon.web.views.open_files import opened
from thon.web.views.pictures import PICTURE, AskedContrast, picture, to_eight_bits
from thon.web.views.pyramid import TILE, Pyramid, image_pyramid, smoothed_pyramid
from thon.web.views.records import ITEM, FoundItem, Item, Source, neighbours, plain

router = APIRouter()

LowPass = Annotated[
    float, Query(description="Å; details finer than that are taken off; 0 for none"), Ge(0), Le(1e5), AllowInfNan(False)
]
Section = Annotated[int | None, Query(description="Image in a stack, from 0"), Ge(0), Le(10**7)]


def asked_image(
    found: FoundItem, source: Source = "path", lowpass: LowPass = 0.0, section: Section = None
) -> tuple[Pyramid, int]:
    """The image that a URL asks for, and the factor by which its pixels are larger than the file's."""
    path = found.file(source)
    at = found.section(source) if section is None else section
    pixel_size = pixel_size_of(found, source) or 1.0
    return smoothed_pyramid(path, at, pixel_size, lowpass) if lowpass > 0 else (image_pyramid(path, at), 1)


AskedImage = Annotated[tuple[Pyramid, int], Depends(asked_image)]


@router.get(f"{ITEM}/image")
def image(found: FoundItem, asked: AskedImage, source: Source = "path") -> dict[str, Any]:
    """What a viewer needs to know of an image before it asks for tiles."""
    pyramid, factor = asked
    rows, columns = pyramid.shape
    before, after = neighbours(found.folder, found.name)
    return plain(
        {
            "name": found.name,
            "width": columns,
            "height": rows,
            "tile": TILE,
            "levels": pyramid.levels,
            "factor": factor,
            "pixel_size": pixel_size_of(found, source),
            "sections": len(opened(found.file(source))),
            "previous": before,
            "next": after,
        },
        digits=9,
    )


@router.get(f"{ITEM}/tiles/{{level}}/{{row}}/{{column}}.{{kind}}", response_class=Response, responses=PICTURE)
def tile(
    asked: AskedImage,
    level: Annotated[int, Ge(0)],
    row: Annotated[int, Ge(0)],
    column: Annotated[int, Ge(0)],
    kind: str,
    contrast: AskedContrast,
) -> Response:
    """One tile of an image at a level of its pyramid; rows and columns count from the upper left."""
    pyramid, _ = asked
    values = pyramid.tile(level, row, column)
    return picture(to_eight_bits(values, pyramid.tone(level).limits(contrast)), kind)


@router.get(f"{ITEM}/thumbnail.{{kind}}", response_class=Response, responses=PICTURE)
def thumbnail(asked: AskedImage, kind: str, contrast: AskedContrast) -> Response:
    """The whole image, at most 512 pixels wide and high."""
    pyramid, _ = asked
    last = pyramid.levels - 1
    return picture(to_eight_bits(pyramid.tile(last, 0, 0), pyramid.tone(last).limits(contrast)), kind)


def pixel_size_of(found: Item, source: str) -> float | None:
    """Pixel size of an image, Å: what the record says of it, else the file; None where neither does."""
    holder = found.record
    for name in [*source.split(".")] if not source.startswith("@") else []:
        if isinstance(holder, Picks):
            holder = holder.micrograph
        if isinstance(holder, Micrograph | TiltSeries):
            return holder.pixel_size
        if isinstance(holder, tuple):
            break
        holder = getattr(holder, name, None)
    if isinstance(holder, Volume):
        return holder.voxel_size
    return opened(found.file(source)).pixel_size
