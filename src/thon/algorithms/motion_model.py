"""Models of local motion, smooth in time and in the plane, fitted to what was measured in patches.

A patch is compared with its own mean, so that only changes with time are seen: from measurement and model alike, each
patch's mean over the frames is taken away. In the end the model is set to zero in the first frame, which is where
the micrograph lies, and what it moves the whole frame by is handed over to the whole frame's track.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from thon.data.geometry import spline_basis
from thon.data.motion import PolynomialMotion, SplineMotion

_FOLDS = 5
_PENALTIES = np.logspace(-5, 1, 7)


@dataclass(frozen=True)
class PatchMeasurement:
    """Displacements of patches, on top of the whole frame's.

    Args:
        place: Centres (y, x), −½ to ½ of the micrograph.
        frame: Index of the frame at which each was measured, may be fractional.
        displacement: (patches, times, 2), Å.
        information: (patches, 2), inverse variance of a displacement along y and x, mean over times, 1/Å².
        share: Information at each time over its mean.
    """

    place: Float[np.ndarray, "patches 2"]
    frame: Float[np.ndarray, "times"]
    displacement: Float[np.ndarray, "patches times 2"]
    information: Float[np.ndarray, "patches 2"]
    share: Float[np.ndarray, "times"]

    def centred(self, values: Float[np.ndarray, "patches times 2"]) -> Float[np.ndarray, "patches times 2"]:
        """Displacements less each patch's mean."""
        return values - np.einsum("t,ptd->pd", self.share / self.share.sum(), values)[:, None]

    def misfit(self, model: Float[np.ndarray, "patches times 2"]) -> Float[np.ndarray, "patches"]:
        """Squared difference from a model in standard deviations, summed over times and axes, by patch."""
        off = self.centred(self.displacement - model)
        return np.einsum("pd,t,ptd->p", self.information, self.share, off**2)


@dataclass(frozen=True)
class MotionBasis:
    """Functions of time and place that a model is a sum of products of.

    Args:
        time: At the measured times.
        plane: At the patches.
        bend_time: Penalty on coefficients along time.
        bend_plane: Penalty on coefficients in the plane.
    """

    time: Float[np.ndarray, "times m"]
    plane: Float[np.ndarray, "patches n"]
    bend_time: Float[np.ndarray, "m m"]
    bend_plane: Float[np.ndarray, "n n"]


def polynomial_basis(measured: PatchMeasurement, frames: int) -> MotionBasis:
    """RELION's terms, with the time scaled to the movie's length."""
    z = measured.frame / max(frames - 1, 1)
    y, x = measured.place.T
    plane = np.stack([np.ones_like(x), x, x**2, y, y**2, x * y], -1)
    return MotionBasis(np.stack([z, z**2, z**3], -1), plane, np.eye(3), np.diag([0.0, 1, 1, 1, 1, 1]))


