"""Bundle adjustment: the geometry of all images and the positions of all points that together explain the tracks.

Minimises a robust sum over all sightings of ((measured − projected) / σ)² plus Gaussian priors on what each tilt's
rotation, tilt, x-tilt and magnification may change, by Levenberg–Marquardt with the points eliminated.

What the tracks cannot tell is decided so: the specimen as a whole does not move (the shifts' corrections hold no
common translation), a common change of tilt or of x-tilt stays at its prior, zero, and the magnification of the tilt
nearest zero stays as given.

Source: Triggs et al. 2000, "Bundle adjustment — a modern synthesis"; Student-t weights: Lange et al. 1989.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Bool, Float

from thon.algorithms.bundle_model import MEAN_TO_MEDIAN, NormalEquations, initial_points, normal_equations
from thon.algorithms.bundle_model import point_derivative as _point_derivative
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.alignment import TiltSigma, Tracks
from thon.data.geometry import TiltGeometry, spline_basis

__all__ = ["BundleOptions", "BundleSolution", "adjust_bundle", "initial_points"]

Freedom = Literal["fixed", "one", "smooth", "each"]


class BundleOptions(Options):
    """What a bundle adjustment may change, and how far."""

    rotation: Freedom = "smooth"
    """Tilt-axis angle: fixed, one correction for all images, smooth along the tilt angle, or one for each."""

    tilt: Freedom = "fixed"
    """Tilt angle; the same choices. A common change cannot be measured and stays zero."""

    x_tilt: Freedom = "fixed"
    """Tilt about x; the same choices. A common change cannot be measured and stays zero."""

    magnification: Freedom = "smooth"
    """Magnification relative to the image nearest zero tilt; the same choices."""

    shift_sigma: Annotated[float, Unit("Å"), Gt(0), Advanced()] = 2000.0
    """How far a shift may be off (standard deviation); matters only for images in which next to nothing was seen."""

    rotation_sigma: Annotated[float, Unit("°"), Gt(0), Advanced()] = 0.5
    """How far the rotation of one image may differ from the others'; a common change may be ten times larger."""

    tilt_sigma: Annotated[float, Unit("°"), Gt(0), Advanced()] = 0.5
    """How far a tilt angle may be off (standard deviation)."""

    x_tilt_sigma: Annotated[float, Unit("°"), Gt(0), Advanced()] = 0.5
    """How far an x-tilt may be off (standard deviation)."""

    magnification_sigma: Annotated[float, Unit("1"), Gt(0), Advanced()] = 0.003
    """How far a magnification may be off (standard deviation)."""

    smooth_nodes: Annotated[int, Unit("1"), Ge(4), Advanced()] = 6
    """Spline nodes along the tilt angle for what changes smoothly."""

    minimum_views: Annotated[int, Unit("1"), Ge(2)] = 3
    """Points seen in fewer images take no part."""

    freedom_of_noise: Annotated[float, Unit("1"), Gt(0), Advanced()] = 4.0
    """Degrees of freedom of the Student-t noise; small: outliers weigh little, large: least squares."""

    rejection: Annotated[float, Unit("1"), Gt(0)] = 5.0
    """Sightings farther off than this many robust standard deviations are rejected."""

    iterations: Annotated[int, Unit("1"), Ge(1), Advanced()] = 60
    """Largest number of steps in each of the rounds between rejections."""


@dataclass(frozen=True)
class BundleSolution:
    """What a bundle adjustment found.

    Args:
        geometry: Refined geometry; a local field given is kept as it was.
        points: (points, 3), specimen positions (z, y, x), Å; NaN for points that took no part.
        residual: (points, tilts, 2), measured minus projected (y, x), Å; NaN where not seen or rejected.
        weight: (points, tilts), relative weight of each sighting, 0 where not seen or rejected.
        rejected: (points, tilts), sightings left out as outliers, or because their point was seen too rarely.
        sigma: Standard deviation of each refined parameter, from the residuals' scatter.
        scale: Residual scatter over what the tracks' σ promised, 1.
        rms: Root mean square length of the residuals, Å.
        cost: Negative logarithm of the posterior after each step.
    """

    geometry: TiltGeometry
    points: Float[np.ndarray, "points 3"]
    residual: Float[np.ndarray, "points tilts 2"]
    weight: Float[np.ndarray, "points tilts"]
    rejected: Bool[np.ndarray, "points tilts"]
    sigma: TiltSigma
    scale: float
    rms: float
    cost: Float[np.ndarray, "steps"]


