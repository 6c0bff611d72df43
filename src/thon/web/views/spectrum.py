"""Power spectra of micrographs with the rings of their CTF, and what was fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Response
from jaxtyping import Float

from thon.data.ctf import CtfFit
from thon.data.ctf_zeros import zero_rings
from thon.data.maps import Picks
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.formats.image_stack import ImageStack
from thon.web.faults import AbsentError
from thon.web.views.cache import Cache
from thon.web.views.open_files import opened, stamp_of
from thon.web.views.pictures import PICTURE, AskedContrast, Tone, picture, to_eight_bits
from thon.web.views.pyramid import low_pass
from thon.web.views.records import ITEM, FoundItem, Item, Source, plain, present

router = APIRouter()

SIDE = 512
"""Of the tiles whose spectra are averaged, px."""

TILES = 121
"""Tiles at most; neighbours overlap by half."""

SMOOTH = 3.0
"""Pixels of the spectrum over which it is smoothed, for rings are seen better than single pixels."""

_spectra: Cache[np.ndarray] = Cache(16 << 20, lambda spectrum: spectrum.nbytes)


@router.get(f"{ITEM}/ctf")
def ctf(found: FoundItem, source: Source = "") -> dict[str, Any]:
    """The fit of a micrograph: its numbers, curves, and the zeros as rings; rings are (x, y), Å⁻¹, y pointing up."""
    micrograph = micrograph_of(found, source)
    fit = micrograph.fit if isinstance(micrograph, CtfMicrograph) else None
    finest = 0.5 / micrograph.pixel_size
    told: dict[str, Any] = {"finest": finest, "facts": [], "rings": [], "curves": None, "warnings": []}
    if fit is not None:
        rings = zero_rings(fit.ctf, micrograph.optics, finest)
        told |= {
            "rings": [np.stack([x, y], -1) for y, x in rings],
            "facts": _facts(fit),
            "warnings": list(fit.warnings),
        }
        told |= {"resolution": fit.resolution, "curves": None if fit.curves is None else vars(fit.curves)}
    return plain(told, digits=5)


@router.get(f"{ITEM}/spectrum.{{kind}}", response_class=Response, responses=PICTURE)
def spectrum(found: FoundItem, kind: str, contrast: AskedContrast, source: Source = "") -> Response:
    """Power spectrum of a micrograph, its mean around each frequency taken off; the origin is in the middle."""
    path = Path(micrograph_of(found, source).path)
    values = _spectra.get(stamp_of(present(path)), lambda: flattened_spectrum(opened(path)))
    return picture(to_eight_bits(values, Tone.of(values).limits(contrast)), kind)


def micrograph_of(found: Item, source: str) -> Micrograph:
    """The micrograph that a source names.

    Raises:
        AbsentError: It is none.
    """
    value = found.part(source)
    value = value.micrograph if isinstance(value, Picks) else value
    if not isinstance(value, Micrograph):
        raise AbsentError(f"{source or 'this record'} is no micrograph", got=type(value).__name__)
    return value


def flattened_spectrum(file: ImageStack) -> Float[np.ndarray, "side side"]:
    """Mean amplitude spectrum of tiles of an image over its mean around each frequency; rows from the top down."""
    rows, columns = file.shape[1:]
    side = min(SIDE, rows // 2 * 2, columns // 2 * 2)
    tops, lefts = _places(rows, side), _places(columns, side)
    window = np.hanning(side).astype(np.float32)
    window = window[:, None] * window
    total = np.zeros((side, side // 2 + 1), np.float32)
    for top in tops:
        for left in lefts:
            tile = np.nan_to_num(np.asarray(file[0, top : top + side, left : left + side], np.float32))
            total += np.abs(np.fft.rfft2((tile - tile.mean()) * window))
    half = np.fft.fftshift(total, axes=0)
    # The other half is the same, turned about the origin.
    full = np.concatenate([np.roll(half[::-1], 1, 0)[:, side // 2 : 0 : -1], half[:, : side // 2]], 1)
    return low_pass(_flatten(full), 1.0, SMOOTH)[::-1]


def _places(length: int, side: int) -> list[int]:
    count = max(1, min(2 * length // side - 1, int(TILES**0.5)))
    return np.linspace(0, length - side, count).astype(int).tolist()


def _flatten(values: Float[np.ndarray, "side side"]) -> Float[np.ndarray, "side side"]:
    side = len(values)
    offset = np.arange(side) - side // 2
    radius = np.hypot(offset[:, None], offset).astype(int)
    mean = np.bincount(radius.ravel(), values.ravel()) / np.bincount(radius.ravel())
    smooth = np.convolve(np.pad(mean, 8, mode="edge"), np.ones(17) / 17, "valid")
    flat = values / np.maximum(smooth, 1e-30)[radius]
    flat[radius < 4] = 1.0
    return flat.astype(np.float32)


def _facts(fit: CtfFit) -> list[tuple[str, float | None, float | None, str]]:
    """Name, value, standard deviation and unit of what was fitted."""
    known = [
        ("Defocus u", fit.ctf.defocus_u, fit.sigma.defocus_u, "Å"),
        ("Defocus v", fit.ctf.defocus_v, fit.sigma.defocus_v, "Å"),
        ("Astigmatism", fit.ctf.astigmatism, None, "Å"),
        ("Angle", fit.ctf.angle, fit.sigma.angle, "°"),
        ("Phase shift", fit.ctf.phase_shift, fit.sigma.phase_shift, "°"),
        ("Agreement", fit.score, None, ""),
        ("Rings to", fit.resolution, None, "Å"),
        ("Ice ring", fit.ice_ring, None, ""),
        ("Thickness", fit.thickness, fit.thickness_sigma, "Å"),
        ("Tilt", fit.tilt.tilt if fit.tilt else None, fit.tilt.sigma[0] if fit.tilt else None, "°"),
        ("Tilt axis", fit.tilt.axis if fit.tilt else None, fit.tilt.sigma[1] if fit.tilt else None, "°"),
    ]
    return [one for one in known if one[1] is not None and np.isfinite(one[1])]
