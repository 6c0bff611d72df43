"""Find the point group of a map and where its axes lie, and bring them to where RELION has them.

A map is compared with itself after a rotation: within a sphere, over shells of equal weight up to a resolution, so that
a round outline counts little. The first generator of a group is looked for in all directions, the second at all
angles about the first, and what is best is refined with its centre over all rotations of the group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import scipy
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float

from thon.algorithms.map_sampling import flat_map
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.ops.rotation import even_directions, rotation_about, rotation_from_vector
from thon.ops.symmetry import symmetry_name, symmetry_rotations
from thon.ops.volume_mask import centre_distance
from thon.ops.volume_rotation import correlation, sample_volume

SEARCHED, REFINED = 2_500, 8_000
"""Voxels within the sphere that are compared in the search and in the refinement; more would not change the choice."""
FINEST = 3.5
"""Voxels per resolution element of the map that is compared."""
KEPT_AXES = 8
"""Directions of the first axis that are followed up."""
KEPT_ROTATIONS = 6
"""Rotations of a large group that take part in the refinement."""


class FindSymmetryOptions(Options):
    """How a point group is looked for."""

    resolution: Annotated[float, Unit("Å"), Gt(0)] = 15.0
    """Finest resolution at which the map is compared with itself: one to which it can be trusted."""

    diameter: Annotated[float | None, Unit("Å"), Gt(0)] = None
    """Of the sphere about the map's centre of mass within which it is; as large as the box allows unless given."""

    max_fold: Annotated[int, Unit("1"), Ge(2), Le(30)] = 8
    """Highest order of an axis that is looked for."""

    accept: Annotated[float, Unit("1"), Gt(0), Lt(1)] = 0.5
    """Correlation from which a rotation is taken for a symmetry of the map."""


@dataclass(frozen=True)
class SymmetryAlignment:
    """Where the axes of a point group lie in a map.

    Args:
        symmetry: Name of the point group.
        rotation: Brings the map, turned about `centre`, to the group's standard axes; active on (z, y, x).
        centre: Point (z, y, x) from the box's centre (n // 2) through which all axes go, Å.
        score: Mean correlation of the map with itself over the group's rotations but the identity, −1 to 1.
        lowest: The lowest of them.
    """

    symmetry: str
    rotation: Float[np.ndarray, "3 3"]
    centre: Float[np.ndarray, "3"]
    score: float
    lowest: float


def align_to_symmetry(
    volume: Float[torch.Tensor, "z y x"],
    symmetry: str,
    *,
    voxel_size: float = 1.0,
    resolution: float | None = None,
    diameter: float | None = None,
) -> SymmetryAlignment:
    """Find how a map must be turned for its axes to lie where those of a point group belong.

    Args:
        volume: The map.
        symmetry: Name of the point group.
        voxel_size: Å.
        resolution: Finest that is compared, Å; five voxels unless given.
        diameter: Of the sphere that is compared, Å; as large as the box allows unless given.

    Raises:
        InputError: There is no such point group, or the map is empty or no cube.
    """
    name = symmetry_name(symmetry)
    if name == "C1":
        return SymmetryAlignment(name, np.eye(3), np.zeros(3), 1.0, 1.0)
    return _align(_SelfCorrelation.of(volume, voxel_size, resolution or 5 * voxel_size, diameter), name)


def find_symmetry(
    volume: Float[torch.Tensor, "z y x"], voxel_size: float, options: FindSymmetryOptions
) -> tuple[SymmetryAlignment, list[SymmetryAlignment]]:
    """The largest point group all of whose rotations leave a map as it is, and all groups that were tried, best first.

    Raises:
        InputError: The map is empty, or no cube.
    """
    compare = _SelfCorrelation.of(volume, voxel_size, options.resolution, options.diameter)
    worth = options.accept / 3
    tried = [_align(compare, f"C{fold}", worth) for fold in range(2, options.max_fold + 1)]
    folds = [int(one.symmetry[1:]) for one in tried if one.lowest >= options.accept]
    tried += [_align(compare, name, worth) for name in _larger_groups(folds)]
    tried.sort(key=lambda one: (len(symmetry_rotations(one.symmetry)), one.score), reverse=True)
    none = SymmetryAlignment("C1", np.eye(3), np.zeros(3), 1.0, 1.0)
    best = next((one for one in tried if one.lowest >= options.accept), none)
    return best, sorted([*tried, none], key=lambda one: one.score, reverse=True)


def _larger_groups(folds: list[int]) -> Iterator[str]:
    """Groups that axes of these orders may be part of."""
    if 2 in folds:
        yield from (f"D{fold}" for fold in folds)
    if {2, 3} <= set(folds):
        yield "T"
    if {2, 3, 4} <= set(folds):
        yield "O"
    if {2, 3, 5} <= set(folds):
        yield "I1"


