"""Align a tilt series without markers: from raw images and stage angles to a geometry with its uncertainty.

Dark tilts are left out, neighbours are correlated outward from zero tilt, common lines give the tilt axis, patches are
compared between all near and some far pairs of tilts, and one least-squares problem gives shifts, axis, magnifications
and local motion together. The sample's thickness and inclination are measured last, and its middle is put at z = 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float, Int

from thon.algorithms.coarse_alignment import coarse_alignment
from thon.algorithms.dark_tilts import DarkTiltOptions, find_dark_tilts
from thon.algorithms.joint_refinement import JointRefinementOptions, JointSolution, refine_jointly
from thon.algorithms.patch_pairs import PairMeasurement, choose_pairs, measure_pairs, patch_spectra, plane_maps, unroll
from thon.algorithms.sample_thickness import ThicknessOptions, measure_thickness
from thon.algorithms.tilt_axis import AxisSearch, find_tilt_axis
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.alignment import AlignmentDiagnostics, ThicknessProfile, TiltSigma, Tracks
from thon.data.geometry import TiltGeometry
from thon.ops.fourier import band_pass, fourier_crop, radius_grid

Progress = Callable[[float, str], None]


class AlignTiltsOptions(Options):
    """How a tilt series is aligned."""

    tilt_axis: Annotated[float | None, Unit("degrees"), Ge(-360), Le(360)] = None
    """Tilt axis, anticlockwise from the image's y axis; taken from the input, or searched, if not given."""

    axis_range: Annotated[float, Unit("degrees"), Ge(0), Le(90)] = 10.0
    """How far from a given axis it is searched; 0 starts from the given one."""

    max_size: Annotated[int, Unit("px"), Ge(256), Le(4096)] = 1100
    """Images are binned by a whole number until their longer side is at most this."""

    patch_size: Annotated[int, Unit("px"), Ge(32), Le(512)] = 64
    """Side of the square patches that are compared, in pixels of the binned images."""

    patches: Annotated[int | None, Unit("1"), Ge(3), Le(40)] = None
    """Patches along each side; enough to cover the image if not given."""

    max_frequency: Annotated[float, Unit("cycles/px"), Gt(0), Lt(0.5), Advanced()] = 0.35
    """Finest detail that is compared, in the binned images."""

    rounds: Annotated[int, Unit("1"), Ge(1), Le(20), Advanced()] = 3
    """Rounds of measuring and solving at each of the two fine stages."""

    starts: Annotated[int, Unit("1"), Ge(1), Le(6), Advanced()] = 2
    """Coarse alignments that are tried with different bands; the best is kept."""

    local: bool = True
    """Measure local motion, as a smooth field in each image."""

    center: bool = True
    """Put the middle of the sample at z = 0."""

    level: bool = False
    """Turn the sample so that its mid-plane is horizontal."""

    exclude: tuple[int, ...] = ()
    """Images to leave out, counted from 0 in the series' order."""

    keep: tuple[int, ...] = ()
    """Images never to leave out, whatever they look like."""

    region: tuple[float, float, float, float] | None = None
    """Part of the specimen to align on: lower and upper y, lower and upper x, as shares of the image from 0 to 1."""

    dark: DarkTiltOptions = DarkTiltOptions()
    """Which images are left out as dark, blocked or empty."""

    joint: Annotated[JointRefinementOptions, Advanced()] = JointRefinementOptions()
    """Freedom of the joint refinement."""

    thickness: Annotated[ThicknessOptions, Advanced()] = ThicknessOptions()
    """How the sample's thickness is measured."""


@dataclass(frozen=True)
class TiltAlignment:
    """What `align_tilt_series` found.

    Args:
        geometry: One entry per image given, also for those left out (interpolated from their neighbours).
        excluded: Reason by image index.
        diagnostics: Uncertainty, tracks and all that a report draws; in the order of the images.
    """

    geometry: TiltGeometry
    excluded: dict[int, str]
    diagnostics: AlignmentDiagnostics


