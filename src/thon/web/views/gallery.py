"""Class averages, projections of classes' maps, and particles: many small images in a few large pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Response
from jaxtyping import Float, Int, Shaped, UInt8
from PIL import Image
from pydantic import AllowInfNan

from thon.data.maps import ClassifiedParticles
from thon.data.particles import Particles
from thon.formats.maps import read_map
from thon.formats.particle_images import ParticleImages, ParticleMicrographs
from thon.web.faults import AbsentError
from thon.web.views.cache import Cache
from thon.web.views.open_files import opened
from thon.web.views.pictures import PICTURE, AskedContrast, Contrast, Tone, mean_blocks, picture, to_eight_bits
from thon.web.views.pyramid import low_pass
from thon.web.views.records import ITEM, FoundItem, Item, class_volumes, plain
from thon.web.views.table_rows import AskedRows, chosen_rows, table_of

router = APIRouter()

SHEET = 100
"""Images on a sheet."""
ACROSS = 10
CELL = 128
"""Longest side of an image on a sheet, px."""

Smooth = Annotated[float, Query(description="Å; finer details are taken off"), Ge(0), Le(1000), AllowInfNan(False)]
Page = Annotated[int, Ge(0)]

_projections: Cache[np.ndarray] = Cache(16 << 20, lambda images: images.nbytes)


@router.get(f"{ITEM}/classes")
def classes(found: FoundItem) -> dict[str, Any]:
    """The classes: particles, share, resolution and score of each, and how they lie on sheets."""
    particles = classified(found)
    number = particles.class_number
    members = np.zeros(len(particles.classes) + 1, int) if number is None else np.bincount(number, minlength=1)
    members = np.pad(members, (0, max(0, len(particles.classes) + 1 - len(members))))
    shape, pixel_size = _class_shape(found)
    rows = [
        {"number": k + 1, "count": members[k + 1], "share": one.share, "resolution": one.resolution, "score": one.score}
        for k, one in enumerate(particles.classes)
    ]
    return plain(
        {"classes": rows, "total": len(particles), "volumes": particles.averages is None}
        | _layout(len(rows), shape, pixel_size)
    )


@router.get(f"{ITEM}/classes/sheet/{{page}}.{{kind}}", response_class=Response, responses=PICTURE)
def class_sheet(found: FoundItem, page: Page, kind: str, contrast: AskedContrast, smooth: Smooth = 0.0) -> Response:
    """A sheet of class averages, or of projections of classes' maps along z, in the order of their numbers."""
    _, pixel_size = _class_shape(found)
    part = _class_images(found, _on_page(page, len(classified(found).classes)))
    return picture(lay_out(list(_smoothed(part, pixel_size, smooth)), contrast, Tone.of_matter), kind)


@router.get(f"{ITEM}/particles")
def particles(found: FoundItem, asked: AskedRows) -> dict[str, Any]:
    """How many particles there are by what is asked for, and how their images lie on sheets."""
    known = _particles(found)
    rows = chosen_rows(table_of(found), asked)
    group = known.optics[0]
    return plain({"total": len(known), **_layout(len(rows), (group.box, group.box), group.pixel_size)})


@router.get(f"{ITEM}/particles/sheet/{{page}}.{{kind}}", response_class=Response, responses=PICTURE)
def particle_sheet(
    found: FoundItem, page: Page, kind: str, contrast: AskedContrast, asked: AskedRows, smooth: Smooth = 0.0
) -> Response:
    """A sheet of particles, in the order that is asked for; matter is bright."""
    known = _particles(found)
    rows = chosen_rows(table_of(found), asked)
    return picture(lay_out(_read(known, rows[_on_page(page, len(rows))], smooth), contrast, Tone.of), kind)


@router.get(f"{ITEM}/particles/row/{{row}}")
def particle(found: FoundItem, row: Annotated[int, Ge(0)], asked: AskedRows) -> dict[str, Any]:
    """All that is known of one particle on the sheets, by its place."""
    table = table_of(found)
    rows = chosen_rows(table, asked)
    if row >= len(rows):
        raise AbsentError("there is no such particle", got=row, expected=f"0 to {len(rows) - 1}")
    return plain(
        {"number": int(rows[row]), "values": {name: column[rows[row]] for name, column in table.columns.items()}}
    )


def classified(found: Item) -> ClassifiedParticles:
    """The record as particles in classes.

    Raises:
        AbsentError: It is something else.
    """
    if not isinstance(found.record, ClassifiedParticles):
        raise AbsentError("there are no classes", got=type(found.record).__name__)
    return found.record


