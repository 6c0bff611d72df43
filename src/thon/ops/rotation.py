"""Rotations of (z, y, x): about an axis, as quaternions, at random, and evenly over all orientations.

Matrices are active. A quaternion is (w, z, y, x): the cosine of half the angle, and the axis times its sine.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float


def rotation_about(axis: tuple[float, float, float] | Float[np.ndarray, "3"], angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about an axis (z, y, x) of any length but zero, right-handed in (x, y, z).

    Args:
        axis: Direction.
        angle: Degrees.
    """
    half = math.radians(angle) / 2
    direction = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    return rotation_from_quaternion(np.array([math.cos(half), *(math.sin(half) * direction)]))


def rotation_from_quaternion(quaternion: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rotations of unit quaternions (w, z, y, x)."""
    w, z, y, x = np.moveaxis(np.asarray(quaternion, np.float64), -1, 0)
    rows = (
        (1 - 2 * (x * x + y * y), 2 * (y * z + w * x), 2 * (x * z - w * y)),
        (2 * (y * z - w * x), 1 - 2 * (x * x + z * z), 2 * (x * y + w * z)),
        (2 * (x * z + w * y), 2 * (x * y - w * z), 1 - 2 * (y * y + z * z)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def quaternion_from_rotation(rotation: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4"]:
    """Unit quaternions (w, z, y, x) of rotations, w not negative.

    Source: Bar-Itzhack 2000: the eigenvector of the largest eigenvalue, exact for every angle.
    """
    m = np.asarray(rotation, np.float64)[..., ::-1, ::-1]  # of (x, y, z)
    trace = np.trace(m, axis1=-2, axis2=-1)
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., :3, :3] = m + np.swapaxes(m, -1, -2) - trace[..., None, None] * np.eye(3)
    skew = np.stack([m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1)
    k[..., 3, :3] = k[..., :3, 3] = skew
    k[..., 3, 3] = trace
    best = np.linalg.eigh(k)[1][..., -1]
    sign = np.where(best[..., 3:] < 0, -1, 1)
    return (sign * best)[..., ::-1].copy()


def axis_angle(rotation: Float[np.ndarray, "*n 3 3"]) -> tuple[Float[np.ndarray, "*n 3"], Float[np.ndarray, "*n"]]:
    """Axes (z, y, x), of unit length, and angles, 0 to 180 degrees; the axis of no rotation is z."""
    quaternion = quaternion_from_rotation(rotation)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1)
    axis = np.where(sine[..., None] > 1e-12, quaternion[..., 1:] / np.maximum(sine, 1e-300)[..., None], [1.0, 0, 0])
    return axis, np.asarray(np.degrees(2 * np.arctan2(sine, quaternion[..., 0])))


def rotation_from_vector(vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Rotations about vectors (z, y, x) by their length in degrees; zero is no rotation."""
    half = np.radians(vector) / 2
    angle = np.linalg.norm(half, axis=-1, keepdims=True)
    return rotation_from_quaternion(np.concatenate([np.cos(angle), half * np.sinc(angle / np.pi)], -1))


def random_rotations(count: int, seed: int) -> Float[np.ndarray, "n 3 3"]:
    """Rotations drawn evenly from all there are."""
    quaternion = np.random.default_rng(seed).normal(size=(count, 4))
    return rotation_from_quaternion(quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True))


def random_turn(generator: np.random.Generator, width: float) -> Float[np.ndarray, "3 3"]:
    """A rotation about an axis drawn evenly, by an angle drawn evenly from within `width` degrees about none."""
    quaternion = generator.normal(size=4)
    axis = rotation_from_quaternion(quaternion / np.linalg.norm(quaternion)) @ np.array([1.0, 0, 0])
    return rotation_about(axis, generator.uniform(-0.5, 0.5) * width)


def even_rotations(step: float) -> Float[np.ndarray, "n 3 3"]:
    """Rotations spread evenly over all orientations, neighbours about `step` degrees apart.

    Source: Alexa 2022, super-Fibonacci spirals.
    """
    # All rotations fill 8π² of volume (in radians, counted by angle about three axes).
    count = max(4, round(8 * math.pi**2 / math.radians(step) ** 3))
    place = np.arange(count) + 0.5
    inner, outer = np.sqrt(place / count), np.sqrt(1 - place / count)
    first, second = 2 * math.pi * place / math.sqrt(2), 2 * math.pi * place / 1.533751168755204288
    parts = (inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second))
    return rotation_from_quaternion(np.stack(parts, -1))


def even_directions(step: float) -> Float[np.ndarray, "n 3"]:
    """Directions (z, y, x) with z not negative, about `step` degrees apart, along a Fibonacci spiral."""
    count = round(2 * np.pi / np.radians(step) ** 2)
    z = 1 - (np.arange(count) + 0.5) / count
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    return np.stack([z, np.sqrt(1 - z**2) * np.sin(turn), np.sqrt(1 - z**2) * np.cos(turn)], -1)