@dataclass(frozen=True)
class _SelfCorrelation:
    """Compares a map with itself turned about a centre.

    Args:
        volume: Of equal power in all shells, coarsely sampled.
        points: (z, y, x) of the voxels that are compared, from the centre.
        centre: (z, y, x), voxels.
        voxel_size: Of `volume`, Å.
        step: Angle between directions that must be tried, degrees.
    """

    volume: Float[torch.Tensor, "z y x"]
    points: Float[torch.Tensor, "n 3"]
    centre: Float[np.ndarray, "3"]
    voxel_size: float
    step: float

    @classmethod
    def of(
        cls, volume: Float[torch.Tensor, "z y x"], voxel_size: float, resolution: float, diameter: float | None
    ) -> _SelfCorrelation:
        """From a map as it is."""
        flat = flat_map(volume, voxel_size, resolution, sampling=FINEST)
        box, size, centre = len(flat.volume), flat.voxel_size, flat.centre
        radius = flat.room if diameter is None else min(flat.room, diameter / 2 / size)
        if radius < 2:
            raise InputError("too little lies around the centre of mass", got=f"a sphere of {radius * size:.0f} Å")
        distance = centre_distance((box, box, box), (float(centre[0]), float(centre[1]), float(centre[2])))
        inside = torch.nonzero(distance <= radius)
        mixed = torch.from_numpy(np.random.default_rng(0).permutation(len(inside)))[:REFINED]
        points = inside[mixed].float() - torch.from_numpy(centre).float()
        # Half a resolution element at the sphere's surface.
        step = float(np.clip(np.degrees(0.5 * resolution / (radius * size)), 2.5, 8.0))
        return cls(flat.volume, points, centre, size, step)

    def coarser(self) -> _SelfCorrelation:
        """The same with fewer points, for a search."""
        return replace(self, points=self.points[:SEARCHED])

    def __call__(
        self, rotations: Float[np.ndarray, "n 3 3"], shift: Float[np.ndarray, "3"] | None = None
    ) -> Float[np.ndarray, "n"]:
        """Correlation of the map with itself turned by each rotation, about the centre moved by `shift` voxels."""
        centre = torch.from_numpy(self.centre if shift is None else self.centre + shift).float()
        points = self.points if shift is None else self.points - torch.from_numpy(shift).float()
        here = sample_volume(self.volume, points + centre)
        found: list[Float[torch.Tensor, "n"]] = []
        for part in torch.from_numpy(rotations).float().split(64):
            there = sample_volume(self.volume, torch.einsum("rij,pj->rpi", part, points) + centre)
            found.append(correlation(there, here))
        return torch.cat(found).numpy()


def _align(compare: _SelfCorrelation, name: str, worth: float = -1.0) -> SymmetryAlignment:
    """The best place of a group's axes, refined where each of its rotations correlates at least as `worth` says."""
    group = symmetry_rotations(name)[1:]
    search = compare.coarser()
    some = group[np.unique(np.linspace(0, len(group) - 1, KEPT_ROTATIONS).astype(int))]
    start = max(_starts(search, name), key=lambda turn: float(search(turn @ some @ turn.T).mean()))
    if compare(start @ group @ start.T).min() < worth:
        return _alignment(compare, name, start, np.zeros(3))

    def cost(values: Float[np.ndarray, "six"]) -> float:
        turn = rotation_from_vector(values[:3]) @ start
        return -float(compare(turn @ some @ turn.T, values[3:]).mean())

    simplex = np.concatenate([np.zeros((1, 6)), np.diag([compare.step] * 3 + [1.0] * 3)])
    how = {"initial_simplex": simplex, "xatol": 0.02, "fatol": 1e-5, "maxfev": 300}
    found = scipy.optimize.minimize(cost, np.zeros(6), method="Nelder-Mead", options=how).x
    turn = rotation_from_vector(found[:3]) @ start
    return _alignment(compare, name, turn, found[3:])


def _alignment(
    compare: _SelfCorrelation, name: str, turn: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, "3"]
) -> SymmetryAlignment:
    each = compare(turn @ symmetry_rotations(name)[1:] @ turn.T, shift)
    middle = np.array([n // 2 for n in compare.volume.shape])
    centre = (compare.centre + shift - middle) * compare.voxel_size
    return SymmetryAlignment(name, turn.T.copy(), centre, float(each.mean()), float(each.min()))


def _starts(compare: _SelfCorrelation, name: str) -> Iterator[Float[np.ndarray, "3 3"]]:
    """Rotations that take the standard axes to where those of the map may be."""
    group = symmetry_rotations(name)
    about_z = group[np.abs(group[:, 0, 0] - 1) < 1e-9]
    turns = [_z_to(direction) for direction in even_directions(compare.step)]
    first = about_z[1]  # the smallest turn about z
    scores = compare(np.stack([turn @ first @ turn.T for turn in turns]))
    best = np.argsort(-scores)[:KEPT_AXES]
    others = group[np.abs(group[:, 0, 0] - 1) >= 1e-9]
    if not len(others):
        yield from (turns[k] for k in best)
        return
    angles = np.arange(0, 360 / len(about_z), compare.step)
    about = np.stack([rotation_about((1, 0, 0), float(angle)) for angle in angles])
    for k in best:
        tried = turns[k] @ about
        yield tried[np.argmax(compare(tried @ others[0] @ tried.transpose(0, 2, 1)))]


def _z_to(direction: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The shortest rotation that takes z to a direction (z, y, x)."""
    z, y, x = direction
    sine = np.hypot(y, x)
    # The axis is z × direction, in (z, y, x).
    axis = np.array([0.0, x, -y]) if sine > 1e-9 else np.array([0.0, 0.0, 1.0])
    return rotation_about(axis, float(np.degrees(np.arctan2(sine, z))))
