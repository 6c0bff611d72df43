"""What lies in the ice and where: molecules and gold beads, and how one exposure sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from thon.data.geometry import TiltGeometry

_TRIALS = 40


@dataclass(frozen=True)
class Specimen:
    """A layer of ice with what is in it; places are (z, y, x) from its centre, Å.

    Args:
        position: Centres of the molecules.
        rotation: Of each, from the reference to the specimen, on (z, y, x).
        beads: Centres of gold beads.
        bead_diameter: Å.
        thickness: Of the ice, Å.
        carbon: Thickness of a carbon film, Å.
    """

    position: Float[np.ndarray, "particles 3"]
    rotation: Float[np.ndarray, "particles 3 3"]
    beads: Float[np.ndarray, "beads 3"]
    bead_diameter: float
    thickness: float
    carbon: float = 0.0


@dataclass(frozen=True)
class View:
    """A specimen as one exposure sees it.

    Args:
        position: Molecules in the image, (y, x) from its centre, Å.
        height: Of each above the specimen's centre along the beam, Å.
        rotation: Of each, from the reference to the image.
        beads: Beads in the image, (y, x) from its centre, Å.
        bead_height: Of each, Å.
        slope: Rise of the ice layer's middle along y and x of the image, 1.
        offset: Where the specimen's centre falls, (y, x) from the image's centre, Å.
        path: Thickness of the ice along the beam, Å.
        carbon: That of the carbon film, Å.
    """

    position: Float[np.ndarray, "particles 2"]
    height: Float[np.ndarray, "particles"]
    rotation: Float[np.ndarray, "particles 3 3"]
    beads: Float[np.ndarray, "beads 2"]
    bead_height: Float[np.ndarray, "beads"]
    slope: Float[np.ndarray, "2"]
    offset: Float[np.ndarray, "2"]
    path: float
    carbon: float


def view_specimen(specimen: Specimen, geometry: TiltGeometry, tilt: int) -> View:
    """What one tilt of a geometry sees of a specimen."""
    matrix = view_rotation(geometry, tilt)
    seen = [geometry.project(points)[tilt] for points in (specimen.position, specimen.beads)]
    normal = matrix[:, 0]
    return View(
        position=seen[0],
        height=specimen.position @ matrix[0],
        rotation=matrix @ specimen.rotation,
        beads=seen[1],
        bead_height=specimen.beads @ matrix[0],
        slope=-normal[1:] / normal[0],
        offset=geometry.shift[tilt],
        path=specimen.thickness / float(normal[0]),
        carbon=specimen.carbon / float(normal[0]),
    )


def view_rotation(geometry: TiltGeometry, tilt: int) -> Float[np.ndarray, "3 3"]:
    """Rotation of (z, y, x) from the specimen to the image of one tilt; its first row gives the height."""
    beta, theta, phi = (math.radians(getattr(geometry, name)[tilt]) for name in ("x_tilt", "tilt", "rotation"))
    about_x = np.array([[math.cos(beta), math.sin(beta), 0], [-math.sin(beta), math.cos(beta), 0], [0, 0, 1]])
    about_y = np.array([[math.cos(theta), 0, -math.sin(theta)], [0, 1, 0], [math.sin(theta), 0, math.cos(theta)]])
    about_z = np.array([[1, 0, 0], [0, math.cos(phi), math.sin(phi)], [0, -math.sin(phi), math.cos(phi)]])
    return about_z @ about_y @ about_x


def random_rotations(count: int, random: np.random.Generator) -> Float[np.ndarray, "count 3 3"]:
    """Rotations without a preferred orientation."""
    q = random.normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def place_apart(
    count: int,
    extent: Float[np.ndarray, "3"],
    distance: float,
    random: np.random.Generator,
    *,
    flat: bool = False,
) -> Float[np.ndarray, "placed 3"]:
    """Random places (z, y, x) in a box around the origin, none nearer to another than a distance.

    Args:
        count: How many are wanted; fewer come back where no more fit.
        extent: Sides of the box, Å.
        distance: Between any two, Å.
        random: Source of numbers.
        flat: Count the distance as seen along z only.
    """
    placed = np.zeros((0, 3))
    for _ in range(count * _TRIALS):
        if len(placed) == count:
            break
        place = random.uniform(-0.5, 0.5, 3) * extent
        if _is_apart(placed, place, distance, flat=flat):
            placed = np.concatenate([placed, place[None]])
    return placed


def _is_apart(
    placed: Float[np.ndarray, "placed 3"], place: Float[np.ndarray, "3"], distance: float, *, flat: bool
) -> bool:
    gaps = (placed - place)[:, 1:] if flat else placed - place
    return not bool(((gaps**2).sum(1) < distance**2).any())


def inside_image(
    position: Float[np.ndarray, "points 2"], shape: tuple[int, int], pixel_size: float
) -> Bool[np.ndarray, "points"]:
    """Which places (y, x) in Å from an image's centre lie on it."""
    pixel = position / pixel_size + np.array([n // 2 for n in shape])
    return np.all((pixel >= 0) & (pixel <= np.array(shape) - 1), axis=1)
