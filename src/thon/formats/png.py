"""Pictures for people: grey values with robust contrast, PNG and WebP bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image

from thon.base.errors import InputError
from thon.formats.atomic import atomic_path

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution per median absolute deviation."""


def robust_range(image: Shaped[np.ndarray, "..."], width: float = 3.0) -> tuple[float, float]:
    """Grey values to show as black and white: the median ± `width` standard deviations, within the data.

    The deviation is estimated by the median, so that gold beads and hot pixels do not count. Never an empty interval.
    """
    values = np.asarray(image, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    centre = float(np.median(values))
    spread = width * MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))
    lowest, highest = float(values.min()), float(values.max())
    low, high = max(lowest, centre - spread), min(highest, centre + spread)
    if high > low:
        return low, high
    return (lowest, highest) if highest > lowest else (lowest - 0.5, lowest + 0.5)


def to_gray(
    image: Shaped[np.ndarray, "rows columns"], limits: tuple[float, float] | None = None
) -> UInt8[np.ndarray, "rows columns"]:
    """Grey values from 0 to 255 between `limits` (found by `robust_range` unless given); NaN becomes middle grey."""
    low, high = robust_range(image) if limits is None else limits
    values = np.nan_to_num((np.asarray(image, np.float64) - low) / (high - low), nan=0.5, posinf=1, neginf=0)
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def shrink(image: Shaped[np.ndarray, "rows columns"], side: int) -> Float[np.ndarray, "rows2 columns2"]:
    """The image with its longer side at most `side` pixels, by a Lanczos filter; NaN counts as the median."""
    values = np.asarray(image, np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, np.median(values[finite]) if finite.any() else 0).astype(np.float32)
    factor = side / max(values.shape)
    if factor >= 1:
        return values
    rows, columns = (max(1, round(n * factor)) for n in values.shape)
    return np.asarray(Image.fromarray(values).resize((columns, rows), Image.Resampling.LANCZOS))


def encode_png(pixels: Shaped[np.ndarray, "..."]) -> bytes:
    """PNG bytes of grey, RGB or RGBA pixels; the first row is the upper one."""
    return _encode(pixels, "PNG")


def encode_webp(pixels: Shaped[np.ndarray, "..."], quality: int | None = None) -> bytes:
    """WebP bytes of grey, RGB or RGBA pixels; lossless without a quality (0 to 100)."""
    if quality is None:
        return _encode(pixels, "WEBP", lossless=True, quality=50, method=2)
    return _encode(pixels, "WEBP", quality=quality, method=2)


def write_png(path: str | Path, pixels: Shaped[np.ndarray, "..."]) -> None:
    """Write grey, RGB or RGBA pixels as a PNG file; the file appears at once and whole."""
    content = encode_png(pixels)
    with atomic_path(Path(path)) as temporary:
        Path(temporary).write_bytes(content)


def _encode(pixels: Shaped[np.ndarray, "..."], kind: str, **settings: object) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise InputError(
            "not a picture", got=f"{pixels.dtype} {pixels.shape}", expected="uint8, (rows, columns[, 3 or 4])"
        )
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, kind, **settings)
    return stream.getvalue()
