"""A short animation as separate frames, for a page that plays them itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped, UInt8

from thon.formats.png import encode_webp, shrink, to_gray

SIDES = (448, 320, 224, 160, 112, 80, 64)
"""Sides of the frames that are tried, px, from the finest."""

QUALITIES = (70, 40)
"""WebP qualities that are tried at each side."""


def encode_frames(images: Sequence[Shaped[np.ndarray, "rows columns"]], limit: int = 1_100_000) -> tuple[bytes, ...]:
    """WebP frames of grey images, each with its own robust contrast, as fine as `limit` bytes for all allow.

    A third more is needed when they are written as base64: the default makes about 1.5 MB of text. The images' rows
    count upwards, as everywhere in thon; the frames are turned to show that.
    """
    if not images:
        return ()
    for side in SIDES:
        frames = [to_gray(np.flipud(shrink(image, side))) for image in images]
        for quality in QUALITIES:
            if _expected_size(frames, quality) > limit:
                continue
            encoded = tuple(encode_webp(frame, quality) for frame in frames)
            if sum(map(len, encoded)) <= limit:
                return encoded
    return tuple(encode_webp(to_gray(np.flipud(shrink(image, SIDES[-1]))), QUALITIES[-1]) for image in images)


def _expected_size(frames: list[UInt8[np.ndarray, "rows columns"]], quality: int) -> float:
    """Size of all frames in bytes, judged by three of them."""
    some = frames[:: max(1, len(frames) // 3)][:3]
    return len(frames) / len(some) * sum(len(encode_webp(frame, quality)) for frame in some)
