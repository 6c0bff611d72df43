"""Motion that differs from place to place: patches are tracked on top of the whole frame's, and a smooth model fitted.

Each patch is searched once by itself. After that patches are only asked where they would rather lie than the common
model says, to first order: a patch too faint to be tracked alone still speaks, and none can lock onto noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy
import torch
from jaxtyping import Float

from thon.algorithms.motion_frames import FrameSpectra, SpectralGrid
from thon.algorithms.motion_likelihood import SignalModel, score
from thon.algorithms.motion_model import (
    LocalFit,
    MotionBasis,
    PatchMeasurement,
    Whole,
    as_polynomial,
    as_spline,
    fit_local,
    polynomial_basis,
    spline_motion_basis,
    spline_shape,
)
from thon.algorithms.motion_options import LocalOptions
from thon.algorithms.motion_tracks import Track, newton_step, search_track
from thon.data.motion import PatchTracks, PolynomialMotion, SplineMotion
from thon.ops.frame_fourier import image_of_spectrum
from thon.ops.threads import map_in_threads

_SWEEPS = 2
_ENOUGH = 0.995  # share of the information that patches keep of the frames' finest details
_SLOW = 4  # cosines in time by which a patch is judged against its neighbours
_STRAY = 12.0
_DECISIVE = 20.0


@dataclass(frozen=True)
class LocalMotion:
    """What was found.

    Args:
        model: The model; None where it was not worth having.
        whole: Motion of the whole frame that the model's fit adds, Å, by frame index.
        patches: What was measured.
        note: What was decided, and why.
    """

    model: PolynomialMotion | SplineMotion | None
    whole: Whole | None
    patches: PatchTracks
    note: str


def patch_counts(image_shape: tuple[int, int], pixel_size: float, options: LocalOptions) -> tuple[int, int]:
    """Patches along y and x."""
    if options.patches is not None:
        return options.patches
    # Three patches along a side are the fewest that show how motion bends.
    fewest = 3 if min(image_shape) * pixel_size >= 1.3 * options.patch_size else 1
    rows, columns = (int(np.clip(round(n * pixel_size / options.patch_size), fewest, 10)) for n in image_shape)
    return rows, columns


def find_local_motion(
    spectra: FrameSpectra, track: Track, counts: tuple[int, int], frames: int, options: LocalOptions
) -> LocalMotion:
    """Track patches and fit a model.

    Args:
        spectra: Of the whole frames.
        track: Of the whole frames.
        counts: Patches along y and x, 3 or more each.
        frames: Frames that the model spans.
        options: Local options.
    """
    field = _PatchField(spectra, track, counts, options)
    shape = spline_shape(counts, float(spectra.exposure[-1]), options.time_step, len(spectra))
    measured = field.search()
    rejected: dict[int, str] = {}
    fit = None
    for sweep in range(_SWEEPS + 1):
        if sweep:
            assert fit is not None
            measured = field.ask(fit.at(spline_motion_basis(measured, frames, shape)))
        basis = spline_motion_basis(measured, frames, shape)
        fit, rejected = _fit_without_strays(measured, basis, judge=sweep > 0)
    assert fit is not None
    final = basis = spline_motion_basis(measured, frames, shape)
    if options.model == "polynomial":
        final = polynomial_basis(measured, frames)
        fit = fit_local(_select(measured, rejected), _select_basis(final, rejected))
    model, whole = as_polynomial(fit, frames) if options.model == "polynomial" else as_spline(fit, frames, shape)
    kept = [p for p in range(len(measured.place)) if p not in rejected]
    off = measured.centred(measured.displacement - fit.at(final))[kept]
    patches = PatchTracks(measured.place, measured.displacement, rejected, float(np.sqrt((off**2).mean())))
    share = fit.gain / max(float(measured.misfit(np.zeros_like(measured.displacement))[kept].sum()), 1e-9)
    if fit.gain < _DECISIVE or len(kept) < 9:
        why = f"{len(kept)} patches are too few" if len(kept) < 9 else "it does not foretell patches that were left out"
        return LocalMotion(None, None, patches, f"local motion dropped: {why}")
    return LocalMotion(model, whole, patches, f"local motion explains {share:.0%} of the misfit of patches left out")


def _select(measured: PatchMeasurement, rejected: dict[int, str]) -> PatchMeasurement:
    keep = np.array([p not in rejected for p in range(len(measured.place))])
    return replace(measured, place=measured.place[keep], displacement=measured.displacement[keep],
                   information=measured.information[keep])  # fmt: skip


def _select_basis(basis: MotionBasis, rejected: dict[int, str]) -> MotionBasis:
    keep = np.array([p not in rejected for p in range(len(basis.plane))])
    return replace(basis, plane=basis.plane[keep])


def _fit_without_strays(
    measured: PatchMeasurement, basis: MotionBasis, *, judge: bool
) -> tuple[LocalFit, dict[int, str]]:
    """Fit, leave out patches that move unlike the rest, and fit again."""
    rejected = _faint(measured)
    fit = fit_local(_select(measured, rejected), _select_basis(basis, rejected))
    for _ in range(3 if judge else 1):
        strays = _strays(measured, measured.displacement - fit.at(basis), rejected)
        if not strays or len(measured.place) - len(rejected) - len(strays) < 9:
            break
        rejected = rejected | strays
        fit = fit_local(_select(measured, rejected), _select_basis(basis, rejected))
    return fit, dict(sorted(rejected.items()))


def _faint(measured: PatchMeasurement) -> dict[int, str]:
    """Patches whose whole track is less certain than 5 Å."""
    total = measured.information.min(1) * len(measured.frame)
    return {int(p): "too little detail to be tracked" for p in np.flatnonzero(total < 1 / 25)}


def _strays(measured: PatchMeasurement, off: np.ndarray, rejected: dict[int, str]) -> dict[int, str]:
    """Patches that leave the model slowly and far, compared with how far the others leave it."""
    times = len(measured.frame)
    waves = np.cos(math.pi * np.arange(1, _SLOW + 1)[:, None] * (np.arange(times) + 0.5) / times)
    amplitude = np.einsum("t,wt,ptd->pwd", measured.share, waves, measured.centred(off))
    amplitude /= (measured.share * waves**2).sum(1)[:, None]
    deviations = amplitude**2 * (measured.share * waves**2).sum(1)[:, None] * measured.information[:, None]
    score_ = deviations.mean((1, 2))
    kept = np.array([p not in rejected for p in range(len(score_))])
    limit = _STRAY * max(1.0, float(np.median(score_[kept])))
    size = np.linalg.norm(amplitude, axis=(1, 2))
    strays = np.flatnonzero(kept & (score_ > limit) & (size > 0.5))
    return {int(p): f"moves {size[p]:.1f} Å unlike its neighbours" for p in strays}


class _PatchField:
    """Frames with the whole frame's motion taken out, and the patches in them."""

    def __init__(self, spectra: FrameSpectra, track: Track, counts: tuple[int, int], options: LocalOptions) -> None:
        self.options, self.track, self.frame = options, track, spectra.frame
        self._frames = spectra
        grid = spectra.grid
        shape = _needed_shape(spectra, track.model)
        keep = torch.cat(
            [torch.arange((shape[0] + 1) // 2), torch.arange(grid.shape[0] - shape[0] // 2, grid.shape[0])]
        )
        row, column = grid.ramps(track.place)
        fixed = _fixed_pattern(spectra, track)
        half = shape[1] // 2 + 1
        self.pixel = tuple(p * n / m for p, n, m in zip(grid.pixel, grid.shape, shape, strict=True))

        def image(k: int) -> torch.Tensor:
            aligned = (spectra.values[k] - fixed)[keep.to(grid.device), :half]
            aligned = aligned * (row[k][keep.to(grid.device), None] * column[k][:half])
            return image_of_spectrum(aligned.contiguous(), shape[1])

        self.images = torch.stack(map_in_threads(image, range(len(spectra))))
        self.images *= math.sqrt(shape[0] * shape[1])  # so that white noise of spectra is white noise of pixels
        self.place, self.corner, self.size = _layout(shape, counts, options.overlap)
        taper = [_window(n, grid.device) for n in self.size]
        self.window = taper[0][:, None] * taper[1] / math.sqrt(float((taper[0] ** 2).sum() * (taper[1] ** 2).sum()))
        self.grid = SpectralGrid(self.size, (self.pixel[0], self.pixel[1]), grid.spacing, grid.shells, grid.device)

    def _cut(self, p: int) -> FrameSpectra:
        y, x = self.corner[p]
        cut = self.images[:, y : y + self.size[0], x : x + self.size[1]] * self.window
        if cut.device.type == "cpu":
            values = torch.from_numpy(scipy.fft.rfft2(cut.numpy(), axes=(1, 2), overwrite_x=True))
        else:
            values = torch.fft.rfft2(cut)
        return FrameSpectra(values, self.grid, self._frames.damage, self.frame, self._frames.exposure)

    def search(self) -> PatchMeasurement:
        """Each patch by itself."""

        def one(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            patch = self._cut(p)
            place = np.zeros((len(patch), 2))
            for bfactor in (4 * self.track.bfactor, self.track.bfactor):
                place = search_track(patch, place, bfactor, self.options.max_shift, rounds=1)
            return self._asked(patch, place)

        return self._measurement(map_in_threads(one, range(len(self.place))))

    def ask(self, model: Float[np.ndarray, "patches times 2"]) -> PatchMeasurement:
        """Each patch, to first order around a model."""

        def one(p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self._asked(self._cut(p), model[p])

        return self._measurement(map_in_threads(one, range(len(self.place))))

    def _asked(self, patch: FrameSpectra, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = score(patch, place, replace(self.track.model, pattern=0.0))
        step, variance = newton_step(scores)
        return place + step, 1 / (variance * scores.share[:, None]).mean(0), scores.share

    def _measurement(self, found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> PatchMeasurement:
        displacement, information, share = (np.stack(part) for part in zip(*found, strict=True))
        return PatchMeasurement(self.place, self.frame, displacement, information, share[0])


def _needed_shape(spectra: FrameSpectra, model: SignalModel) -> tuple[int, int]:
    """Grid that keeps almost all that the frames say about their motion."""
    grid = spectra.grid
    squares = (spectra.damage.double() ** 2).sum(0)
    ratio = model.signal * squares / model.noise
    level = (grid.shell_frequency**2 * grid.count * ratio**2 / (1 + ratio)).cumsum(0)
    limit = float((int((level < _ENOUGH * level[-1]).sum()) + 1) * grid.spacing)
    rows, columns = (
        min(n, 2 * int(scipy.fft.next_fast_len(math.ceil(n * p * limit))))
        for n, p in zip(grid.shape, grid.pixel, strict=True)
    )
    return rows, columns


def _fixed_pattern(spectra: FrameSpectra, track: Track) -> torch.Tensor:
    """Posterior mean of what stays on the detector, as far as frames hold more of it than of the specimen."""
    if track.model.pattern == 0:
        return torch.zeros_like(spectra.values[0])
    number, index = len(spectra), spectra.grid.index.long()
    squares = (spectra.damage.double() ** 2).sum(0)
    specimen = track.model.signal * squares / number  # most of it blurred away by the motion; the pattern is not
    share = track.model.pattern * number / (track.model.pattern * number + track.model.noise + specimen)
    return spectra.values.mean(0) * share[index].to(torch.float32)


def _layout(
    shape: tuple[int, int], counts: tuple[int, int], overlap: float
) -> tuple[Float[np.ndarray, "patches 2"], list[tuple[int, int]], tuple[int, int]]:
    """Centres (−½ to ½), first pixels and size of patches."""
    size, starts = [], []
    for n, count in zip(shape, counts, strict=True):
        side = min(n, 2 * int(scipy.fft.next_fast_len(math.ceil(n / count * (1 + overlap) / 2))))
        size.append(side)
        starts.append(
            np.round(np.linspace(0, n - side, count)).astype(int) if count > 1 else np.array([(n - side) // 2])
        )
    corner = [(int(y), int(x)) for y in starts[0] for x in starts[1]]
    centre = [
        [(c + (side - 1) / 2) / (n - 1) - 0.5 for c, side, n in zip(pair, size, shape, strict=True)] for pair in corner
    ]
    return np.array(centre), corner, (size[0], size[1])


def _window(n: int, device: torch.device) -> torch.Tensor:
    """A raised cosine over the outer quarters."""
    edge = max(1, n // 4)
    distance = torch.minimum(torch.arange(n), torch.arange(n).flip(0)) + 0.5
    return (0.5 - 0.5 * torch.cos(math.pi * (distance / edge).clamp(max=1))).to(device)
