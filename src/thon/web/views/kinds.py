"""Which viewers show a record: by its data type alone, never by the job that yielded it.

Each view is `{"kind", "title"}` and what its kind needs besides; the route of views adds where the item's data are.
Kinds are the modules in `static/viewers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from thon.data.alignment import AlignedTiltSeries
from thon.data.maps import ClassifiedParticles, HalfMaps, LocalResolutionMap, Picks, SharpenedMap
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.data.movie import Movie
from thon.data.particles import Particles
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.web.views.facts import facts_of
from thon.web.views.records import class_volumes

View: TypeAlias = dict[str, Any]


def views_of(record: Any) -> list[View]:
    """The viewers of a record, the one that people want first at the front."""
    views = [view for kind, make in _MAKERS if isinstance(record, kind) for view in make(record)]
    facts = facts_of(record)
    return [*views, {"kind": "facts", "title": "Record", "facts": facts}] if facts else views


def _micrograph(record: Micrograph, source: str = "") -> Iterator[View]:
    before = f"{source}." if source else ""
    others = {"even": "Even frames", "odd": "Odd frames", "unweighted": "Not dose-weighted"}
    images = [{"source": f"{before}path", "title": "Micrograph"}]
    images += [{"source": f"{before}{name}", "title": title} for name, title in others.items() if getattr(record, name)]
    yield {"kind": "micrograph", "title": "Micrograph", "images": images, "source": source, "picks": False}
    fitted = isinstance(record, CtfMicrograph) and record.fit is not None
    yield {"kind": "ctf", "title": "CTF" if fitted else "Power spectrum", "source": source}
    if record.motion is not None:
        yield {"kind": "motion", "title": "Motion", "source": source, "image": f"{before}path"}


def _picks(record: Picks) -> Iterator[View]:
    micrograph, *others = _micrograph(record.micrograph, "micrograph")
    yield micrograph | {"title": "Picks", "picks": True}
    yield {"kind": "table", "title": "Table of picks", "source": "", "x": "score", "y": "diameter"}
    yield from others


def _movie(record: Movie) -> Iterator[View]:
    if Path(record.path).suffix.lower() in (".mrc", ".mrcs", ".st"):
        yield {"kind": "micrograph", "title": "Frames", "images": [{"source": "path", "title": "Frame"}], "source": ""}


def _classes(record: ClassifiedParticles) -> Iterator[View]:
    known = class_volumes(record)
    if record.averages is not None or any(known):
        yield {"kind": "classes", "title": "Classes", "of_volumes": record.averages is None}
    if any(known):
        sources = [
            {"source": f"classes.{k}.volume", "title": f"Class {k + 1}"}
            for k, one in enumerate(known)
            if one is not None
        ]
        yield from _volumes(sources)


def _maps(record: HalfMaps) -> Iterator[View]:
    named = {"volume": "Map", "first": "Half map 1", "second": "Half map 2", "mask": "Mask"}
    if isinstance(record, SharpenedMap):
        named = {"volume": "Sharpened map", "unsharpened": "Not sharpened"} | {
            k: v for k, v in named.items() if k != "volume"
        }
    sources = [{"source": name, "title": title} for name, title in named.items() if getattr(record, name) is not None]
    local = isinstance(record, LocalResolutionMap)
    colour = {"source": "local", "title": "Local resolution", "unit": "Å"} if local else None
    yield from _volumes([*sources, {"source": "local", "title": "Local resolution"}] if local else sources, colour)
    if record.curves is not None:
        yield {"kind": "fsc", "title": "Resolution (FSC)"}
    if isinstance(record, SharpenedMap) and record.guinier is not None:
        yield {"kind": "guinier", "title": "Guinier plot"}


def _particles(record: Particles) -> Iterator[View]:
    if record.rotation is not None and not _flat(record):
        yield {"kind": "directions", "title": "Viewing directions"}
    if len(record):
        yield {"kind": "particles", "title": "Particles"}
        x, y = ("azimuth", "elevation") if record.rotation is not None else ("defocus_u", "defocus_v")
        yield {"kind": "table", "title": "Table of particles", "source": "", "x": x, "y": y}


def _tilt_series(record: TiltSeries, source: str = "") -> Iterator[View]:
    aligned = bool(np.abs(record.geometry.shift).any())
    yield {"kind": "tilts", "title": "Aligned tilt series" if aligned else "Tilt series", "source": source}
    if isinstance(record, AlignedTiltSeries) or aligned or record.ctf is not None:
        yield {"kind": "alignment", "title": "Alignment" if aligned else "Tilts", "source": source}
    yield {"kind": "table", "title": "Table of tilts", "source": source, "x": "tilt", "y": "shift_x"}


def _tomogram(record: Tomogram) -> Iterator[View]:
    named = {"volume": "Tomogram", "even": "Even half", "odd": "Odd half"}
    sources = [{"source": name, "title": title} for name, title in named.items() if getattr(record, name) is not None]
    yield {"kind": "slices", "title": "Tomogram", "sources": sources}
    yield {"kind": "surface", "title": "Surface", "sources": sources, "colour": None, "dark": True}
    if record.tilts is not None:
        yield from _tilt_series(record.tilts, "tilts")


def _volume(_: Volume) -> Iterator[View]:
    yield from _volumes([{"source": "", "title": "Map"}])


def _volumes(sources: list[dict[str, str]], colour: dict[str, str] | None = None) -> Iterator[View]:
    yield {"kind": "surface", "title": "Surface", "sources": sources, "colour": colour, "dark": False}
    yield {"kind": "slices", "title": "Slices", "sources": sources}


def _flat(particles: Particles) -> bool:
    """Whether all poses are rotations in the plane."""
    rotation = particles.rotation
    return rotation is None or bool((np.abs(rotation[:, 0, 0]) > 1 - 1e-6).all())


_MAKERS: tuple[tuple[type, Callable[[Any], Iterator[View]]], ...] = (
    (Movie, _movie),
    (Picks, _picks),
    (Micrograph, _micrograph),
    (ClassifiedParticles, _classes),
    (HalfMaps, _maps),
    (Particles, _particles),
    (TiltSeries, _tilt_series),
    (Tomogram, _tomogram),
    (Volume, _volume),
)
