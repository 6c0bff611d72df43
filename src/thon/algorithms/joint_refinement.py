"""One least-squares solution for the geometry of all tilts and the places of all patches.

Each pair measurement says how far a patch moved between two tilts beyond what the present geometry predicts. A patch
is a rigid point in the specimen, so the movement must come from the tilts' parameters and the patch's own position.
Gauss–Newton on both, robust against outlying pairs, gives the corrections and their covariance. Because pairs, not
distances to a common reference, are fitted, slow drifts over the series converge at once, which repeated projection
matching reaches only by many small steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le
from jaxtyping import Float

from thon.algorithms.bundle_model import point_derivative, tilt_derivative
from thon.algorithms.patch_pairs import PairMeasurement, image_maps
from thon.base.options import Options, Unit
from thon.data.alignment import TiltSigma
from thon.data.geometry import LocalField, TiltGeometry, spline_basis


class JointRefinementOptions(Options):
    """How far each tilt may depart from the series: standard deviations of Gaussian priors; 0 holds a value fixed."""

    rotation_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.0
    """Spread of single tilts' axis angles about the common axis."""

    axis_drift: Annotated[float, Unit("degrees"), Ge(0)] = 0.0
    """Size of a slow change of the tilt axis over the series, as a parabola in the tilt; 0 for one axis."""

    tilt_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.0
    """Spread of single tilt angles about the stage's."""

    magnification_spread: Annotated[float, Unit("1"), Ge(0)] = 0.002
    """Spread of single tilts' magnifications about 1."""

    x_tilt_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.0
    """Spread of single tilts' x-tilts about the series'."""

    local_spread: Annotated[float, Unit("px"), Ge(0)] = 0.5
    """Size of local motion expected within an image (standard deviation), in pixels of the alignment; 0 for none."""

    skew_factor: Annotated[float, Unit("1"), Ge(0)] = 4.0
    """How many times larger the part of local motion may be that skews an image along its rows."""

    local_nodes: Annotated[int, Unit("1"), Ge(4), Le(16)] = 6
    """Spline nodes of the local field along each side of the image, two of them outside it."""

    local_tilt_nodes: Annotated[int, Unit("1"), Ge(4), Le(40)] = 7
    """Spline nodes of the local field along the tilt angle, two of them outside the range."""

    noise_floor: Annotated[float, Unit("px"), Gt(0)] = 0.15
    """Smallest error that a pair measurement is believed to have."""


@dataclass(frozen=True)
class JointSolution:
    """What a joint refinement found.

    Args:
        geometry: Corrected geometry.
        points: (patches, 3), corrected patch positions (z, y, x), Å.
        track: (patches, tilts, 2), each patch's own movement as the pairs alone say it, minus the fitted one, along
            the raw image's (y, x), Å; NaN where the patch has no measurement.
        track_sigma: (patches, tilts), its standard deviation, Å.
        sigma: Standard deviations of the geometry.
        scale: Robust ratio of the residuals to their stated errors, 1.
        step: Root mean square of the change in the patches' image positions, Å.
        used: Share of pair measurements that are not outliers.
    """

    geometry: TiltGeometry
    points: Float[np.ndarray, "patches 3"]
    track: Float[np.ndarray, "patches tilts 2"]
    track_sigma: Float[np.ndarray, "patches tilts"]
    sigma: TiltSigma
    scale: float
    step: float
    used: float


def refine_jointly(
    pairs: PairMeasurement,
    geometry: TiltGeometry,
    points: Float[np.ndarray, "patches 3"],
    nominal: TiltGeometry,
    pixel_size: float,
    options: JointRefinementOptions,
    *,
    extent: tuple[float, float] | None = None,
    rounds: int = 6,
) -> JointSolution:
    """Solve for all tilts and patches at once.

    Args:
        pairs: Displacements measured with `geometry` at `points`.
        geometry: Geometry that was used to cut the patches.
        points: Patch positions (z, y, x), Å.
        nominal: Geometry to whose tilts, x-tilts and magnifications the priors refer.
        pixel_size: Of the measurement, Å.
        options: Priors.
        extent: Height and width of the area in which a local field is fitted as well, Å; none if not given.
        rounds: Reweighting rounds.
    """
    if extent is not None and options.local_spread > 0 and geometry.local is None:
        geometry = replace(geometry, local=_still(len(geometry), extent, options.local_nodes))
    system = _System(pairs, geometry, points, nominal, pixel_size, options)
    weight = np.ones(pairs.information.shape[:2])
    scale, solution, inverse = 1.0, np.zeros(0), np.zeros((0, 0))
    for _ in range(rounds):
        solution, inverse = system.solve(weight)
        weight, scale = system.reweight(solution)
    return system.unpack(solution, inverse, weight, scale)


