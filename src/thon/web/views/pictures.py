"""Grey values and bytes of the pictures that a browser shows: rows from the top down, eight bits.

The files count rows from the bottom of the picture up; they are turned here and nowhere else.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from fastapi import Depends, Query, Response
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from pydantic import AllowInfNan

from thon.formats.png import MAD_TO_SIGMA
from thon.web.faults import AbsentError

SAMPLE = 1 << 12
"""Pixels by which grey values are chosen."""

STANDS_OUT = 1.8
"""How much farther than the dark end the bright end must lie from the median for matter to stand out."""

QUALITY = 90
"""Of JPEG, in which tiles and slices are sent: noise does not compress otherwise."""

KINDS = {"jpg": "image/jpeg", "png": "image/png"}

PICTURE: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in KINDS.values()}}}
"""What routes that answer with pictures say of themselves."""

FRESH = "private, max-age=3600"
"""What was asked for by the number of an immutable item may be kept by the browser."""


@dataclass(frozen=True)
class Tone:
    """How grey values are spread: median, deviation (found by the median, so that gold does not count) and ends."""

    centre: float
    sigma: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, image: Shaped[np.ndarray, "..."]) -> Tone:
        """That of an image, by some of its pixels."""
        values = _sampled(image)
        centre = float(np.median(values))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(values - centre)))
        return cls(centre, spread, float(values.min()), float(values.max()))

    @classmethod
    def of_matter(cls, image: Shaped[np.ndarray, "..."]) -> Tone:
        """That of an image in which matter stands out, as a class average: black and white lie at its ends.

        Where nothing stands out above the rest, as in a tomogram, the same as `of`.
        """
        tone = cls.of(image)
        low, high = (float(value) for value in np.percentile(_sampled(image), (0.2, 99.8)))
        if high - tone.centre <= STANDS_OUT * (tone.centre - low):
            return tone
        return cls((low + high) / 2, (high - low) / 6, tone.lowest, tone.highest)

    def limits(self, contrast: Contrast) -> tuple[float, float]:
        """Grey values to show as black and white."""
        if self.sigma <= 0:
            middle, half = (self.lowest + self.highest) / 2, (self.highest - self.lowest) / 2 or 0.5
            return middle - half, middle + half
        centre = self.centre - contrast.brightness * self.sigma
        low, high = centre - contrast.width * self.sigma, centre + contrast.width * self.sigma
        return low, high


def _sampled(image: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "k"]:
    """Some of an image's finite pixels; 0 and 1 where there are none."""
    step = max(1, int((image.size / SAMPLE) ** 0.5))
    values = np.asarray(image[..., ::step, ::step], np.float64)
    values = values[np.isfinite(values)]
    return values if values.size else np.array([0.0, 1.0])


@dataclass(frozen=True)
class Contrast:
    """What a person asked for.

    Args:
        width: Standard deviations from the median to black and to white.
        brightness: Standard deviations by which the picture is made brighter.
    """

    width: float = 3.0
    brightness: float = 0.0


def asked_contrast(
    contrast: Annotated[float, Query(description="σ to black and white"), Ge(0.05), Le(100), AllowInfNan(False)] = 3.0,
    brightness: Annotated[float, Query(description="Brighter by σ"), Ge(-100), Le(100), AllowInfNan(False)] = 0.0,
) -> Contrast:
    """The contrast that a URL asks for."""
    return Contrast(contrast, brightness)


AskedContrast = Annotated[Contrast, Depends(asked_contrast)]


def to_eight_bits(
    image: Shaped[np.ndarray, "rows columns"], limits: tuple[float, float]
) -> UInt8[np.ndarray, "rows columns"]:
    """Grey values from 0 to 255 between limits; NaN becomes middle grey."""
    low, high = limits
    if image.dtype.itemsize == 1 and image.dtype.kind in "iu":
        values = np.arange(256, dtype=np.uint8).view(image.dtype)
        return to_eight_bits(values.astype(np.float32)[None], limits)[0][image.view(np.uint8)]
    scaled = np.asarray(image, np.float32) - np.float32(low)
    scaled *= np.float32(255 / (high - low))
    np.nan_to_num(scaled, copy=False, nan=127.5, posinf=255, neginf=0)
    np.clip(scaled, 0, 255, out=scaled)
    scaled += 0.5
    return scaled.astype(np.uint8)


def encode(pixels: UInt8[np.ndarray, "..."], kind: str) -> bytes:
    """JPEG or PNG of grey or RGB pixels."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if kind == "png":
        picture.save(stream, "PNG", compress_level=1)
    else:
        picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def picture(pixels: UInt8[np.ndarray, "..."], kind: str) -> Response:
    """An answer with a picture.

    Raises:
        AbsentError: It is asked for as something else than `jpg` or `png`.
    """
    if kind not in KINDS:
        raise AbsentError("pictures are sent as jpg or png", got=kind)
    return Response(encode(pixels, kind), media_type=KINDS[kind], headers={"cache-control": FRESH})


def mean_blocks(image: Shaped[np.ndarray, "rows columns"], factor: int) -> Float[np.ndarray, "rows2 columns2"]:
    """Means of square blocks; those at the far edges are filled up with the last row and column."""
    if factor == 1:
        return np.asarray(image, np.float32)
    rows, columns = image.shape
    short = (-rows % factor, -columns % factor)
    if any(short):
        image = np.pad(image, ((0, short[0]), (0, short[1])), mode="edge")
    values = np.asarray(image, np.float32)
    # Whole rows are added first, which is several times quicker than a mean over two axes of a reshaped array.
    summed = values[::factor].copy()
    for k in range(1, factor):
        summed += values[k::factor]
    total = summed[:, ::factor].copy()
    for k in range(1, factor):
        total += summed[:, k::factor]
    total /= np.float32(factor * factor)
    return total
