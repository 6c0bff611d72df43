"""Local motion from tracks: what is left of the residuals when every point may move, as a smooth field.

The field is a cubic B-spline in the plane of each image and along the tilt angle, with a penalty on its size and on its
curvature. How strong the penalty is, and whether there is a field at all, is decided by points that the fit did not
see: a field that does not explain their residuals better than no field is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import scipy
from annotated_types import Ge, Gt
from jaxtyping import Float

from thon.algorithms.bundle import BundleOptions, BundleSolution, adjust_bundle
from thon.algorithms.bundle_model import point_derivative
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.alignment import Tracks
from thon.data.geometry import LocalField, TiltGeometry, spline_basis


class LocalFieldOptions(Options):
    """How fine and how smooth a field of local motion may be."""

    nodes: Annotated[int, Unit("1"), Ge(4)] = 6
    """Spline nodes along each side of the image; one on each end lies outside."""

    tilt_nodes: Annotated[int, Unit("1"), Ge(4)] = 10
    """Spline nodes along the tilt angle."""

    smoothness: Annotated[float | None, Unit("1"), Gt(0)] = None
    """Strength of the penalty; found by cross-validation if not given."""

    folds: Annotated[int, Unit("1"), Ge(2), Advanced()] = 5
    """Groups of points held out in turn."""

    ridge: Annotated[float, Unit("1"), Gt(0), Advanced()] = 0.02
    """Penalty on the size of the field relative to that on its curvature."""


@dataclass(frozen=True)
class _Sightings:
    """Residuals with where in the image they are and their weights."""

    residual: Float[np.ndarray, "points tilts 2"]
    plane: Float[np.ndarray, "points tilts 2"]
    weight: Float[np.ndarray, "points tilts"]

    def every(self, step: int, first: int) -> _Sightings:
        return _Sightings(self.residual[first::step], self.plane[first::step], self.weight[first::step])


@dataclass(frozen=True)
class _Group:
    """Normal equations of some points for the field, their own positions eliminated."""

    matrix: Float[np.ndarray, "unknowns unknowns"]
    right: Float[np.ndarray, "unknowns"]

    def gain(self, field: Float[np.ndarray, "unknowns"]) -> float:
        """By how much a field lowers the weighted squared residuals of these points."""
        return float(2 * self.right @ field - field @ self.matrix @ field)


def fit_local_field(
    residual: Float[np.ndarray, "points tilts 2"],
    points: Float[np.ndarray, "points 3"],
    geometry: TiltGeometry,
    weight: Float[np.ndarray, "points tilts"],
    *,
    options: LocalFieldOptions | None = None,
    extent: tuple[float, float] | None = None,
) -> LocalField:
    """Fit a smooth displacement of each image to the residuals of tracks.

    Args:
        residual: Measured minus projected position (y, x), Å, *without* the field; NaN where not seen.
        points: Specimen positions (z, y, x), Å; NaN for those that take no part.
        geometry: Geometry the residuals belong to; a local field in it is ignored.
        weight: Weight of each sighting, 1/Å² (or any multiple); zero where not seen.
        options: How fine and how smooth.
        extent: Sides of the area to cover, along and across the tilt axis, Å; by default that of the points.

    Returns:
        The field; zero everywhere where none explains points held out better.

    Raises:
        InputError: Fewer points than groups to hold out.
    """
    options = options or LocalFieldOptions()
    usable = np.isfinite(points).all(1)
    if usable.sum() < 2 * options.folds:
        raise InputError("too few points for a local field", got=int(usable.sum()), expected=2 * options.folds)
    rigid = replace(geometry, local=None)
    plane = rigid.plane(points[usable]).transpose(1, 0, 2)
    if extent is None:
        extent = (2 * float(np.abs(plane[..., 0]).max()), 2 * float(np.abs(plane[..., 1]).max()))
    shape = (options.nodes, options.nodes)
    spacing = (extent[0] / (shape[0] - 3), extent[1] / (shape[1] - 3))
    empty = LocalField(np.zeros((len(geometry), *shape, 2)), spacing)
    along = _tilt_basis(geometry.tilt, min(options.tilt_nodes, max(4, len(geometry) // 2)))
    weight = np.where(np.isfinite(residual[usable]).all(-1), weight[usable], 0)
    weight = weight * _unit(residual[usable], weight)
    sightings = _Sightings(np.nan_to_num(residual[usable]), plane, weight)
    groups = [_group(sightings.every(options.folds, k), rigid, empty, along) for k in range(options.folds)]
    unknowns = _solve(groups, _penalty((along.shape[1], *shape), options.ridge), options.smoothness)
    nodes = unknowns.reshape(2, along.shape[1], *shape)
    return replace(empty, coefficients=np.einsum("tk,dkrc->trcd", along, nodes))


def adjust_bundle_local(
    tracks: Tracks,
    geometry: TiltGeometry,
    options: BundleOptions | None = None,
    *,
    local: LocalFieldOptions | None = None,
    extent: tuple[float, float] | None = None,
    rounds: int = 3,
) -> BundleSolution:
    """Bundle adjustment with a field of local motion: the two are refined in turn. Arguments as of both."""
    start = replace(geometry, local=None)
    solution = adjust_bundle(tracks, start, options)
    for _ in range(rounds):
        known = np.isfinite(solution.points).all(1)
        rigid = replace(solution.geometry, local=None)
        residual = np.full(tracks.position.shape, np.nan)
        residual[known] = tracks.position[known] - rigid.project(solution.points[known]).transpose(1, 0, 2)
        weight = solution.weight / np.square(np.where(tracks.seen, tracks.sigma, 1))
        field = fit_local_field(residual, solution.points, rigid, weight, options=local, extent=extent)
        if not field.coefficients.any():
            return solution if solution.geometry.local is None else adjust_bundle(tracks, start, options)
        # From the start again: priors are about the geometry given, not about the last round's.
        solution = adjust_bundle(tracks, replace(start, local=field), options)
    return solution


def _unit(residual: np.ndarray, weight: np.ndarray) -> float:
    """Factor that turns weights into 1/variance, so that the penalty's strength has the same meaning everywhere."""
    square = np.square(np.nan_to_num(residual)).sum(-1)
    return float(2 * (weight > 0).sum() / max((weight * square).sum(), 1e-30))


