"""A geometry to begin an alignment with: that of the same tilts from before, and guesses for images it lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from thon.algorithms.bundle_model import point_derivative
from thon.algorithms.coarse_alignment import coarse_alignment
from thon.algorithms.patch_pairs import PairMeasurement, image_maps
from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry

FEWEST = 3
"""Images whose shift must be known for a start to be of use."""


def known_images(start: TiltGeometry | None, number: int) -> Bool[np.ndarray, "tilts"]:
    """Which of the images a start knows: those whose shift is finite.

    Raises:
        InputError: If it has not one row per image.
    """
    if start is None:
        return np.zeros(number, bool)
    if len(start) != number:
        raise InputError(
            "the start and the images differ in number",
            got=f"{len(start)} rows, {number} images",
            expected="one row per image, NaN for the shift of an image that is new",
        )
    return np.all(np.isfinite(start.shift), 1)


def complete_start(
    images: Float[torch.Tensor, "tilts rows columns"],
    tilt: Float[np.ndarray, "tilts"],
    start: TiltGeometry,
    pixel_size: float,
) -> tuple[TiltGeometry, TiltGeometry]:
    """A start for all images, and the nominal geometry that belongs to it.

    Args:
        images: Small standardised images (about 256 px).
        tilt: Their stage tilts, degrees.
        start: One row per image; at least `FEWEST` shifts are finite. Its local motion is left out, and its tilts say
            by how much the specimen was levelled.
        pixel_size: Of the images, Å.

    Returns:
        The geometry, in which an image that was unknown lies where correlation with its nearest neighbour in tilt puts
        it, and has that neighbour's axis; and one with the stage's tilts, one axis and no shifts.
    """
    known = known_images(start, len(tilt))
    offset = float(np.median((start.tilt - tilt)[known]))
    axis, inclination = (float(np.median(v[known])) for v in (start.rotation, start.x_tilt))
    nominal = replace(TiltGeometry.nominal(tilt + offset, axis), x_tilt=np.full(len(tilt), inclination))
    columns = {
        name: np.where(known[:, None] if name == "shift" else known, getattr(start, name), getattr(nominal, name))
        for name in ("shift", "rotation", "x_tilt", "magnification", "tilt")
    }
    geometry = TiltGeometry(**columns)
    placed = known.copy()
    while not placed.all():
        new, old = _nearest(tilt, placed)
        geometry = _place(images, geometry, new, old, pixel_size)
        placed[new] = True
    return geometry, nominal


def _nearest(tilt: Float[np.ndarray, "tilts"], placed: Bool[np.ndarray, "tilts"]) -> tuple[int, int]:
    """The image without a place that is nearest in tilt to one with a place, and that one."""
    new, old = np.flatnonzero(~placed), np.flatnonzero(placed)
    gap = np.abs(tilt[new, None] - tilt[old])
    i, j = np.unravel_index(np.argmin(gap), gap.shape)
    return int(new[i]), int(old[j])


def _place(
    images: Float[torch.Tensor, "tilts rows columns"], geometry: TiltGeometry, new: int, old: int, pixel_size: float
) -> TiltGeometry:
    """The geometry with the shift of one image by its correlation with another."""
    rotation = geometry.rotation.copy()
    rotation[new] = rotation[old]
    pair = np.array([old, new])
    two = replace(geometry, rotation=rotation).select(pair)
    found, _ = coarse_alignment(images[torch.from_numpy(pair)], two, pixel_size)
    maps = image_maps(two)
    before, after = (np.linalg.solve(maps[k], found.shift[k]) for k in range(2))
    where = np.linalg.solve(maps[0], geometry.shift[old]) + after - before
    shift = geometry.shift.copy()
    shift[new] = maps[1] @ where
    return replace(geometry, shift=shift, rotation=rotation)


def settle(
    pairs: PairMeasurement,
    geometry: TiltGeometry,
    points: Float[np.ndarray, "patches 3"],
    known: Bool[np.ndarray, "tilts"],
) -> tuple[TiltGeometry, Float[np.ndarray, "patches 3"]]:
    """Places of patches in a geometry that stays as it is, and shifts of the images that it guessed.

    Args:
        pairs: Displacements measured with `geometry` at `points`.
        geometry: Of all images.
        points: Patch positions (z, y, x), Å.
        known: Which images are where they belong; only these say where the patches are.
    """
    moves = np.linalg.inv(image_maps(geometry)) @ point_derivative(geometry)
    first, second = pairs.first, pairs.second
    sure = known[first] & known[second]
    design = (moves[second] - moves[first])[sure]
    moved, information = pairs.displacement[:, sure], pairs.information[:, sure]
    weight = np.ones(information.shape[:2])
    step = np.zeros_like(points)
    for _ in range(5):
        own = information * weight[..., None]
        normal = np.einsum("qca,pqc,qcb->pab", design, own, design)
        # In the plane a patch is where it is: pairs of near tilts hardly tell, and it only has to be somewhere there.
        tie = np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.diag([1e-3, 1.0, 1.0])
        right = np.einsum("qca,pqc,pqc->pa", design, own, moved)
        step = np.linalg.solve(normal + tie + 1e-12 * np.eye(3), right[..., None])[..., 0]
        square = ((moved - np.einsum("qca,pa->pqc", design, step)) ** 2 * information).sum(-1) / 2
        seen = information.min(-1) > 0
        scale = float(np.median(square[seen]) / 0.693) if seen.any() else 1.0
        weight = 6 / (4 + 2 * square / max(scale, 1e-6))
    left = pairs.displacement - np.einsum("qca,pa->pqc", moves[second] - moves[first], step)
    shift = geometry.shift.copy()
    for k in np.flatnonzero(~known):
        ends = [(second == k) & known[first], (first == k) & known[second]]
        gaps = np.concatenate([left[:, ends[0]].reshape(-1, 2), -left[:, ends[1]].reshape(-1, 2)])
        strong = np.concatenate([pairs.information[:, end].min(-1).reshape(-1) for end in ends]) > 0
        if strong.any():
            shift[k] += image_maps(geometry)[k] @ np.median(gaps[strong], 0)
    return replace(geometry, shift=shift), points + step
