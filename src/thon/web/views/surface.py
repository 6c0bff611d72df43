"""Surfaces of constant value in volumes, by surface nets: one vertex in each cell that the surface passes through.

A cell is the cube between eight voxels. Its vertex is the mean of the points where the surface crosses its edges, by
linear interpolation; the four cells around a crossed edge share a square. The result is closed, and smoother than that
of marching cubes.

Source: Gibson 1998, Constrained elastic surface nets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from thon.base.errors import InputError

MOST = 2_000_000
"""Crossed edges at most: a surface through noise has more than anybody can look at."""


@dataclass(frozen=True)
class Surface:
    """Triangles.

    Args:
        vertices: (z, y, x), voxels.
        normals: (z, y, x), pointing to smaller values, 127 long.
        triangles: Vertices of each, anticlockwise in (x, y, z) as seen from where values are smaller.
    """

    vertices: Float[np.ndarray, "n 3"]
    normals: Int8[np.ndarray, "n 3"]
    triangles: Int[np.ndarray, "m 3"]


def surface_net(values: Float[np.ndarray, "z y x"], level: float) -> Surface:
    """The surface between what is above a level and the rest; outside of the volume lies its lowest value.

    Raises:
        InputError: There is none, or it is larger than can be looked at.
    """
    low, high = float(values.min()), float(values.max())
    if not low <= level < high:
        raise InputError("there is no surface at this level", got=level, expected=f"between {low:.4g} and {high:.4g}")
    padded = np.pad(np.asarray(values, np.float32), 1, constant_values=low)
    edges = [_crossings(padded, level, axis) for axis in range(3)]
    count = sum(len(edge.at) for edge in edges)
    if count > MOST:
        raise InputError("the surface at this level is too large to be shown", got=level, mend="raise the level")
    cells = np.concatenate([_cells(edge.at, padded.shape, edge.axis).ravel() for edge in edges])
    points = np.concatenate([np.repeat(edge.point, 4, axis=0) for edge in edges])
    used, number = _numbered(cells, padded.size)
    members = np.bincount(number, minlength=len(used))
    vertices = np.stack([np.bincount(number, points[:, k], len(used)) / members for k in range(3)], -1)
    triangles = _triangles(number.reshape(-1, 4), np.concatenate([edge.rising for edge in edges]))
    return Surface((vertices - 1).astype(np.float32), _normals(padded, vertices), triangles)


def without_dust(surface: Surface, least: int) -> Surface:
    """The surface without parts of fewer vertices than `least`; the largest part always stays."""
    label = _parts(surface)
    sizes = np.bincount(label)
    kept = (sizes >= min(least, sizes.max()))[label]
    place = np.cumsum(kept) - 1
    triangles = surface.triangles[kept[surface.triangles[:, 0]]]
    return Surface(surface.vertices[kept], surface.normals[kept], place[triangles])


def sample(values: Float[np.ndarray, "z y x"], points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n"]:
    """Values of a volume at points (z, y, x) in its voxels, trilinear; beyond its faces those of the faces."""
    top = np.array(values.shape) - 1
    places = np.clip(points, 0, top)
    low = np.minimum(places.astype(np.int64), np.maximum(top - 1, 0))
    share = (places - low).astype(np.float32)
    high = np.minimum(low + 1, top)
    total = np.zeros(len(points), np.float32)
    for corner in range(8):
        upper = [(corner >> (2 - k)) & 1 for k in range(3)]
        at = tuple(np.where(upper[k], high[:, k], low[:, k]) for k in range(3))
        z, y, x = (share[:, k] if upper[k] else 1 - share[:, k] for k in range(3))
        total += z * y * x * values[at]
    return total


@dataclass(frozen=True)
class _Edges:
    """Edges of the grid along one axis that the surface crosses: lower end, crossing point, whether values rise."""

    axis: int
    at: Int[np.ndarray, "n 3"]
    point: Float[np.ndarray, "n 3"]
    rising: Bool[np.ndarray, "n"]


def _crossings(values: Float[np.ndarray, "z y x"], level: float, axis: int) -> _Edges:
    above = values > level
    first = tuple(slice(None, -1) if k == axis else slice(None) for k in range(3))
    second = tuple(slice(1, None) if k == axis else slice(None) for k in range(3))
    at = np.argwhere(above[first] != above[second])
    step = np.eye(3, dtype=np.int64)[axis]
    low, high = values[tuple(at.T)], values[tuple((at + step).T)]
    point = at.astype(np.float64)
    point[:, axis] += (level - low) / (high - low)
    return _Edges(axis, at, point, high > low)


def _cells(at: Int[np.ndarray, "n 3"], shape: tuple[int, ...], axis: int) -> Int[np.ndarray, "n 4"]:
    """The four cells around each edge, in order around it."""
    second, third = (axis + 1) % 3, (axis + 2) % 3
    around = np.zeros((4, 3), np.int64)
    around[:, second], around[:, third] = (0, -1, -1, 0), (0, 0, -1, -1)
    return (at[:, None] + around) @ np.array([shape[1] * shape[2], shape[2], 1])


def _numbered(cells: Int[np.ndarray, "k"], size: int) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "k"]]:
    """The cells that there are, and the number of each of `cells` among them: sorting would take ten times longer."""
    there = np.zeros(size, bool)
    there[cells] = True
    used = np.flatnonzero(there)
    number = np.zeros(size, np.int32)
    number[used] = np.arange(len(used), dtype=np.int32)
    return used, number[cells]


def _triangles(squares: Int[np.ndarray, "n 4"], rising: Bool[np.ndarray, "n"]) -> Int[np.ndarray, "m 3"]:
    """Two triangles for each square, turned so that they are seen from where values are smaller."""
    a, b, c, d = np.where(rising[:, None], squares, squares[:, ::-1]).T
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])


def _normals(values: Float[np.ndarray, "z y x"], vertices: Float[np.ndarray, "n 3"]) -> Int8[np.ndarray, "n 3"]:
    slopes = [sample(values, vertices + step) - sample(values, vertices - step) for step in np.eye(3)]
    normal = -np.stack(slopes, -1)
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    return np.round(127 * normal / np.maximum(length, 1e-30)).astype(np.int8)


def _parts(surface: Surface) -> Int[np.ndarray, "n"]:
    """A number for each vertex, the same for all that hang together."""
    from scipy.sparse import coo_array  # noqa: PLC0415
    from scipy.sparse.csgraph import connected_components  # noqa: PLC0415

    first, second = (surface.triangles[:, [0, 1]].ravel(), surface.triangles[:, [1, 2]].ravel())
    graph = coo_array((np.ones(len(first), bool), (first, second)), (len(surface.vertices),) * 2)
    _, label = cast(Any, connected_components)(graph, directed=False)
    return label