def _tilt_basis(tilt: Float[np.ndarray, "tilts"], nodes: int) -> Float[np.ndarray, "tilts nodes"]:
    span = max(float(np.ptp(tilt)), 1e-6)
    return spline_basis((tilt - tilt.min()) / span * (nodes - 3) + 1, nodes)


def _group(
    sightings: _Sightings, geometry: TiltGeometry, field: LocalField, along: Float[np.ndarray, "tilts nodes"]
) -> _Group:
    """Normal equations of the field for some points, which may all move."""
    point, tilt = np.nonzero(sightings.weight > 0)
    design = _design(field, along, sightings.plane[point, tilt], tilt)
    w, r = sightings.weight[point, tilt], sightings.residual[point, tilt]
    derivative = point_derivative(geometry)[tilt]
    count, size = len(sightings.plane), along.shape[1] * field.coefficients[0, :, :, 0].size
    normal = np.zeros((count, 3, 3))
    np.add.at(normal, point, w[:, None, None] * np.einsum("oda,odb->oab", derivative, derivative))
    moves = np.zeros((count, 3))
    np.add.at(moves, point, w[:, None] * np.einsum("oda,od->oa", derivative, r))
    coupling = np.zeros((count, 3, 2, size))
    for d in range(2):
        for a in range(3):
            collect = scipy.sparse.csr_matrix(
                (w * derivative[:, d, a], (point, np.arange(len(point)))), (count, len(point))
            )
            coupling[:, a, d] = scipy.sparse.csr_matrix(collect @ design).toarray()
    coupling = coupling.reshape(count, 3, 2 * size)
    inverse = np.linalg.inv(normal + np.eye(3) * 1e-9 * max(float(w.max(initial=0)), 1e-30))
    block = scipy.sparse.csr_matrix(design.T @ scipy.sparse.csr_matrix(design.multiply(w[:, None]))).toarray()
    matrix = np.kron(np.eye(2), block) - np.einsum("pax,pab,pby->xy", coupling, inverse, coupling, optimize=True)
    right = np.concatenate([design.T @ (w * r[:, d]) for d in range(2)])
    return _Group(matrix, right - np.einsum("pax,pab,pb->x", coupling, inverse, moves, optimize=True))


def _design(
    field: LocalField, along: np.ndarray, plane: Float[np.ndarray, "seen 2"], tilt: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Weight of each node (tilt, row, column) in each sighting."""
    rows, columns = field.basis(plane[:, 0], 0), field.basis(plane[:, 1], 1)
    product = np.einsum("ok,or,oc->okrc", along[tilt], rows, columns, optimize=True)
    return scipy.sparse.csr_matrix(product.reshape(len(plane), -1))


def _penalty(shape: tuple[int, ...], ridge: float) -> Float[np.ndarray, "unknowns unknowns"]:
    """Sum of squared second differences along tilt, rows and columns, plus the squared size, for y and x."""
    size = int(np.prod(shape))
    penalty = ridge * np.eye(size)
    for axis, nodes in enumerate(shape):
        bend = np.diff(np.eye(nodes), 2, axis=0)
        factors = [np.eye(n) for n in shape]
        factors[axis] = bend.T @ bend
        penalty += np.kron(np.kron(factors[0], factors[1]), factors[2])
    return np.kron(np.eye(2), penalty)


def _solve(groups: list[_Group], penalty: np.ndarray, smoothness: float | None) -> Float[np.ndarray, "unknowns"]:
    """The field at the given smoothness, or at the one that predicts held-out groups best; zero if none helps."""
    matrix, right = np.sum([g.matrix for g in groups], axis=0), np.sum([g.right for g in groups], axis=0)
    if smoothness is None:
        trials = np.logspace(-4, 4, 9)
        gains = np.zeros((len(trials), len(groups)))
        for column, group in enumerate(groups):
            for row, trial in enumerate(trials):
                field = _solve_positive(matrix - group.matrix + trial * penalty, right - group.right)
                gains[row, column] = group.gain(field)
        best = int(gains.sum(1).argmax())
        # The gain must exceed its own scatter, or chance alone picks a field in one case out of two.
        if gains[best].sum() <= gains[best].std(ddof=1) * np.sqrt(len(groups)):
            return np.zeros(len(penalty))
        smoothness = float(trials[best])
    return _solve_positive(matrix + smoothness * penalty, right)


def _solve_positive(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    return scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix, check_finite=False), right, check_finite=False)