@dataclass(frozen=True)
class _Freedoms:
    """Free parameters of all images: how they move each tilt's six, and their prior information."""

    basis: Float[np.ndarray, "tilts 6 free"]
    prior: Float[np.ndarray, "free free"]

    def apply(self, start: TiltGeometry, free: Float[np.ndarray, "free"]) -> TiltGeometry:
        change = self.basis @ free
        return TiltGeometry(
            tilt=start.tilt + change[:, 3],
            shift=start.shift + change[:, :2],
            rotation=start.rotation + change[:, 2],
            x_tilt=start.x_tilt + change[:, 4],
            magnification=start.magnification + change[:, 5],
            local=start.local,
        )


def adjust_bundle(tracks: Tracks, geometry: TiltGeometry, options: BundleOptions | None = None) -> BundleSolution:
    """Refine the geometry of the images and the positions of tracked features together.

    Args:
        tracks: Where each feature was seen, with σ per coordinate; only the σ's ratios matter.
        geometry: Where to start; fixed parameters and a local field are taken from here.
        options: What may change.

    Raises:
        InputError: Tracks and geometry differ in the number of tilts, or fewer than three points are usable.
    """
    options = options or BundleOptions()
    if tracks.position.shape[1] != len(geometry):
        raise InputError(
            "tracks and geometry differ in the number of tilts", got=tracks.position.shape[1], expected=len(geometry)
        )
    used = tracks.seen.sum(1) >= options.minimum_views
    if used.sum() < 3:
        raise InputError(
            "too few tracked points for a bundle adjustment",
            got=f"{used.sum()} seen in {options.minimum_views} images or more",
            expected="at least 3",
            mend="track more features, or lower the number of views required",
        )
    kept = Tracks(tracks.position[used], tracks.sigma[used])
    solver = _Solver(kept, geometry, options)
    for _ in range(3):
        solver.converge()
        if not solver.reject():
            break
    return solver.solution(used)


