"""A movie of a random specimen whose motion is known, made without thon's own interpolation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from thon.algorithms.motion_frames import Exposure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MovieOfKnownMotion:
    """Frames and truth.

    Args:
        frames: (frames, rows, columns).
        specimen: What the first frame would show without noise.
        pixel_size: Å.
        exposure: Dose.
        whole: (frames, 2), displacement of the whole frame, Å.
        local: Amplitude of the local displacement, Å.
    """

    frames: Array
    specimen: Array
    pixel_size: float
    exposure: Exposure
    whole: Array
    local: float

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> NDArray[np.float32]:
        return self.frames[k].astype(np.float32)

    def truth(self, place: Array) -> Array:
        """Displacement at places from −½ to ½, (frames, points, 2), Å."""
        return self.whole[:, None] + self.local * bend(place) * _time(len(self))[:, None, None]


def bend(place: Array) -> Array:
    """Shape of the local displacement, (points, 2)."""
    y, x = 2 * place.T
    return np.stack([np.sin(1.2 * y) + 0.3 * x * y - 0.2 * x**2, np.cos(1.5 * x + 0.5) - 0.4 * y], -1)


def _time(frames: int) -> Array:
    t = np.arange(frames) / (frames - 1)
    return 1.5 * t - 0.5 * t**2


def make_movie(
    shape: tuple[int, int] = (330, 384),
    frames: int = 12,
    *,
    drift: float = 20.0,
    local: float = 0.0,
    dose: float = 2.0,
    pixel_size: float = 2.0,
    gain: float = 0.0,
    noise: bool = True,
    contrast: float = 0.15,
    seed: int = 0,
) -> MovieOfKnownMotion:
    """Shift and warp by high-order splines, sample Poisson counts."""
    generator = np.random.default_rng(seed)
    margin = 40
    size = tuple(n + 2 * margin for n in shape)
    q = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])) / pixel_size
    form = q / (1 + (q * 30) ** 2) * np.exp(-100 / 4 * q**2) * (q < 0.4 / pixel_size)
    image = np.fft.irfft2(np.fft.rfft2(generator.normal(size=size)) * form, s=size)
    image *= contrast / image.std()
    smooth = scipy.ndimage.spline_filter(image, 5)
    t = np.arange(frames) / max(frames - 1, 1)
    whole = drift * np.stack([t**0.6, 0.6 * np.sin(2 * t)], -1)
    movie = MovieOfKnownMotion(np.empty((frames, *shape)), np.empty(shape), pixel_size,
                               Exposure(300.0, dose), whole, local)  # fmt: skip
    pixels = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float64) for n in shape), indexing="ij"), -1)
    pattern = 1 + gain * generator.normal(size=shape)
    clean: list[Array] = []
    for k in range(frames):
        back = np.zeros_like(pixels)
        for _ in range(4):
            place = ((pixels + back) / (np.array(shape) - 1) - 0.5).reshape(-1, 2)
            moved = local * bend(place) * _time(frames)[k] if frames > 1 else np.zeros((len(place), 2))
            back = -(whole[k] + moved).reshape(pixels.shape) / pixel_size
        where = (pixels + back + margin).transpose(2, 0, 1)
        clean.append(scipy.ndimage.map_coordinates(smooth, where, order=5, prefilter=False))
        rate = np.clip(dose * pixel_size**2 * (1 + clean[k]), 0, None)
        movie.frames[k] = (generator.poisson(rate) if noise else rate) * pattern
    movie.specimen[:] = clean[0]
    return movie


def track_error(found: Array, truth: Array) -> float:
    """Root mean square difference of tracks (frames, ..., 2) along one axis, each place's mean aside."""
    off = found - truth
    return float(np.sqrt(((off - off.mean(0)) ** 2).mean()))
