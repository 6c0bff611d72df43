"""How far each patch of a specimen lies from itself between the images of a tilt series.

Every image is unrolled onto the specimen's mid-plane, patches are cut around the places where the present geometry
predicts them, and pairs of tilts are correlated. The correlation is weighted by the reproducible part of the spectrum
that the pairs themselves show, so that far pairs, in which depth has blurred the fine detail, speak with their coarse
detail only, and its curvature at the peak is the information of the measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int

from thon import kernels
from thon.algorithms.bundle_model import point_derivative
from thon.data.geometry import TiltGeometry
from thon.ops.fourier import frequency_grid
from thon.ops.threads import map_in_threads


@dataclass(frozen=True)
class PairMeasurement:
    """Displacements between tilts, patch by patch, on the specimen's mid-plane.

    Args:
        first: (pairs,), index of each pair's first tilt.
        second: (pairs,), index of its second tilt.
        displacement: (patches, pairs, 2), what the second shows minus what the first shows, (y, x), Å.
        information: (patches, pairs, 2), inverse variance of each coordinate, Å⁻²; zero where nothing was found.
        correlation: (pairs,), mean weighted correlation of a pair's patches, 0 to 1.
    """

    first: Int[np.ndarray, "pairs"]
    second: Int[np.ndarray, "pairs"]
    displacement: Float[np.ndarray, "patches pairs 2"]
    information: Float[np.ndarray, "patches pairs 2"]
    correlation: Float[np.ndarray, "pairs"]


def plane_maps(geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2 2"]:
    """Matrices from the specimen's plane z = 0, (y, x), to (v, u) of each tilt."""
    unit = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return np.swapaxes(geometry.plane(unit), 1, 2)


def image_maps(geometry: TiltGeometry) -> Float[np.ndarray, "tilts 2 2"]:
    """Matrices from the specimen's plane z = 0, (y, x), to the raw image's (y, x), without the local field."""
    return point_derivative(geometry)[:, :, 1:]


