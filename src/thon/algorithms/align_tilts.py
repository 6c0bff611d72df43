"""Align a tilt series without markers: from raw images and stage angles to a geometry with its uncertainty.

Dark tilts are left out, neighbours are correlated outward from zero tilt, common lines give the tilt axis, patches are
compared between all near and some far pairs of tilts, and one least-squares problem gives shifts, axis, magnifications
and local motion together. The sample's thickness and inclination are measured last, and its middle is put at z = 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.alignment_images import AlignmentImages
from thon.algorithms.alignment_options import AlignTiltsOptions, alignment_memory, patches_per_side
from thon.algorithms.alignment_outcome import (
    TiltAlignment,
    for_all_tilts,
    place_sample,
    rigid_difference,
    spread,
    spread_sigma,
    tilt_correlation,
    warnings_for,
)
from thon.algorithms.bead_tracking import align_beads
from thon.algorithms.bundle import adjust_bundle
from thon.algorithms.bundle_local import LocalFieldOptions
from thon.algorithms.coarse_alignment import coarse_alignment
from thon.algorithms.joint_refinement import JointSolution, refine_jointly
from thon.algorithms.patch_pairs import PairMeasurement, choose_pairs, measure_pairs, patch_spectra, plane_maps, unroll
from thon.algorithms.sample_thickness import measure_thickness
from thon.algorithms.tilt_axis import AxisSearch, find_tilt_axis
from thon.algorithms.warm_start import FEWEST, complete_start, known_images, settle
from thon.data.alignment import AlignmentDiagnostics, ThicknessProfile, Tracks
from thon.data.geometry import TiltGeometry
from thon.ops.fourier import band_pass, radius_grid

__all__ = ["AlignTiltsOptions", "TiltAlignment", "align_tilt_series", "alignment_memory"]

Progress = Callable[[float, str], None]


def align_tilt_series(
    images: Any,
    tilt: Float[np.ndarray, "tilts"] | Sequence[float],
    pixel_size: float,
    options: AlignTiltsOptions | None = None,
    *,
    tilt_axis: float | None = None,
    excluded: dict[int, str] | None = None,
    mask: Any = None,
    start: TiltGeometry | None = None,
    progress: Progress | None = None,
) -> TiltAlignment:
    """Align a tilt series without markers.

    Args:
        images: (tilts, rows, columns), whatever gives one image by its index: a tensor, an array, a memory map. They
            are read one at a time.
        tilt: Stage tilts, degrees; need not be sorted.
        pixel_size: Of the images, Å.
        options: How.
        tilt_axis: Stated tilt axis, degrees anticlockwise from +y; searched over half a turn if nobody says.
        excluded: Images to leave out, with the reason.
        mask: Zero where images must not be looked at (a beam stop, carbon, ice), else one: (rows, columns) for all or
            one for each image.
        start: Geometry found before for most of the same images, as of the series without its last tilts: one row per
            image, NaN for the shift of one that is new. Coarse alignment and axis search are left out then, and fewer
            rounds are made. With fewer than three known images it is not used.
        progress: Called with the share that is done and what is being done.

    Raises:
        InputError: Fewer than three usable images, or numbers that do not match.
    """
    options = options or AlignTiltsOptions()
    tell = progress or _silent
    tell(0.0, "reading images")
    clock = time.perf_counter()
    prepared = AlignmentImages(images, np.asarray(tilt, np.float64), pixel_size, options.max_size, mask)
    prepared.exclude(excluded or {}, options.keep, options.dark)
    axis = None if tilt_axis is None else float(tilt_axis)
    known = known_images(start, len(prepared.all_tilts))[prepared.kept]
    begin = None if start is None or known.sum() < FEWEST else start.select(prepared.kept)
    return _Alignment(prepared, options, axis, tell, clock).run(begin)


BANDS = ((0.02, 0.25), (0.03, 0.12), (0.05, 0.3), (0.01, 0.2), (0.02, 0.1), (0.04, 0.2))
"""Bands of the coarse alignment's starts, cycles per pixel."""


