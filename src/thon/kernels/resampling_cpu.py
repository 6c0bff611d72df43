"""Cubic B-spline sampling of images for CPUs, in Numba: a recursive prefilter, then sixteen taps per sample.

Each thread takes one image at a time and needs one padded image of coefficients as scratch. Samples are walked in small
tiles, so that the coefficients under a tile stay in the first-level cache whatever the rotation.
"""

# Numba infers the types of what it compiles and gives intrinsics their first argument.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportCallIssue=false
# pyright: reportUnusedFunction=false
# ruff: noqa: PLR0917

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

_TILE = 32
_LANES = 16
_MARGIN = 2
_POLE = np.sqrt(3.0) - 2
_HORIZON = 60
_FAST = {"contract", "nnan", "ninf", "nsz"}


def sample(
    images: np.ndarray,
    maps: np.ndarray,
    displacement: np.ndarray | None,
    knots: np.ndarray | None,
    sampled: np.ndarray,
    threads: int,
) -> None:
    """Fill `sampled` `[images, columns, rows]`."""
    field, knots = _displacement(displacement, knots, len(images))

    def work(queue: Iterable[int]) -> None:
        padded = np.empty((images.shape[1] + 2 * _MARGIN, images.shape[2] + 2 * _MARGIN), images.dtype)
        for k in queue:
            padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = images[k]
            _prefilter(padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN])
            _mirror_margin(padded)
            mean = images.dtype.type(images[k].mean(dtype=np.float64))
            _sample_image(padded, mean, maps[k], field[k], knots[k], sampled[k])

    _share(work, len(images), threads)


