"""Follow gold beads through a tilt series, and align the series with them.

Beads are found in each image by themselves. Starting at the image nearest zero tilt, each next image's shift is voted
for by all pairs of predicted and found beads, then found beads are linked to predictions; the prediction improves as
the triangulated positions do. Rounds of bundle adjustment and linking afresh follow. A position is always where the
bead was found in its own image, never where it was predicted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import scipy
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from thon.algorithms.beads import BeadOptions, find_beads, measure_bead_diameter
from thon.algorithms.bundle import BundleOptions, BundleSolution, adjust_bundle
from thon.algorithms.bundle_local import LocalFieldOptions, adjust_bundle_local
from thon.algorithms.bundle_model import initial_points
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.alignment import Tracks
from thon.data.geometry import TiltGeometry


class BeadTrackingOptions(Options):
    """How beads are followed from image to image."""

    beads: BeadOptions = BeadOptions()
    """What counts as a bead."""

    largest_shift: Annotated[float, Unit("1"), Gt(0)] = 0.25
    """Largest error of the starting shifts between neighbouring images, in image sides."""

    thickness: Annotated[float, Unit("Å"), Gt(0), Advanced()] = 3000.0
    """How far apart in height the beads may be; bounds the predictions while only a few images are linked."""

    window: Annotated[float, Unit("1"), Gt(0), Advanced()] = 1.5
    """Distance from its prediction within which a bead is linked at first, in diameters."""

    final_window: Annotated[float, Unit("1"), Gt(0), Advanced()] = 0.6
    """The same in the last round."""

    rounds: Annotated[int, Unit("1"), Ge(1), Advanced()] = 5
    """Rounds of bundle adjustment and linking."""

    minimum_share: Annotated[float, Unit("1"), Gt(0)] = 0.3
    """Beads found in a smaller share of the images are dropped."""


@dataclass(frozen=True)
class BeadTracks:
    """Beads followed through a series.

    Args:
        tracks: Their positions, Å from the images' centres.
        geometry: Geometry by which they were linked.
        diameter: Their diameter, Å.
        found: Number of beads found in each image.
    """

    tracks: Tracks
    geometry: TiltGeometry
    diameter: float
    found: Int[np.ndarray, "tilts"]


@dataclass(frozen=True)
class _Found:
    """Beads found in each image, Å from its centre."""

    position: list[np.ndarray]
    sigma: list[np.ndarray]
    diameter: float

    def tracks(self, links: Int[np.ndarray, "points tilts"]) -> Tracks:
        position = np.full((*links.shape, 2), np.nan)
        sigma = np.ones(links.shape)
        for k, (here, error) in enumerate(zip(self.position, self.sigma, strict=True)):
            linked = links[:, k] >= 0
            position[linked, k] = here[links[linked, k]]
            sigma[linked, k] = error[links[linked, k]]
        return Tracks(position, sigma)


# A linking solve is kept stiff: wrong links must not bend it.
_LINKING = BundleOptions(rotation="one", tilt="fixed", magnification="fixed", minimum_views=3)


def track_beads(
    images: Float[np.ndarray, "tilts rows columns"],
    pixel_size: float,
    geometry: TiltGeometry,
    options: BeadTrackingOptions | None = None,
) -> BeadTracks:
    """Find beads in all images and link them into tracks.

    Args:
        images: Raw images.
        pixel_size: Å.
        geometry: Where to start; nominal angles and an axis to within about ten degrees suffice.
        options: Beads, windows and rounds.

    Raises:
        InputError: Images and geometry differ in number, or fewer than three beads can be followed.
    """
    options = options or BeadTrackingOptions()
    if len(images) != len(geometry):
        raise InputError("images and geometry differ in number", got=len(images), expected=len(geometry))
    found = _find_all(images, pixel_size, geometry, options.beads)
    side = float(min(images.shape[1:])) * pixel_size
    links, geometry = _link_outward(found, replace(geometry, local=None), options, side)
    for turn in range(options.rounds):
        share = turn / max(options.rounds - 1, 1)
        window = options.window ** (1 - share) * options.final_window**share * found.diameter
        tracks = found.tracks(_long(links, 3))
        freedom = (
            _LINKING if turn < 2 else _LINKING.model_copy(update={"rotation": "smooth", "magnification": "smooth"})
        )
        solution = adjust_bundle(tracks, geometry, freedom)
        geometry = solution.geometry
        links = _relink(found, solution, window)
    links = _long(links, max(3, int(np.ceil(options.minimum_share * len(geometry)))))
    count = np.array([len(p) for p in found.position])
    return BeadTracks(found.tracks(links), geometry, found.diameter, count)


def align_beads(
    images: Float[np.ndarray, "tilts rows columns"],
    pixel_size: float,
    geometry: TiltGeometry,
    options: BeadTrackingOptions | None = None,
    *,
    bundle: BundleOptions | None = None,
    local: LocalFieldOptions | None = None,
) -> tuple[BundleSolution, BeadTracks]:
    """Align a tilt series by its gold beads.

    Args:
        images: Raw images.
        pixel_size: Å.
        geometry: Where to start, as of `track_beads`.
        options: Tracking.
        bundle: Freedom of the final solve.
        local: Fit local motion as well, with these options.
    """
    beads = track_beads(images, pixel_size, geometry, options)
    start = replace(beads.geometry, tilt=geometry.tilt)
    if local is None:
        return adjust_bundle(beads.tracks, start, bundle), beads
    return adjust_bundle_local(beads.tracks, start, bundle, local=local), beads


def _find_all(
    images: Float[np.ndarray, "tilts rows columns"], pixel_size: float, geometry: TiltGeometry, options: BeadOptions
) -> _Found:
    """Beads of each image, in Å from its centre."""
    diameter = options.diameter
    if diameter is None:
        middle = np.argsort(np.abs(geometry.tilt))[:3]
        diameter = measure_bead_diameter(np.asarray(images)[middle], pixel_size, options)
    options = options.model_copy(update={"diameter": diameter})
    centre = np.array([images.shape[1] // 2, images.shape[2] // 2])
    beads = [find_beads(np.asarray(image), pixel_size, options) for image in images]
    return _Found([(b.position - centre) * pixel_size for b in beads], [b.sigma * pixel_size for b in beads], diameter)


def _link_outward(
    found: _Found, start: TiltGeometry, options: BeadTrackingOptions, side: float
) -> tuple[Int[np.ndarray, "points tilts"], TiltGeometry]:
    """Links from the image nearest zero tilt outward; and the geometry that grew with them."""
    order = np.argsort(np.abs(start.tilt), kind="stable")
    links = _with_new(np.full((0, len(start)), -1), int(order[0]), len(found.position[order[0]]))
    geometry, linked = start, [int(order[0])]
    for k in map(int, order[1:]):
        near = min(linked, key=lambda j: abs(float(start.tilt[j] - start.tilt[k])))
        geometry = _moved(geometry, k, geometry.shift[near] + start.shift[k] - start.shift[near])
        predicted = _predict(found.tracks(links), linked, geometry, options.thickness, k)
        offset = vote_shift(predicted, found.position[k], options.largest_shift * side, found.diameter / 2)
        geometry = _moved(geometry, k, geometry.shift[k] + offset)
        points, beads = match_beads(predicted + offset, found.position[k], options.window * found.diameter)
        links[points, k] = beads
        links = _with_new(links, k, len(found.position[k]))
        linked.append(k)
        if len(linked) >= 7 and len(linked) % 4 == 3:
            geometry = _solve_part(found.tracks(links), linked, geometry)
    return links, geometry


def _moved(geometry: TiltGeometry, k: int, shift: Float[np.ndarray, "2"]) -> TiltGeometry:
    shifts = geometry.shift.copy()
    shifts[k] = shift
    return replace(geometry, shift=shifts)


def _part(tracks: Tracks, linked: list[int]) -> Tracks:
    return Tracks(tracks.position[:, linked], tracks.sigma[:, linked])


def _predict(
    tracks: Tracks, linked: list[int], geometry: TiltGeometry, thickness: float, k: int
) -> Float[np.ndarray, "points 2"]:
    """Where the points triangulated from the images linked so far fall in image k."""
    points = initial_points(_part(tracks, linked), geometry.select(linked), depth=thickness / 4, minimum_views=1)
    return geometry.select([k]).project(points)[0]


def _solve_part(tracks: Tracks, linked: list[int], geometry: TiltGeometry) -> TiltGeometry:
    """The geometry with the images linked so far solved; unchanged where too few beads connect them."""
    part = _part(tracks, linked)
    if (part.seen.sum(1) >= 3).sum() < 4:
        return geometry
    solved = adjust_bundle(part, geometry.select(linked), _LINKING).geometry
    shift, rotation = geometry.shift.copy(), geometry.rotation + np.mean(solved.rotation - geometry.rotation[linked])
    shift[linked] = solved.shift
    return replace(geometry, shift=shift, rotation=rotation)


def _with_new(links: np.ndarray, k: int, count: int) -> Int[np.ndarray, "more tilts"]:
    """Links with a new point for each bead of image k that none has."""
    new = np.setdiff1d(np.arange(count), links[:, k])
    rows = np.full((len(new), links.shape[1]), -1)
    rows[:, k] = new
    return np.concatenate([links, rows])


def vote_shift(
    predicted: Float[np.ndarray, "points 2"], found: Float[np.ndarray, "beads 2"], reach: float, tolerance: float
) -> Float[np.ndarray, "2"]:
    """Common displacement, found minus predicted, that most pairs agree on; zero where nothing was found.

    Args:
        predicted: Predicted positions, Å.
        found: Found positions, Å.
        reach: Largest displacement along each axis, Å.
        tolerance: How closely pairs agree, Å.
    """
    pairs = (found[None] - predicted[:, None]).reshape(-1, 2)
    pairs = pairs[(np.abs(pairs) < reach).all(1)]
    if not len(pairs):
        return np.zeros(2)
    bins = max(3, 2 * int(np.ceil(2 * reach / tolerance)))
    votes = np.histogram2d(*pairs.T, bins=bins, range=[[-reach, reach]] * 2)[0]
    smooth = scipy.ndimage.gaussian_filter(votes, 2.0)
    best = (np.array(np.unravel_index(smooth.argmax(), votes.shape)) + 0.5) * 2 * reach / bins - reach
    close = pairs[np.linalg.norm(pairs - best, axis=1) < 2 * tolerance]
    return np.median(close, axis=0) if len(close) else best


def match_beads(
    predicted: Float[np.ndarray, "points 2"], found: Float[np.ndarray, "beads 2"], window: float
) -> tuple[Int[np.ndarray, "matches"], Int[np.ndarray, "matches"]]:
    """Pairs (point, bead) that together are closest, none farther than the window; points at NaN stay alone."""
    distance = np.linalg.norm(predicted[:, None] - found[None], axis=-1)
    distance = np.where(np.isfinite(distance), np.minimum(distance, window), window)
    point, bead = scipy.optimize.linear_sum_assignment(distance)
    close = distance[point, bead] < window
    return point[close], bead[close]


def _relink(found: _Found, solution: BundleSolution, window: float) -> Int[np.ndarray, "points tilts"]:
    """Links made afresh from the solved points; the shorter of two points on one bead goes."""
    known = np.isfinite(solution.points).all(1)
    length = (solution.weight > 0).sum(1)[known]
    points = solution.points[known][np.argsort(-length, kind="stable")]
    projected = solution.geometry.project(points)
    apart = np.median(np.linalg.norm(projected[:, :, None] - projected[:, None], axis=-1), axis=0)
    double = np.tril(apart < 0.6 * found.diameter, -1).any(1)
    projected = projected[:, ~double]
    links = np.full((projected.shape[1], len(projected)), -1)
    for k, predicted in enumerate(projected):
        point, bead = match_beads(predicted, found.position[k], window)
        links[point, k] = bead
    return links


def _long(links: Int[np.ndarray, "points tilts"], views: int) -> Int[np.ndarray, "long tilts"]:
    """Links of the points found in enough images."""
    links = links[(links >= 0).sum(1) >= views]
    if len(links) < 3:
        raise InputError(
            "too few beads could be followed",
            got=len(links),
            expected=f"at least 3 beads found in {views} images",
            mend="check diameter and polarity, lower the threshold, or align without markers",
        )
    return links
