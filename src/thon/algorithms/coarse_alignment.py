"""First shifts of a tilt series, from nothing: neighbours are compared outward from the smallest tilt."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.patch_pairs import image_maps, unroll
from thon.data.geometry import TiltGeometry
from thon.ops.fourier import band_pass, radius_grid


def masked_correlation(
    first: Float[torch.Tensor, "rows columns"],
    second: Float[torch.Tensor, "rows columns"],
    first_mask: Float[torch.Tensor, "rows columns"],
    second_mask: Float[torch.Tensor, "rows columns"],
    min_overlap: float = 0.3,
) -> Float[torch.Tensor, "lags_y lags_x"]:
    """Correlation coefficient of two masked images over the part they share, for every shift.

    Args:
        first: Reference.
        second: Image that is looked for in it.
        first_mask: 1 where the reference was measured, 0 elsewhere.
        second_mask: The same for the image.
        min_overlap: Share of the larger mask below which a shift is not considered (its value is −1).

    Returns:
        Entry (dy, dx), wrapping around for negative lags: how well `second`, moved by (−dy, −dx), fits `first`; the
        lag is where `second` shows what `first` shows at its place, minus that place.

    Source: Padfield 2012, doi:10.1109/TIP.2011.2181402.
    """
    shape = (2 * first.shape[0], 2 * first.shape[1])
    f, g = first * first_mask, second * second_mask

    def spectrum(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft2(x, s=shape)

    def correlate(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft2(a.conj() * b, s=shape)

    f1, g1, m1, m2 = (spectrum(x) for x in (f, g, first_mask, second_mask))
    overlap = correlate(m1, m2).clamp(min=1e-3)
    sum_f, sum_g = correlate(f1, m2), correlate(m1, g1)
    covariance = correlate(f1, g1) - sum_f * sum_g / overlap
    variance_f = correlate(spectrum(f * f), m2) - sum_f**2 / overlap
    variance_g = correlate(m1, spectrum(g * g)) - sum_g**2 / overlap
    floor = 1e-6 * max(float(variance_f.max()), float(variance_g.max()), 1e-12)
    coefficient = covariance / (variance_f.clamp(min=floor) * variance_g.clamp(min=floor)).sqrt()
    enough = overlap > min_overlap * max(float(first_mask.sum()), float(second_mask.sum()))
    return torch.where(enough, coefficient, -torch.ones_like(coefficient))


def peak_lag(surface: Float[torch.Tensor, "lags_y lags_x"]) -> tuple[np.ndarray, float]:
    """Lag (y, x) of the highest value of a wrapped correlation, to a fraction of a pixel, and that value."""
    rows, columns = surface.shape
    best = int(surface.argmax())
    y, x = divmod(best, columns)
    lag = []
    for at, n, line in ((y, rows, surface[:, x]), (x, columns, surface[y])):
        before, middle, after = (float(line[(at + d) % n]) for d in (-1, 0, 1))
        bend = 2 * middle - before - after
        step = 0.5 * (after - before) / bend if bend > 1e-9 and min(before, after) > -1 else 0.0
        lag.append((at if at < n // 2 else at - n) + float(np.clip(step, -0.5, 0.5)))
    return np.array(lag), float(surface.max())


def coarse_alignment(
    images: Float[torch.Tensor, "tilts rows columns"],
    geometry: TiltGeometry,
    pixel_size: float,
    *,
    stretch: bool = True,
    low: float = 0.02,
    high: float = 0.25,
) -> tuple[TiltGeometry, Float[np.ndarray, "tilts"]]:
    """Shift each image onto its already aligned neighbour, from the smallest tilt outward.

    Args:
        images: Raw images, small (about 256 px).
        geometry: Nominal geometry; its shifts are ignored.
        pixel_size: Of these images, Å.
        stretch: Unroll the images onto the specimen's plane first; not useful before the tilt axis is known.
        low: Lower end of the band used, cycles per pixel.
        high: Upper end.

    Returns:
        The geometry with shifts, and the correlation of each image with its neighbour (1 for the first).
    """
    shape = (images.shape[-2], images.shape[-1])
    start = TiltGeometry(geometry.tilt, np.zeros((len(geometry), 2)), geometry.rotation, geometry.x_tilt)
    flat = start if stretch else TiltGeometry.nominal(np.zeros(len(geometry)))
    band = band_pass(radius_grid(shape, images.device, images.dtype), low, high)
    smooth = torch.fft.irfft2(torch.fft.rfft2(images - images.mean((-2, -1), keepdim=True)) * band, s=shape)
    smooth = smooth.clamp(*(s * 4 * float(smooth.std()) for s in (-1, 1)))
    frames, masks = unroll(smooth, flat, pixel_size, shape)
    masks = (masks > 0.99).to(images.dtype)
    order = np.argsort(geometry.tilt, kind="stable")
    zero = int(np.argmin(np.abs(geometry.tilt[order])))
    place = np.zeros((len(order), 2))  # where the specimen's centre lies in each frame, px
    score = np.ones(len(order))
    for side in (range(zero + 1, len(order)), range(zero - 1, -1, -1)):
        for i in side:
            j = i - 1 if i > zero else i + 1
            a, b = order[j], order[i]
            surface = masked_correlation(frames[a], frames[b], masks[a], masks[b])
            lag, score[b] = peak_lag(surface)
            place[b] = place[a] + lag
    maps = image_maps(flat)
    return TiltGeometry(
        geometry.tilt, np.einsum("kij,kj->ki", maps, place) * pixel_size, geometry.rotation, geometry.x_tilt
    ), score
