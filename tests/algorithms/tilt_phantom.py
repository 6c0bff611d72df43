"""Misaligned tilt series with a known answer: Gaussian blobs projected by formulas that are written out here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thon.data.geometry import TiltGeometry


@dataclass(frozen=True)
class TiltPhantom:
    """A simulated series and its truth; positions are (y, x) or (z, y, x).

    Args:
        images: (tilts, rows, columns).
        pixel_size: Å.
        truth: Geometry without the motion.
        motion: Amplitude of the smooth motion within each image, px.
        dark: Images without signal.
        points: (blobs, 3), where the blobs are, Å.
    """

    images: np.ndarray
    pixel_size: float
    truth: TiltGeometry
    motion: float
    dark: tuple[int, ...]
    points: np.ndarray

    @property
    def tilt(self) -> np.ndarray:
        """Stage tilts, degrees."""
        return self.truth.tilt

    def positions(self, points: np.ndarray) -> np.ndarray:
        """(tilts, points, 2), where specimen points fall in the images, Å from their centres, motion included."""
        return true_positions(points, self.truth, self.motion, self.images.shape[1:], self.pixel_size)


def true_positions(
    points: np.ndarray, truth: TiltGeometry, motion: float, shape: tuple[int, ...], pixel_size: float
) -> np.ndarray:
    """Raw image positions (tilts, points, 2), Å, from the formulas of the geometry, written out once more."""
    z, y, x = points.T
    found = np.empty((len(truth.tilt), len(points), 2))
    for k, (t, a, b) in enumerate(np.deg2rad([truth.tilt, truth.rotation, truth.x_tilt]).T):
        v = y * np.cos(b) - z * np.sin(b)
        u = x * np.cos(t) + (y * np.sin(b) + z * np.cos(b)) * np.sin(t)
        m, (down, right) = truth.magnification[k], truth.shift[k]
        size = motion * pixel_size * np.sin(3 * k / len(truth.tilt))
        waves = 2 * np.pi * v / (shape[0] * pixel_size), 2 * np.pi * u / (shape[1] * pixel_size)
        found[k, :, 0] = m * (u * np.sin(a) + v * np.cos(a)) + down + size * np.cos(waves[1])
        found[k, :, 1] = m * (u * np.cos(a) - v * np.sin(a)) + right + size * np.sin(waves[0])
    return found


def scatter_blobs(
    random: np.random.Generator, shape: tuple[int, int], thickness: float, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (blobs, 3) in px from the centre of a slab that fills the image, sigmas in px and amplitudes."""
    sigma = random.uniform(0.7, 2.3, number) * max(shape) / 256
    half = np.array([max(thickness / 2, 0.5), 0.46 * shape[0], 0.46 * shape[1]])
    position = random.uniform(-1, 1, (number, 3)) * half
    return position, sigma, random.uniform(0.5, 1.5, number) * np.where(random.random(number) < 0.15, -0.5, 1.0)


