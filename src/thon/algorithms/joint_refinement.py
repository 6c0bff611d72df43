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
from annotated_types import Ge
from jaxtyping import Float

from thon.algorithms.patch_pairs import PairMeasurement, image_maps
from thon.base.options import Options, Unit
from thon.data.alignment import TiltSigma
from thon.data.geometry import TiltGeometry

PARAMETERS = ("shift_y", "shift_x", "rotation", "tilt", "magnification", "x_tilt")


class JointRefinementOptions(Options):
    """How far each tilt may depart from the series: standard deviations of Gaussian priors; 0 holds a value fixed."""

    rotation_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.05
    """Spread of single tilts' axis angles about the common axis."""

    tilt_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.1
    """Spread of single tilt angles about the stage's."""

    magnification_spread: Annotated[float, Unit("1"), Ge(0)] = 0.002
    """Spread of single tilts' magnifications about 1."""

    x_tilt_spread: Annotated[float, Unit("degrees"), Ge(0)] = 0.0
    """Spread of single tilts' x-tilts about the series'."""

    noise_floor: Annotated[float, Unit("px"), Ge(0)] = 0.15
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
    rounds: int = 12,
) -> JointSolution:
    """Solve for all tilts and patches at once.

    Args:
        pairs: Displacements measured with `geometry` at `points`.
        geometry: Geometry that was used to cut the patches.
        points: Patch positions (z, y, x), Å.
        nominal: Geometry to whose tilts, x-tilts and magnifications the priors refer.
        pixel_size: Of the measurement, Å.
        options: Priors.
        rounds: Reweighting rounds.
    """
    system = _System(pairs, geometry, points, nominal, pixel_size, options)
    weight = np.ones(pairs.information.shape[:2])
    scale, solution, inverse = 1.0, np.zeros(0), np.zeros((0, 0))
    for _ in range(rounds):
        solution, inverse = system.solve(weight)
        weight, scale = system.reweight(solution)
    return system.unpack(solution, inverse, weight, scale)


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
        known = pairs.information
        floor = (options.noise_floor * pixel_size) ** 2
        self.information = np.where(known > 0, 1 / (1 / np.where(known > 0, known, 1) + floor), 0)
        to_plane = np.linalg.inv(image_maps(geometry))
        self.by_tilt = np.einsum("kij,apkj->apki", to_plane, _derivatives(geometry, points))
        unit = np.eye(3)
        origin = geometry.plane(np.zeros((1, 3)))
        planes = np.swapaxes(geometry.plane(unit) - origin, 1, 2)
        turned = _turn(geometry) @ planes * geometry.magnification[:, None, None]
        self.by_point = to_plane @ turned  # (tilts, 2, 3)
        self.tilts, self.patches = len(geometry), len(points)
        self.basis, self.prior_precision, self.prior_target = self._priors()

    def _priors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Free combinations of the tilts' parameters (6 tilts, unknowns), their precision and their pull."""
        n, o, now, then = self.tilts, self.options, self.geometry, self.nominal
        each = np.eye(n)
        one = np.ones((n, 1))
        spread = {2: o.rotation_spread, 3: o.tilt_spread, 4: o.magnification_spread, 5: o.x_tilt_spread}
        departure = {
            2: now.rotation - now.rotation.mean(),
            3: now.tilt - then.tilt,
            4: now.magnification - then.magnification,
            5: now.x_tilt - then.x_tilt,
        }
        # Wide ties (1 µm, 5°) keep what a single patch cannot tell where it is.
        columns = [(a, each, 1e-8, np.zeros(n)) for a in (0, 1)] + [(2, one, 0.04, np.zeros(1))]
        columns += [(a, each, s**-2, -departure[a] * s**-2) for a, s in spread.items() if s > 0]
        width = sum(c[1].shape[1] for c in columns)
        basis, precision, pull, at = np.zeros((6, n, width)), np.zeros(width), np.zeros(width), 0
        for a, block, sharp, toward in columns:
            here = slice(at, at + block.shape[1])
            basis[a, :, here], precision[here], pull[here] = block, sharp, toward
            at = here.stop
        basis = basis.reshape(6 * n, width)
        # Moving the whole specimen changes nothing: the shifts that do so are held, which biases nothing.
        whole = np.zeros((6, n, 3))
        planes = _turn(now) @ np.swapaxes(now.plane(np.eye(3)) - now.plane(np.zeros((1, 3))), 1, 2)
        whole[:2] = np.swapaxes(planes * now.magnification[:, None, None], 0, 1)
        whole, _ = np.linalg.qr(basis.T @ whole.reshape(6 * n, 3))
        strength = float(np.median(self.information[self.information > 0])) if (self.information > 0).any() else 1.0
        return basis, np.diag(precision) + strength * self.patches * whole @ whole.T, pull

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
        """Corrections of the tilts' parameters and, after them, of the points; inverse of the reduced normal matrix."""
        n = self.tilts
        graph, rhs = self._laplacians(weight)
        jt, jp = self.by_tilt, self.by_point
        theta = np.einsum("apkc,pckj,bpjc->akbj", jt, graph, jt, optimize=True).reshape(6 * n, 6 * n)
        right = np.einsum("apkc,pck->ak", jt, rhs).reshape(-1)
        cross = np.einsum("apkc,pckj,jcx->pakx", jt, graph, jp, optimize=True).reshape(self.patches, 6 * n, 3)
        own = np.einsum("kcx,pckj,jcy->pxy", jp, graph, jp, optimize=True)
        right_own = np.einsum("kcx,pck->px", jp, rhs)
        # A weak tie to where a patch is now leaves unseen patches alone and fixes the specimen as a whole.
        own += np.eye(3) * 1e-6 * max(float(np.trace(own.sum(0))) / max(self.patches, 1), 1e-6)
        inverse_own = np.linalg.inv(own)
        reduced = theta - np.einsum("pux,pxy,pvy->uv", cross, inverse_own, cross, optimize=True)
        reduced_right = right - np.einsum("pux,pxy,py->u", cross, inverse_own, right_own)
        normal = self.basis.T @ reduced @ self.basis + self.prior_precision
        inverse = self.basis @ np.linalg.inv(normal)
        step = inverse @ (self.basis.T @ reduced_right + self.prior_target)
        inverse = inverse @ self.basis.T
        point_step = np.einsum("pxy,py->px", inverse_own, right_own - np.einsum("pux,u->px", cross, step))
        return np.concatenate([step, point_step.reshape(-1)]), inverse

    def movement(self, solution: np.ndarray) -> Float[np.ndarray, "patches tilts 2"]:
        """Movement in mid-plane coordinates that a solution gives each patch in each tilt."""
        n = self.tilts
        tilt, point = solution[: 6 * n].reshape(6, n), solution[6 * n :].reshape(self.patches, 3)
        return np.einsum("apkc,ak->pkc", self.by_tilt, tilt) + np.einsum("kcx,px->pkc", self.by_point, point)

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
        n, g = self.tilts, self.geometry
        step = solution[: 6 * n].reshape(6, n)
        sigma = np.sqrt(np.clip(np.diag(inverse), 0, None)).reshape(6, n) * max(scale, 1.0)
        geometry = replace(
            g,
            shift=g.shift + step[:2].T,
            rotation=g.rotation + step[2],
            tilt=g.tilt + step[3],
            magnification=g.magnification + step[4],
            x_tilt=g.x_tilt + step[5],
        )
        points = self.points + solution[6 * n :].reshape(self.patches, 3)
        moved = self.movement(solution)
        track, track_sigma = self._tracks(weight, moved)
        change = np.einsum("kij,pkj->pki", image_maps(g), moved)
        return JointSolution(
            geometry=geometry,
            points=points,
            track=np.einsum("kij,pkj->pki", image_maps(g), track),
            track_sigma=track_sigma * max(scale, 1.0),
            sigma=TiltSigma(sigma[:2].T, sigma[2], sigma[3], sigma[5], sigma[4]),
            scale=scale,
            step=float(np.sqrt(np.nanmean(change**2))),
            used=float((weight[self.information.min(-1) > 0] > 0.5).mean()) if (self.information > 0).any() else 0.0,
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
                variance += np.diag(inverse) / 2
            sigma[p, seen] = np.sqrt(variance)
        return track, sigma


def _turn(geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2 2"]:
    """Matrices from (v, u) to the raw image's (y, x), without magnification."""
    phi = np.deg2rad(geometry.rotation)
    return np.stack([np.stack([np.cos(phi), np.sin(phi)], -1), np.stack([-np.sin(phi), np.cos(phi)], -1)], 1)


def _derivatives(
    geometry: TiltGeometry, points: Float[np.ndarray, "patches 3"]
) -> Float[np.ndarray, "parameters patches tilts 2"]:
    """Derivative of each patch's image position (y, x), Å, by each of its tilt's parameters, Å and degrees."""
    rigid = replace(geometry, local=None)
    result = np.zeros((len(PARAMETERS), len(points), len(geometry), 2))
    result[0, ..., 0] = 1
    result[1, ..., 1] = 1
    for a, name in enumerate(PARAMETERS[2:], 2):
        step = 1e-5
        ahead = replace(rigid, **{name: getattr(geometry, name) + step}).project(points)
        behind = replace(rigid, **{name: getattr(geometry, name) - step}).project(points)
        result[a] = np.swapaxes(ahead - behind, 0, 1) / (2 * step)
    return result
