"""Decoding electron events straight into a sum of frames, in Numba.

A frame is a stream of symbols, least significant bits first: `skip` bits count pixels without an event; unless they
are all ones, an event follows in the next pixel, with `horizontal` and `vertical` bits for where in it. (Compression
65000 has those bits, for nothing, also after a mere skip.) The stream walks through the pixels row by row.

Scattered additions to an array of 64 MB wait for memory. So several frames are decoded together, a few rows at a time:
the rows are read once, in order, into the second-level cache, and there they stay until the last frame has added its
events. Sixteen frames of 336 000 events cost a third of what they cost one after another.
"""

# Numba infers the types of what it compiles and gives intrinsics their first argument.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportCallIssue=false
# pyright: reportUnusedFunction=false

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_BLOCK = 1 << 18
_LINE = 64
# Bits that a 64-bit word loaded from any byte still has after its first bits were passed over.
_LOADED = 57


@no_type_check
def add_events(
    data: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    layout: tuple[int, int, int, int],
    shape: tuple[int, int],
    sampling: int,
    out: np.ndarray,
) -> int:
    """Add frames of electron events to an array.

    Whatever the bits say, nothing outside `data[starts[k]:stops[k]]` is read and nothing outside `out` written. A frame
    ends at its last pixel or with its bits.

    Args:
        data: Bytes.
        starts: First byte of each frame.
        stops: Byte after the last of each frame.
        layout: Bits of a symbol: skip, horizontal, vertical; and of one that only skips.
        shape: (rows, columns) of the sensor.
        sampling: Samples across a sensor's pixel: 1, 2 or 4, at most what the sub-pixel bits tell.
        out: (rows · sampling, columns · sampling), in memory one row after another.

    Returns:
        Number of events added.
    """
    rows, columns = shape
    block = max(1, _BLOCK // (columns * sampling * sampling * out.itemsize))
    return _add_events(data, starts, stops, layout, (rows, columns, sampling), out.reshape(-1), block)[0]


@intrinsic
@no_type_check
def _load_word(typing, data, at):
    """Eight bytes from any place, as they are in memory."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer = context.make_array(signature.args[0])(context, builder, values[0]).data
        word = builder.bitcast(builder.gep(pointer, [values[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, types.int64), codegen


@njit(nogil=True, cache=True)
@no_type_check
def _word(data, at, stop):
    """Eight bytes, the first in the lowest bits; zeros from `stop` on."""
    if at + 8 <= stop:
        return _load_word(data, at)
    word = np.uint64(0)
    for k in range(stop - at):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True, cache=True)
@no_type_check
def _read_lines(flat, first, last):
    """Bring a part of an array into the cache, in the order that the processor foresees."""
    total = flat.dtype.type(0)
    for k in range(first, last, _LINE // flat.itemsize):
        total += flat[k]
    return total


@njit(nogil=True, cache=True)
@no_type_check
def _add_events(data, starts, stops, layout, sensor, flat, block):
    """All frames, some rows at a time; each frame's stream is left and taken up again at its place."""
    rows, columns, sampling = sensor
    wide = columns * sampling
    frames = len(starts)
    bits, places = np.empty(frames, np.int64), np.zeros(frames, np.int64)
    for k in range(frames):
        bits[k] = starts[k] * 8
    events = 0
    touched = flat.dtype.type(0)
    for first in range(0, rows, block):
        last = min(rows, first + block)
        touched += _read_lines(flat, first * sampling * wide, last * sampling * wide)
        for k in range(frames):
            bits[k], places[k], added = _add_rows(
                data, bits[k], stops[k], places[k], layout, sensor, (first, last), flat
            )
            events += added
    # Handed back so that the reading is not optimised away.
    return events, touched


@njit(nogil=True, cache=True)
@no_type_check
def _add_rows(data, bit, stop, place, layout, sensor, window, flat):
    """One frame's events in some rows; gives where the stream goes on, the pixel there, and the number of events."""
    skip_bits, across_bits, down_bits, bare_bits = layout
    _, columns, sampling = sensor
    first, last = window
    level = sampling >> 1
    whole = skip_bits + across_bits + down_bits
    skip_mask = np.uint64((1 << skip_bits) - 1)
    skip_step, whole_step, down_step = np.uint64(skip_bits), np.uint64(whole), np.uint64(skip_bits + across_bits)
    bare_step = np.uint64(bare_bits)
    across_mask, down_mask = np.uint64((1 << across_bits) - 1), np.uint64((1 << down_bits) - 1)
    # Positions in a pixel are signed, from its centre: turning the sign bit over makes them count from its edge.
    across_sign, down_sign = np.uint64(1 << across_bits >> 1), np.uint64(1 << down_bits >> 1)
    across_drop, down_drop = np.uint64(across_bits - level), np.uint64(down_bits - level)
    wide, one = columns * sampling, flat.dtype.type(1)
    row_start, row_end, end = first * columns, (first + 1) * columns, last * columns
    base = first * sampling * wide
    events = 0
    while True:
        known = min(_LOADED, stop * 8 - bit)
        if known < whole:
            return bit, place, events
        word = _word(data, bit >> 3, stop) >> np.uint64(bit & 7)
        used = 0
        while used + whole <= known:
            skip = word & skip_mask
            at = place + np.int64(skip)
            if skip == skip_mask:
                place = at
                word >>= bare_step
                used += bare_bits
                continue
            if at >= end:
                return bit + used, place, events
            while at >= row_end:
                row_start = row_end
                row_end += columns
                base += sampling * wide
            index = base + at - row_start
            if sampling > 1:
                across = np.int64((((word >> skip_step) & across_mask) ^ across_sign) >> across_drop)
                down = np.int64((((word >> down_step) & down_mask) ^ down_sign) >> down_drop)
                index = base + down * wide + (at - row_start) * sampling + across
            # Unsigned, so that Numba does not ask whether it counts from the end.
            flat[np.uint64(index)] += one
            events += 1
            place = at + 1
            word >>= whole_step
            used += whole
        bit += used