def draw_blobs(shape: tuple[int, int], centre: np.ndarray, sigma: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Sum of isotropic Gaussians at `centre` (y, x), px index."""
    rows, columns = (
        np.exp(-0.5 * ((np.arange(n)[:, None] - centre[:, a]) / sigma) ** 2).astype(np.float32)
        for a, n in enumerate(shape)
    )
    return (rows * height.astype(np.float32)) @ columns.T


def simulate_series(
    shape: tuple[int, int] = (241, 256),
    *,
    step: float = 6.0,
    span: float = 60.0,
    axis: float = -4.0,
    max_shift: float = 8.0,
    drift: float = 0.0,
    magnification: float = 0.0,
    motion: float = 0.0,
    inclination: tuple[float, float] = (0.0, 0.0),
    thickness: float = 40.0,
    number: int = 300,
    noise: float = 1.0,
    dark: tuple[int, ...] = (),
    seed: int = 0,
    pixel_size: float = 10.0,
) -> TiltPhantom:
    """Simulate a series.

    Args:
        shape: (rows, columns) of the images.
        step: Between tilts, degrees.
        span: Tilts reach from −span to span, degrees.
        axis: Tilt axis, degrees.
        max_shift: Random shift of each image, px; none at zero tilt.
        drift: Steady drift between neighbours along (y, x), px, on top of it.
        magnification: Standard deviation over the tilts, 1.
        motion: Amplitude of smooth motion within the images, px.
        inclination: Slopes dz/dy and dz/dx of the slab, as angles, degrees.
        thickness: Of the slab, px.
        number: Of blobs.
        noise: Standard deviation over that of the signal.
        dark: Indices of images that hold nearly nothing.
        seed: Of everything random.
        pixel_size: Å.
    """
    random = np.random.default_rng(seed)
    tilt = np.arange(-span, span + step / 2, step)
    shift = random.uniform(-max_shift, max_shift, (len(tilt), 2)) + np.outer(np.arange(len(tilt)), (drift, -drift))
    shift -= shift[np.argmin(np.abs(tilt))]
    scale = 1 + random.normal(0, magnification, len(tilt))
    truth = TiltGeometry(tilt, shift * pixel_size, np.full(len(tilt), axis), magnification=scale)
    position, sigma, amplitude = scatter_blobs(random, shape, thickness, number)
    position[:, 0] += position[:, 1:] @ np.tan(np.deg2rad(inclination))
    centre = true_positions(position * pixel_size, truth, motion, shape, pixel_size) / pixel_size
    centre += [n // 2 for n in shape]
    height = amplitude * np.sqrt(2 * np.pi) * sigma
    images = np.stack([draw_blobs(shape, c, sigma * m, height) for c, m in zip(centre, scale, strict=True)])
    deviation = images.std()
    images += (noise * deviation * random.standard_normal(images.shape, np.float32)).astype(np.float32)
    for k in dark:
        images[k] = random.normal(-9 * deviation, 0.1 * noise * deviation + 1e-3 * deviation, shape)
    images += np.float32(10 * deviation)
    return TiltPhantom(images, pixel_size, truth, motion, dark, position * pixel_size)


@dataclass(frozen=True)
class AlignmentError:
    """How far an alignment is from the truth; that the whole specimen lies elsewhere does not count.

    Args:
        shift: Root mean square error of the rigid shift along (y, x), px.
        centre: The same of the image position of the specimen's centre, rigid shift and motion together, px.
        axis: Mean tilt axis minus the true one, degrees.
        position: Root mean square distance between where points of the specimen lie and where one rigid place for each
            would be seen, px.
    """

    shift: np.ndarray
    centre: np.ndarray
    axis: float
    position: float


def judge(
    found: TiltGeometry, phantom: TiltPhantom, kept: np.ndarray, points: np.ndarray | None = None
) -> AlignmentError:
    """Compare a geometry with the truth, on the images that were kept.

    Args:
        found: One entry per image.
        phantom: The truth.
        kept: Images that count.
        points: (points, 3), places in the specimen, Å; the blobs if not given.
    """
    moves = linear_maps(found, kept)
    points = phantom.points if points is None else points
    origin = np.zeros((1, 3))
    rigid = (found.shift - phantom.truth.shift)[kept]
    centre = (found.project(origin) - phantom.positions(origin))[kept, 0]
    place, target = points.copy(), phantom.positions(points)[kept]
    for _ in range(4):  # the field bends the problem slightly
        gap = target - found.project(place)[kept]
        place = place + np.linalg.lstsq(moves.reshape(-1, 3), gap.transpose(0, 2, 1).reshape(-1, len(points)))[0].T
    gap = target - found.project(place)[kept]
    return AlignmentError(
        without_translation(rigid, moves) / phantom.pixel_size,
        without_translation(centre, moves) / phantom.pixel_size,
        float((found.rotation - phantom.truth.rotation)[kept].mean()),
        float(np.sqrt((gap**2).sum(-1).mean())) / phantom.pixel_size,
    )


def linear_maps(geometry: TiltGeometry, kept: np.ndarray) -> np.ndarray:
    """(kept, 2, 3): movement in each image by a movement of the specimen."""
    rigid = TiltGeometry(
        geometry.tilt, np.zeros_like(geometry.shift), geometry.rotation, geometry.x_tilt, geometry.magnification
    )
    return rigid.project(np.eye(3))[kept].transpose(0, 2, 1)


def without_translation(gap: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Root mean square along (y, x) of what no translation of the whole specimen explains."""
    translation = np.linalg.lstsq(moves.reshape(-1, 3), gap.reshape(-1))[0]
    return np.sqrt(np.square(gap - moves @ translation).mean(0))