def spread(
    samples: np.ndarray,
    maps: np.ndarray,
    displacement: np.ndarray | None,
    knots: np.ndarray | None,
    images: np.ndarray,
    threads: int,
) -> None:
    """Fill `images` `[images, rows, columns]` with the transpose of `sample`."""
    field, knots = _displacement(displacement, knots, len(images))

    def work(queue: Iterable[int]) -> None:
        padded = np.empty((images.shape[1] + 2 * _MARGIN, images.shape[2] + 2 * _MARGIN), images.dtype)
        for k in queue:
            padded[:] = 0
            outside = _spread_image(samples[k], maps[k], field[k], knots[k], padded)
            _fold_margin(padded)
            inner = padded[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
            _scale_edges(inner, 2.0)
            _prefilter(inner)
            _scale_edges(inner, 0.5)
            images[k] = inner + images.dtype.type(outside / inner.size)

    _share(work, len(images), threads)


def _displacement(
    displacement: np.ndarray | None, knots: np.ndarray | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The displacement and its knots; without one, empty arrays that the loops recognise."""
    if displacement is None or knots is None:
        return np.empty((count, 0, 0, 2)), np.empty((count, 2, 3))
    return displacement, knots


def _share(work: Callable[[Iterable[int]], None], count: int, threads: int) -> None:
    """Let each thread take the next image when it is done with one."""
    queue = iter(range(count))
    if min(threads, count) <= 1:
        work(queue)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, queue) for _ in range(min(threads, count))]:
            done.result()


def _scale_edges(image: np.ndarray, factor: float) -> None:
    image[[0, -1], :] *= factor
    image[:, [0, -1]] *= factor


def _mirror_margin(padded: np.ndarray) -> None:
    """Mirror the pixels into the margin, about the edge pixels' centres."""
    for view in (padded, padded.T):
        view[:_MARGIN] = view[2 * _MARGIN : _MARGIN : -1]
        view[-_MARGIN:] = view[-_MARGIN - 2 : -2 * _MARGIN - 2 : -1]


def _fold_margin(padded: np.ndarray) -> None:
    """Transpose of `_mirror_margin`."""
    for view in (padded.T, padded):
        view[2 * _MARGIN : _MARGIN : -1] += view[:_MARGIN]
        view[-_MARGIN - 2 : -2 * _MARGIN - 2 : -1] += view[-_MARGIN:]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _filter_lanes(lanes):
    """Spline coefficients along the first axis, in place, for all entries of the second at once."""
    n, width = lanes.shape
    pole = lanes.dtype.type(_POLE)
    start = np.zeros(width, np.float64)
    factor = 1.0
    for i in range(min(2 * n - 2, _HORIZON)):
        k = i if i < n else 2 * n - 2 - i
        for j in range(width):
            start[j] += factor * lanes[k, j]
        factor *= _POLE
    gain = lanes.dtype.type(6)
    closing = 6 / (1 - _POLE ** (2 * n - 2))
    for j in range(width):
        lanes[0, j] = closing * start[j]
    for k in range(1, n):
        for j in range(width):
            lanes[k, j] = gain * lanes[k, j] + pole * lanes[k - 1, j]
    end = lanes.dtype.type(_POLE / (_POLE * _POLE - 1))
    for j in range(width):
        lanes[n - 1, j] = end * (lanes[n - 1, j] + pole * lanes[n - 2, j])
    for k in range(n - 2, -1, -1):
        for j in range(width):
            lanes[k, j] = pole * (lanes[k + 1, j] - lanes[k, j])


@njit(nogil=True, cache=True)
def _prefilter(image):
    """Cubic B-spline coefficients of an image with mirrored edges, in place."""
    rows, columns = image.shape
    # Wide enough to run in vectors, narrow enough that the way back still finds the way down in the cache.
    block = np.empty((rows, 4 * _LANES), image.dtype)
    for c in range(0, columns, 4 * _LANES):
        width = min(4 * _LANES, columns - c)
        block[:, :width] = image[:, c : c + width]
        _filter_lanes(block[:, :width])
        image[:, c : c + width] = block[:, :width]
    turned = np.zeros((columns, _LANES), image.dtype)
    for r in range(0, rows, _LANES):
        for i in range(min(_LANES, rows - r)):
            for c in range(columns):
                turned[c, i] = image[r + i, c]
        _filter_lanes(turned)
        for i in range(min(_LANES, rows - r)):
            for c in range(columns):
                image[r + i, c] = turned[c, i]


@njit(nogil=True, cache=True, fastmath=_FAST)
def _cubic(t, real):
    """The four B-spline weights around a point, t beyond the second, computed in the type `real`."""
    sixth, centre, half, one = real(1 / 6), real(2 / 3), real(0.5), real(1)
    s = one - t
    return (
        s * s * s * sixth,
        centre - t * t * (one - half * t),
        centre - s * s * (one - half * s),
        t * t * t * sixth,
    )


@intrinsic
def _patch(typing, source, offset, stride, low, high, sample):
    """Σ low[m · _TILE + sample] high[4 · sample + n] source[offset + m · stride + n] over 4 × 4, in vectors of four."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, low, high = (context.make_array(signature.args[i])(context, builder, values[i]).data for i in (0, 3, 4))
        offset, stride, sample = values[1], values[2], values[5]
        element = context.get_data_type(signature.args[0].dtype)
        vector, whole = ir.VectorType(element, 4), ir.IntType(64)

        def four(array: Any, index: Any) -> Any:
            address = builder.bitcast(builder.gep(array, [index]), vector.as_pointer())
            return builder.load(address, align=signature.args[0].dtype.bitwidth // 8)

        total = ir.Constant(vector, None)
        for m in range(4):
            weight = builder.load(builder.gep(low, [builder.add(sample, whole(m * _TILE))]))
            spread = ir.Constant(vector, ir.Undefined)
            for n in range(4):
                spread = builder.insert_element(spread, weight, ir.IntType(32)(n))
            line = four(source, builder.add(offset, builder.mul(stride, whole(m))))
            total = builder.fadd(total, builder.fmul(spread, line, flags=("contract",)), flags=("contract",))
        total = builder.fmul(total, four(high, builder.mul(sample, whole(4))))
        parts = [builder.extract_element(total, ir.IntType(32)(n)) for n in range(4)]
        return builder.fadd(builder.fadd(parts[0], parts[2]), builder.fadd(parts[1], parts[3]))

    return source.dtype(source, types.int64, types.int64, low, high, types.int64), codegen


@njit(nogil=True, cache=True, fastmath=_FAST)
def _affine_run(affine, row, column, count, first, second):
    """Both coordinates of an affine map for a run of rows."""
    r = affine[0, 0] * row + affine[0, 1] * column + affine[0, 2]
    c = affine[1, 0] * row + affine[1, 1] * column + affine[1, 2]
    for i in range(count):
        first[i] = r + affine[0, 0] * i
        second[i] = c + affine[1, 0] * i


@njit(nogil=True, cache=True, fastmath=_FAST)
def _spline_run(r, c, count, lower, top, right, stride, origin, low, high, offset):
    """Weights and patch offsets of a run of places, held within [lower, top] and [lower, right]."""
    # Shifted by one, whole parts are never negative and truncation is a floor. The last interval is closed.
    for i in range(count):
        p = min(max(r[i], lower), top) + 1
        q = min(max(c[i], lower), right) + 1
        m, n = min(np.int64(p), np.int64(top + 0.6)), min(np.int64(q), np.int64(right + 0.6))
        a = _cubic(low.dtype.type(p - m), low.dtype.type)
        b = _cubic(low.dtype.type(q - n), low.dtype.type)
        low[i], low[_TILE + i], low[2 * _TILE + i], low[3 * _TILE + i] = a
        high[4 * i], high[4 * i + 1], high[4 * i + 2], high[4 * i + 3] = b
        offset[i] = (m + origin) * stride + n + origin


@njit(nogil=True, cache=True, fastmath=_FAST)
def _displace_run(r, c, p, q, count, planes, shape, low, high, offset):
    """Add the displacement at the knots (p, q) of a run to its places; `planes` holds the row's and the column's."""
    size = shape[0] * shape[1]
    _spline_run(p, q, count, 1.0, shape[0] - 2.0, shape[1] - 2.0, shape[1], -2, low, high, offset)
    for i in range(count):
        r[i] += _patch(planes, offset[i], shape[1], low, high, i)
        c[i] += _patch(planes, offset[i] + size, shape[1], low, high, i)


@njit(nogil=True, cache=True, fastmath=_FAST)
def _sample_image(padded, mean, affine, field, knots, sampled):
    """Read the padded coefficients of one image for every pixel of `sampled` `[columns, rows]`."""
    columns, rows = sampled.shape
    stride = padded.shape[1]
    bottom, right = padded.shape[0] - 2 * _MARGIN - 0.5, stride - 2 * _MARGIN - 0.5
    source, planes = padded.reshape(-1), field.transpose(2, 0, 1).copy().reshape(-1)
    r, c, p, q = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    low, high = np.empty(4 * _TILE, padded.dtype), np.empty(4 * _TILE, padded.dtype)
    knot_low, knot_high = np.empty(4 * _TILE), np.empty(4 * _TILE)
    offset = np.empty(_TILE, np.int64)
    for tile_c in range(0, columns, _TILE):
        for tile_r in range(0, rows, _TILE):
            count = min(_TILE, rows - tile_r)
            for column in range(tile_c, min(tile_c + _TILE, columns)):
                _affine_run(affine, tile_r, column, count, r, c)
                if planes.shape[0] > 0:
                    _affine_run(knots, tile_r, column, count, p, q)
                    _displace_run(r, c, p, q, count, planes, field.shape, knot_low, knot_high, offset)
                _spline_run(r, c, count, -0.5, bottom, right, stride, 0, low, high, offset)
                for i in range(count):
                    if r[i] >= -0.5 and r[i] < bottom and c[i] >= -0.5 and c[i] < right:
                        sampled[column, tile_r + i] = _patch(source, offset[i], stride, low, high, i)
                    else:
                        sampled[column, tile_r + i] = mean


@njit(nogil=True, cache=True, fastmath=_FAST)
def _spread_image(samples, affine, field, knots, padded):
    """Add samples to the coefficients that they were read from; returns the sum of those that lay outside."""
    columns, rows = samples.shape
    stride = padded.shape[1]
    bottom, right = padded.shape[0] - 2 * _MARGIN - 0.5, stride - 2 * _MARGIN - 0.5
    target, planes = padded.reshape(-1), field.transpose(2, 0, 1).copy().reshape(-1)
    r, c, p, q = np.empty(_TILE), np.empty(_TILE), np.empty(_TILE), np.empty(_TILE)
    low, high = np.empty(4 * _TILE, padded.dtype), np.empty(4 * _TILE, padded.dtype)
    knot_low, knot_high = np.empty(4 * _TILE), np.empty(4 * _TILE)
    offset = np.empty(_TILE, np.int64)
    outside = 0.0
    for tile_c in range(0, columns, _TILE):
        for tile_r in range(0, rows, _TILE):
            count = min(_TILE, rows - tile_r)
            for column in range(tile_c, min(tile_c + _TILE, columns)):
                _affine_run(affine, tile_r, column, count, r, c)
                if planes.shape[0] > 0:
                    _affine_run(knots, tile_r, column, count, p, q)
                    _displace_run(r, c, p, q, count, planes, field.shape, knot_low, knot_high, offset)
                _spline_run(r, c, count, -0.5, bottom, right, stride, 0, low, high, offset)
                for i in range(count):
                    value = samples[column, tile_r + i]
                    if r[i] >= -0.5 and r[i] < bottom and c[i] >= -0.5 and c[i] < right:
                        for m in range(4):
                            for n in range(4):
                                place = offset[i] + m * stride + n
                                target[place] += value * low[m * _TILE + i] * high[4 * i + n]
                    else:
                        outside += value
    return outside
