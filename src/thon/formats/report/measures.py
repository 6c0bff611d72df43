"""Numbers that figures and tables share, so that both show the same."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import TiltSeries


def residual_length(residual: Float[np.ndarray, "points tilts 2"]) -> Float[np.ndarray, "points tilts"]:
    """Length of each residual, Å; NaN where not seen or rejected."""
    return np.hypot(residual[..., 0], residual[..., 1])


def root_mean_square(values: Float[np.ndarray, "first second"], axis: int) -> Float[np.ndarray, "kept"]:
    """Root mean square along an axis over the finite values; NaN where there are none."""
    finite = np.isfinite(values)
    count = finite.sum(axis)
    total = np.where(finite, np.nan_to_num(values) ** 2, 0).sum(axis)
    return np.sqrt(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


def overall_rms(values: Float[np.ndarray, "first second"]) -> float:
    """Root mean square of all finite values; NaN where there are none."""
    return float(root_mean_square(values.reshape(1, -1), 1)[0])


def excluded_mask(series: TiltSeries) -> Bool[np.ndarray, "tilts"]:
    """True for the images that take no part."""
    return np.isin(np.arange(len(series)), list(series.excluded))


def image_grid(series: TiltSeries, points: int) -> Float[np.ndarray, "positions 2"]:
    """Positions (y, x) in Å from the image's centre on a regular grid that leaves a small border."""
    rows, columns = (np.linspace(-0.5, 0.5, 2 * points + 1)[1::2] * n * series.pixel_size for n in series.image_shape)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def local_displacement(
    geometry: TiltGeometry, position: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "tilts points 2"]:
    """Local displacement (y, x) in Å at raw image positions (y, x) in Å from the image's centre; zero without a field.

    The field is read where a rigid alignment would put the positions: its own displacement is too small to matter.
    """
    if geometry.local is None:
        return np.zeros((len(geometry), len(position), 2))
    phi = np.deg2rad(geometry.rotation)[:, None]
    y, x = np.moveaxis((position[None] - geometry.shift[:, None]) / geometry.magnification[:, None, None], -1, 0)
    return geometry.local(np.stack([y * np.cos(phi) - x * np.sin(phi), y * np.sin(phi) + x * np.cos(phi)], -1))


def local_rms(series: TiltSeries) -> Float[np.ndarray, "tilts"]:
    """Root mean square length of the local displacement over each image, Å."""
    moved = local_displacement(series.geometry, image_grid(series, 9))
    return np.sqrt((moved**2).sum(-1).mean(-1))


def nice_length(extent: float, share: float = 0.2) -> float:
    """A round length (1, 2 or 5 times a power of ten) of about `share` of the extent."""
    wanted = extent * share
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(max((m * power for m in (1, 2, 5) if m * power <= wanted * 1.001), default=power))


def length_text(length: float) -> str:
    """A round length in Å as text in nm or µm."""
    return f"{length / 1e4:g} µm" if length >= 1e4 else f"{length / 10:g} nm"


def number(value: float, digits: int) -> str:
    """A number with a fixed count of decimals and a proper minus; a dash for NaN."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def with_sigma(value: float, sigma: float, digits: int) -> str:
    """A number with its standard deviation, where that is known and not zero."""
    return number(value, digits) + (f" ± {number(sigma, digits)}" if np.isfinite(sigma) and sigma > 0 else "")
