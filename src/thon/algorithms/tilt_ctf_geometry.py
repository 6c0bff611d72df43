"""Height of a flat specimen under the beam, hence its defocus, anywhere in a tilted image.

Along the beam a specimen point lies at the height w = −x sin θ + z' cos θ, in the terms of `thon.data.geometry`: the
third row of RELION's projection. Its defocus is that at the image's centre plus hand · (w − w at the centre), with the
hand +1 or −1 as in RELION's `rlnTomoHand`. For a flat specimen the height is linear in the image,

    w = −u tan θ + v tan β / cos θ + constant

so that neither the shift nor the specimen's height changes how the defocus varies over an image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from thon.data.ctf import TiltCtf
from thon.data.geometry import TiltGeometry

STEEPEST = 85.0
"""Tilt, degrees, at which slopes stop to grow: a trial inclination must not turn a specimen over."""


def level(geometry: TiltGeometry, inclination: tuple[float, float]) -> TiltGeometry:
    """The geometry of a specimen that is inclined by (tilt offset, x-tilt), degrees, against the series' own."""
    return replace(geometry, tilt=geometry.tilt + inclination[0], x_tilt=geometry.x_tilt + inclination[1])


def height_slope(geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2"]:
    """By how much a flat specimen rises along the beam over each raw image's (y, x), Å/Å."""
    tilt, pitch = _angles(geometry)
    return _along_image(np.stack([np.tan(pitch) / np.cos(tilt), -np.tan(tilt)], -1), geometry)


def height_slope_gradient(geometry: TiltGeometry) -> Float[np.ndarray, "2 tilts 2"]:
    """Change of `height_slope` with the tilt, then with the x-tilt, per degree."""
    tilt, pitch = _angles(geometry)
    with_tilt = np.stack([np.tan(pitch) * np.tan(tilt) / np.cos(tilt), -1 / np.cos(tilt) ** 2], -1)
    with_pitch = np.stack([1 / (np.cos(pitch) ** 2 * np.cos(tilt)), np.zeros_like(tilt)], -1)
    return np.deg2rad(np.stack([_along_image(one, geometry) for one in (with_tilt, with_pitch)]))


def defocus_at(
    ctf: TiltCtf,
    geometry: TiltGeometry,
    points: Float[np.ndarray, "points 3"],
    *,
    hand: int,
    inclination: tuple[float, float] = (0.0, 0.0),
) -> Float[np.ndarray, "tilts points"]:
    """Mean defocus at specimen points in each image, Å.

    Args:
        ctf: At the centres of the images, as fitted on a specimen whose middle goes through the origin.
        geometry: As aligned.
        points: (z, y, x), Å from the tomogram's centre; (0, 0, 0) gives what RELION's tilt-series files hold.
        hand: +1 or −1.
        inclination: Of the specimen, as fitted: tilt offset and x-tilt, degrees.
    """
    z, y, x = np.asarray(points, np.float64).T
    tilt, pitch = np.deg2rad(geometry.tilt)[:, None], np.deg2rad(geometry.x_tilt)[:, None]
    height = -x * np.sin(tilt) + (y * np.sin(pitch) + z * np.cos(pitch)) * np.cos(tilt)
    centre = -(height_slope(level(geometry, inclination)) * geometry.shift).sum(-1)
    return ctf.defocus[:, None] + hand * (height - centre[:, None])


def ctf_at_origin(ctf: TiltCtf, geometry: TiltGeometry, *, hand: int) -> TiltCtf:
    """The CTFs where the specimen's origin lies in each image, in place of those at the images' centres."""
    change = defocus_at(ctf, geometry, np.zeros((1, 3)), hand=hand)[:, 0] - ctf.defocus
    return replace(ctf, defocus_u=ctf.defocus_u + change, defocus_v=ctf.defocus_v + change)


def _angles(geometry: TiltGeometry) -> tuple[Float[np.ndarray, "tilts"], Float[np.ndarray, "tilts"]]:
    limited = (np.clip(angle, -STEEPEST, STEEPEST) for angle in (geometry.tilt, geometry.x_tilt))
    tilt, pitch = (np.deg2rad(angle) for angle in limited)
    return tilt, pitch


def _along_image(slope: Float[np.ndarray, "tilts 2"], geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2"]:
    """A slope along (v, u) as one along the raw image's (y, x)."""
    turn = np.deg2rad(geometry.rotation)
    along, across = slope[:, 0], slope[:, 1]
    y, x = along * np.cos(turn) + across * np.sin(turn), across * np.cos(turn) - along * np.sin(turn)
    return np.stack([y, x], -1) / geometry.magnification[:, None]
