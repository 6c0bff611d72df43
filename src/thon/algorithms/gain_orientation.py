"""Does a gain reference lie on the frames as it should? Each of its eight orientations is compared with the raw frames.

Raw frames carry the detector's sensitivity, which is what the gain divides out: one over it if it multiplies. Over many
millions of pixels even a pattern of a few percent shows in frames of one electron per pixel. The specimen is removed by
a high-pass filter, and what chance gives is measured from tile to tile, so that the verdict is honest: where nothing
correlates, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Bool, Float32, Num

from thon.algorithms.detector import FACTORS, Flip, turn_gain
from thon.base.errors import InputError

ORIENTATIONS: tuple[tuple[int, Flip], ...] = (
    (0, "none"), (1, "none"), (2, "none"), (3, "none"),
    (0, "up-down"), (0, "left-right"), (1, "up-down"), (1, "left-right"),
)  # fmt: skip
"""Quarter turns anticlockwise and mirroring after them: all eight ways, each by as little as it takes."""

EVIDENCE = 6.0
"""Deviations by which the best orientation must stand out of chance, and out of the orientation it is held against."""

_WINDOW = 15
_TILES = 16
_CLIP = 4.0


@dataclass(frozen=True)
class OrientationFit:
    """How well one orientation of the gain fits.

    Args:
        rotate: Quarter turns anticlockwise.
        flip: Mirroring after the turn.
        z: Correlation with the frames in units of what chance gives; negative where the gain is inverted.
        slope: Share of the gain's pattern that the frames show: 1 if it is theirs, −1 if it is inverted.
    """

    rotate: int
    flip: Flip
    z: float
    slope: float


@dataclass(frozen=True)
class GainOrientation:
    """What the frames say of a gain's orientation.

    Args:
        fits: Every orientation that has the frames' shape, the best first.
        used: The one that is in use.
        lead: By how many deviations the best fits better than the one in use; 0 if it is that one.
        inverted: Whether the gain, as used, must be inverted; None without evidence.
    """

    fits: tuple[OrientationFit, ...]
    used: OrientationFit
    lead: float
    inverted: bool | None

    @property
    def best(self) -> OrientationFit:
        """The orientation that fits best, be it by chance."""
        return self.fits[0]

    @property
    def known(self) -> bool:
        """Whether the frames show the gain's pattern at all; not if they were corrected before."""
        return abs(self.best.z) > EVIDENCE

    @property
    def warning(self) -> str | None:
        """What to tell the user; None if the orientation in use is right or nothing can be said."""
        if not self.known:
            return None
        wrong = self.best is not self.used and self.lead > EVIDENCE
        advice = [f"rotate_gain {self.best.rotate}, flip_gain {self.best.flip}"] if wrong else []
        advice += ["the other way of invert_gain"] if self.inverted else []
        if not advice:
            return None
        return (
            f"the gain reference fits the frames better with {' and '.join(advice)} "
            f"(z = {self.best.z:.0f}; as used, rotate_gain {self.used.rotate}, flip_gain {self.used.flip}: "
            f"z = {self.used.z:.0f})"
        )


def find_gain_orientation(
    frame: Num[np.ndarray, "rows columns"],
    gain: Num[np.ndarray, "gain_rows gain_columns"],
    *,
    rotate: int = 0,
    flip: Flip = "none",
    inverted: bool = False,
    bad: Bool[np.ndarray, "rows columns"] | None = None,
) -> GainOrientation:
    """Compare the mean of raw frames with all orientations of a gain reference.

    Args:
        frame: Mean or sum of raw frames, uncorrected. 40 e/px in all suffice for a pattern of 3 %; of a gain that is
            finer or coarser, it is compared on the coarser grid.
        gain: As it was read.
        rotate: The orientation in use: quarter turns anticlockwise,
        flip: and mirroring after them.
        inverted: The gain in use divides.
        bad: True where pixels of the frame are known to be bad.

    Raises:
        InputError: If the gain has another size than the frames, in whatever orientation.
    """
    shape = _common_shape(frame.shape, gain.shape)
    raw = _bin(np.asarray(frame, np.float32), shape)
    seen = np.isfinite(raw) & (raw >= 0)
    if bad is not None:
        seen &= _bin(bad.astype(np.float32), shape) == 0
    untouched = shape if _fits(gain.shape, shape) else (shape[1], shape[0])
    pattern, sure = _sensitivity(gain, untouched, inverted)
    detail = _detail(raw, seen)
    chosen = (rotate, flip) if (rotate, flip) in ORIENTATIONS else _same_as(rotate, flip)
    scores: dict[tuple[int, Flip], np.ndarray] = {}
    for turn, mirror in ORIENTATIONS:
        turned = turn_gain(pattern, turn, mirror)
        if turned.shape == shape:
            scores[turn, mirror] = _tile_sums(detail, turned, seen & turn_gain(sure, turn, mirror))
    if chosen not in scores:
        raise InputError("the gain reference does not fit the frames as it is turned", got=(rotate, flip))
    fits = sorted((_fit(key, sums) for key, sums in scores.items()), key=lambda fit: -abs(fit.z))
    used = next(fit for fit in fits if (fit.rotate, fit.flip) == chosen)
    best = fits[0]
    sign = np.sign(best.z) or 1.0
    lead = 0.0
    if best is not used:
        gap = sign * (scores[best.rotate, best.flip][0] - scores[chosen][0])
        lead = float(gap.sum() / max(_chance(gap), 1e-30))
    known = abs(best.z) > EVIDENCE
    return GainOrientation(tuple(fits), used, lead, bool(best.z < 0) if known else None)


