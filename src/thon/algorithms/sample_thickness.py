"""Where along z the sample is, and how it is inclined, from what two independent volumes have in common."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import scipy
import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float

from thon.algorithms.reconstruct import ReconstructOptions, reconstruct
from thon.base.options import Options, Unit
from thon.data.alignment import ThicknessProfile
from thon.data.geometry import TiltGeometry


class ThicknessOptions(Options):
    """How the sample's faces are found."""

    max_thickness: Annotated[float, Unit("Å"), Gt(0)] = 6000.0
    """Height of the volume in which the sample is looked for."""

    voxel_size: Annotated[float, Unit("Å"), Gt(0)] = 40.0
    """Voxel of that volume; finer than the images it becomes theirs."""

    level: Annotated[float, Unit("1"), Gt(0), Lt(1)] = 0.35
    """A face lies where the reproducible signal falls to this share of its plateau above the background."""

    blocks: Annotated[int, Unit("1"), Ge(2)] = 4
    """Blocks along each side whose heights give the inclination."""


def measure_thickness(
    images: Float[torch.Tensor, "tilts rows columns"],
    geometry: TiltGeometry,
    pixel_size: float,
    options: ThicknessOptions | None = None,
) -> ThicknessProfile:
    """Reconstruct coarse half volumes and find the heights at which they agree.

    Args:
        images: Aligned by `geometry`; small images do.
        geometry: Of the images.
        pixel_size: Of these images, Å.
        options: How.

    Returns:
        The profile; its faces are those of the volume where no background is seen.
    """
    options = options or ThicknessOptions()
    field = min(images.shape[-2:]) * pixel_size
    made = reconstruct(
        images.clamp(-3, 3),
        geometry,
        pixel_size,
        ReconstructOptions(
            method="WBP",
            bin=max(1.0, options.voxel_size / pixel_size),
            thickness=min(options.max_thickness, 0.8 * field),
            halves=True,
        ),
    )
    if made.even is None or made.odd is None:
        raise ValueError("halves were asked for and not made")
    even, odd = (v.double().numpy() for v in (made.even, made.odd))
    even, odd = (np.clip(v, *(s * 4 * v.std() for s in (-1, 1))) for v in (even, odd))
    depth = made.shape[0]
    z = (np.arange(depth) - depth // 2) * made.voxel_size + made.origin[0]
    middle = tuple(slice(n // 6, n - n // 6) for n in made.shape[1:])
    common = scipy.ndimage.gaussian_filter1d((even * odd)[:, *middle], 60 / made.voxel_size, axis=0)
    signal = np.sqrt(np.clip(common.mean((1, 2)), 0, None))
    lower, upper = _faces(z, signal, options.level)
    inclination, sigma = _inclination(common, z, made.voxel_size, (lower, upper), options.blocks)
    return ThicknessProfile(z, signal / max(float(signal.max()), 1e-30), lower, upper, inclination, sigma)


def _faces(z: Float[np.ndarray, "heights"], signal: Float[np.ndarray, "heights"], level: float) -> tuple[float, float]:
    """First and last height at which the signal is above its background, to a fraction of a voxel."""
    floor, plateau = np.quantile(signal, 0.1), np.quantile(signal, 0.9)
    limit = floor + level * (plateau - floor)
    above = np.flatnonzero(signal > limit)
    if len(above) == 0:
        return float(z[0]), float(z[-1])

    def cross(inside: int, outside: int) -> float:
        if not 0 <= outside < len(z):
            return float(z[inside])
        share = (signal[inside] - limit) / max(signal[inside] - signal[outside], 1e-30)
        return float(z[inside] + share * (z[outside] - z[inside]))

    first, last = int(above[0]), int(above[-1])
    return cross(first, first - 1), cross(last, last + 1)


def _inclination(
    common: Float[np.ndarray, "heights rows columns"],
    z: Float[np.ndarray, "heights"],
    voxel_size: float,
    faces: tuple[float, float],
    blocks: int,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Angles of the sample's mid-plane along y and x, degrees, from the mean height of the signal in each block.

    Their standard deviations follow from how they change when a block is left out.
    """
    inside = (z > faces[0] - 300) & (z < faces[1] + 300)
    rows = np.array_split(np.arange(common.shape[1]), blocks)
    columns = np.array_split(np.arange(common.shape[2]), blocks)
    design, height, weight = [], [], []
    for r in rows:
        for c in columns:
            profile = np.clip(common[np.ix_(inside, r, c)].mean((1, 2)), 0, None)
            profile = np.clip(profile - 0.1 * profile.max(), 0, None)
            if profile.sum() > 0:
                design.append([1.0, r.mean() * voxel_size, c.mean() * voxel_size])
                height.append(float((profile * z[inside]).sum() / profile.sum()))
                weight.append(float(np.sqrt(profile.sum())))
    if len(height) < 4:
        return (0.0, 0.0), (90.0, 90.0)
    matrix, middle, scale = np.array(design), np.array(height), np.array(weight)
    slope = _slope(matrix, middle, scale)
    # The jackknife: a block with a bright feature may make the slope all by itself.
    left = np.array([_slope(*(np.delete(one, k, 0) for one in (matrix, middle, scale))) for k in range(len(middle))])
    spread = np.sqrt((len(left) - 1) * left.var(0)) / (1 + slope**2)
    (y, x), (sigma_y, sigma_x) = np.rad2deg(np.arctan(slope)), np.rad2deg(spread)
    return (float(y), float(x)), (float(sigma_y), float(sigma_x))


def _slope(
    matrix: Float[np.ndarray, "blocks 3"], height: Float[np.ndarray, "blocks"], scale: Float[np.ndarray, "blocks"]
) -> Float[np.ndarray, "2"]:
    """Slopes along y and x of the plane through weighted heights."""
    return np.linalg.lstsq(matrix * scale[:, None], height * scale, rcond=None)[0][1:]
