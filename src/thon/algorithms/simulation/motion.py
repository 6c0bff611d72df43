"""How the specimen moves: drift that calms down, and local motion that is smooth in place and time."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt
from jaxtyping import Float

from thon.base.options import Options, Unit
from thon.data.geometry import spline_basis
from thon.data.motion import FrameMotion, PolynomialMotion

NODES = 8
"""Nodes of the displacement's spline along each side of a frame."""

_SAMPLES = 12


class MotionOptions(Options):
    """How far the specimen moves, and how fast it calms down."""

    drift: Annotated[float, Unit("Å"), Ge(0)] = 20.0
    """Distance between the first and the last frame."""

    decay: Annotated[float, Unit("e/Å²"), Gt(0)] = 8.0
    """Exposure over which motion falls to 1/e."""

    local: Annotated[float, Unit("Å"), Ge(0)] = 8.0
    """Largest motion of a place on top of the drift."""


def random_motion(frames: int, exposure: float, options: MotionOptions, random: np.random.Generator) -> FrameMotion:
    """Motion that starts at zero in the first frame, with a bent path and local motion that grows as the drift does.

    Args:
        frames: Number of frames.
        exposure: Of a frame, e/Å².
        options: How far and how fast.
        random: Source of numbers.
    """
    time = np.arange(frames) * exposure
    last = max(time[-1], 1e-9)
    progress = -np.expm1(-time / options.decay) / -math.expm1(-last / options.decay)
    direction = random.uniform(0, 2 * math.pi)
    along = np.array([math.sin(direction), math.cos(direction)])
    bend = 0.25 * random.uniform(-1, 1) * np.sin(math.pi * progress)
    path = progress[:, None] * along + bend[:, None] * np.array([along[1], -along[0]])
    local = _random_local(progress, options.local, random) if options.local and frames > 1 else None
    return FrameMotion(options.drift * path, local, frame_exposure=exposure)


def _random_local(
    progress: Float[np.ndarray, "frames"], largest: float, random: np.random.Generator
) -> PolynomialMotion:
    """A quadratic in place times the cubic in time that comes nearest to the progress."""
    z = np.arange(len(progress), dtype=np.float64)
    scaled = z / z[-1]
    powers = np.stack([scaled, scaled**2, scaled**3], -1)[:, : min(3, len(z) - 1)]
    in_time = np.zeros(3)
    in_time[: powers.shape[1]] = np.linalg.lstsq(powers, progress, rcond=None)[0]
    in_place = random.normal(size=(2, 6)) * np.array([0.5, 1, 2, 1, 2, 2])
    coefficients = in_place[:, :, None] * in_time / z[-1] ** np.arange(1, 4)
    edge = np.linspace(-0.5, 0.5, 9)
    places = np.stack(np.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
    reached = np.linalg.norm(PolynomialMotion(coefficients)(places, z), axis=-1).max()
    return PolynomialMotion(coefficients * largest / max(reached, 1e-12))


def largest_displacement(motion: FrameMotion) -> float:
    """How far any place of the micrograph moves, along y or x, Å."""
    edge = np.linspace(-0.5, 0.5, 5)
    places = np.stack(np.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
    return float(np.abs(motion.at(places)).max())


def frame_to_micrograph(
    motion: FrameMotion, frame: int, shape: tuple[int, int], pixel_size: float
) -> Float[np.ndarray, "nodes nodes 2"]:
    """Spline coefficients of what leads from a pixel of a frame to its place in the micrograph, (y, x), px.

    The knots one inside the ends lie on the frame's first pixel and one beyond its last, as `FRAME_KNOTS` has it.
    """
    edge = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    frame_place = np.stack(np.meshgrid(edge, edge, indexing="ij"), -1).reshape(-1, 2)
    size = np.array(shape) * pixel_size
    place = frame_place
    for _ in range(4):
        place = frame_place - _displacement(motion, frame, place) / size
    moved = ((place - frame_place) * shape).reshape(_SAMPLES, _SAMPLES, 2)
    basis = spline_basis(1 + (edge + 0.5) * (NODES - 3), NODES)
    inverse = np.linalg.pinv(basis)
    return np.einsum("ia,jb,abd->ijd", inverse, inverse, moved, optimize=True)


def _displacement(
    motion: FrameMotion, frame: int, place: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "points 2"]:
    whole = np.broadcast_to(motion.displacement[frame], place.shape)
    return whole if motion.local is None else whole + motion.local(place, np.array([float(frame)]))[0]
