"""RELION's Euler angles rot, tilt, psi (ZYZ, degrees) to and from the house's active rotations of (z, y, x).

RELION's matrix takes reference coordinates (x, y, z) into the frame of the image, or of the tomogram; so does the
house's, with the axes in the other order.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def rotation_from_euler(angles: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotations of (z, y, x) from rot, tilt, psi."""
    rot, tilt, psi = np.deg2rad(np.asarray(angles, np.float64)).T
    matrix = _about_z(psi) @ _about_y(tilt) @ _about_z(rot)
    return matrix[:, ::-1, ::-1].copy()


def euler_from_rotation(rotation: Float[np.ndarray, "n 3 3"]) -> Float[np.ndarray, "n 3"]:
    """Angles rot, tilt, psi of rotations of (z, y, x); tilt is 0 to 180, and rot is 0 where tilt is 0 or 180."""
    matrix = np.asarray(rotation, np.float64)[:, ::-1, ::-1]
    sine = np.hypot(matrix[:, 2, 0], matrix[:, 2, 1])
    tilt = np.arctan2(sine, matrix[:, 2, 2])
    plain = sine < 1e-9
    sign = np.sign(matrix[:, 2, 2])
    rot = np.where(plain, 0.0, np.arctan2(matrix[:, 2, 1], matrix[:, 2, 0]))
    psi = np.where(
        plain, np.arctan2(-matrix[:, 1, 0] * sign, matrix[:, 1, 1]), np.arctan2(matrix[:, 1, 2], -matrix[:, 0, 2])
    )
    return np.rad2deg(np.stack([rot, tilt, psi], -1))


def _about_z(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
    """RELION's rotation about z: of the axes, so that x' = x cos a + y sin a."""
    c, s, o, e = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, s, o], -1), np.stack([-s, c, o], -1), np.stack([o, o, e], -1)], -2)


def _about_y(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
    c, s, o, e = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, o, -s], -1), np.stack([o, e, o], -1), np.stack([s, o, c], -1)], -2)
