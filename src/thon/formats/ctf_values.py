"""CTF values of formats in the house's order: the larger defocus first, its angle from 0 to 180°."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from thon.data.ctf import Ctf, CtfFit, TiltCtf

_NO_PHASE = 5e-3  # degrees: half of the last digit of formats that say it in two

UNKNOWN = Ctf(float("nan"), float("nan"), float("nan"), float("nan"))
"""Standard deviations where a format has none."""


def order_defocus(
    first: Float[np.ndarray, "images"], second: Float[np.ndarray, "images"], angle: Float[np.ndarray, "images"]
) -> tuple[Float[np.ndarray, "images"], Float[np.ndarray, "images"], Float[np.ndarray, "images"]]:
    """Larger and smaller defocus and the larger one's angle, 0 to 180°, from two in any order and the first's angle."""
    turned = np.where(second > first, angle + 90, angle) % 180
    # The remainder of a tiny negative angle rounds to 180 itself.
    return np.fmax(first, second), np.fmin(first, second), np.where(turned >= 180, 0.0, turned)


def make_ctf(first: float, second: float, angle: float, phase_shift: float = 0.0) -> Ctf:
    """A CTF from two defoci (Å) in any order, the angle of the first and the phase shift (degrees)."""
    u, v, turned = order_defocus(*np.array([[first], [second], [angle]], np.float64))
    return Ctf(float(u[0]), float(v[0]), float(turned[0]), phase_shift)


def tilt_ctf(
    defocus: Float[np.ndarray, "tilts 2"],
    angle: Float[np.ndarray, "tilts"],
    *,
    phase_shift: Float[np.ndarray, "tilts"] | None = None,
    score: Float[np.ndarray, "tilts"] | None = None,
    resolution: Float[np.ndarray, "tilts"] | None = None,
) -> TiltCtf:
    """The CTFs of a series from columns of a file.

    Args:
        defocus: Two per image in any order, Å; NaN for an image without a fit.
        angle: Of the first, degrees.
        phase_shift: Degrees; none where not given.
        score: NaN where not given.
        resolution: Å; NaN where not given.
    """
    count = len(angle)
    u, v, turned = order_defocus(defocus[:, 0], defocus[:, 1], angle)
    unknown = np.full(count, np.nan)
    return TiltCtf(
        defocus_u=u,
        defocus_v=v,
        angle=turned,
        phase_shift=np.zeros(count) if phase_shift is None else phase_shift,
        sigma=np.full((count, 4), np.nan),
        score=unknown if score is None else score,
        resolution=unknown if resolution is None else resolution,
    )


def has_phase_shift(ctf: TiltCtf, index: Int[np.ndarray, "kept"] | slice = slice(None)) -> bool:
    """Whether any of the images has a phase shift; what rounding leaves of zero is none."""
    return bool(np.abs(ctf.phase_shift[index]).max(initial=0) > _NO_PHASE)


def select_ctf(ctf: TiltCtf, index: Int[np.ndarray, "kept"] | Sequence[int]) -> TiltCtf:
    """The CTFs of some of the images, in the order given."""
    at = np.asarray(index, np.int64)
    borrowed = {k: ctf.borrowed[int(old)] for k, old in enumerate(at) if int(old) in ctf.borrowed}
    return TiltCtf(
        defocus_u=ctf.defocus_u[at],
        defocus_v=ctf.defocus_v[at],
        angle=ctf.angle[at],
        phase_shift=ctf.phase_shift[at],
        sigma=ctf.sigma[at],
        score=ctf.score[at],
        resolution=ctf.resolution[at],
        borrowed=borrowed,
        hand_confidence=ctf.hand_confidence,
    )


def collect_fits(
    fits: Sequence[CtfFit], index: Int[np.ndarray, "fits"] | Sequence[int] | None = None, count: int | None = None
) -> TiltCtf:
    """The CTFs of a series from one fit per image; NaN for images without one.

    Args:
        fits: The fits.
        index: Image of each, from 0; in order where not given.
        count: Number of images of the series; that of the fits where not given.
    """
    at = np.arange(len(fits)) if index is None else np.asarray(index, np.int64)
    table = np.full((len(fits) if count is None else count, 10), np.nan)
    for k, fit in zip(at, fits, strict=True):
        ctf, sigma = fit.ctf, fit.sigma
        table[k] = (
            *(ctf.defocus_u, ctf.defocus_v, ctf.angle, ctf.phase_shift),
            *(sigma.defocus_u, sigma.defocus_v, sigma.angle, sigma.phase_shift),
            *(fit.score, fit.resolution),
        )
    u, v, angle, phase = table.T[:4]
    return TiltCtf(u, v, angle, phase, sigma=table[:, 4:8], score=table[:, 8], resolution=table[:, 9])