class _Solver:
    """Points and images on their way to the solution."""

    def __init__(self, tracks: Tracks, start: TiltGeometry, options: BundleOptions) -> None:
        self.start, self.options = start, options
        self.seen = tracks.seen
        self.freedoms = _freedoms(start, options, np.count_nonzero(self.seen, axis=0) >= 3)
        self.position = np.where(self.seen[..., None], tracks.position, 0)
        self.information = np.where(self.seen, 1 / np.square(np.where(self.seen, tracks.sigma, 1)), 0)
        self.active = self.seen.copy()
        self.free = np.zeros(self.freedoms.basis.shape[-1])
        self.points = initial_points(tracks, start)
        self.scale = 1.0
        self.cost: list[float] = []
        residual = self._residual(self.free, self.points)
        self.scale = max(self._median_scale(residual), 1e-9)

    def _residual(self, free: np.ndarray, points: np.ndarray) -> Float[np.ndarray, "points tilts 2"]:
        projected = self.freedoms.apply(self.start, free).project(points).transpose(1, 0, 2)
        return np.where(self.seen[..., None], self.position - projected, 0)

    def _square(self, residual: np.ndarray) -> Float[np.ndarray, "points tilts"]:
        """Squared length of each residual over its σ."""
        return np.square(residual).sum(-1) * self.information

    def _median_scale(self, residual: np.ndarray) -> float:
        return float(np.sqrt(np.median(self._square(residual)[self.active]))) / MEAN_TO_MEDIAN

    def _cost(self, residual: np.ndarray, free: np.ndarray) -> float:
        """Negative log posterior under 2D Student-t noise of the present scale."""
        nu = self.options.freedom_of_noise
        square = self._square(residual)[self.active] / self.scale**2
        likelihood = (nu + 2) / 2 * np.log1p(square / nu).sum() + 2 * len(square) * np.log(self.scale)
        return float(likelihood + free @ self.freedoms.prior @ free / 2)

    def _weight(self, residual: np.ndarray) -> Float[np.ndarray, "points tilts"]:
        nu = self.options.freedom_of_noise
        weight = (nu + 2) / (nu + self._square(residual) / self.scale**2)
        return np.where(self.active, weight, 0)

    def _equations(self, residual: np.ndarray) -> NormalEquations:
        geometry = self.freedoms.apply(self.start, self.free)
        weight = self._weight(residual) * self.information / self.scale**2
        return self._with_priors(normal_equations(geometry, self.points, residual, weight, self.freedoms.basis))

    def _with_priors(self, data: NormalEquations) -> NormalEquations:
        return NormalEquations(
            images=data.images + self.freedoms.prior,
            images_right=data.images_right - self.freedoms.prior @ self.free,
            points=data.points + np.eye(3) * 1e-12,
            points_right=data.points_right,
            mixed=data.mixed,
        )

    def converge(self) -> None:
        """Levenberg–Marquardt steps, with the noise's scale by expectation maximisation, until neither changes."""
        damping = 1e-3
        residual = self._residual(self.free, self.points)
        cost = self._cost(residual, self.free)
        for _ in range(self.options.iterations):
            damping = self._step(self._equations(residual), damping, cost)
            if damping > 1e8:
                return
            residual = self._residual(self.free, self.points)
            before, cost = cost, self._rescale(residual)
            self.cost.append(cost)
            if before - cost < 1e-7 * self.active.sum():
                return

    def _step(self, equations: NormalEquations, damping: float, cost: float) -> float:
        """Take the least damped step that does not raise the cost; returns the next damping, huge if none does."""
        while damping <= 1e8:
            images, moves = equations.step(damping)
            free, points = self.free + images, self.points + moves
            if self._cost(self._residual(free, points), free) <= cost:
                self.free, self.points = free, points
                return max(damping / 10, 1e-10)
            damping *= 10
        return damping

    def _rescale(self, residual: np.ndarray) -> float:
        """Update the noise's scale; returns the cost with it."""
        square = self._square(residual)
        for _ in range(5):
            weighted = (self._weight(residual) * square)[self.active].sum()
            self.scale = max(float(np.sqrt(weighted / (2 * self.active.sum()))), 1e-9)
        return self._cost(residual, self.free)

    def _correction(self) -> float:
        """By how much parameters fitted to the residuals shrank them."""
        count = 2 * self.active.sum()
        left = count - 3 * len(self.points) - min(len(self.free), count // 2)
        return float(np.sqrt(count / max(left, 0.1 * count)))

    def reject(self) -> bool:
        """Leave out sightings that are too far off; true if that changed anything."""
        residual = self._residual(self.free, self.points)
        limit = self.options.rejection * self._median_scale(residual) * self._correction()
        active = self.seen & (self._square(residual) <= limit**2)
        active[active.sum(1) < self.options.minimum_views] = False
        changed = bool((active != self.active).any())
        self.active = active
        return changed

    def _noise(self, residual: np.ndarray) -> float:
        """Scatter of the residuals over σ that makes the covariance of a robust fit right (Huber's formula)."""
        nu = self.options.freedom_of_noise
        square = self._square(residual)[self.active] / self.scale**2
        weight = (nu + 2) / (nu + square)
        influence = np.mean(np.square(weight) * square) / 2
        slope = np.mean(weight - np.square(weight) * square / (nu + 2))
        return self.scale * float(np.sqrt(influence)) / float(slope) * self._correction()

    def _sigma(self, noise: float) -> TiltSigma:
        """Standard deviations from the inverse of the information that the images keep without the points."""
        geometry = self.freedoms.apply(self.start, self.free)
        weight = np.where(self.active, self.information, 0) / noise**2
        zero = np.zeros_like(self.position)
        data = normal_equations(geometry, self.points, zero, weight, self.freedoms.basis)
        full = self._with_priors(data)
        covariance = np.linalg.inv(full.reduced()[0])
        basis = self.freedoms.basis
        variance = np.einsum("tax,xy,tay->ta", basis, covariance, basis, optimize=True)
        shift, rest = np.sqrt(np.maximum(variance[:, :2], 0)), np.sqrt(np.maximum(variance[:, 2:], 0))
        return TiltSigma(shift, *rest.T)

    def solution(self, used: Bool[np.ndarray, "points"]) -> BundleSolution:
        """The solution for all points, those that took no part included."""
        residual = self._residual(self.free, self.points)
        noise = self._noise(residual)
        alive = np.any(self.active, axis=1)
        fill = _Spread(used)
        length = np.square(residual).sum(-1)[self.active]
        return BundleSolution(
            geometry=self.freedoms.apply(self.start, self.free),
            points=fill(np.where(alive[:, None], self.points, np.nan), np.nan),
            residual=fill(np.where(self.active[..., None], residual, np.nan), np.nan),
            weight=fill(self._weight(residual), 0.0),
            rejected=fill(self.seen & ~self.active, False),
            sigma=self._sigma(noise),
            scale=noise,
            rms=float(np.sqrt(length.mean())),
            cost=np.array(self.cost),
        )


class _Spread:
    """Puts rows of the points used back among all points."""

    def __init__(self, used: Bool[np.ndarray, "points"]) -> None:
        self.used = used

    def __call__(self, rows: np.ndarray, empty: float | bool) -> np.ndarray:
        every = np.full((len(self.used), *rows.shape[1:]), empty, rows.dtype)
        every[self.used] = rows
        return every


def _freedoms(start: TiltGeometry, options: BundleOptions, placed: Bool[np.ndarray, "tilts"]) -> _Freedoms:
    """Free parameters with priors, for the modes chosen."""
    tilts = len(start)
    columns: list[np.ndarray] = [_column(np.eye(2 * tilts).reshape(tilts, 2, -1), slice(0, 2))]
    priors: list[np.ndarray] = [_shift_prior(start, options.shift_sigma, placed)]
    even = np.full((tilts, tilts), 1 / tilts)
    for index, name in enumerate(("rotation", "tilt", "x_tilt", "magnification"), 2):
        basis = _mode_basis(getattr(options, name), start.tilt, options.smooth_nodes)
        sigma = getattr(options, f"{name}_sigma")
        information = np.eye(tilts) / sigma**2
        if name == "rotation":
            information -= even * 0.99 / sigma**2
        priors.append(basis.T @ information @ basis)
        if name == "magnification":
            basis = basis - basis[np.argmin(np.abs(start.tilt))]
        columns.append(_column(basis[:, None], slice(index, index + 1)))
    prior = np.zeros((sum(len(p) for p in priors),) * 2)
    at = 0
    for block in priors:
        prior[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return _Freedoms(np.concatenate(columns, -1), prior)


def _column(values: np.ndarray, rows: slice) -> np.ndarray:
    column = np.zeros((len(values), 6, values.shape[-1]))
    column[:, rows] = values
    return column


def _mode_basis(mode: Freedom, tilt: np.ndarray, nodes: int) -> Float[np.ndarray, "tilts free"]:
    """How one parameter of each tilt moves with its free parameters."""
    if mode == "each":
        return np.eye(len(tilt))
    if mode == "one":
        return np.ones((len(tilt), 1))
    if mode == "smooth":
        nodes = min(nodes, max(4, len(tilt) // 2))
        span = max(float(np.ptp(tilt)), 1e-6)
        return spline_basis((tilt - tilt.min()) / span * (nodes - 3) + 1, nodes)
    return np.zeros((len(tilt), 0))


def _shift_prior(
    start: TiltGeometry, sigma: float, placed: Bool[np.ndarray, "tilts"]
) -> Float[np.ndarray, "free free"]:
    """Weak prior on each shift, and a stiff one on the three corrections that move the specimen as a whole.

    Images with hardly a sighting have no say in the latter, or their uncertainty would become everybody's.
    """
    tilts = len(start)
    together = np.linalg.qr((placed[:, None, None] * _point_derivative(start)).reshape(2 * tilts, 3))[0]
    return np.eye(2 * tilts) / sigma**2 + together @ together.T
