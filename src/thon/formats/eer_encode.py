"""Coding the events of a frame as EER's stream, in Numba; `thon.formats.eer_decode` says what the stream is."""

# Numba infers the types of what it compiles.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportCallIssue=false

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit


@no_type_check
def encode_events(events: np.ndarray, shape: tuple[int, int], layout: tuple[int, int, int, int]) -> tuple[bytes, int]:
    """Stream of one frame.

    Args:
        events: (row, column) of each event, on a grid four times finer than the sensor.
        shape: (rows, columns) of the sensor.
        layout: Bits of a symbol: skip, horizontal, vertical, of the latter at most two; and of one that only skips.

    Returns:
        The stream, and the number of events that coincided with others in a pixel.
    """
    rows, columns = shape
    keys = _sorted(_keys(np.ascontiguousarray(events, np.int64), columns), rows * columns * 16)
    skip, horizontal, vertical, bare = layout
    whole = skip + horizontal + vertical
    most = len(keys) * whole + (rows * columns // ((1 << skip) - 1) + 2) * (whole + 8)
    stream = np.zeros(most // 8 + 16, np.uint8)
    used, lost = _write_symbols(keys, rows * columns, (skip, horizontal, vertical, bare), stream)
    # An even number of bytes, as other readers want it.
    return stream[: used + used % 2].tobytes(), lost


@njit(nogil=True, cache=True)
@no_type_check
def _scramble(place):
    """Four bits that change from pixel to pixel as if by chance: they decide which of coinciding events is kept."""
    return (np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(60)


@njit(nogil=True, cache=True)
@no_type_check
def _keys(events, columns):
    """A number for each event that sorts by pixel."""
    keys = np.empty(len(events), np.uint64)
    for k in range(len(events)):
        row, column = events[k, 0], events[k, 1]
        place = (row >> 2) * columns + (column >> 2)
        within = np.uint64((row & 3) << 2 | column & 3)
        keys[k] = np.uint64(place) << np.uint64(4) | (within ^ _scramble(place))
    return keys


@njit(nogil=True, cache=True)
@no_type_check
def _sorted(keys, end):
    """Keys below `end` in ascending order, by their digits of eleven bits: four times as fast as comparing them."""
    other = np.empty_like(keys)
    digit = np.uint64(2047)
    shift = 0
    while end >> shift:
        places = np.zeros(2049, np.int64)
        for key in keys:
            places[np.int64(key >> np.uint64(shift) & digit) + 1] += 1
        places = np.cumsum(places)
        for key in keys:
            at = np.int64(key >> np.uint64(shift) & digit)
            other[places[at]] = key
            places[at] += 1
        keys, other = other, keys
        shift += 11
    return keys


@njit(nogil=True, cache=True)
@no_type_check
def _write_symbols(keys, total, layout, stream):
    """Fill the stream; gives the bytes used and the events left out."""
    skip_bits, across_bits, down_bits, bare_bits = layout
    longest = (1 << skip_bits) - 1
    across_sign, down_sign = np.uint64(1 << across_bits >> 1), np.uint64(1 << down_bits >> 1)
    word, held, used, lost, place = np.uint64(0), 0, 0, 0, 0
    for k in range(len(keys) + 1):
        # After the last event the stream runs on to the end of the frame.
        at = total if k == len(keys) else np.int64(keys[k] >> np.uint64(4))
        if at < place:
            lost += 1
            continue
        run = at - place
        while run >= longest:
            word |= np.uint64(longest) << np.uint64(held)
            held += bare_bits
            run -= longest
            while held >= 8:
                stream[used] = word & np.uint64(255)
                word >>= np.uint64(8)
                held -= 8
                used += 1
        symbol = np.uint64(run)
        if k < len(keys):
            within = (keys[k] & np.uint64(15)) ^ _scramble(at)
            across = ((within & np.uint64(3)) >> np.uint64(2 - across_bits)) ^ across_sign
            down = (within >> np.uint64(4 - down_bits)) ^ down_sign
            symbol |= across << np.uint64(skip_bits) | down << np.uint64(skip_bits + across_bits)
        word |= symbol << np.uint64(held)
        held += skip_bits + across_bits + down_bits
        while held > 0 and (held >= 8 or k == len(keys)):
            stream[used] = word & np.uint64(255)
            word >>= np.uint64(8)
            held -= 8
            used += 1
        place = at + 1
    return used, lost