def _still(tilts: int, extent: tuple[float, float], nodes: int) -> LocalField:
    """A field of no motion whose inner nodes span `extent`."""
    spacing = (extent[0] / (nodes - 3), extent[1] / (nodes - 3))
    return LocalField(np.zeros((tilts, nodes, nodes, 2)), spacing)


class _System:
    """Normal equations of the joint problem, in mid-plane coordinates (y, x) of each patch and tilt."""

    def __init__(
        self,
        pairs: PairMeasurement,
        geometry: TiltGeometry,
        points: Float[np.ndarray, "patches 3"],
        nominal: TiltGeometry,
        pixel_size: float,
        options: JointRefinementOptions,
    ):
        self.pairs, self.geometry, self.points, self.nominal, self.options = pairs, geometry, points, nominal, options
        self.tilts, self.patches, self.pixel_size = len(geometry), len(points), pixel_size
        known = pairs.information
        floor = (options.noise_floor * pixel_size) ** 2
        self.information = np.where(known > 0, 1 / (1 / np.where(known > 0, known, 1) + floor), 0)
        self.to_plane = np.linalg.inv(image_maps(geometry))
        # (tilts, 2, 3): movement in the plane by a movement of the point
        self.by_point = self.to_plane @ point_derivative(geometry)
        self.tilt_basis, self.precision, self.pull = self._tilt_freedom()
        self.design = np.einsum("kij,kpja,aku->pkiu", self.to_plane, tilt_derivative(geometry, points), self.tilt_basis)
        self.fitted_local = geometry.local if options.local_spread > 0 else None
        if self.fitted_local is not None:
            self._add_local(self.fitted_local)

    def _tilt_freedom(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Free combinations of the tilts' parameters (6, tilts, unknowns), their precision and their pull."""
        n, o, now, then = self.tilts, self.options, self.geometry, self.nominal
        each, one = np.eye(n), np.ones((n, 1))
        spread = {2: o.rotation_spread, 3: o.tilt_spread, 4: o.x_tilt_spread, 5: o.magnification_spread}
        departure = {
            2: now.rotation - now.rotation.mean(),
            3: now.tilt - then.tilt,
            4: now.x_tilt - then.x_tilt,
            5: now.magnification - then.magnification,
        }
        # Wide ties (1 µm, 5°) keep what a single patch cannot tell where it is.
        columns = [(a, each, 1e-8, np.zeros(n)) for a in (0, 1)] + [(2, one, 0.04, np.zeros(1))]
        columns += [(a, each, s**-2, -departure[a] * s**-2) for a, s in spread.items() if s > 0]
        if o.axis_drift > 0:
            turn = now.tilt / max(float(np.abs(now.tilt).max()), 1.0)
            slow = np.stack([turn - turn.mean(), turn**2 - (turn**2).mean()], 1)
            reached = np.linalg.lstsq(slow, now.rotation - now.rotation.mean(), rcond=None)[0]
            columns.append((2, slow, o.axis_drift**-2, -reached * o.axis_drift**-2))
        width = sum(c[1].shape[1] for c in columns)
        basis, precision, pull, at = np.zeros((6, n, width)), np.zeros(width), np.zeros(width), 0
        for a, block, sharp, toward in columns:
            here = slice(at, at + block.shape[1])
            basis[a, :, here], precision[here], pull[here] = block, sharp, toward
            at = here.stop
        # Moving the whole specimen changes nothing: the shifts that do so are held, which biases nothing.
        whole = np.zeros((6, n, 3))
        whole[:2] = np.swapaxes(point_derivative(now), 0, 1)
        whole, _ = np.linalg.qr(np.einsum("aku,akx->ux", basis, whole))
        strength = float(np.median(self.information[self.information > 0])) if (self.information > 0).any() else 1.0
        return basis, np.diag(precision) + 1e3 * strength * self.patches * whole @ whole.T, pull

    def _add_local(self, local: LocalField) -> None:
        """Append the coefficients of the local field (tilt node, row, column, axis) to the unknowns."""
        plane = self.geometry.plane(self.points)
        order = np.argsort(np.argsort(self.geometry.tilt))
        nodes = min(self.options.local_tilt_nodes, self.tilts)
        along = spline_basis(1 + order * (nodes - 3) / max(self.tilts - 1, 1), nodes)
        self.local_basis = along
        rows = np.stack([local.basis(p[:, 0], 0) for p in plane], 1)  # (patches, tilts, rows)
        columns = np.stack([local.basis(p[:, 1], 1) for p in plane], 1)
        shape = (self.patches, self.tilts, 2, -1)
        block = np.einsum("kij,kt,pkr,pkc->pkitrcj", self.to_plane, along, rows, columns, optimize=True).reshape(shape)
        now = np.linalg.lstsq(along, local.coefficients.reshape(self.tilts, -1), rcond=None)[0].reshape(-1)
        own = self._local_precision(local, nodes)
        size = len(self.precision)
        precision = np.zeros((size + len(now), size + len(now)))
        precision[:size, :size], precision[size:, size:] = self.precision, own
        self.precision, self.pull = precision, np.concatenate([self.pull, -own @ now])
        self.design = np.concatenate([self.design, block], -1)

    def _local_precision(self, local: LocalField, tilt_nodes: int) -> np.ndarray:
        """Prior of the field's coefficients: independent, but with a wider spread for a skew of each image.

        A skew that grows and fades over the series looks, across the tilt axis, like another axis. As it may be wide,
        the axis is told by what moves along it.
        """
        rows, columns = local.coefficients.shape[1:3]
        small = self.options.local_spread * self.pixel_size
        wide = max(self.options.skew_factor, 1e-3) * small
        height = (np.arange(rows) - (rows - 1) / 2) / ((rows - 3) / 2)
        pattern = np.zeros((rows, columns, 2))
        pattern[..., 1] = height[:, None]
        skew = np.kron(np.eye(tilt_nodes), pattern.reshape(-1, 1))
        inner = np.linalg.inv(np.eye(tilt_nodes) * wide**-2 + skew.T @ skew / small**2)
        return np.eye(len(skew)) / small**2 - skew @ inner @ skew.T / small**4

    def _laplacians(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each patch's information (patches, 2, tilts, tilts) and its product with the measured movement."""
        n = self.tilts
        graph, rhs = np.zeros((self.patches, 2, n, n)), np.zeros((self.patches, 2, n))
        for q, (j, k) in enumerate(zip(self.pairs.first, self.pairs.second, strict=True)):
            w = self.information[:, q] * weight[:, q, None]
            wd = w * self.pairs.displacement[:, q]
            graph[:, :, j, j] += w
            graph[:, :, k, k] += w
            graph[:, :, j, k] -= w
            graph[:, :, k, j] -= w
            rhs[:, :, k] += wd
            rhs[:, :, j] -= wd
        return graph, rhs

    def solve(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corrections of the unknowns and, after them, of the points; inverse of the reduced normal matrix."""
        graph, rhs = self._laplacians(weight)
        size = self.design.shape[-1]
        normal, right = self.precision.copy(), self.pull.copy()
        cross, own, right_own = np.zeros((self.patches, size, 3)), np.zeros((self.patches, 3, 3)), 0.0
        for c in range(2):
            design, point = self.design[:, :, c], self.by_point[:, c]
            informed = graph[:, c] @ design
            normal += design.reshape(-1, size).T @ informed.reshape(-1, size)
            right += design.reshape(-1, size).T @ rhs[:, c].reshape(-1)
            cross += np.swapaxes(informed, 1, 2) @ point
            own += point.T @ graph[:, c] @ point
            right_own = right_own + rhs[:, c] @ point
        # A weak tie to where a patch is now leaves unseen patches alone.
        own += np.eye(3) * 1e-6 * max(float(np.trace(own.mean(0))), 1e-9)
        solved = np.linalg.solve(own, np.concatenate([np.swapaxes(cross, 1, 2), np.reshape(right_own, (-1, 3, 1))], -1))
        normal -= np.einsum("pux,pxv->uv", cross, solved[..., :-1], optimize=True)
        right -= np.einsum("pux,px->u", cross, solved[..., -1])
        inverse = np.linalg.inv((normal + normal.T) / 2)
        step = inverse @ right
        return np.concatenate([step, (solved[..., -1] - solved[..., :-1] @ step).reshape(-1)]), inverse

    def movement(self, solution: np.ndarray) -> Float[np.ndarray, "patches tilts 2"]:
        """Movement in mid-plane coordinates that a solution gives each patch in each tilt."""
        size = self.design.shape[-1]
        point = solution[size:].reshape(self.patches, 3)
        return self.design @ solution[:size] + np.einsum("kcx,px->pkc", self.by_point, point)

    def reweight(self, solution: np.ndarray) -> tuple[np.ndarray, float]:
        """Student-t weights (4 degrees of freedom) from the pair residuals, and their robust scale."""
        moved = self.movement(solution)
        gap = self.pairs.displacement - (moved[:, self.pairs.second] - moved[:, self.pairs.first])
        seen = self.information.min(-1) > 0
        square = (gap**2 * self.information).sum(-1) / 2
        scale = float(np.median(square[seen]) / 0.693) ** 0.5 if seen.any() else 1.0
        return (4 + 2) / (4 + 2 * square / max(scale, 1e-3) ** 2), scale

    def unpack(self, solution: np.ndarray, inverse: np.ndarray, weight: np.ndarray, scale: float) -> JointSolution:
        """The solution as a geometry, with tracks and standard deviations."""
        g, unknowns = self.geometry, self.tilt_basis.shape[-1]
        step = self.tilt_basis @ solution[:unknowns]
        covariance = inverse[:unknowns, :unknowns]
        variance = np.einsum("aku,uv,akv->ak", self.tilt_basis, covariance, self.tilt_basis, optimize=True)
        sigma = np.sqrt(np.clip(variance, 0, None)) * max(scale, 1.0)
        local = g.local
        if self.fitted_local is not None:
            change = solution[unknowns : self.design.shape[-1]].reshape(-1, *self.fitted_local.coefficients.shape[1:])
            moved_nodes = np.einsum("kt,trcj->krcj", self.local_basis, change)
            local = replace(self.fitted_local, coefficients=self.fitted_local.coefficients + moved_nodes)
        geometry = TiltGeometry(
            shift=g.shift + step[:2].T,
            rotation=g.rotation + step[2],
            tilt=g.tilt + step[3],
            x_tilt=g.x_tilt + step[4],
            magnification=g.magnification + step[5],
            local=local,
        )
        moved = self.movement(solution)
        track, track_sigma = self._tracks(weight, moved)
        known = self.information.min(-1) > 0
        return JointSolution(
            geometry=geometry,
            points=self.points + solution[self.design.shape[-1] :].reshape(self.patches, 3),
            track=np.einsum("kij,pkj->pki", image_maps(g), track),
            track_sigma=track_sigma * max(scale, 1.0),
            sigma=TiltSigma(sigma[:2].T, *sigma[2:]),
            scale=scale,
            step=float(np.sqrt(np.nanmean(np.einsum("kij,pkj->pki", image_maps(g), moved) ** 2))),
            used=float((weight[known] > 0.5).mean()) if known.any() else 0.0,
        )

    def _tracks(self, weight: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Each patch's movement from its own pairs alone, minus the fitted one, its 3D position fitted anew."""
        graph, rhs = self._laplacians(weight)
        track = np.full((self.patches, self.tilts, 2), np.nan)
        sigma = np.full((self.patches, self.tilts), np.nan)
        for p in range(self.patches):
            seen = (np.einsum("cii->ci", graph[p]) > 0).all(0)
            if seen.sum() < 5:
                continue
            ix = np.ix_(seen, seen)
            variance = np.zeros(int(seen.sum()))
            for c in range(2):
                matrix = graph[p, c][ix]
                # The graph leaves the patch's mean free: tie it, weakly against its information, to the fit.
                tie = np.eye(len(matrix)) * 1e-3 * np.trace(matrix) / len(matrix)
                inverse = np.linalg.inv(matrix + tie)
                track[p, seen, c] = inverse @ (rhs[p, c][seen] - matrix @ moved[p, seen, c])
                # What the mean may do is no part of a track's shape.
                shape = inverse - inverse.mean(0) - inverse.mean(1, keepdims=True) + inverse.mean()
                variance += np.diag(shape) / 2
            sigma[p, seen] = np.sqrt(variance)
        return track, sigma