def _common_shape(frame: tuple[int, ...], gain: tuple[int, ...]) -> tuple[int, int]:
    """Shape, as the frames lie, of the coarser grid of the two."""
    for side in (gain, gain[::-1]):
        for factor in FACTORS:
            if (frame[0] * factor, frame[1] * factor) == tuple(side):
                return frame[0], frame[1]
            if (side[0] * factor, side[1] * factor) == tuple(frame):
                return side[0], side[1]
    raise InputError(
        "the gain reference does not fit the frames",
        got=f"{gain[0]} rows, {gain[1]} columns",
        expected=f"{frame[0]} × {frame[1]}, either way round, or 2, 4 or 8 times as many or as few",
    )


def _fits(given: tuple[int, ...], shape: tuple[int, int]) -> bool:
    return given[0] % shape[0] == 0 and given[1] % shape[1] == 0 and given[0] // shape[0] == given[1] // shape[1]


def _bin(
    image: Float32[np.ndarray, "rows columns"], shape: tuple[int, int]
) -> Float32[np.ndarray, "cell_rows cell_columns"]:
    factor = image.shape[0] // shape[0]
    return image.reshape(shape[0], factor, shape[1], factor).mean((1, 3)) if factor > 1 else image


def _sensitivity(
    gain: Num[np.ndarray, "rows columns"], shape: tuple[int, int], inverted: bool
) -> tuple[Float32[np.ndarray, "cell_rows cell_columns"], Bool[np.ndarray, "cell_rows cell_columns"]]:
    """Fine pattern of what the detector must see if the gain is right, and where that is known."""
    values = np.asarray(gain, np.float32)
    alive = np.isfinite(values) & (values > 0)
    seen = values if inverted else np.divide(1, values, out=np.zeros_like(values), where=alive)
    binned, sure = _bin(seen, shape), _bin(alive.astype(np.float32), shape) == 1
    return _detail(binned, sure), sure


def _detail(image: Float32[np.ndarray, "rows columns"], good: Bool[np.ndarray, "rows columns"]) -> np.ndarray:
    """Relative deviation from the mean around each pixel, outliers clipped; 0 where nothing is known."""
    filled = np.where(good, image, np.float32(0))
    share = scipy.ndimage.uniform_filter(good.astype(np.float32), _WINDOW)
    around = scipy.ndimage.uniform_filter(filled, _WINDOW) / np.maximum(share, np.float32(1e-3))
    known = good & (around > 0.05 * float(filled.mean()))
    ratio = np.divide(filled, around, out=np.ones_like(filled), where=known) - 1
    limit = _CLIP * float(np.sqrt(np.mean(np.square(ratio[::3, ::3]), dtype=np.float64)))
    return np.clip(ratio, -limit, limit).astype(np.float32)


def _tile_sums(detail: np.ndarray, pattern: np.ndarray, good: np.ndarray) -> Num[np.ndarray, "2 tiles"]:
    """Products of frame and pattern, and of pattern with itself, summed over tiles."""
    rows = np.linspace(0, len(detail), min(_TILES, len(detail) // 8) + 1).astype(int)
    columns = np.linspace(0, detail.shape[1], min(_TILES, detail.shape[1] // 8) + 1).astype(int)
    sums: list[tuple[float, float]] = []
    for r in range(len(rows) - 1):
        band = np.s_[rows[r] : rows[r + 1]]
        template = np.where(good[band], pattern[band], 0)
        both, own = (
            np.add.reduceat(a.sum(0, np.float64), columns[:-1]) for a in (detail[band] * template, template**2)
        )
        sums += zip(both.tolist(), own.tolist(), strict=True)
    return np.array(sums).T


def _chance(sums: np.ndarray) -> float:
    """Deviation of a total by chance, from the scatter of its tiles about their mean."""
    return float(np.sqrt(len(sums) * np.var(sums, ddof=1)))


def _fit(key: tuple[int, Flip], sums: np.ndarray) -> OrientationFit:
    both, own = sums
    slope = float(both.sum() / max(own.sum(), 1e-30))
    # Only what is left after the fit is chance: a strong pattern varies from tile to tile by itself.
    left = both - slope * own
    return OrientationFit(*key, float(both.sum() / max(_chance(left), 1e-30)), slope)


def _same_as(rotate: int, flip: Flip) -> tuple[int, Flip]:
    """The orientation of `ORIENTATIONS` that is the same as any other turn and mirroring."""
    probe = np.arange(6).reshape(2, 3)
    wanted = turn_gain(probe, rotate, flip)
    return next(key for key in ORIENTATIONS if np.array_equal(turn_gain(probe, *key), wanted))
