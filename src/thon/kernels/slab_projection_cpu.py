"""The projector pair for CPUs: tasks, threads and scratch memory around the Numba loops of `slab_lines`.

How it stays near the machine's limit:

- A task owns a block of y of the output (`LANES`: 64 floats), so threads never write the same place and every run gives
  the same bits. The block's images are packed so that a column is contiguous, with a margin of zeros for what misses
  the image.
- A task walks its part of the slab in tiles of lines, so that what a tile sees of all images stays in the second-level
  cache; neighbouring x see nearly the same columns, which stay in the first.
- For each line the columns and weights of all tilts come first, in one vector loop; then one loop over tilts keeps the
  line in registers and does nothing but loads and fused multiply-adds.

Positions are affine, so within a tile they are computed from its corner: the working precision is then enough.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from thon.kernels.slab_lines import LANES, TILE, backproject_block, project_block


def backproject(images: np.ndarray, paths: np.ndarray, volume: np.ndarray, threads: int) -> None:
    """Fill `volume` `[z, x, y]` from `images` `[tilts, columns, rows]`, both C-contiguous."""
    tilts, columns, image_rows = images.shape
    depth, width, rows = volume.shape
    lanes = LANES[images.dtype.name]
    straight = _is_straight(paths)
    axes = np.ascontiguousarray(paths.transpose(1, 2, 0))
    blocks = range(0, rows, lanes)
    # Few blocks for many threads: the depth is shared out too, at the price of packing again. Sums do not depend on it.
    parts = 1 if threads == 1 else -(-4 * threads // len(blocks))
    chunk = -(-depth // (parts * TILE)) * TILE
    spans = [(z, min(z + chunk, depth)) for z in range(0, depth, chunk)]
    limits = [_row_limits(paths, span, width, rows, image_rows) for span in spans]
    margin = 0 if straight else max(int((last - first).max()) for first, last in limits) + 3
    stride = lanes + -(-margin // 16) * 16

    def work(tasks: Iterable[tuple[int, int]]) -> None:
        packed = _scratch((tilts, columns + 3, stride), images.dtype)
        for y, s in tasks:
            backproject_block(images, axes, volume, packed, spans[s], y, *limits[s], lanes, straight)

    _share(work, list(itertools.product(blocks, range(len(spans)))), threads)


def project(volume: np.ndarray, paths: np.ndarray, images: np.ndarray, threads: int) -> None:
    """Fill `images` `[tilts, columns, rows]` from `volume` `[z, x, y]`, both C-contiguous."""
    tilts, columns, image_rows = images.shape
    depth, width, rows = volume.shape
    lanes = LANES[images.dtype.name]
    straight = _is_straight(paths)
    axes = np.ascontiguousarray(paths.transpose(1, 2, 0))
    first, last = _row_limits(paths, (0, depth), width, rows, image_rows)
    blocks = range(0, image_rows, lanes)
    # Few blocks for many threads: the tilts are shared out too. Sums do not depend on it.
    groups = 1 if threads == 1 else min(tilts, -(-4 * threads // len(blocks)))
    edges = [tilts * g // groups for g in range(groups + 1)]

    def work(tasks: Iterable[tuple[int, int]]) -> None:
        packed = _scratch((-(-tilts // groups), columns + 3, lanes), images.dtype)
        for y, g in tasks:
            own = slice(edges[g], edges[g + 1])
            part = packed[: edges[g + 1] - edges[g]]
            own_axes = np.ascontiguousarray(axes[:, :, own])
            project_block(volume, own_axes, images[own], part, y, first[own], last[own], lanes, straight)

    _share(work, list(itertools.product(blocks, range(groups))), threads)


def _scratch(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros that start on a cache line: a vector that straddles two lines costs twice."""
    count = math.prod(shape)
    memory = np.empty(count + 64, dtype)
    start = -memory.ctypes.data % 64 // memory.itemsize
    memory[:] = 0
    return memory[start : start + count].reshape(shape)


def _share(work: Callable[[Iterable[Any]], None], tasks: list[Any], threads: int) -> None:
    """Let each thread take the next task when it is done with one."""
    queue = iter(tasks)
    if min(threads, len(tasks)) <= 1:
        work(queue)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, queue) for _ in range(min(threads, len(tasks)))]:
            done.result()


def _is_straight(paths: np.ndarray) -> bool:
    """Whether every line meets the pixels' rows, so that nothing is interpolated along y."""
    return not paths[:, 1, :2].any() and bool((paths[:, 1, 2] == np.floor(paths[:, 1, 2])).all())


def _row_limits(
    paths: np.ndarray, span: tuple[int, int], width: int, rows: int, image_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest whole offset along y of each tilt over a span of z; an affine map has them at the corners."""
    corners = [paths[:, 1] @ (z, x, 1.0) for z in (span[0], span[1] - 1) for x in (0, width - 1)]
    # Beyond these limits there is nothing but zeros; this bounds the memory, not the result.
    least, greatest = np.floor(np.min(corners, axis=0)), np.floor(np.max(corners, axis=0))
    return tuple(np.clip(value, -rows - 1, image_rows).astype(np.int64) for value in (least, greatest))
