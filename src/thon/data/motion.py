"""How the specimen moved while a movie was taken.

A displacement is where the specimen's image lies in a frame, measured from its place in the micrograph, (y, x) in Å:
`micrograph(p) = frame(p + displacement)`. RELION, MotionCor and AreTomo state the shift that corrects it, which is its
negative; their formats turn the sign.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError
from thon.data.geometry import spline_basis

EARLY = 4.0
"""Exposure during which a specimen moves most, e/Å²."""


@dataclass(frozen=True)
class PolynomialMotion:
    """Local motion as RELION models it: quadratic in the plane, cubic in time, zero in the first frame.

    Args:
        coefficients: (2, 6, 3) for y and x: terms 1, x, x², y, y², xy of the place, each times z, z², z³ of the time;
            Å. x and y run from −½ to ½ over the micrograph, z is the frame's index from 0.
    """

    coefficients: Float[np.ndarray, "2 6 3"]

    def __call__(
        self, place: Float[np.ndarray, "points 2"], frame: Float[np.ndarray, "frames"]
    ) -> Float[np.ndarray, "frames points 2"]:
        """Displacement (y, x) in Å at places (y, x) from −½ to ½ and frame indices from 0."""
        y, x = np.asarray(place, np.float64).T
        z = np.asarray(frame, np.float64)
        terms = np.stack([np.ones_like(x), x, x**2, y, y**2, x * y], -1)
        powers = np.stack([z, z**2, z**3], -1)
        return np.einsum("dst,ps,ft->fpd", self.coefficients, terms, powers, optimize=True)


@dataclass(frozen=True)
class SplineMotion:
    """Local motion as a cubic B-spline in time, y and x.

    Args:
        coefficients: (times, rows, columns, 2), displacement (y, x), Å; at least 4 along each. The knots one inside
            the ends lie on the first and the last frame, and on the micrograph's edges.
        frames: Number of frames that the times span.
    """

    coefficients: Float[np.ndarray, "times rows columns 2"]
    frames: int

    def __post_init__(self) -> None:
        if min(self.coefficients.shape[:3]) < 4:
            raise InputError("a motion spline needs 4 × 4 × 4 coefficients", got=self.coefficients.shape)

    def __call__(
        self, place: Float[np.ndarray, "points 2"], frame: Float[np.ndarray, "frames"]
    ) -> Float[np.ndarray, "frames points 2"]:
        """Displacement (y, x) in Å at places (y, x) from −½ to ½ and frame indices from 0."""
        times, rows, columns = self.coefficients.shape[:3]
        y, x = np.asarray(place, np.float64).T
        z = np.asarray(frame, np.float64) / max(self.frames - 1, 1)
        in_time = spline_basis(1 + z * (times - 3), times)
        in_y = spline_basis(1 + (y + 0.5) * (rows - 3), rows)
        in_x = spline_basis(1 + (x + 0.5) * (columns - 3), columns)
        return np.einsum("ft,pr,pc,trcd->fpd", in_time, in_y, in_x, self.coefficients, optimize=True)


@dataclass(frozen=True)
class PatchTracks:
    """What was measured in patches of the micrograph, before a model was fitted.

    Args:
        place: Centres (y, x), −½ to ½ of the micrograph.
        displacement: (patches, frames, 2), on top of the global displacement, Å.
        rejected: Reason by patch index, for those that took no part in the fit.
        residual: Root mean square difference from the model over the patches that took part, Å.
    """

    place: Float[np.ndarray, "patches 2"]
    displacement: Float[np.ndarray, "patches frames 2"]
    rejected: dict[int, str] = field(default_factory=dict[int, str])
    residual: float = float("nan")


@dataclass(frozen=True)
class FrameMotion:
    """How the specimen lay in each frame that was summed.

    Args:
        displacement: Of the whole frame, (y, x), Å; the mean over the frames is not fixed: zero is where the
            micrograph is.
        local: What adds to it in places, if it was measured.
        patches: The measurement behind `local`.
        sigma: Standard deviation of `displacement` along one axis, Å.
        first: Index of the first frame of these among the movie's rendered frames.
        group: Raw frames in one rendered frame.
        frame_exposure: Of a rendered frame, e/Å².
        bfactor: B-factor at which the frames were compared, Å².
    """

    displacement: Float[np.ndarray, "frames 2"]
    local: PolynomialMotion | SplineMotion | None = None
    patches: PatchTracks | None = None
    sigma: float = float("nan")
    first: int = 0
    group: int = 1
    frame_exposure: float = float("nan")
    bfactor: float = float("nan")

    def __len__(self) -> int:
        return len(self.displacement)

    def at(self, place: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "frames points 2"]:
        """Displacement (y, x) in Å of each frame at places (y, x) from −½ to ½ of the micrograph."""
        whole = np.repeat(self.displacement[:, None], len(place), 1)
        return whole if self.local is None else whole + self.local(place, np.arange(len(self), dtype=np.float64))

    @property
    def travelled(self) -> Float[np.ndarray, "frames"]:
        """Length of the path from the first frame to each, Å."""
        steps = np.linalg.norm(np.diff(self.displacement, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def figures(self) -> dict[str, float]:
        """The length of the whole path, and of its part during the first 4 e/Å², Å."""
        path = self.travelled
        begun = np.arange(1, len(path)) * self.frame_exposure <= EARLY
        early = {"early": float(path[1:][begun][-1])} if begun.any() else {}
        return {"total": float(path[-1]), **early}
