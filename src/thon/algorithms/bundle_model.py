"""The equations under `bundle`: projection derivatives, triangulation, and normal equations without the points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from thon.data.alignment import Tracks
from thon.data.geometry import TiltGeometry

PARAMETERS = ("shift_y", "shift_x", "rotation", "tilt", "x_tilt", "magnification")
MEAN_TO_MEDIAN = 1.1774  # median length of a 2D normal vector with unit standard deviation per axis


def point_derivative(geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2 3"]:
    """Image position (y, x) per specimen position (z, y, x): the same for every point of a tilt."""
    theta, beta, phi = (np.deg2rad(a) for a in (geometry.tilt, geometry.x_tilt, geometry.rotation))
    zero = np.zeros_like(theta)
    along = np.stack([-np.sin(beta), np.cos(beta), zero], -1)
    across = np.stack([np.cos(beta) * np.sin(theta), np.sin(beta) * np.sin(theta), np.cos(theta)], -1)
    y = np.sin(phi)[:, None] * across + np.cos(phi)[:, None] * along
    x = np.cos(phi)[:, None] * across - np.sin(phi)[:, None] * along
    return geometry.magnification[:, None, None] * np.stack([y, x], 1)


def tilt_derivative(
    geometry: TiltGeometry, points: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "tilts points 2 6"]:
    """Image position (y, x) per shift (y, x), rotation, tilt, x-tilt (per degree) and magnification of its tilt.

    The gradient of a local field is left out: it changes the way to the solution, not the solution.
    """
    z, y, x = points.T
    theta, beta, phi = (np.deg2rad(a)[:, None] for a in (geometry.tilt, geometry.x_tilt, geometry.rotation))
    m = geometry.magnification[:, None]
    v, depth = y * np.cos(beta) - z * np.sin(beta), y * np.sin(beta) + z * np.cos(beta)
    u = x * np.cos(theta) + depth * np.sin(theta)

    def turned(along: np.ndarray, across: np.ndarray) -> np.ndarray:
        return np.stack([across * np.sin(phi) + along * np.cos(phi), across * np.cos(phi) - along * np.sin(phi)], -1)

    image = turned(v, u)
    derivative = np.zeros((*u.shape, 2, 6))
    derivative[..., 0, 0] = derivative[..., 1, 1] = 1
    degree = m[..., None] * np.pi / 180
    derivative[..., 2] = degree * np.stack([image[..., 1], -image[..., 0]], -1)
    derivative[..., 3] = degree * turned(np.zeros_like(u), -x * np.sin(theta) + depth * np.cos(theta))
    derivative[..., 4] = degree * turned(-depth, v * np.sin(theta))
    derivative[..., 5] = image
    return derivative


def initial_points(
    tracks: Tracks, geometry: TiltGeometry, depth: float = 1e4, rounds: int = 6, minimum_views: int = 2
) -> Float[np.ndarray, "points 3"]:
    """Specimen positions that best explain tracks in a given geometry, by robust linear triangulation.

    Args:
        tracks: Measured positions.
        geometry: Geometry of the images; its local field is honoured.
        depth: Standard deviation of a weak prior on z, Å; decides where the tilts do not.
        rounds: Rounds of reweighting against outliers.
        minimum_views: Points seen in fewer images are not placed.

    Returns:
        (points, 3), (z, y, x) in Å; NaN for points that were not placed.
    """
    derivative = point_derivative(geometry)
    seen = tracks.seen
    measured = np.where(seen[..., None], tracks.position, 0) - geometry.shift
    base = np.where(seen, 1 / np.square(tracks.sigma), 0)
    weight, local = base, np.zeros_like(measured)
    points = np.zeros((len(measured), 3))
    for _ in range(rounds):
        normal = np.einsum("pt,tab,tac->pbc", weight, derivative, derivative) + np.diag([depth**-2, 1e-12, 1e-12])
        right = np.einsum("pt,tab,pta->pb", weight, derivative, measured - local)
        points = np.linalg.solve(normal, right[..., None])[..., 0]
        plane = geometry.plane(points)
        if geometry.local is not None:
            local = geometry.local(plane).transpose(1, 0, 2)
        error = measured - local - np.einsum("tab,pb->pta", derivative, points)
        distance = np.where(seen, np.linalg.norm(error, axis=-1), np.nan) / np.where(seen, tracks.sigma, 1)
        weight = base / (1 + np.square(np.nan_to_num(distance) / _scale_per_point(distance)[:, None]) / 4)
    points[seen.sum(1) < minimum_views] = np.nan
    return points


def _scale_per_point(distance: Float[np.ndarray, "points tilts"]) -> Float[np.ndarray, "points"]:
    """Robust residual of each point, never below a tenth of what its σ promises."""
    scale = np.full(len(distance), 1.0)
    some = np.isfinite(distance).any(1)
    scale[some] = np.nanmedian(distance[some], axis=1) / MEAN_TO_MEDIAN
    return np.maximum(scale, 0.1)


@dataclass(frozen=True)
class NormalEquations:
    """Gauss–Newton equations of all images and points, the points kept apart.

    Args:
        images: Information of the free image parameters, the points held.
        images_right: Their right-hand side.
        points: (points, 3, 3), information of each point, the images held.
        points_right: (points, 3), right-hand side.
        mixed: (points, 3, free), coupling.
    """

    images: Float[np.ndarray, "free free"]
    images_right: Float[np.ndarray, "free"]
    points: Float[np.ndarray, "points 3 3"]
    points_right: Float[np.ndarray, "points 3"]
    mixed: Float[np.ndarray, "points 3 free"]

    def reduced(self, damping: float = 0.0) -> tuple[Float[np.ndarray, "free free"], Float[np.ndarray, "free"]]:
        """The equations of the images after the points are eliminated (Schur complement)."""
        inverse = np.linalg.inv(np.linalg.cholesky(_damped(self.points, damping)))
        half = (inverse @ self.mixed).reshape(-1, self.mixed.shape[-1])
        right = np.einsum("pab,pb->pa", inverse, self.points_right).reshape(-1)
        return _damped(self.images, damping) - half.T @ half, self.images_right - half.T @ right

    def step(self, damping: float) -> tuple[Float[np.ndarray, "free"], Float[np.ndarray, "points 3"]]:
        """Levenberg–Marquardt step of the free image parameters and of the points."""
        matrix, right = self.reduced(damping)
        images = np.linalg.solve(matrix, right)
        remaining = self.points_right - self.mixed @ images
        return images, np.linalg.solve(_damped(self.points, damping), remaining[..., None])[..., 0]


def _damped(matrix: np.ndarray, damping: float) -> np.ndarray:
    return matrix + damping * matrix * np.eye(matrix.shape[-1])


def normal_equations(
    geometry: TiltGeometry,
    points: Float[np.ndarray, "points 3"],
    residual: Float[np.ndarray, "points tilts 2"],
    weight: Float[np.ndarray, "points tilts"],
    basis: Float[np.ndarray, "tilts 6 free"],
) -> NormalEquations:
    """Normal equations for residuals (zero where not seen) and weights, without priors.

    `basis` says how the parameters of each tilt (in the order of `PARAMETERS`) move with the free parameters.
    """
    to_point = point_derivative(geometry)
    to_tilt = tilt_derivative(geometry, points)
    weighted = weight.T[..., None, None] * to_tilt
    blocks = np.einsum("tpca,tpcb->tab", weighted, to_tilt, optimize=True)
    right = np.einsum("tpca,ptc->ta", weighted, residual, optimize=True)
    mixed = np.einsum("tcd,tpca->pdta", to_point, weighted, optimize=True).reshape(len(points) * 3, -1)
    flat = basis.reshape(-1, basis.shape[-1])
    return NormalEquations(
        images=np.einsum("tax,tab,tby->xy", basis, blocks, basis, optimize=True),
        images_right=flat.T @ right.reshape(-1),
        points=np.einsum("pt,tab,tac->pbc", weight, to_point, to_point, optimize=True),
        points_right=np.einsum("pt,tab,pta->pb", weight, to_point, residual, optimize=True),
        mixed=(mixed @ flat).reshape(len(points), 3, -1),
    )
