"""What the extended header of an MRC file tells about each section: SerialEM's, FEI's new ones and FEI's old one.

Sources: IMOD's description of the MRC format for SERI (numbers packed in shorts); the EPU manual for FEI1 and FEI2,
whose records have a bit for each field that is set.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

# Bytes of each SerialEM item, by bit of the flags: tilt, montage piece, stage, magnification, intensity, dose, then
# reserved ones.
_SERI_SIZES = (2, 6, 4, 2, 2, 4, 2, 4, 2, 4, 2)
_SERI_TILT, _SERI_DOSE = 0, 5

# Field: (bit in the first mask, offset in the record, factor to our unit). FEI's units are V, e/m², degrees and m.
_FEI_FIELDS = {
    "voltage": (5, 84, 1e-3),
    "dose": (6, 92, 1e-20),
    "tilt": (7, 100, 1.0),
    "tilt_axis": (12, 140, 1.0),
    "pixel_size": (14, 156, 1e10),
}
_FEI_OLD_RECORD = 128


@dataclass(frozen=True)
class MrcExtended:
    """An extended header as it is in the file, so that a copy keeps it byte by byte.

    Args:
        kind: Four letters that name its layout (SERI, FEI1, FEI2, AGAR, CCP4…), or empty.
        data: Its bytes.
        layout: The two shorts of the main header that describe it: integers and reals per section, or for SERI the
            bytes per section and flags.
    """

    kind: str = ""
    data: bytes = b""
    layout: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class MrcSections:
    """What an extended header says about each section; NaN for one that it does not describe, None if for all.

    Args:
        tilt: Stage tilt, degrees.
        tilt_axis: Angle of the tilt axis as the microscope counts it, degrees.
        pixel_size: Å.
        dose: e/Å².
        voltage: kV.
    """

    tilt: Float[np.ndarray, "sections"] | None = None
    tilt_axis: Float[np.ndarray, "sections"] | None = None
    pixel_size: Float[np.ndarray, "sections"] | None = None
    dose: Float[np.ndarray, "sections"] | None = None
    voltage: Float[np.ndarray, "sections"] | None = None


def read_sections(extended: MrcExtended, sections: int, byte_order: str) -> MrcSections:
    """Parse an extended header; one that is empty, unknown or inconsistent says nothing."""
    if extended.kind in ("FEI1", "FEI2"):
        columns = _read_fei(extended.data, sections)
    elif extended.layout == (0, 32) and extended.kind in ("", "AGAR"):
        columns = _read_old_fei(extended.data, sections, byte_order)
    elif extended.kind in ("", "SERI"):
        columns = _read_serialem(extended, sections, byte_order)
    else:
        columns = {}
    return MrcSections(**{name: column for name, column in columns.items() if np.isfinite(column).any()})


def _read_fei(data: bytes, sections: int) -> dict[str, np.ndarray]:
    # The first number of a record is its size; whichever byte order makes that sensible is the record's.
    for order in "<>":
        size = struct.unpack_from(order + "i", data)[0] if len(data) >= 172 else 0
        if 172 <= size <= 65536:
            break
    else:
        return {}
    count = min(sections, len(data) // size)
    records = np.frombuffer(data, np.uint8, count * size).reshape(count, size)
    # The manual fixes the masks as little-endian, whatever the rest is.
    mask = np.ascontiguousarray(records[:, 8:12]).view("<u4")[:, 0]
    columns: dict[str, np.ndarray] = {}
    for name, (bit, offset, factor) in _FEI_FIELDS.items():
        value = np.ascontiguousarray(records[:, offset : offset + 8]).view(order + "f8")[:, 0]
        column = np.full(sections, np.nan)
        known = (mask >> bit & 1).astype(bool) & (np.abs(value) < 1e30)
        column[:count][known] = value[known] * factor
        columns[name] = column
    return columns


def _read_old_fei(data: bytes, sections: int, byte_order: str) -> dict[str, np.ndarray]:
    """32 reals per section: tilt is the first, tilt axis, pixel size (m), magnification and voltage (V) from the 11th.

    Other programs (MotionCor, AreTomo) use the same record for the tilt alone, and zeros say nothing.
    """
    count = min(sections, len(data) // _FEI_OLD_RECORD)
    records = np.full((sections, 32), np.nan)
    records[:count] = np.frombuffer(data, byte_order + "f4", count * 32).reshape(count, 32)
    axis, pixel, voltage = records[:, 10], records[:, 11], records[:, 13]
    return {
        "tilt": np.where(np.abs(records[:, 0]) <= 360, records[:, 0], np.nan),
        "tilt_axis": np.where((pixel > 0) & (np.abs(axis) <= 360), axis, np.nan),
        "pixel_size": np.where((pixel > 0) & (pixel < 1e-6), pixel * 1e10, np.nan),
        "voltage": np.where((voltage > 1e3) & (voltage < 1e7), voltage * 1e-3, np.nan),
    }


def _read_serialem(extended: MrcExtended, sections: int, byte_order: str) -> dict[str, np.ndarray]:
    size, flags = extended.layout
    present = [k for k in range(len(_SERI_SIZES)) if flags >> k & 1]
    if size <= 0 or flags < 0 or sum(_SERI_SIZES[k] for k in present) != size:
        return {}
    count = min(sections, len(extended.data) // size)
    if not extended.kind and count < sections:
        return {}
    records = np.frombuffer(extended.data, np.uint8, count * size).reshape(count, size)
    columns: dict[str, np.ndarray] = {}
    for name, item in (("tilt", _SERI_TILT), ("dose", _SERI_DOSE)):
        if item in present:
            offset = sum(_SERI_SIZES[k] for k in present if k < item)
            bytes_ = np.ascontiguousarray(records[:, offset : offset + _SERI_SIZES[item]])
            shorts = bytes_.view(byte_order + "i2").astype(np.int64)
            columns[name] = np.full(sections, np.nan)
            columns[name][:count] = shorts[:, 0] / 100 if item == _SERI_TILT else _unpack_real(shorts)
    return columns


def _unpack_real(pair: Int[np.ndarray, "sections 2"]) -> Float[np.ndarray, "sections"]:
    """SerialEM's real number in two shorts: mantissa in the first and the low byte of the second, then the exponent."""
    first, second = pair[:, 0], pair[:, 1]
    mantissa = np.abs(first) * 256 + np.abs(second) % 256
    return np.sign(first) * mantissa * 2.0 ** (np.sign(second) * (np.abs(second) // 256))
