"""Euler angles against RELION's printed matrix."""

from __future__ import annotations

import math

import numpy as np
import pytest

from thon.formats.relion_euler import euler_from_rotation, rotation_from_euler


def relion_matrix(rot: float, tilt: float, psi: float) -> np.ndarray:
    """The matrix of (x, y, z) as RELION's documentation has it."""
    a, b, g = (math.radians(angle) for angle in (rot, tilt, psi))
    ca, cb, cg, sa, sb, sg = math.cos(a), math.cos(b), math.cos(g), math.sin(a), math.sin(b), math.sin(g)
    return np.array(
        [
            [cg * cb * ca - sg * sa, cg * cb * sa + sg * ca, -cg * sb],
            [-sg * cb * ca - cg * sa, -sg * cb * sa + cg * ca, sg * sb],
            [sb * ca, sb * sa, cb],
        ]
    )


@pytest.mark.parametrize("angles", [(10.0, 20.0, 30.0), (-120.0, 95.0, 170.0), (33.0, 0.0, 5.0), (12.0, 180.0, 60.0)])
def test_a_rotation_is_relions_matrix_with_the_axes_turned_over(angles: tuple[float, float, float]) -> None:
    rotation = rotation_from_euler(np.array([angles]))
    np.testing.assert_allclose(rotation[0][::-1, ::-1], relion_matrix(*angles), atol=1e-12)
    back = rotation_from_euler(euler_from_rotation(rotation))
    np.testing.assert_allclose(back, rotation, atol=1e-12)


def test_angles_come_back() -> None:
    random = np.random.default_rng(1)
    angles = np.stack([random.uniform(-180, 180, 40), random.uniform(1, 179, 40), random.uniform(-180, 180, 40)], -1)
    np.testing.assert_allclose(euler_from_rotation(rotation_from_euler(angles)), angles, atol=1e-9)