def lay_out(
    images: Sequence[Float[np.ndarray, "rows columns"]], contrast: Contrast, tone: Callable[[np.ndarray], Tone]
) -> UInt8[np.ndarray, "y x"]:
    """Images in rows of ten, each with its own greys, none larger than a cell."""
    small = [mean_blocks(image, -(-max(image.shape) // CELL))[::-1] for image in images]
    rows, columns = small[0].shape
    sheet = np.zeros((-(-len(small) // ACROSS) * rows, ACROSS * columns), np.uint8)
    for k, image in enumerate(small):
        top, left = k // ACROSS * rows, k % ACROSS * columns
        sheet[top : top + rows, left : left + columns] = to_eight_bits(image, tone(image).limits(contrast))
    return sheet


def _layout(count: int, shape: tuple[int, int], pixel_size: float) -> dict[str, Any]:
    factor = -(-max(shape) // CELL)
    cell = [-(-n // factor) for n in shape]
    return {
        "count": count,
        "per_sheet": SHEET,
        "across": ACROSS,
        "cell": cell,
        "pixel_size": pixel_size * factor,
        "extent": shape[1] * pixel_size,
    }


def _on_page(page: int, count: int) -> slice:
    if page * SHEET >= count:
        raise AbsentError("there is no such sheet", got=page, expected=f"{-(-count // SHEET)} sheets")
    return slice(page * SHEET, (page + 1) * SHEET)


def _class_shape(found: Item) -> tuple[tuple[int, int], float]:
    averages = classified(found).averages
    first = next((one for one in class_volumes(found.record) if one is not None), None)
    known = averages or first
    if known is None:
        raise AbsentError("these classes have neither averages nor maps")
    return (known.shape[1], known.shape[2]), known.voxel_size


def _class_images(found: Item, page: slice) -> Shaped[np.ndarray, "classes rows columns"]:
    if classified(found).averages is not None:
        return opened(found.file("averages"))[page]
    return _projections.get(found.stamp, lambda: _project(found))[page]


def _project(found: Item) -> Float[np.ndarray, "classes rows columns"]:
    shape, _ = _class_shape(found)
    known = [one if one is None else read_map(one)[0].sum(0) for one in class_volumes(found.record)]
    return np.stack([np.zeros(shape, np.float32) if image is None else image for image in known])


def _particles(found: Item) -> Particles:
    if not isinstance(found.record, Particles) or not len(found.record):
        raise AbsentError("there are no particles", got=type(found.record).__name__)
    return found.record


def _read(particles: Particles, rows: Int[np.ndarray, "k"], smooth: float) -> list[Float[np.ndarray, "y x"]]:
    images: dict[int, Any] = {}
    with ParticleImages(particles, _cut) as source:
        for number in np.unique(particles.group[rows]).tolist():
            of_group = np.flatnonzero(particles.group[rows] == number)
            read = _smoothed(source.read(rows[of_group]), particles.optics[number].pixel_size, smooth)
            images |= dict(zip(of_group.tolist(), read, strict=True))
    side = max(image.shape[0] for image in images.values())
    return [_resized(images[k], side) for k in range(len(rows))]


def _smoothed(
    images: Shaped[np.ndarray, "n rows columns"], pixel_size: float, smooth: float
) -> Float[np.ndarray, "n rows columns"]:
    values = np.nan_to_num(np.asarray(images, np.float32))
    return low_pass(values, pixel_size, smooth) if smooth > 0 else values


def _cut(
    particles: Particles, indices: Int[np.ndarray, "k"], micrographs: ParticleMicrographs
) -> Float[np.ndarray, "k box box"]:
    """Boxes as a person looks at them, matter bright, at the group's size; beyond the image its edge is repeated."""
    group = particles.optics[particles.group[indices[0]]]
    assert group.cut is not None
    assert particles.coordinates is not None
    boxes: list[np.ndarray] = []
    for k in indices.tolist():
        file, box = int(particles.file[k]), group.cut.box
        spans = [
            np.clip(int(centre) - box // 2 + np.arange(box), 0, length - 1)
            for centre, length in zip(particles.coordinates[k], micrographs.shape(file), strict=True)
        ]
        rows, columns = (slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        part = micrographs.read(file, rows, columns)
        part = part[np.ix_(spans[0] - spans[0][0], spans[1] - spans[1][0])]
        boxes.append(_resized(-part if group.cut.invert else part, group.box))
    return np.stack(boxes)


def _resized(image: Float[np.ndarray, "rows columns"], side: int) -> Float[np.ndarray, "side side"]:
    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
