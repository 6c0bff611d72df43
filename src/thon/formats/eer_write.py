"""Writing EER: events of each frame, by their places, into the stream that a Falcon camera writes."""

from __future__ import annotations

import importlib
import os
import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO, Literal
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Int, Integer

from thon.base.errors import InputError
from thon.formats.atomic import atomic_path
from thon.formats.eer import FALCON_4, METADATA_TAG, PROTOTYPE, EerLayout

FINEST = 4
"""Places across a pixel of the sensor."""

_UNDEFINED, _SHORT, _LONG, _LONG8 = 7, 3, 4, 16
_FORMATS = {_SHORT: "<H", _LONG: "<I", _LONG8: "<Q"}
_UNITS = {
    "exposureTime": "s",
    "totalDose": "e/pixel",
    "meanDoseRate": "e/pixel/s",
    "sensorPixelSize.width": "m",
    "sensorPixelSize.height": "m",
    "sensorImageWidth": "pixels",
    "sensorImageHeight": "pixels",
}

Entries = dict[int, tuple[int, int, bytes]]
"""By tag: type of the field, number of values, their bytes."""


def write_eer(
    path: str | os.PathLike[str],
    frames: Iterable[Integer[np.ndarray, "_ 2"]],
    shape: tuple[int, int],
    *,
    layout: EerLayout | None = None,
    final_image: np.ndarray | None = None,
    metadata: Mapping[str, str | float] | None = None,
) -> int:
    """Write an EER movie; whole or not at all.

    EER holds one event in a pixel of the sensor and a frame at most: of several that coincide one is kept, whichever,
    as a camera misses the others.

    Args:
        path: File to write; replaced if it exists.
        frames: Of each raw frame, the (row, column) of every event in any order, on a grid four times finer than the
            sensor; row 0 is the bottom of the picture, as everywhere in the house. They are taken one after another.
        shape: (rows, columns) of the sensor.
        layout: Bits of a symbol; those of compression 65001 (`FALCON_4`) unless given, `PROTOTYPE` is 65000, and any
            others 65002.
        final_image: Sum that some cameras write as first page; bottom row first, as uint16.
        metadata: Further items of the acquisition's metadata, such as ``exposureTime`` (s), ``totalDose`` (e/pixel)
            and ``sensorPixelSize.width`` (m). Numbers and sizes of the frames are written anyway.

    Returns:
        Number of events that were lost since they coincided with others.

    Raises:
        InputError: If an event is outside the sensor, or there is no frame.
        StoreError: If the folder or the disk refuses.
    """
    layout = layout or FALCON_4
    usual = 1 <= layout.skip <= 16 and max(layout.horizontal, layout.vertical) <= 2
    if not usual or (layout.padded and layout != PROTOTYPE):
        raise InputError("no symbols that EER has", path=path, got=layout, expected="1 to 16, 0 to 2 and 0 to 2 bits")
    lost = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        writer = _PageWriter(file)
        if final_image is not None:
            writer.add(_page(shape, 1, 16), np.ascontiguousarray(final_image, "<u2").tobytes())
        count = 0
        for events in frames:
            data, missed = _encode(np.asarray(events), shape, layout, path)
            writer.add(_frame_page(shape, layout), data)
            lost, count = lost + missed, count + 1
        if not count:
            raise InputError("there is no frame to write", path=path)
        size = {"sensorImageWidth": shape[1], "sensorImageHeight": shape[0]}
        writer.finish(_xml({"numberOfFrames": count, **size, **(metadata or {})}))
    return lost


