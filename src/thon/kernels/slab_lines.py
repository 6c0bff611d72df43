"""Numba code for the innermost loops of the projector pair: one line of voxels along y meets all tilts.

`LANES` voxels stay in vector registers over the loop of tilts. Numba's own loops would store and reload the sums for
each tilt; a few lines of LLVM keep them in one wide vector, which LLVM splits into whatever registers the machine has.
"""

# Numba infers the types of what it compiles and gives intrinsics their first argument.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false, reportCallIssue=false
# pyright: reportUnusedFunction=false
# ruff: noqa: PLR0912, PLR0917

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 32
"""Side of a tile of lines in (z, x): the columns that it meets in all tilts fit in a second-level cache."""

RUN = 8
"""Lines along x whose weights are computed together."""

AHEAD = 12
"""Columns that packing prefetches ahead."""

LANES = {"float32": 64, "float64": 32}
"""Voxels of a line segment: four 512-bit registers of sums; what 60 tilts read fits in a first-level cache."""

FUSED = ("contract",)
FAST = {"contract", "nnan", "ninf", "nsz"}


class _Segments:
    """Writes LLVM for loads, stores and multiply-adds of line segments at element offsets of flat arrays."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any):
        self.builder = builder
        self.arguments = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, values, strict=True)
        ]
        self.bytes = signature.args[0].dtype.bitwidth // 8
        element = context.get_data_type(signature.args[0].dtype)
        self.vector = ir.VectorType(element, LANES[signature.args[0].dtype.name])

    def at(self, array: Any, offset: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(array, [offset]), self.vector.as_pointer())

    def load(self, array: Any, offset: Any) -> Any:
        return self.builder.load(self.at(array, offset), align=self.bytes)

    def store(self, value: Any, array: Any, offset: Any) -> None:
        self.builder.store(value, self.at(array, offset), align=self.bytes)

    def whole(self, array: Any, index: Any) -> Any:
        """One element of an array of integers, as an offset."""
        return self.builder.sext(self.builder.load(self.builder.gep(array, [index])), ir.IntType(64))

    def spread(self, array: Any, index: Any) -> Any:
        """One element of an array in every lane."""
        value = self.builder.load(self.builder.gep(array, [index]))
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.vector.count), None)
        return self.builder.shuffle_vector(one, undefined, first)

    @contextmanager
    def tilts(self, count: Any, line: Any, offsets: Any, tilt_stride: Any) -> Generator[tuple[Any, Any]]:
        """Loop over tilts: the place of a line of the run in the tables, and its segment's offset in the images."""
        with cgutils.for_range(self.builder, count) as loop:
            place = self.builder.add(self.builder.mul(loop.index, ir.Constant(ir.IntType(64), RUN)), line)
            start = self.builder.mul(loop.index, tilt_stride)
            yield place, self.builder.add(start, self.whole(offsets, place))

    def times(self, left: Any, right: Any) -> Any:
        return self.builder.fmul(left, right, flags=FUSED)

    def plus_product(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fadd(total, self.times(left, right), flags=FUSED)


@intrinsic
def sum_line(typing, target, source, offsets, near, far, line, count, tilt_stride, stride):
    """target = Σ over tilts of near · source[offset …] + far · source[offset + stride …], for one line of a run."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write = _Segments(context, builder, signature, values)
        target, source, offsets, near, far, line, count, tilt_stride, stride = write.arguments
        total = cgutils.alloca_once(builder, write.vector)
        builder.store(ir.Constant(write.vector, None), total)
        with write.tilts(count, line, offsets, tilt_stride) as (place, offset):
            value = write.plus_product(builder.load(total), write.spread(near, place), write.load(source, offset))
            beside = write.load(source, builder.add(offset, stride))
            builder.store(write.plus_product(value, write.spread(far, place), beside), total)
        write.store(builder.load(total), target, ir.Constant(ir.IntType(64), 0))
        return context.get_dummy_value()

    return types.void(target, source, offsets, near, far, line, count, tilt_stride, stride), codegen


@intrinsic
def sum_sheared_line(typing, target, source, offsets, near, far, low, high, line, count, tilt_stride, stride):
    """The same, each column being low · (its rows) + high · (its rows one further)."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write = _Segments(context, builder, signature, values)
        target, source, offsets, near, far, low, high, line, count, tilt_stride, stride = write.arguments
        one = ir.Constant(ir.IntType(64), 1)
        total = cgutils.alloca_once(builder, write.vector)
        builder.store(ir.Constant(write.vector, None), total)
        with write.tilts(count, line, offsets, tilt_stride) as (place, offset):
            value = builder.load(total)
            for column, weight in ((offset, near), (builder.add(offset, stride), far)):
                side = write.spread(weight, place)
                for row, part in ((column, low), (builder.add(column, one), high)):
                    both = write.times(side, write.spread(part, place))
                    value = write.plus_product(value, both, write.load(source, row))
            builder.store(value, total)
        write.store(builder.load(total), target, ir.Constant(ir.IntType(64), 0))
        return context.get_dummy_value()

    return types.void(target, source, offsets, near, far, low, high, line, count, tilt_stride, stride), codegen


@intrinsic
def spread_line(typing, voxels, rows, target, offsets, near, far, line, count, tilt_stride, stride):
    """Per tilt target[offset …] += near · voxels[row …] and target[offset + stride …] += far · voxels[row …]."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write = _Segments(context, builder, signature, values)
        voxels, rows, target, offsets, near, far, line, count, tilt_stride, stride = write.arguments
        with write.tilts(count, line, offsets, tilt_stride) as (place, offset):
            value = write.load(voxels, write.whole(rows, place))
            for column, weight in ((offset, near), (builder.add(offset, stride), far)):
                before = write.load(target, column)
                write.store(write.plus_product(before, write.spread(weight, place), value), target, column)
        return context.get_dummy_value()

    return types.void(voxels, rows, target, offsets, near, far, line, count, tilt_stride, stride), codegen


@intrinsic
def spread_sheared_line(typing, voxels, rows, target, offsets, near, far, low, high, line, count, tilt_stride, stride):
    """The same, for low · voxels[row …] + high · voxels[row − 1 …]: the transpose of `sum_sheared_line`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write = _Segments(context, builder, signature, values)
        voxels, rows, target, offsets, near, far, low, high, line, count, tilt_stride, stride = write.arguments
        one = ir.Constant(ir.IntType(64), 1)
        with write.tilts(count, line, offsets, tilt_stride) as (place, offset):
            row = write.whole(rows, place)
            value = write.times(write.spread(low, place), write.load(voxels, row))
            value = write.plus_product(value, write.spread(high, place), write.load(voxels, builder.sub(row, one)))
            for column, weight in ((offset, near), (builder.add(offset, stride), far)):
                before = write.load(target, column)
                write.store(write.plus_product(before, write.spread(weight, place), value), target, column)
        return context.get_dummy_value()

    return types.void(voxels, rows, target, offsets, near, far, low, high, line, count, tilt_stride, stride), codegen


@intrinsic
def copy_segment(typing, target, start, source, offset):
    """target[start …] = source[offset …], `LANES` elements. Numba's own loop would test each index for a sign."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write = _Segments(context, builder, signature, values)
        target, start, source, offset = write.arguments
        write.store(write.load(source, offset), target, start)
        return context.get_dummy_value()

    return types.void(target, start, source, offset), codegen


@njit(nogil=True, cache=True)
def copy(target, start, source, offset, length, lanes):
    """target[start …] = source[offset …] for any length."""
    whole = length // lanes * lanes
    for i in range(0, whole, lanes):
        copy_segment(target, start + i, source, offset + i)
    for i in range(whole, length):
        target[start + i] = source[offset + i]


@intrinsic
def prefetch_line(typing, array, offset):
    """Bring the segment at an offset to the second-level cache: lines lie a row apart, which no hardware foresees."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        segments = _Segments(context, builder, signature, values)
        kind, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [kind, number, number, number]), "llvm.prefetch.p0"
        )
        for line in range(0, segments.vector.count, 64 // segments.bytes):
            at = builder.add(segments.arguments[1], ir.Constant(ir.IntType(64), line))
            address = builder.bitcast(builder.gep(segments.arguments[0], [at]), kind)
            builder.call(function, [address, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(array, offset), codegen


@njit(nogil=True, cache=True)
def tile_corner(axis, z, x, lower, upper, corner, whole):
    """Position along one axis in a tile's corner as whole and fraction; `corner` holds the fraction and its limits."""
    for k in range(axis.shape[1]):
        position = axis[0, k] * z + axis[1, k] * x + axis[2, k]
        # What is far outside needs no precision, only to stay representable.
        floor = min(max(np.floor(position), -1e6), 1e6)
        whole[k] = np.int32(floor)
        corner[0, k] = min(max(position - floor, -1e6), 1e6)
        corner[1, k] = lower[k] - floor
        corner[2, k] = upper[k] - floor


@njit(nogil=True, cache=True, fastmath=FAST)
def run_taps(axis, dz, dx, corner, whole, index, near, far):
    """Whole position and the two weights along one axis, in every tilt, of the `RUN` lines from (dz, dx) on."""
    one = corner.dtype.type(1)  # a plain 1 would turn single precision into double
    for k in range(whole.shape[0]):
        start = corner[0, k] + axis[0, k] * dz
        step, lower, upper, origin = axis[1, k], corner[1, k], corner[2, k], whole[k]
        for i in range(RUN):
            position = min(max(start + step * (dx + corner.dtype.type(i)), lower), upper)
            floor = np.floor(position)
            far[k * RUN + i] = position - floor
            near[k * RUN + i] = one - (position - floor)
            index[k * RUN + i] = origin + np.int32(floor)


@njit(nogil=True, cache=True)
def pack(images, packed, y, first, lanes):
    """Copy rows y + first[k] … of every column into a packed block, zero outside; its margin columns are left alone."""
    columns, rows, length = images.shape[1], images.shape[2], packed.shape[2]
    source, target = images.reshape(-1), packed.reshape(-1)
    for k in range(images.shape[0]):
        start = y + first[k]
        low = min(max(0, -start), length)
        high = max(low, min(length, rows - start))
        for c in range(columns):
            prefetch_line(source, (k * columns + c + AHEAD) * rows + start)
            line = (k * packed.shape[1] + c + 1) * length
            if high - low < length:
                target[line : line + length] = 0
            copy(target, line + low, source, (k * columns + c) * rows + start + low, high - low, lanes)


@njit(nogil=True, cache=True)
def backproject_block(images, axes, volume, packed, span, y, first, last, lanes, straight):
    """Sum all tilts into volume[span[0] : span[1], :, y : y + lanes]; `axes` are the paths as [2, 3, tilts]."""
    tilts, columns = images.shape[0], images.shape[1]
    width, rows = volume.shape[1], volume.shape[2]
    stride = packed.shape[2]
    tilt_stride = packed.shape[1] * stride
    pack(images, packed, y, first, lanes)
    real = images.dtype.type
    left, right = np.full(tilts, -1.0), np.full(tilts, float(columns))
    lower, upper = first.astype(np.float64), last + 1.0
    corner_u, corner_y = np.empty((3, tilts), images.dtype), np.empty((3, tilts), images.dtype)
    # Views are made here: in the loops each would cost two atomic reference counts.
    steps_u, steps_y = axes[0].astype(real), axes[1].astype(real)
    whole_u, whole_y = np.empty(tilts, np.int32), np.empty(tilts, np.int32)
    table = tilts * RUN
    near, far, low, high = np.empty(table, real), np.empty(table, real), np.empty(table, real), np.empty(table, real)
    offset, row = np.empty(table, np.int32), np.zeros(table, np.int32)
    line = np.empty(lanes, images.dtype)
    length, plane = min(lanes, rows - y), width * rows
    source, target = packed.reshape(-1), volume.reshape(-1)
    for tile_z in range(span[0], span[1], TILE):
        for tile_x in range(0, width, TILE):
            tile_corner(axes[0], tile_z, tile_x, left, right, corner_u, whole_u)
            tile_corner(axes[1], tile_z, tile_x, lower, upper, corner_y, whole_y)
            for k in range(tilts):
                whole_u[k] += 1
                whole_y[k] -= first[k]
            for z in range(tile_z, min(tile_z + TILE, span[1])):
                for run in range(tile_x, min(tile_x + TILE, width), RUN):
                    dz, dx = real(z - tile_z), real(run - tile_x)
                    run_taps(steps_u, dz, dx, corner_u, whole_u, offset, near, far)
                    if not straight:
                        run_taps(steps_y, dz, dx, corner_y, whole_y, row, low, high)
                    for k in range(table):
                        offset[k] = offset[k] * np.int32(stride) + row[k]
                    for x in range(run, min(run + RUN, width)):
                        if straight:
                            sum_line(line, source, offset, near, far, x - run, tilts, tilt_stride, stride)
                        else:
                            sum_sheared_line(
                                line, source, offset, near, far, low, high, x - run, tilts, tilt_stride, stride
                            )
                        start = (z * width + x) * rows + y
                        prefetch_line(target, start + plane)
                        copy(target, start, line, 0, length, lanes)


@njit(nogil=True, cache=True)
def project_block(volume, axes, images, packed, y, first, last, lanes, straight):
    """Fill images[:, :, y : y + lanes] with the transpose of `backproject_block`."""
    tilts, columns, image_rows = images.shape
    depth, width, rows = volume.shape
    tilt_stride = packed.shape[1] * lanes
    real = images.dtype.type
    left, right = np.full(tilts, -1.0), np.full(tilts, float(columns))
    lower, upper = first.astype(np.float64), last + 1.0
    corner_u, corner_y = np.empty((3, tilts), images.dtype), np.empty((3, tilts), images.dtype)
    steps_u, steps_y = axes[0].astype(real), axes[1].astype(real)
    whole_u, whole_y = np.empty(tilts, np.int32), np.empty(tilts, np.int32)
    table = tilts * RUN
    near, far, low, high = np.empty(table, real), np.empty(table, real), np.empty(table, real), np.empty(table, real)
    offset, row = np.empty(table, np.int32), np.empty(table, np.int32)
    # The line holds the voxels from y − behind on, so that row y − dy of a tilt starts at behind − dy.
    behind = last.max() + 2
    line = np.zeros(lanes + behind - first.min() + 2, images.dtype)
    begin = min(max(0, behind - y), len(line))
    end = max(begin, min(len(line), rows + behind - y))
    packed[:] = 0
    target, voxels = packed.reshape(-1), volume.reshape(-1)
    for k in range(table):
        row[k] = behind - first[k // RUN]
    for tile_z in range(0, depth, TILE):
        for tile_x in range(0, width, TILE):
            tile_corner(axes[0], tile_z, tile_x, left, right, corner_u, whole_u)
            tile_corner(axes[1], tile_z, tile_x, lower, upper, corner_y, whole_y)
            for k in range(tilts):
                whole_u[k] += 1
            for z in range(tile_z, min(tile_z + TILE, depth)):
                for run in range(tile_x, min(tile_x + TILE, width), RUN):
                    dz, dx = real(z - tile_z), real(run - tile_x)
                    run_taps(steps_u, dz, dx, corner_u, whole_u, offset, near, far)
                    for k in range(table):
                        offset[k] *= np.int32(lanes)
                    if not straight:
                        run_taps(steps_y, dz, dx, corner_y, whole_y, row, low, high)
                        for k in range(table):
                            row[k] = np.int32(behind) - row[k]
                    for x in range(run, min(run + RUN, width)):
                        prefetch_line(voxels, ((z + 1) * width + x) * rows + y)
                        start = (z * width + x) * rows + y - behind + begin
                        copy(line, begin, voxels, start, end - begin, lanes)
                        if straight:
                            spread_line(line, row, target, offset, near, far, x - run, tilts, tilt_stride, lanes)
                        else:
                            spread_sheared_line(
                                line, row, target, offset, near, far, low, high, x - run, tilts, tilt_stride, lanes
                            )
    pixels = images.reshape(-1)
    for k in range(tilts):
        for c in range(columns):
            prefetch_line(pixels, (k * columns + c + AHEAD) * image_rows + y)
            line_start = (k * packed.shape[1] + c + 1) * lanes
            copy(pixels, (k * columns + c) * image_rows + y, target, line_start, min(lanes, image_rows - y), lanes)