def align_tilt_series(
    images: Any,
    tilt: Float[np.ndarray, "tilts"] | Sequence[float],
    pixel_size: float,
    options: AlignTiltsOptions | None = None,
    *,
    excluded: dict[int, str] | None = None,
    mask: Any = None,
    progress: Progress | None = None,
) -> TiltAlignment:
    """Align a tilt series without markers.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index: a tensor, an array, a memory map. They
            are read one at a time.
        tilt: Stage tilts, degrees; need not be sorted.
        pixel_size: Of the images, Å.
        options: How.
        excluded: Images already known to be unusable, with the reason.
        mask: Zero where images must not be looked at (a beam stop, carbon, ice), else one: (rows, columns) for all or
            one for each image.
        progress: Called with the share that is done and what is being done.

    Raises:
        InputError: Fewer than three usable images, or numbers that do not match.
    """
    options = options or AlignTiltsOptions()
    return _Alignment(images, np.asarray(tilt, np.float64), pixel_size, options, excluded or {}, mask, progress).run()


class _Alignment:
    """State of one alignment as it goes through its stages."""

    def __init__(
        self,
        source: Any,
        tilt: Float[np.ndarray, "tilts"],
        pixel_size: float,
        options: AlignTiltsOptions,
        excluded: dict[int, str],
        mask: Any,
        progress: Progress | None,
    ):
        if len(source) != len(tilt):
            raise InputError("images and tilt angles differ in number", got=f"{len(source)} images, {len(tilt)} angles")
        if pixel_size <= 0:
            raise InputError("the pixel size must be positive", got=pixel_size)
        self.options, self.all_tilts, self.progress = options, tilt, progress or (lambda share, what: None)
        self.seconds: dict[str, float] = {}
        self._clock = time.perf_counter()
        shape = tuple(int(n) for n in source.shape[1:])
        self.bin = max(1, -(-max(shape) // options.max_size))
        self.pixel_size = pixel_size * self.bin
        whole = self._load(source, shape)
        self.mask = self._load_mask(mask, shape, len(tilt))
        self.excluded = self._exclude(whole, excluded)
        self.kept = np.array([k for k in range(len(tilt)) if k not in self.excluded], np.int64)
        if len(self.kept) < 3:
            raise InputError("too few usable images to align", got=len(self.kept), expected="at least 3")
        self.images = _standardise(whole[torch.from_numpy(self.kept)])
        self.tilt = tilt[self.kept]
        self._lap("read")

    def run(self) -> TiltAlignment:
        """All stages in turn."""
        search, geometry = self._coarse()
        nominal = replace(geometry, shift=np.zeros_like(geometry.shift))
        geometry, points = self._track(geometry, nominal)
        solution, pairs = self._refine(geometry, points, nominal)
        halves = self._split_half(pairs, solution, nominal)
        profile = self._sample(solution.geometry)
        geometry, profile = self._place(solution.geometry, profile)
        return self._finish(geometry, solution, pairs, halves, profile, search)

    # Stages

    def _coarse(self) -> tuple[AxisSearch, TiltGeometry]:
        """Shifts between neighbours and the tilt axis, from several starts."""
        small, small_pixel = self._binned(256)
        tiny, tiny_pixel = self._binned(160)
        band = band_pass(radius_grid(tuple(tiny.shape[-2:]), tiny.device, tiny.dtype), 0.03, 0.25)
        smooth = torch.fft.irfft2(torch.fft.rfft2(tiny) * band, s=tiny.shape[-2:])
        smooth = smooth.clamp(*(s * 3 * float(smooth.std()) for s in (-1, 1)))
        given = self.options.tilt_axis
        start = TiltGeometry.nominal(self.tilt, given or 0.0)
        first, _ = coarse_alignment(small, start, small_pixel, stretch=given is not None)
        reach = 90.0 if given is None else self.options.axis_range
        search = AxisSearch(np.array([given or 0.0]), np.ones(1))
        if reach > 0:
            search = find_tilt_axis(smooth, first, tiny_pixel, centre=given or 0.0, reach=reach)
        self.progress(0.15, "tilt axis")
        axis = search.best if given is not None else (search.best + 90) % 180 - 90
        turned = replace(start, rotation=np.full(len(start), axis))
        tried = []
        for low, high in ((0.02, 0.25), (0.03, 0.12), (0.05, 0.3), (0.01, 0.2), (0.02, 0.1), (0.04, 0.2))[
            : self.options.starts
        ]:
            geometry, _ = coarse_alignment(small, turned, small_pixel, low=low, high=high)
            pairs = self._measure(small, geometry, small_pixel, self._grid(6), reach=2, far=False, search=10)
            tried.append((_quality(pairs), geometry))
        self._lap("coarse")
        return search, max(tried, key=lambda t: t[0])[1]

    def _track(self, geometry: TiltGeometry, nominal: TiltGeometry) -> tuple[TiltGeometry, np.ndarray]:
        """Follow patches between near tilts only, until their heights are known and far tilts can be trusted."""
        rigid = self.options.joint.model_copy(update={"magnification_spread": 0.0, "local_spread": 0.0})
        small, small_pixel = self._binned(360)
        points = self._grid(6)
        for _ in range(2):
            pairs = self._measure(small, geometry, small_pixel, points, reach=2, far=False, search=10)
            solution = refine_jointly(pairs, geometry, points, nominal, small_pixel, rigid)
            geometry, points = solution.geometry, solution.points
        points = self._grid(self._patches)
        for i in range(self.options.rounds):
            self.progress(0.25 + 0.25 * i / self.options.rounds, "tracking patches")
            pairs = self._measure(self.images, geometry, self.pixel_size, points, reach=2, far=False, search=10)
            solution = refine_jointly(pairs, geometry, points, nominal, self.pixel_size, rigid)
            geometry, points = solution.geometry, solution.points
        self._lap("track")
        return geometry, points

    def _refine(
        self, geometry: TiltGeometry, points: np.ndarray, nominal: TiltGeometry
    ) -> tuple[JointSolution, PairMeasurement]:
        """Joint solution with far pairs, magnification and local motion."""
        joint, extent = self.options.joint, self._extent if self.options.local else None
        rounds = self.options.rounds
        for i in range(rounds):
            self.progress(0.5 + 0.35 * i / rounds, "joint refinement")
            pairs = self._measure(self.images, geometry, self.pixel_size, points, reach=4, far=True, search=6)
            # The first round settles the rigid part, so that local motion does not take its place.
            area = extent if i > 0 or rounds == 1 else None
            solution = refine_jointly(pairs, geometry, points, nominal, self.pixel_size, joint, extent=area)
            if i < rounds - 1:
                geometry, points = solution.geometry, solution.points
        self._before = (geometry, points)
        self._lap("refine")
        return solution, pairs  # pyright: ignore[reportPossiblyUnboundVariable]

    def _split_half(self, pairs: PairMeasurement, solution: JointSolution, nominal: TiltGeometry) -> float:
        """Root mean square difference, px, of the rigid parts that every other patch and the rest give by themselves."""
        geometry, points = self._before
        rigid = self.options.joint.model_copy(update={"local_spread": 0.0})
        side = round(len(points) ** 0.5)
        even = np.add.outer(np.arange(side), np.arange(side)).reshape(-1) % 2 == 0
        found = []
        for half in (even, ~even):
            part = replace(pairs, displacement=pairs.displacement[half], information=pairs.information[half])
            found.append(refine_jointly(part, geometry, points[half], nominal, self.pixel_size, rigid).geometry)
        self._lap("split half")
        return rigid_difference(*found, self._extent) / self.pixel_size

    def _sample(self, geometry: TiltGeometry) -> ThicknessProfile:
        """Thickness and inclination."""
        self.progress(0.9, "sample thickness")
        small, pixel = self._binned(400)
        profile = measure_thickness(small, geometry, pixel, self.options.thickness)
        self._lap("thickness")
        return profile

    def _place(self, geometry: TiltGeometry, profile: ThicknessProfile) -> tuple[TiltGeometry, ThicknessProfile]:
        """Level and centre the sample, where asked, without moving the images against each other."""
        if self.options.level:
            along, across = profile.inclination
            geometry = replace(geometry, tilt=geometry.tilt - across, x_tilt=geometry.x_tilt + along)
            profile = replace(profile, inclination=(0.0, 0.0))
        if self.options.center:
            middle = (profile.lower + profile.upper) / 2
            rigid = replace(geometry, local=None)
            lift = rigid.project(np.array([[middle, 0.0, 0.0]])) - rigid.project(np.zeros((1, 3)))
            geometry = replace(geometry, shift=geometry.shift + lift[:, 0])
            profile = replace(profile, z=profile.z - middle, lower=profile.lower - middle, upper=profile.upper - middle)
        return geometry, profile

    def _finish(
        self,
        geometry: TiltGeometry,
        solution: JointSolution,
        pairs: PairMeasurement,
        halves: float,
        profile: ThicknessProfile,
        search: AxisSearch,
    ) -> TiltAlignment:
        """Put everything in the order of the images given, and judge it."""
        n, kept = len(self.all_tilts), self.kept
        correlation = _per_tilt(pairs, len(kept))
        excluded = dict(self.excluded)
        for k in np.flatnonzero(~np.isfinite(correlation)):
            if int(kept[k]) not in self.options.keep:
                excluded[int(kept[k])] = "no patch of it agrees with its neighbours"
        sound = np.isfinite(correlation).mean()
        confidence = float(solution.used * sound * np.exp(-0.5 * halves**2))
        # Patches that err together err more than their number says: the halves show by how much.
        inflate = max(
            1.0, halves * self.pixel_size / max(float(np.sqrt((solution.sigma.shift**2).sum(1).mean())), 1e-9)
        )
        sigma = TiltSigma(
            *(
                _spread(getattr(solution.sigma, name) * inflate, kept, n, np.nan)
                for name in ("shift", "rotation", "tilt", "x_tilt", "magnification")
            )
        )
        predicted = np.swapaxes(geometry.project(solution.points), 0, 1)
        tracks = Tracks(
            _spread(np.swapaxes(predicted + solution.track, 0, 1), kept, n, np.nan).swapaxes(0, 1),
            _spread(solution.track_sigma.T, kept, n, np.nan).T,
        )
        diagnostics = AlignmentDiagnostics(
            method="patches",
            sigma=sigma,
            correlation=_spread(correlation, kept, n, np.nan),
            confidence=confidence,
            warnings=tuple(_warnings(confidence, halves, excluded, n, profile)),
            axis_angle=search.angle,
            axis_score=search.score,
            tracks=tracks,
            points=solution.points,
            residual=_spread(np.swapaxes(solution.track, 0, 1), kept, n, np.nan).swapaxes(0, 1),
            rejected=round((1 - solution.used) * int((pairs.information.min(-1) > 0).sum())),
            profile=profile,
            seconds=self.seconds,
        )
        self.progress(1.0, "aligned")
        return TiltAlignment(self._for_all(geometry), excluded, diagnostics)

    # Parts

    @property
    def _extent(self) -> tuple[float, float]:
        return self.images.shape[-2] * self.pixel_size, self.images.shape[-1] * self.pixel_size

    @property
    def _patches(self) -> int:
        if self.options.patches is not None:
            return self.options.patches
        return int(np.clip(round(max(self.images.shape[-2:]) / (0.85 * self.options.patch_size)), 6, 18))

    def _grid(self, side: int) -> Float[np.ndarray, "patches 3"]:
        """Patch centres on the plane z = 0, evenly over the image or the region asked for, Å."""
        y0, y1, x0, x1 = self.options.region or (0.0, 1.0, 0.0, 1.0)
        share = (np.arange(side) + 0.5) / side
        y = (y0 + (y1 - y0) * share - 0.5) * self._extent[0]
        x = (x0 + (x1 - x0) * share - 0.5) * self._extent[1]
        yx = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
        return np.concatenate([np.zeros((len(yx), 1)), yx], 1)

    def _measure(
        self,
        images: Float[torch.Tensor, "tilts rows columns"],
        geometry: TiltGeometry,
        pixel_size: float,
        points: Float[np.ndarray, "patches 3"],
        *,
        reach: int,
        far: bool,
        search: int,
    ) -> PairMeasurement:
        """Displacements of patches at `points` between pairs of tilts."""
        size = min(self.options.patch_size, min(images.shape[-2:]) // 3 // 2 * 2)
        shape = (images.shape[-2] + size // 2, images.shape[-1] + size // 2)
        frames, covered = unroll(images, geometry, pixel_size, shape)
        if self.mask is not None:
            small = torch.nn.functional.adaptive_avg_pool2d(self.mask, tuple(images.shape[-2:]))
            allowed, _ = unroll(small.expand(len(images), -1, -1) - 2.0, geometry, pixel_size, shape)
            covered = covered * (allowed + (small.mean((-2, -1)) - 2.0)[:, None, None] > -1.5)
            frames = frames * covered
        centre = [n // 2 for n in shape]
        places = np.einsum("kij,kpj->kpi", np.linalg.inv(plane_maps(geometry)), geometry.plane(points)) / pixel_size
        spectra = patch_spectra(frames, covered, places + centre, size, self.options.max_frequency)
        pairs = choose_pairs(geometry.tilt, reach, far)
        tangent = np.tan(np.deg2rad(geometry.tilt))
        gap = np.abs(tangent[pairs[:, 0]] - tangent[pairs[:, 1]])
        _, kind = np.unique(np.digitize(gap, [0.08, 0.15, 0.25, 0.4, 0.7, 1.2]), return_inverse=True)
        return measure_pairs(spectra, pairs, kind, pixel_size, search)

    def _binned(self, size: int) -> tuple[Float[torch.Tensor, "tilts rows columns"], float]:
        """The images at a whole-number bin that makes their longer side about `size`, and their pixel size, Å."""
        factor = max(1, round(max(self.images.shape[-2:]) / size))
        return _bin(self.images, factor), self.pixel_size * factor

    def _load(self, source: Any, shape: tuple[int, ...]) -> Float[torch.Tensor, "tilts rows columns"]:
        """Read and bin the images one by one."""
        binned = []
        for k in range(len(source)):
            self.progress(0.1 * k / len(source), "reading")
            image = torch.as_tensor(np.asarray(source[k], np.float32)) if not torch.is_tensor(source[k]) else source[k]
            if tuple(image.shape) != shape:
                raise InputError(f"image {k} has another size", got=tuple(image.shape), expected=shape)
            binned.append(_bin(torch.nan_to_num(image.float())[None], self.bin)[0])
        return torch.stack(binned)

    def _load_mask(
        self, mask: Any, shape: tuple[int, ...], tilts: int
    ) -> Float[torch.Tensor, "any rows columns"] | None:
        if mask is None:
            return None
        mask = torch.as_tensor(np.asarray(mask, np.float32))
        mask = mask[None] if mask.ndim == 2 else mask
        if tuple(mask.shape[1:]) != shape or len(mask) not in (1, tilts):
            raise InputError("mask and images differ in size", got=tuple(mask.shape), expected=("1 or all", *shape))
        return (_bin(mask, self.bin) > 0.5).float()

    def _exclude(self, whole: torch.Tensor, known: dict[int, str]) -> dict[int, str]:
        """Unusable images: those known, those asked for, and the dark ones."""
        wrong = [k for k in (*self.options.exclude, *self.options.keep) if not 0 <= k < len(whole)]
        if wrong:
            raise InputError("no such image in the series", got=wrong, expected=f"0 to {len(whole) - 1}")
        reasons = find_dark_tilts(_bin(whole, max(1, max(whole.shape[-2:]) // 256)), self.all_tilts, self.options.dark)
        reasons |= known | dict.fromkeys(self.options.exclude, "left out by hand")
        if self.mask is not None and len(self.mask) == len(whole):
            kept = [k for k in range(len(whole)) if k not in reasons or k in self.options.keep]
            self.mask = self.mask[kept]
        return {k: reason for k, reason in sorted(reasons.items()) if k not in self.options.keep}

    def _for_all(self, geometry: TiltGeometry) -> TiltGeometry:
        """Geometry of every image given: what was not aligned lies between its neighbours."""
        order = np.argsort(self.tilt)

        def between(values: np.ndarray) -> np.ndarray:
            flat = values[order].reshape(len(order), -1)
            columns = [np.interp(self.all_tilts, self.tilt[order], c) for c in flat.T]
            return np.stack(columns, -1).reshape(len(self.all_tilts), *values.shape[1:])

        tilt = self.all_tilts + between(geometry.tilt - self.tilt)
        tilt[self.kept] = geometry.tilt
        local = geometry.local
        if local is not None:
            local = replace(local, coefficients=between(local.coefficients))
        names = ("shift", "rotation", "x_tilt", "magnification")
        return TiltGeometry(tilt=tilt, local=local, **{name: between(getattr(geometry, name)) for name in names})

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._clock
        self._clock = now


def rigid_difference(first: TiltGeometry, second: TiltGeometry, extent: tuple[float, float]) -> float:
    """Root mean square distance, Å, between where two geometries put the same specimen in the images.

    The specimen is a plate of `extent` (y, x), Å; that the whole of it lies elsewhere in one of them does not count.
    """
    y, x = (np.linspace(-0.4, 0.4, 5) * e for e in extent)
    yx = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    points = np.concatenate([np.zeros((len(yx), 1)), yx], 1)
    gap = (first.project(points) - second.project(points)).reshape(len(first), len(points), 2)
    rigid = replace(second, local=None)
    moves = np.swapaxes(rigid.project(np.eye(3)) - rigid.project(np.zeros((1, 3))), 1, 2)
    mean = gap.mean(1)
    moved = np.linalg.lstsq(moves.reshape(-1, 3), mean.reshape(-1), rcond=None)[0]
    return float(np.sqrt(((gap - (moves @ moved)[:, None]) ** 2).sum(-1).mean()))


def _bin(images: Float[torch.Tensor, "tilts rows columns"], factor: int) -> torch.Tensor:
    """Fourier-crop by a whole number, dropping rows and columns at the far edges that do not fill a pixel."""
    if factor == 1:
        return images
    rows, columns = (n // factor for n in images.shape[-2:])
    centre = [n // 2 - (m // 2) * factor for n, m in zip(images.shape[-2:], (rows, columns), strict=True)]
    part = images[..., centre[0] : centre[0] + rows * factor, centre[1] : centre[1] + columns * factor]
    return fourier_crop(part, (rows, columns))


def _standardise(images: Float[torch.Tensor, "tilts rows columns"]) -> torch.Tensor:
    """Zero mean, unit deviation, outliers clipped at six deviations."""
    centred = images - images.mean((-2, -1), keepdim=True)
    return (centred / centred.std((-2, -1), keepdim=True).clamp(min=1e-12)).clamp(-6, 6)


def _quality(pairs: PairMeasurement) -> float:
    """How well a start holds together: share of patches found times their correlation."""
    return float((pairs.information.min(-1) > 0).mean() * pairs.correlation.mean())


def _per_tilt(pairs: PairMeasurement, tilts: int) -> Float[np.ndarray, "tilts"]:
    """Mean correlation of each tilt with its partners; NaN where no patch was found in any."""
    found = (pairs.information.min(-1) > 0).mean(0)
    total, weight = np.zeros(tilts), np.zeros(tilts)
    for side in (pairs.first, pairs.second):
        np.add.at(total, side, pairs.correlation * found)
        np.add.at(weight, side, found)
    return np.where(weight > 0.02, total / np.where(weight > 0, weight, 1), np.nan)


def _spread(values: np.ndarray, kept: Int[np.ndarray, "kept"], number: int, fill: float) -> np.ndarray:
    """Values of the kept images among those of all."""
    result = np.full((number, *values.shape[1:]), fill)
    result[kept] = values
    return result


def _warnings(
    confidence: float, halves: float, excluded: dict[int, str], tilts: int, profile: ThicknessProfile
) -> list[str]:
    """Sentences about what people should look at."""
    said = []
    if confidence < 0.5:
        said.append(f"The alignment is uncertain (confidence {confidence:.2f}): look at the aligned series.")
    if halves > 1:
        said.append(f"Two halves of the patches disagree by {halves:.1f} px of the alignment.")
    if len(excluded) > tilts / 4:
        said.append(f"{len(excluded)} of {tilts} images were left out.")
    if max(abs(angle) for angle in profile.inclination) > 8:
        y, x = profile.inclination
        said.append(f"The sample is inclined by {y:.1f}° along y and {x:.1f}° along x; `level` turns it.")
    return said
