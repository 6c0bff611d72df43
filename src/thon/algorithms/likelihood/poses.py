"""Grids of poses in levels: every rotation and shift of a level has its children on the next, twice as fine.

Directions are HEALPix pixels; in-plane angles divide the circle evenly, at half-integer steps so that children lie
evenly about their parent. A rotation's number is `direction · in-plane angles + in-plane angle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from thon.ops.healpix import pixel_count, pixel_directions

_NORTH, _SOUTH = 4, 8  # of HEALPix's twelve faces, those before lie about one pole and those from there on the other


@dataclass(frozen=True)
class RotationGrid:
    """Rotations of (z, y, x) in levels.

    Args:
        dimensions: 3 for all rotations, 2 for those about z alone.
        symmetry: Rotations of the point group, identity first.
        turn: Rotation that the whole grid is turned by, in the image's frame.
        first_angles: In-plane angles on level 0.
    """

    dimensions: int
    symmetry: Float[np.ndarray, "operators 3 3"]
    turn: Float[np.ndarray, "3 3"]
    first_angles: int = 6

    def step(self, level: int) -> float:
        """Distance of neighbouring in-plane angles, and about that of directions, degrees."""
        return 360.0 / (self.first_angles * 2**level)

    def angles(self, level: int) -> int:
        """In-plane angles on a level."""
        return self.first_angles * 2**level

    def count(self, level: int) -> int:
        """Rotations on a level."""
        return self.angles(level) * (pixel_count(level) if self.dimensions == 3 else 1)

    @property
    def children_count(self) -> int:
        """Children of each rotation."""
        return 8 if self.dimensions == 3 else 2

    def children(self, level: int, rotations: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n children"]:
        """Numbers on the next level of the rotations around each rotation of this one."""
        direction, angle = np.divmod(rotations, self.angles(level))
        parts = 4 if self.dimensions == 3 else 1
        directions = (direction[:, None] * parts + np.arange(parts))[:, :, None]
        angles = (2 * angle[:, None] + np.arange(2))[:, None, :]
        return (directions * self.angles(level + 1) + angles).reshape(len(rotations), -1)

    def matrices(self, level: int, rotations: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
        """Rotations by their numbers, reference (z, y, x) into the image's frame."""
        direction, angle = np.divmod(rotations, self.angles(level))
        psi = np.deg2rad((angle + 0.5) * self.step(level))
        polar = pixel_directions(level, direction) if self.dimensions == 3 else np.zeros((len(direction), 2))
        # About the poles azimuths of neighbours differ much. There, in-plane angles are counted from a direction that
        # does not turn with the azimuth, or children would not lie near their parents.
        face = direction // 4**level
        psi = psi + polar[:, 1] * np.where(face < _NORTH, -1, np.where(face >= _SOUTH, 1, 0))
        return self.turn @ _from_angles(polar[:, 1], polar[:, 0], psi)

    def unique(self, level: int) -> Int[np.ndarray, "n"]:
        """Numbers of rotations of which no two are the same but for symmetry, with a margin of half a step.

        Of the directions that symmetry makes equal, the one nearest to a fixed direction is taken.
        """
        if self.dimensions == 2 or len(self.symmetry) == 1:
            return np.arange(self.count(level))
        polar = pixel_directions(level, np.arange(pixel_count(level)))
        v = np.stack([np.cos(polar[:, 0]), np.sin(polar[:, 0]) * np.sin(polar[:, 1]),
                      np.sin(polar[:, 0]) * np.cos(polar[:, 1])], -1)  # fmt: skip
        fixed = np.array([0.80, 0.53, 0.28]) / np.linalg.norm([0.80, 0.53, 0.28])
        mates = np.arccos(np.clip(np.einsum("sij,j,ni->ns", self.symmetry, fixed, v), -1, 1))
        margin = np.deg2rad(self.step(level)) / 2
        kept = np.flatnonzero(mates[:, 0] <= mates.min(1) + margin)
        return (kept[:, None] * self.angles(level) + np.arange(self.angles(level))).ravel()


@dataclass(frozen=True)
class ShiftGrid:
    """Shifts (y, x) on two levels: a square grid within a circle, and four children of each.

    Args:
        step: Of the finer level, px.
        reach: Radius of the circle, px.
        offset: (y, x) that the whole grid is moved by, px.
    """

    step: float
    reach: float
    offset: tuple[float, float] = (0.0, 0.0)

    @cached_property
    def coarse(self) -> Float[np.ndarray, "n 2"]:
        """Shifts of the coarser level, px."""
        count = int(self.reach / (2 * self.step) + 1e-6)
        axis = np.arange(-count, count + 1) * 2 * self.step
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        return grid[np.hypot(*grid.T) <= max(self.reach, 1e-9) + 1e-6] + np.array(self.offset)

    @cached_property
    def fine(self) -> Float[np.ndarray, "n 2"]:
        """Shifts of the finer level: children 4n … 4n + 3 around each coarse one, px."""
        quarter = np.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]) * self.step
        return (self.coarse[:, None] + quarter).reshape(-1, 2)


def _from_angles(
    rot: Float[np.ndarray, "n"], tilt: Float[np.ndarray, "n"], psi: Float[np.ndarray, "n"]
) -> Float[np.ndarray, "n 3 3"]:
    """Rotations of (z, y, x) whose projection looks along azimuth `rot` and polar angle `tilt`, radians."""
    matrix = _about_z(psi) @ _about_y(tilt) @ _about_z(rot)
    return matrix[:, ::-1, ::-1]


def _about_z(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
    c, s, o, e = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, s, o], -1), np.stack([-s, c, o], -1), np.stack([o, o, e], -1)], -2)


def _about_y(angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
    c, s, o, e = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, o, -s], -1), np.stack([o, e, o], -1), np.stack([s, o, c], -1)], -2)