def spline_shape(patches: tuple[int, int], exposure: float, step: float, times: int) -> tuple[int, int, int]:
    """Numbers of coefficients in time, y and x that patches and an exposure (e/Å²) can determine."""
    wanted = 3 + max(1, round(exposure / step)) if np.isfinite(exposure) else 6
    in_time = int(np.clip(wanted, 4, max(4, min(16, times // 2))))
    rows, columns = (int(np.clip(n, 4, 8)) for n in patches)
    return in_time, rows, columns


def spline_motion_basis(measured: PatchMeasurement, frames: int, shape: tuple[int, int, int]) -> MotionBasis:
    """Cubic B-splines."""
    times, rows, columns = shape
    z = measured.frame / max(frames - 1, 1)
    time = spline_basis(1 + z * (times - 3), times)
    across = [spline_basis(1 + (measured.place[:, a] + 0.5) * (n - 3), n) for a, n in ((0, rows), (1, columns))]
    plane = np.einsum("pr,pc->prc", *across).reshape(len(measured.place), -1)
    bend = np.diff(np.eye(times), 2, axis=0)
    # Terms up to the second order in the plane, those of RELION's polynomial, go free.
    first, second, third = ([np.diff(np.eye(n), order, axis=0) for n in (rows, columns)] for order in (1, 2, 3))
    terms = [(third[0], np.eye(columns)), (np.eye(rows), third[1]), (second[0], first[1]), (first[0], second[1])]
    plane_penalty = sum((np.kron(a.T @ a, b.T @ b) for a, b in terms), 1e-4 * np.eye(rows * columns))
    return MotionBasis(time, plane, bend.T @ bend + 1e-3 * np.eye(times), plane_penalty)


@dataclass(frozen=True)
class LocalFit:
    """A fitted model.

    Args:
        coefficients: (2, m, n), by axis, function of time and of place, Å.
        penalty: Strength at which held-out patches were predicted best.
        gain: Drop of the held-out patches' misfit over that of no local motion at all.
    """

    coefficients: Float[np.ndarray, "2 m n"]
    penalty: float
    gain: float

    def at(self, basis: MotionBasis) -> Float[np.ndarray, "patches times 2"]:
        """The model where a basis was evaluated."""
        return np.einsum("tm,pn,dmn->ptd", basis.time, basis.plane, self.coefficients, optimize=True)


def fit_local(measured: PatchMeasurement, basis: MotionBasis) -> LocalFit:
    """Weighted least squares with the penalty under which patches that were held out are predicted best."""
    count = len(measured.place)
    fold = np.arange(count) * 7 % _FOLDS if count % 7 else np.arange(count) % _FOLDS
    still = np.zeros_like(measured.displacement)
    score = np.zeros(len(_PENALTIES))
    for part in range(_FOLDS):
        inside = fold != part
        for k, coefficients in enumerate(_solve(measured, basis, _PENALTIES, inside)):
            model = LocalFit(coefficients, _PENALTIES[k], 0.0).at(basis)
            score[k] += float(measured.misfit(model)[~inside].sum())
    best = int(np.argmin(score))
    [coefficients] = _solve(measured, basis, _PENALTIES[best : best + 1], np.ones(count, bool))
    return LocalFit(coefficients, float(_PENALTIES[best]), float(measured.misfit(still).sum() - score[best]))


def _solve(
    measured: PatchMeasurement,
    basis: MotionBasis,
    penalties: Float[np.ndarray, "strengths"],
    inside: Bool[np.ndarray, "patches"],
) -> Float[np.ndarray, "strengths 2 m n"]:
    """Coefficients at each strength of the penalty, from some of the patches."""
    share = measured.share
    time = basis.time - (share / share.sum()) @ basis.time
    within = time.T @ (share[:, None] * time)
    # The two penalties weigh alike: one bend over the field, or over the movie, costs what a patch has to say.
    smooth = np.kron(basis.bend_time, np.eye(basis.plane.shape[1]))
    smooth += np.kron(within + 1e-3 * np.trace(within) / len(within) * np.eye(len(within)), basis.bend_plane)
    found = np.empty((len(penalties), 2, time.shape[1], basis.plane.shape[1]))
    data = measured.centred(measured.displacement)
    for axis in (0, 1):
        weight = measured.information[:, axis] * inside
        level = weight.sum() / max(inside.sum(), 1)
        data_term = np.kron(within, basis.plane.T @ (weight[:, None] * basis.plane))
        right = (time.T * share) @ data[..., axis].T @ (weight[:, None] * basis.plane)
        for k, penalty in enumerate(penalties):
            normal = data_term + level * penalty * smooth
            normal[np.diag_indices_from(normal)] += 1e-9 * np.trace(normal) / len(normal) + 1e-12
            found[k, axis] = np.linalg.solve(normal, right.reshape(-1)).reshape(right.shape)
    return found


Whole = Callable[[Float[np.ndarray, "frames"]], Float[np.ndarray, "frames 2"]]


def as_polynomial(fit: LocalFit, frames: int) -> tuple[PolynomialMotion, Whole]:
    """RELION's model, and the motion of the whole frame that was taken out of it, Å."""
    scale = float(max(frames - 1, 1)) ** -np.arange(1, 4)
    coefficients = (fit.coefficients * scale[:, None]).transpose(0, 2, 1).copy()
    constant = coefficients[:, 0].copy()
    coefficients[:, 0] = 0

    def whole(frame: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames 2"]:
        return np.stack([frame, frame**2, frame**3], -1) @ constant.T

    return PolynomialMotion(coefficients), whole


def as_spline(fit: LocalFit, frames: int, shape: tuple[int, int, int]) -> tuple[SplineMotion, Whole]:
    """A spline that is zero in the first frame, and the motion of the whole frame that was taken out of it, Å."""
    coefficients = fit.coefficients.reshape(2, *shape).transpose(1, 2, 3, 0).copy()
    coefficients -= np.einsum("t,trcd->rcd", spline_basis(np.ones(1), shape[0])[0], coefficients)
    axes = [spline_basis(1 + np.linspace(0, 1, 9) * (n - 3), n).mean(0) for n in shape[1:]]
    mean = np.einsum("r,c,trcd->td", *axes, coefficients)
    coefficients -= mean[:, None, None]

    def whole(frame: Float[np.ndarray, "frames"]) -> Float[np.ndarray, "frames 2"]:
        return spline_basis(1 + frame / max(frames - 1, 1) * (shape[0] - 3), shape[0]) @ mean

    return SplineMotion(coefficients, frames), whole