def unroll(
    images: Float[torch.Tensor, "tilts rows columns"], geometry: TiltGeometry, pixel_size: float, shape: tuple[int, int]
) -> tuple[Float[torch.Tensor, "tilts new_rows new_columns"], Float[torch.Tensor, "tilts new_rows new_columns"]]:
    """Show each image as the specimen's plane z = 0 would be seen from above, on one common grid.

    Returns:
        The unrolled images less their mean, zero outside, and 1 where they were imaged.
    """
    new_centre = np.array([shape[0] // 2, shape[1] // 2], np.float64)
    matrices = image_maps(geometry)
    offset = geometry.shift / pixel_size + [n // 2 for n in images.shape[1:]] - matrices @ new_centre
    maps = torch.from_numpy(np.concatenate([matrices, offset[:, :, None]], -1)).to(images.device)
    field = _field_maps(geometry, pixel_size, new_centre, images.device)
    sampled = kernels.sample_images(images, maps, (shape[1], shape[0]), **field)
    covered = kernels.sample_coverage(maps, (images.shape[1], images.shape[2]), (shape[1], shape[0]), **field)
    frames = (sampled - images.mean((-2, -1))[:, None, None]) * covered
    return frames.transpose(1, 2).contiguous(), covered.transpose(1, 2).to(images.dtype)


def _field_maps(
    geometry: TiltGeometry, pixel_size: float, centre: Float[np.ndarray, "2"], device: torch.device
) -> dict[str, torch.Tensor]:
    """The local field as the sampling kernel takes it: displacement in px, and knots by unrolled (row, column, 1)."""
    field = geometry.local
    if field is None:
        return {}
    knots = plane_maps(geometry) * pixel_size / np.array(field.spacing)[:, None]
    start = (np.array(field.coefficients.shape[1:3]) - 1) / 2 - knots @ centre
    return {
        "displacement": torch.from_numpy(field.coefficients / pixel_size).to(device),
        "knots": torch.from_numpy(np.concatenate([knots, start[:, :, None]], -1)).to(device),
    }


@dataclass(frozen=True)
class PatchSpectra:
    """Whitened spectra of all patches in all tilts, low-passed.

    Args:
        values: (tilts, patches, rows, half), zero for a patch that the image does not cover.
        seen: (tilts, patches).
        window: (tilts, patches, 2), centre of each patch's window minus its predicted position, (y, x), px.
        rows: Frequencies of the rows, cycles per pixel.
        columns: Frequencies of the half columns, cycles per pixel.
    """

    values: Complex[torch.Tensor, "tilts patches rows half"]
    seen: Float[torch.Tensor, "tilts patches"]
    window: Float[torch.Tensor, "tilts patches 2"]
    rows: Float[torch.Tensor, "rows"]
    columns: Float[torch.Tensor, "half"]


def patch_spectra(
    frames: Float[torch.Tensor, "tilts rows columns"],
    coverage: Float[torch.Tensor, "tilts rows columns"],
    centres: Float[np.ndarray, "tilts patches 2"],
    size: int,
    max_frequency: float,
) -> PatchSpectra:
    """Cut windows at the nearest pixels to `centres` (y, x, px index), whiten each tilt's mean power spectrum.

    Args:
        frames: Unrolled images.
        coverage: Share of each of their pixels that was imaged.
        centres: Predicted patch centres.
        size: Side of the windows, px; even.
        max_frequency: Highest frequency kept, cycles per pixel.
    """
    corner = np.rint(centres).astype(int) - size // 2
    limit = np.array([frames.shape[1] - size, frames.shape[2] - size])
    inside = np.all((corner >= 0) & (corner <= limit), axis=-1, keepdims=True)[..., 0]
    corner = np.clip(corner, 0, limit)
    window = torch.hann_window(size + 2, periodic=False, dtype=frames.dtype, device=frames.device)[1:-1] ** 0.5
    window = window[:, None] * window[None]
    keep = math.ceil(max_frequency * size)
    rows, columns = frequency_grid((size, size), frames.device, frames.dtype)
    pick = torch.cat([torch.arange(keep + 1), torch.arange(size - keep, size)]).to(frames.device)

    def cut_tilt(k: int) -> tuple[torch.Tensor, torch.Tensor]:
        cut = [(frames[k, y : y + size, x : x + size], coverage[k, y : y + size, x : x + size]) for y, x in corner[k]]
        pixels, weight = torch.stack([c[0] for c in cut]), torch.stack([c[1] for c in cut]) * window
        total = weight.sum((-2, -1), keepdim=True)
        mean = (pixels * weight).sum((-2, -1), keepdim=True) / total.clamp(min=1e-6)
        spectrum = torch.fft.rfft2((pixels - mean) * weight)[:, pick, : keep + 1]
        full = (total[:, 0, 0] > 0.7 * window.sum()) & torch.as_tensor(inside[k], device=frames.device)
        return spectrum * full[:, None, None], full

    values, seen = zip(*map_in_threads(cut_tilt, range(len(frames))), strict=True)
    picked_rows, picked_columns = rows[pick, 0], columns[0, : keep + 1]
    spectra = torch.stack(values)
    shown = torch.stack(seen).to(frames.dtype)
    spectra = _whiten(spectra, shown, picked_rows, picked_columns, max_frequency)
    drift = torch.as_tensor(corner + size // 2 - centres, dtype=frames.dtype, device=frames.device)
    return PatchSpectra(spectra, shown, drift, picked_rows, picked_columns)


def _whiten(
    spectra: torch.Tensor, seen: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, max_frequency: float
) -> torch.Tensor:
    """Divide by the rotational mean amplitude of each tilt, and drop what lies beyond the band."""
    radius = torch.sqrt(rows[:, None] ** 2 + columns[None] ** 2)
    ring = (radius / rows[1]).round().long()
    power = spectra.abs().square().sum(1) / seen.sum(1).clamp(min=1)[:, None, None]
    count = torch.bincount(ring.flatten()).to(power.dtype)
    sums = torch.zeros(len(spectra), len(count), dtype=power.dtype, device=power.device)
    sums.index_add_(1, ring.flatten(), power.flatten(1))
    amplitude = (sums / count).sqrt()[:, ring].clamp(min=1e-12)
    band = ((radius <= max_frequency) & (radius > 0)).to(power.dtype)
    return spectra * (band / amplitude)[:, None]


def choose_pairs(tilt: Float[np.ndarray, "tilts"], reach: int, far: bool) -> Int[np.ndarray, "pairs 2"]:
    """Pairs of tilts up to `reach` apart in tilt order, and sparser far ones where asked."""
    order = np.argsort(tilt, kind="stable")
    steps = list(range(1, reach + 1))
    if far:
        steps += [s for s in (6, 8, 11, 15, 20, 27) if reach < s < len(tilt)]
    pairs = [(order[i], order[i + s]) for s in steps for i in range(len(tilt) - s)]
    return np.array(pairs, np.int64).reshape(-1, 2)


def reproducible(
    spectra: PatchSpectra, pairs: Int[np.ndarray, "pairs 2"], kind: Int[np.ndarray, "pairs"]
) -> Float[torch.Tensor, "kinds rows half"]:
    """Share of the power that pairs of one kind have in common at each frequency, smoothed, 0 to 0.95."""
    ramp = _ramp(spectra, spectra.window)
    moved = spectra.values * ramp
    kinds = []
    for c in range(int(kind.max()) + 1):
        total = torch.zeros(spectra.values.shape[2:], dtype=spectra.seen.dtype, device=spectra.seen.device)
        number = torch.zeros((), dtype=total.dtype, device=total.device)
        for j, k in pairs[kind == c]:
            both = spectra.seen[j] * spectra.seen[k]
            total += ((moved[j].conj() * moved[k]).real * both[:, None, None]).sum(0)
            number += both.sum()
        kinds.append(total / number.clamp(min=1))
    share = torch.stack(kinds)
    share = torch.fft.fftshift(share, dim=-2)  # rows in ascending order, so that smoothing joins true neighbours
    share = torch.cat([share[..., 1:].flip((-2, -1)), share], -1)
    share = torch.nn.functional.avg_pool2d(share[:, None], 5, 1, 2, count_include_pad=False)[:, 0]
    share = torch.fft.ifftshift(share[..., spectra.columns.shape[0] - 1 :], dim=-2)
    return share.clamp(0, 0.95)


def _ramp(spectra: PatchSpectra, offset: torch.Tensor) -> torch.Tensor:
    """Phases that undo a window's offset: what was cut `offset` too far to the right is moved to the right."""
    phase = spectra.rows[:, None] * offset[..., 0, None, None] + spectra.columns * offset[..., 1, None, None]
    return torch.polar(torch.ones_like(phase), -2 * math.pi * phase)


def measure_pairs(
    spectra: PatchSpectra,
    pairs: Int[np.ndarray, "pairs 2"],
    kind: Int[np.ndarray, "pairs"],
    pixel_size: float,
    search: int,
    min_snr: float = 4.0,
) -> PairMeasurement:
    """Find the displacement of every patch between the tilts of every pair.

    Args:
        spectra: Whitened patches.
        pairs: Tilt indices.
        kind: Class of each pair, in which the reproducible spectrum is estimated.
        pixel_size: Of the patches, Å.
        search: Largest displacement looked for, px.
        min_snr: Height of a peak over the correlation's own noise below which a pair tells nothing.
    """
    share = reproducible(spectra, pairs, kind)
    weight = share / (1 - share**2)
    weight[..., 1:] *= 2  # a half spectrum holds each conjugate pair once
    moved = spectra.values * _ramp(spectra, spectra.window)
    power = moved.abs().square()
    lags = torch.arange(-search, search + 1, dtype=spectra.rows.dtype, device=spectra.rows.device)
    row_wave = torch.polar(torch.ones(1, dtype=lags.dtype), 2 * math.pi * lags[:, None] * spectra.rows)
    column_wave = torch.polar(torch.ones(1, dtype=lags.dtype), 2 * math.pi * spectra.columns[:, None] * lags)

    def compare(pair: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        j, k, c = pair
        cross = moved[j].conj() * moved[k] * weight[c]
        surface = (row_wave @ cross @ column_wave).real
        noise = (power[j] * power[k] * weight[c] ** 2).sum((-2, -1)).div(2).sqrt().clamp(min=1e-12)
        position, height, curvature = _peak(surface)
        useful = (height > min_snr * noise) & (spectra.seen[j] * spectra.seen[k] > 0)
        norm = ((power[j] * weight[c]).sum((-2, -1)) * (power[k] * weight[c]).sum((-2, -1))).sqrt()
        agreement = (height / norm.clamp(min=1e-12))[useful].mean() if useful.any() else height.new_zeros(())
        return position - search, curvature.clamp(min=0) * useful[:, None], agreement

    each = [(int(j), int(k), int(c)) for (j, k), c in zip(pairs, kind, strict=True)]
    found, known, agreement = zip(*map_in_threads(compare, each), strict=True)
    displacement = torch.stack(found, 1).double().cpu().numpy() * pixel_size
    information = torch.stack(known, 1).double().cpu().numpy() / pixel_size**2
    correlation = torch.stack(agreement).double().cpu().numpy()
    return PairMeasurement(pairs[:, 0], pairs[:, 1], displacement, information, correlation)


def _peak(
    surface: Float[torch.Tensor, "patches rows columns"],
) -> tuple[Float[torch.Tensor, "patches 2"], Float[torch.Tensor, "patches"], Float[torch.Tensor, "patches 2"]]:
    """Highest point inside the border, its height and its curvature, by a parabola along each axis."""
    columns = surface.shape[2]
    best = surface[:, 1:-1, 1:-1].flatten(1).argmax(1)
    y, x = best // (columns - 2) + 1, best % (columns - 2) + 1
    flat = surface.flatten(1)

    def at(dy: int, dx: int) -> torch.Tensor:
        return flat.gather(1, ((y + dy) * columns + x + dx)[:, None])[:, 0]

    middle = at(0, 0)
    place, bend = [], []
    for base, before, after in ((y, at(-1, 0), at(1, 0)), (x, at(0, -1), at(0, 1))):
        curvature = 2 * middle - before - after
        step = ((after - before) / (2 * curvature).clamp(min=1e-12)).clamp(-0.5, 0.5)
        place.append(base + step)
        bend.append(curvature)
    return torch.stack(place, -1), middle, torch.stack(bend, -1)
