"""Align one map to another: all rotations and shifts at a low resolution, the best of them refined at a higher one.

At each rotation of an even grid all shifts are compared at once by Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy
import torch
from annotated_types import Gt
from jaxtyping import Float

from thon.algorithms.map_sampling import FlatMap, flat_map
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.ops.rotation import even_rotations, rotation_from_vector
from thon.ops.symmetry import angular_distance
from thon.ops.volume_fourier import volume_shape
from thon.ops.volume_mask import centre_distance
from thon.ops.volume_rotation import correlation, flip_hand, sample_volume

SAMPLING = 2.5
"""Voxels per resolution element of the maps that are compared."""
KEPT = 4
"""Rotations that are refined."""
POINTS = 6_000
"""Voxels that are compared in the refinement."""


class AlignVolumesOptions(Options):
    """How a map is aligned to another one."""

    search_resolution: Annotated[float, Unit("Å"), Gt(0)] = 30.0
    """Resolution of the search over all rotations."""

    resolution: Annotated[float, Unit("Å"), Gt(0)] = 15.0
    """Resolution of the refinement."""

    step: Annotated[float, Unit("degrees"), Gt(1)] = 15.0
    """Angle between neighbouring rotations of the search."""

    either_hand: bool = False
    """Try the mirror image as well."""


@dataclass(frozen=True)
class VolumeAlignment:
    """How a map must be moved to lie on another one.

    Args:
        rotation: About the box's centre, active on (z, y, x), after the mirror image where there is one.
        shift: (z, y, x) after the rotation, Å.
        flipped: Whether it is the mirror image (along x) that fits.
        score: Correlation of the two within a sphere, shells up to the resolution weighted alike.
    """

    rotation: Float[np.ndarray, "3 3"]
    shift: Float[np.ndarray, "3"]
    flipped: bool
    score: float


def align_volumes(
    moving: Float[torch.Tensor, "z y x"],
    reference: Float[torch.Tensor, "z y x"],
    voxel_size: float,
    options: AlignVolumesOptions,
) -> VolumeAlignment:
    """Find how a map must be turned and moved to lie on another one.

    Args:
        moving: The map.
        reference: The other one, in the same box.
        voxel_size: Of both, Å.
        options: Resolutions and steps.

    Raises:
        InputError: The boxes differ, or a map is empty or no cube.
    """
    if moving.shape != reference.shape:
        got, expected = tuple(moving.shape), tuple(reference.shape)
        raise InputError("maps of different boxes", got=got, expected=expected, mend="crop, pad or resize one of them")
    hands = [False, True] if options.either_hand else [False]
    found = [_align(flip_hand(moving) if flipped else moving, reference, voxel_size, options) for flipped in hands]
    best = max(range(len(found)), key=lambda k: found[k][2])
    rotation, shift, score = found[best]
    return VolumeAlignment(rotation, shift, hands[best], score)


def _align(
    moving: torch.Tensor, reference: torch.Tensor, voxel_size: float, options: AlignVolumesOptions
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"], float]:
    coarse, still_coarse = (
        flat_map(one, voxel_size, options.search_resolution, sampling=SAMPLING) for one in (moving, reference)
    )
    fine, still = (flat_map(one, voxel_size, options.resolution, sampling=SAMPLING) for one in (moving, reference))
    finer = coarse.voxel_size / fine.voxel_size
    refined = [
        _refine(fine.volume, still, turn, shift * finer, options.step)
        for turn, shift in _search(coarse.volume, still_coarse.volume, even_rotations(options.step))
    ]
    rotation, shift, score = max(refined, key=lambda one: one[2])
    return rotation, shift * fine.voxel_size, score


def _search(
    moving: torch.Tensor, reference: torch.Tensor, rotations: Float[np.ndarray, "n 3 3"]
) -> list[tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]]:
    """The best rotations that are not neighbours, each with its shift in voxels."""
    shape = volume_shape(reference)
    middle = torch.tensor([n // 2 for n in shape], dtype=torch.float32)
    inside = centre_distance(shape) <= min(shape) / 2 - 1
    points = torch.nonzero(inside).float() - middle
    target = torch.fft.rfftn(reference)
    scores, peaks = np.empty(len(rotations)), np.empty(len(rotations), np.int64)
    turned = torch.zeros(shape)
    for k, rotation in enumerate(torch.from_numpy(rotations).float()):
        turned[inside] = sample_volume(moving, points @ rotation + middle)
        product = torch.fft.irfftn(target * torch.fft.rfftn(turned).conj(), s=shape)
        peaks[k] = int(product.argmax())
        scores[k] = float(product.flatten()[peaks[k]]) / max(float(torch.linalg.vector_norm(turned)), 1e-30)
    kept: list[int] = []
    for k in np.argsort(-scores):
        if all(angular_distance(rotations[k], rotations[other]) > 20 for other in kept):
            kept.append(int(k))
        if len(kept) == KEPT:
            break
    places = [np.array(np.unravel_index(peaks[k], shape), np.float64) for k in kept]
    return [
        (rotations[k], (p + np.array(shape) // 2) % shape - np.array(shape) // 2)
        for k, p in zip(kept, places, strict=True)
    ]


def _refine(
    moving: torch.Tensor,
    still: FlatMap,
    turn: Float[np.ndarray, "3 3"],
    shift: Float[np.ndarray, "3"],
    step: float,
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"], float]:
    """The best rotation and shift (voxels) near by, and their score."""
    shape, centre = volume_shape(still.volume), still.centre
    middle = torch.tensor([n // 2 for n in shape], dtype=torch.float32)
    distance = centre_distance(shape, (float(centre[0]), float(centre[1]), float(centre[2])))
    inside = torch.nonzero(distance <= still.room)
    chosen = np.sort(np.random.default_rng(0).permutation(len(inside))[:POINTS])
    points = inside[torch.from_numpy(chosen)].float()
    there = sample_volume(still.volume, points)

    def cost(values: Float[np.ndarray, "6"]) -> float:
        rotation = torch.from_numpy(rotation_from_vector(values[:3]) @ turn).float()
        moved = torch.from_numpy(shift + values[3:]).float()
        here = sample_volume(moving, (points - middle - moved) @ rotation + middle)
        return -float(correlation(here[None], there)[0])

    simplex = np.concatenate([np.zeros((1, 6)), np.diag([step / 2] * 3 + [1.0] * 3)])
    how = {"initial_simplex": simplex, "xatol": 0.01, "fatol": 1e-5, "maxfev": 300}
    found = scipy.optimize.minimize(cost, np.zeros(6), method="Nelder-Mead", options=how)
    return rotation_from_vector(found.x[:3]) @ turn, shift + found.x[3:], -float(found.fun)
