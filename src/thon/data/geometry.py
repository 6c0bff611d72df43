"""Where each point of the specimen falls in each image of a tilt series.

A specimen point (z, y, x), in Å from the tomogram's centre, is rotated about x by the x-tilt, then about y by the tilt:

    y' = y cos β − z sin β          u =  x cos θ + z' sin θ       (perpendicular to the tilt axis)
    z' = y sin β + z cos β          v =  y'                       (along the tilt axis)

and is seen in the raw image, from the image's centre, at

    (y, x) = m R(φ) (v, u) + shift + local(v, u),   R(φ)(v, u) = (u sin φ + v cos φ, u cos φ − v sin φ)

with the magnification m and the tilt axis φ degrees anticlockwise from +y (rows pointing up). The centre of n pixels,
or voxels, is index n // 2. RELION-5 uses the same model; the formats convert IMOD's, AreTomo's and Warp's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from thon.base.errors import InputError


@dataclass(frozen=True)
class LocalField:
    """Smooth displacement of each image on top of its rigid alignment: a cubic B-spline in the plane of (v, u).

    Args:
        coefficients: (tilts, rows, columns, 2), displacement (y, x) along the raw image's axes, Å.
        spacing: Distance between neighbouring coefficients along v and u, Å. Their grid is centred on (0, 0).

    The outermost ring only supports the spline: the field is defined up to one node inside and constant beyond.
    """

    coefficients: Float[np.ndarray, "tilts rows columns 2"]
    spacing: tuple[float, float]

    def __post_init__(self) -> None:
        if min(self.coefficients.shape[1:3]) < 4:
            raise InputError("a local field needs 4 × 4 coefficients", got=self.coefficients.shape)

    def basis(self, position: Float[np.ndarray, "points"], axis: int) -> Float[np.ndarray, "points nodes"]:
        """Weights of the nodes along one axis (0: v, 1: u) at positions in Å; each row sums to one."""
        nodes = self.coefficients.shape[1 + axis]
        return spline_basis(np.asarray(position) / self.spacing[axis] + (nodes - 1) / 2, nodes)

    def __call__(self, plane: Float[np.ndarray, "tilts points 2"]) -> Float[np.ndarray, "tilts points 2"]:
        """Displacement (y, x) in Å at (v, u) in Å, one set of points per tilt."""
        moved = np.empty(plane.shape)
        for k, points in enumerate(plane):
            rows, columns = self.basis(points[:, 0], 0), self.basis(points[:, 1], 1)
            moved[k] = np.einsum("pr,pc,rcd->pd", rows, columns, self.coefficients[k], optimize=True)
        return moved


def spline_basis(position: Float[np.ndarray, "points"], nodes: int) -> Float[np.ndarray, "points nodes"]:
    """Uniform cubic B-spline weights of `nodes` knots at fractional knot indices, constant outside [1, nodes − 2]."""
    distance = np.abs(np.clip(position, 1, nodes - 2)[:, None] - np.arange(nodes))
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)


@dataclass(frozen=True)
class TiltGeometry:
    """One geometry per tilt; the module's docstring has the formulas.

    Args:
        tilt: Stage tilt about y, with any tilt offset included, degrees.
        shift: (tilts, 2), where the specimen's centre falls, (y, x) from the raw image's centre, Å.
        rotation: Tilt axis, anticlockwise from +y, degrees.
        x_tilt: Rotation about x before the tilt, with the sample's pitch included, degrees.
        magnification: Relative scale of the image, 1.
        local: Smooth local displacement, if any.

    Without a value, `rotation`, `x_tilt` and `magnification` are 0, 0 and 1 for every tilt.
    """

    tilt: Float[np.ndarray, "tilts"]
    shift: Float[np.ndarray, "tilts 2"]
    rotation: Float[np.ndarray, "tilts"] = field(default=0.0)  # pyright: ignore[reportAssignmentType]
    x_tilt: Float[np.ndarray, "tilts"] = field(default=0.0)  # pyright: ignore[reportAssignmentType]
    magnification: Float[np.ndarray, "tilts"] = field(default=1.0)  # pyright: ignore[reportAssignmentType]
    local: LocalField | None = None

    def __post_init__(self) -> None:
        tilt = np.asarray(self.tilt, np.float64)
        for name in ("rotation", "x_tilt", "magnification"):
            value = np.broadcast_to(np.asarray(getattr(self, name), np.float64), tilt.shape).copy()
            object.__setattr__(self, name, value)
        object.__setattr__(self, "tilt", tilt)
        object.__setattr__(self, "shift", np.asarray(self.shift, np.float64))
        if self.shift.shape != (len(tilt), 2):
            raise InputError("shifts and tilts do not match", got=self.shift.shape, expected=(len(tilt), 2))

    def __len__(self) -> int:
        return len(self.tilt)

    @classmethod
    def nominal(cls, tilt: Float[np.ndarray, "tilts"], rotation: float = 0.0) -> TiltGeometry:
        """The geometry before any alignment: the stage's angles, one tilt axis, no shifts."""
        return cls(tilt=tilt, shift=np.zeros((len(tilt), 2)), rotation=np.full(len(tilt), rotation))

    def select(self, index: Float[np.ndarray, "kept"] | list[int] | np.ndarray) -> TiltGeometry:
        """The geometry of some of the tilts, in the order given (indices or a boolean mask)."""
        local = None if self.local is None else replace(self.local, coefficients=self.local.coefficients[index])
        columns = (getattr(self, name)[index] for name in ("tilt", "shift", "rotation", "x_tilt", "magnification"))
        return TiltGeometry(*columns, local=local)

    def plane(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "tilts points 2"]:
        """Specimen points (z, y, x) in Å to (v, u) in Å: along and perpendicular to the tilt axis, unshifted."""
        z, y, x = np.asarray(points, np.float64).T
        beta, theta = np.deg2rad(self.x_tilt)[:, None], np.deg2rad(self.tilt)[:, None]
        v = y * np.cos(beta) - z * np.sin(beta)
        u = x * np.cos(theta) + (y * np.sin(beta) + z * np.cos(beta)) * np.sin(theta)
        return np.stack([v, u], -1)

    def to_image(self, plane: Float[np.ndarray, "tilts points 2"]) -> Float[np.ndarray, "tilts points 2"]:
        """(v, u) in Å to raw image positions (y, x) in Å from the image's centre, local displacement included."""
        phi = np.deg2rad(self.rotation)[:, None]
        v, u = plane[..., 0], plane[..., 1]
        turned = np.stack([u * np.sin(phi) + v * np.cos(phi), u * np.cos(phi) - v * np.sin(phi)], -1)
        image = self.magnification[:, None, None] * turned + self.shift[:, None]
        return image if self.local is None else image + self.local(plane)

    def about(self, point: tuple[float, float, float]) -> TiltGeometry:
        """The same geometry, its origin at a point (z, y, x) of the specimen, Å; local motion stays as it is."""
        return replace(self, shift=replace(self, local=None).project(np.array([point]))[:, 0])

    def project(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "tilts points 2"]:
        """Specimen points (z, y, x) in Å to raw image positions (y, x) in Å from the image's centre."""
        return self.to_image(self.plane(points))