class _Alignment:
    """One alignment on its way through its stages."""

    def __init__(
        self,
        images: AlignmentImages,
        options: AlignTiltsOptions,
        tilt_axis: float | None,
        progress: Progress,
        clock: float,
    ):
        self.images, self.options, self.progress = images, options, progress
        self.pixel_size, self.tilt_axis = images.pixel_size, tilt_axis
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._lap("read")

    def run(self, start: TiltGeometry | None) -> TiltAlignment:
        """All stages in turn."""
        if start is None:
            self._rounds = self.options.rounds
            search, geometry = self._coarse()
            nominal = replace(geometry, shift=np.zeros_like(geometry.shift))
        else:
            self._rounds = 1
            geometry, nominal = self._begin(start)
            search = AxisSearch(nominal.rotation[:1], np.ones(1))
        if self.options.method == "beads":
            return self._align_beads(geometry, search)
        if start is None:
            geometry, points = self._track(geometry, nominal)
        else:
            geometry, points = self._settle(geometry, nominal, known_images(start, len(start)))
        solution, pairs = self._refine(geometry, points, nominal)
        disagreement = self._split_half(pairs, nominal)
        return self._finish(solution, pairs, disagreement, search)

    def _coarse(self) -> tuple[AxisSearch, TiltGeometry]:
        """Shifts between neighbours and the tilt axis, from several starts."""
        small, small_pixel = self.images.reduced(256)
        tiny, tiny_pixel = self.images.reduced(160)
        band = band_pass(radius_grid((tiny.shape[-2], tiny.shape[-1]), tiny.device, tiny.dtype), 0.03, 0.25)
        smooth = torch.fft.irfft2(torch.fft.rfft2(tiny) * band, s=tiny.shape[-2:])
        smooth = smooth.clamp(*(s * 3 * float(smooth.std()) for s in (-1, 1)))
        given = self.tilt_axis
        start = TiltGeometry.nominal(self.images.tilt, given or 0.0)
        first, _ = coarse_alignment(small, start, small_pixel, stretch=given is not None)
        reach = 90.0 if given is None else self.options.axis_range
        search = AxisSearch(np.array([given or 0.0]), np.ones(1))
        if reach > 0:
            search = find_tilt_axis(smooth, first, tiny_pixel, centre=given or 0.0, reach=reach)
        self.progress(0.15, "tilt axis")
        axis = search.best if given is not None else (search.best + 90) % 180 - 90
        turned = replace(start, rotation=np.full(len(start), axis))
        tried: list[tuple[float, TiltGeometry]] = []
        for low, high in BANDS[: self.options.starts]:
            geometry, _ = coarse_alignment(small, turned, small_pixel, low=low, high=high)
            pairs = self._measure(small, geometry, small_pixel, self._grid(6), reach=2, far=False, search=10)
            tried.append((_quality(pairs), geometry))
        self._lap("coarse")
        return search, max(tried, key=_score)[1]

    def _begin(self, start: TiltGeometry) -> tuple[TiltGeometry, TiltGeometry]:
        """A start for all images, and its nominal geometry."""
        small, small_pixel = self.images.reduced(256)
        completed = complete_start(small, self.images.tilt, start, small_pixel)
        self._lap("start")
        return completed

    def _settle(
        self, geometry: TiltGeometry, nominal: TiltGeometry, known: np.ndarray
    ) -> tuple[TiltGeometry, np.ndarray]:
        """Heights of patches in a known geometry, and the shifts of images that are new to it."""
        self.progress(0.3, "tracking patches")
        if not known.all():
            small, small_pixel = self.images.reduced(360)
            points = self._grid(6)
            pairs = self._measure(small, geometry, small_pixel, points, reach=2, far=False, search=10)
            geometry, _ = settle(pairs, geometry, points, known)
        points = self._grid(self._side())
        half, half_pixel = self.images.reduced(max(self.images.values.shape[-2:]) // 2)
        pairs = self._measure(half, geometry, half_pixel, points, reach=2, far=False, search=5, shrink=2)
        geometry, points = settle(pairs, geometry, points, known)
        # What was guessed is a pixel or more away: far tilts show it, once, and then are right.
        for _ in range(1 if known.all() else 2):
            pairs = self._measure(half, geometry, half_pixel, points, reach=4, far=True, search=5, shrink=2)
            solution = refine_jointly(pairs, geometry, points, nominal, half_pixel, self.options.joint)
            geometry, points = solution.geometry, solution.points
        self._lap("track")
        return geometry, points

    def _side(self) -> int:
        longest = max(self.images.values.shape[-2:])
        return self.options.patches or patches_per_side(longest, self.options.patch_size)

    def _track(self, geometry: TiltGeometry, nominal: TiltGeometry) -> tuple[TiltGeometry, np.ndarray]:
        """Follow patches between near tilts only, until their heights are known and far tilts can be trusted."""
        rigid = self.options.joint.model_copy(update={"magnification_spread": 0.0, "local_spread": 0.0})
        small, small_pixel = self.images.reduced(360)
        points = self._grid(6)
        for _ in range(2):
            pairs = self._measure(small, geometry, small_pixel, points, reach=2, far=False, search=10)
            solution = refine_jointly(pairs, geometry, points, nominal, small_pixel, rigid)
            geometry, points = solution.geometry, solution.points
        points = self._grid(self._side())
        for i in range(self.options.rounds):
            self.progress(0.25 + 0.25 * i / self.options.rounds, "tracking patches")
            pairs = self._measure(self.images.values, geometry, self.pixel_size, points, reach=2, far=False, search=10)
            solution = refine_jointly(pairs, geometry, points, nominal, self.pixel_size, rigid)
            geometry, points = solution.geometry, solution.points
        self._lap("track")
        return geometry, points

    def _refine(
        self, geometry: TiltGeometry, points: np.ndarray, nominal: TiltGeometry
    ) -> tuple[JointSolution, PairMeasurement]:
        """Joint solution with far pairs, magnification and local motion."""
        joint, extent = self.options.joint, self.images.extent if self.options.local else None
        rounds = self._rounds
        for i in range(rounds):
            self.progress(0.5 + 0.35 * i / rounds, "joint refinement")
            pairs = self._measure(self.images.values, geometry, self.pixel_size, points, reach=4, far=True, search=6)
            # The rigid part is settled first, so that local motion does not take its place.
            area = extent if i == rounds - 1 else None
            solution = refine_jointly(pairs, geometry, points, nominal, self.pixel_size, joint, extent=area)
            if i < rounds - 1:
                geometry, points = solution.geometry, solution.points
        self._before = (geometry, points)
        self._lap("refine")
        return solution, pairs  # pyright: ignore[reportPossiblyUnboundVariable]

    def _split_half(self, pairs: PairMeasurement, nominal: TiltGeometry) -> float:
        """Root mean square difference, px, of the rigid parts that two halves of the patches give by themselves."""
        geometry, points = self._before
        rigid = self.options.joint.model_copy(update={"local_spread": 0.0})
        side = round(len(points) ** 0.5)
        even = np.add.outer(np.arange(side), np.arange(side)).reshape(-1) % 2 == 0
        found: list[TiltGeometry] = []
        for half in (even, ~even):
            part = replace(pairs, displacement=pairs.displacement[half], information=pairs.information[half])
            found.append(refine_jointly(part, geometry, points[half], nominal, self.pixel_size, rigid).geometry)
        self._lap("split half")
        return rigid_difference(found[0], found[1], self.images.extent) / self.pixel_size

    def _align_beads(self, geometry: TiltGeometry, search: AxisSearch) -> TiltAlignment:
        """Find beads, follow them and adjust the bundle."""
        self.progress(0.3, "tracking beads")
        images, pixel_size, options = self.images.values.numpy(), self.pixel_size, self.options
        local = LocalFieldOptions() if options.local else None
        solution, found = align_beads(images, pixel_size, geometry, options.beads, bundle=options.bundle, local=local)
        self._lap("beads")
        known = np.isfinite(solution.points).all(1)
        halves = [
            adjust_bundle(
                Tracks(found.tracks.position[part], found.tracks.sigma[part]), solution.geometry, options.bundle
            ).geometry
            for part in np.array_split(np.random.default_rng(0).permutation(np.flatnonzero(known)), 2)
        ]
        disagreement = rigid_difference(halves[0], halves[1], self.images.extent) / pixel_size
        profile = self._thickness(solution.geometry)
        geometry, profile = place_sample(solution.geometry, profile, level=options.level, center=options.center)
        seen = (found.tracks.seen & ~solution.rejected)[known]
        share = seen.mean(0)
        excluded = self._also_excluded(share > 0, "no bead was found in it")
        confidence = float(seen.sum() / max(found.tracks.seen[known].sum(), 1) * np.exp(-0.5 * disagreement**2))
        kept, number = self.images.kept, len(self.images.all_tilts)
        return TiltAlignment(
            for_all_tilts(geometry, self.images.tilt, self.images.all_tilts),
            excluded,
            AlignmentDiagnostics(
                method="beads",
                sigma=spread_sigma(solution.sigma, kept, number),
                correlation=spread(np.where(share > 0, share, np.nan), kept, number),
                confidence=confidence,
                warnings=warnings_for(confidence, disagreement, excluded, number, profile),
                axis_angle=search.angle,
                axis_score=search.score,
                tracks=_spread_tracks(found.tracks.position[known], found.tracks.sigma[known], kept, number),
                points=solution.points[known],
                residual=_spread_points(solution.residual[known], kept, number),
                rejected=int(solution.rejected[known].sum()),
                profile=profile,
                seconds=self.seconds,
            ),
        )

    def _finish(
        self, solution: JointSolution, pairs: PairMeasurement, disagreement: float, search: AxisSearch
    ) -> TiltAlignment:
        """Measure the sample, put everything in the order of the images given, and judge it."""
        profile = self._thickness(solution.geometry)
        geometry, profile = place_sample(
            solution.geometry, profile, level=self.options.level, center=self.options.center
        )
        kept, number = self.images.kept, len(self.images.all_tilts)
        correlation = tilt_correlation(pairs, len(kept))
        excluded = self._also_excluded(np.isfinite(correlation), "no patch of it agrees with its neighbours")
        confidence = float(solution.used * np.isfinite(correlation).mean() * np.exp(-0.5 * disagreement**2))
        # Patches that err together err more than their number says: the halves show by how much.
        stated = float(np.sqrt((solution.sigma.shift**2).sum(1).mean()))
        inflate = max(1.0, disagreement * self.pixel_size / max(stated, 1e-9))
        position = np.swapaxes(solution.geometry.project(solution.points), 0, 1) + solution.track
        return TiltAlignment(
            for_all_tilts(geometry, self.images.tilt, self.images.all_tilts),
            excluded,
            AlignmentDiagnostics(
                method="patches",
                sigma=spread_sigma(solution.sigma, kept, number, inflate),
                correlation=spread(correlation, kept, number),
                confidence=confidence,
                warnings=warnings_for(confidence, disagreement, excluded, number, profile),
                axis_angle=search.angle,
                axis_score=search.score,
                tracks=_spread_tracks(position, solution.track_sigma, kept, number),
                points=solution.points,
                residual=_spread_points(solution.track, kept, number),
                rejected=round((1 - solution.used) * int((pairs.information.min(-1) > 0).sum())),
                profile=profile,
                seconds=self.seconds,
            ),
        )

    def _thickness(self, geometry: TiltGeometry) -> ThicknessProfile:
        self.progress(0.9, "sample thickness")
        small, pixel = self.images.reduced(400)
        profile = measure_thickness(small, geometry, pixel, self.options.thickness)
        self._lap("thickness")
        self.progress(1.0, "aligned")
        return profile

    def _also_excluded(self, good: np.ndarray, reason: str) -> dict[int, str]:
        """What was left out before, and the images that are not good, except those to be kept."""
        bad = [int(k) for k in self.images.kept[~good] if k not in self.options.keep]
        return dict(sorted((self.images.excluded | dict.fromkeys(bad, reason)).items()))

    def _grid(self, side: int) -> Float[np.ndarray, "patches 3"]:
        """Patch centres on the plane z = 0, evenly over the image or the region asked for, Å."""
        y0, y1, x0, x1 = self.options.region or (0.0, 1.0, 0.0, 1.0)
        share = (np.arange(side) + 0.5) / side
        y = (y0 + (y1 - y0) * share - 0.5) * self.images.extent[0]
        x = (x0 + (x1 - x0) * share - 0.5) * self.images.extent[1]
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
        shrink: int = 1,
    ) -> PairMeasurement:
        """Displacements of patches at `points` between pairs of tilts; patches of the same px unless they shrink."""
        size = min(self.options.patch_size // shrink // 2 * 2, min(images.shape[-2:]) // 3 // 2 * 2)
        shape = (images.shape[-2] + size // 2, images.shape[-1] + size // 2)
        frames, covered = unroll(images, geometry, pixel_size, shape)
        if self.images.mask is not None:
            mask = torch.nn.functional.adaptive_avg_pool2d(self.images.mask, (images.shape[-2], images.shape[-1]))
            allowed, _ = unroll(mask, geometry, pixel_size, shape)
            covered = covered * (allowed + mask.mean((-2, -1))[:, None, None] > 0.5)
            frames = frames * covered
        centre = [n // 2 for n in shape]
        places = np.einsum("kij,kpj->kpi", np.linalg.inv(plane_maps(geometry)), geometry.plane(points)) / pixel_size
        spectra = patch_spectra(frames, covered, places + centre, size, self.options.max_frequency)
        pairs = choose_pairs(geometry.tilt, reach, far)
        tangent = np.tan(np.deg2rad(geometry.tilt))
        gap = np.abs(tangent[pairs[:, 0]] - tangent[pairs[:, 1]])
        _, kind = np.unique(np.digitize(gap, [0.08, 0.15, 0.25, 0.4, 0.7, 1.2]), return_inverse=True)
        return measure_pairs(spectra, pairs, kind, pixel_size, search)

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = now - self._clock
        self._clock = now


def _spread_points(values: np.ndarray, kept: np.ndarray, number: int) -> np.ndarray:
    """(points, kept tilts, ...) among all tilts."""
    return spread(np.swapaxes(values, 0, 1), kept, number).swapaxes(0, 1)


def _spread_tracks(position: np.ndarray, sigma: np.ndarray, kept: np.ndarray, number: int) -> Tracks:
    return Tracks(_spread_points(position, kept, number), _spread_points(sigma, kept, number))


def _silent(share: float, what: str) -> None:
    pass


def _score(tried: tuple[float, TiltGeometry]) -> float:
    return tried[0]


def _quality(pairs: PairMeasurement) -> float:
    """How well a start holds together: share of patches found times their correlation."""
    return float((pairs.information.min(-1) > 0).mean() * pairs.correlation.mean())