def events_of_counts(
    counts: Integer[np.ndarray, "rows columns"], *, sampling: Literal[1, 2, 4] = 1
) -> Int[np.ndarray, "_ 2"]:
    """Places of the events of one frame, as `write_eer` wants them, from the number of events in each sample.

    Args:
        counts: Events in each sample of a frame.
        sampling: Samples across a pixel of the sensor; events are put into the middle of a sample.

    Returns:
        (row, column) of each event, on the grid four times finer than the sensor.
    """
    finer = FINEST // sampling
    places = np.argwhere(counts)
    return np.repeat(places * finer + finer // 2, counts[places[:, 0], places[:, 1]], axis=0)


def _encode(
    events: np.ndarray, shape: tuple[int, int], layout: EerLayout, path: str | os.PathLike[str]
) -> tuple[bytes, int]:
    """Stream of a frame, and the number of events that it could not hold."""
    rows, columns = shape
    if len(events) and not (
        events.min() >= 0 and events[:, 0].max() < rows * FINEST and events[:, 1].max() < columns * FINEST
    ):
        raise InputError(
            "an event is outside the sensor",
            path=path,
            got=f"rows and columns {events.min(axis=0)} to {events.max(axis=0)}",
            expected=f"below {rows * FINEST} and {columns * FINEST}",
        )
    return importlib.import_module("thon.formats.eer_encode").encode_events(events, shape, layout.bits)


class _PageWriter:
    """Pages of a BigTIFF, one after another; each is its bytes and then its directory, as the camera writes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        self._link = 8
        self._metadata = 0

    def add(self, entries: Entries, data: bytes) -> None:
        """Append a page."""
        at = self._file.tell()
        self._file.write(data + bytes(-len(data) % 8))
        entries = {**entries, 273: _field(_LONG8, at), 279: _field(_LONG8, len(data))}
        first = not self._metadata
        if first:
            entries[METADATA_TAG] = (_UNDEFINED, 0, bytes(8))
        directory = self._file.tell()
        self._file.write(struct.pack("<Q", len(entries)))
        for tag, (kind, count, value) in sorted(entries.items()):
            if first and tag == METADATA_TAG:
                self._metadata = self._file.tell() + 4
            self._file.write(struct.pack("<HHQ", tag, kind, count) + value.ljust(8, b"\0"))
        self._link_to(directory)

    def finish(self, metadata: bytes) -> None:
        """Append the metadata, to which the first page then refers."""
        at = self._file.tell()
        self._file.write(metadata)
        self._file.seek(self._metadata)
        self._file.write(struct.pack("<QQ", len(metadata), at))

    def _link_to(self, directory: int) -> None:
        """End the chain with this directory."""
        link = self._file.tell()
        self._file.write(bytes(8))
        self._file.seek(self._link)
        self._file.write(struct.pack("<Q", directory))
        self._file.seek(0, os.SEEK_END)
        self._link = link


def _frame_page(shape: tuple[int, int], layout: EerLayout) -> Entries:
    compression = {PROTOTYPE: 65000, FALCON_4: 65001}.get(layout, 65002)
    entries = _page(shape, compression, 1)
    if compression == 65002:
        parts = (layout.skip, layout.horizontal, layout.vertical)
        entries |= {tag: _field(_SHORT, bits) for tag, bits in zip((65007, 65008, 65009), parts, strict=True)}
    return entries


def _page(shape: tuple[int, int], compression: int, bits: int) -> Entries:
    return {
        256: _field(_LONG, shape[1]),
        257: _field(_LONG, shape[0]),
        258: _field(_SHORT, bits),
        259: _field(_SHORT, compression),
        262: _field(_SHORT, 1),
        277: _field(_SHORT, 1),
        278: _field(_LONG, shape[0]),
    }


def _field(kind: int, value: int) -> tuple[int, int, bytes]:
    return kind, 1, struct.pack(_FORMATS[kind], value)


def _xml(items: Mapping[str, str | float]) -> bytes:
    root = ElementTree.Element("metadata")
    for name, value in items.items():
        unit = {"unit": _UNITS[name]} if name in _UNITS else {}
        ElementTree.SubElement(root, "item", {"name": name, **unit}).text = str(value)
    return ElementTree.tostring(root)
