"""What an alignment is worth: its geometry for every image given, its uncertainty, and warnings for people."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from thon.algorithms.patch_pairs import PairMeasurement
from thon.data.alignment import AlignmentDiagnostics, ThicknessProfile, TiltSigma
from thon.data.geometry import TiltGeometry


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


def rigid_difference(first: TiltGeometry, second: TiltGeometry, extent: tuple[float, float]) -> float:
    """Root mean square distance, Å, between where two geometries put the same specimen in the images.

    The specimen is a plate of `extent` (y, x), Å; that the whole of it lies elsewhere in one of them does not count.
    """
    y, x = (np.linspace(-0.4, 0.4, 5) * e for e in extent)
    yx = np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    points = np.concatenate([np.zeros((len(yx), 1)), yx], 1)
    gap = first.project(points) - second.project(points)
    rigid = replace(second, local=None)
    moves = np.swapaxes(rigid.project(np.eye(3)) - rigid.project(np.zeros((1, 3))), 1, 2)
    moved = np.linalg.lstsq(moves.reshape(-1, 3), gap.mean(1).reshape(-1), rcond=None)[0]
    return float(np.sqrt(((gap - (moves @ moved)[:, None]) ** 2).sum(-1).mean()))


def place_sample(
    geometry: TiltGeometry, profile: ThicknessProfile, *, level: bool, center: bool
) -> tuple[TiltGeometry, ThicknessProfile]:
    """Level and centre the sample, where asked, without moving the images against each other."""
    if level:
        along, across = profile.inclination
        geometry = replace(geometry, tilt=geometry.tilt - across, x_tilt=geometry.x_tilt + along)
        profile = replace(profile, inclination=(0.0, 0.0))
    if center:
        middle = (profile.lower + profile.upper) / 2
        geometry = geometry.about((middle, 0.0, 0.0))
        faces = {"lower": profile.lower - middle, "upper": profile.upper - middle}
        profile = replace(profile, z=profile.z - middle, **faces)
    return geometry, profile


def for_all_tilts(
    geometry: TiltGeometry, tilt: Float[np.ndarray, "kept"], all_tilts: Float[np.ndarray, "tilts"]
) -> TiltGeometry:
    """Geometry of every image given: what was not aligned lies between its neighbours in tilt.

    Args:
        geometry: Of the images that took part.
        tilt: Their stage tilts.
        all_tilts: Stage tilts of all images, degrees.
    """
    order = np.argsort(tilt, kind="stable")

    def between(values: np.ndarray) -> np.ndarray:
        flat = values[order].reshape(len(order), -1)
        columns = [np.interp(all_tilts, tilt[order], column) for column in flat.T]
        return np.stack(columns, -1).reshape(len(all_tilts), *values.shape[1:])

    local = geometry.local
    if local is not None:
        local = replace(local, coefficients=between(local.coefficients))
    names = ("shift", "rotation", "x_tilt", "magnification")
    rest = {name: between(getattr(geometry, name)) for name in names}
    return TiltGeometry(tilt=all_tilts + between(geometry.tilt - tilt), local=local, **rest)


def spread(values: np.ndarray, kept: Int[np.ndarray, "kept"], number: int) -> np.ndarray:
    """Values of the kept images among those of all; NaN for the others."""
    result = np.full((number, *values.shape[1:]), np.nan)
    result[kept] = values
    return result


def spread_sigma(sigma: TiltSigma, kept: Int[np.ndarray, "kept"], number: int, scale: float = 1.0) -> TiltSigma:
    """Standard deviations times `scale`, of the kept images among all."""
    names = ("shift", "rotation", "tilt", "x_tilt", "magnification")
    return TiltSigma(*(spread(getattr(sigma, name) * scale, kept, number) for name in names))


def tilt_correlation(pairs: PairMeasurement, tilts: int) -> Float[np.ndarray, "tilts"]:
    """Mean correlation of each tilt with its partners; NaN where no patch of it was found in any."""
    found = (pairs.information.min(-1) > 0).mean(0)
    total, weight = np.zeros(tilts), np.zeros(tilts)
    for side in (pairs.first, pairs.second):
        np.add.at(total, side, pairs.correlation * found)
        np.add.at(weight, side, found)
    return np.where(weight > 0.02, total / np.where(weight > 0, weight, 1), np.nan)


def warnings_for(
    confidence: float, disagreement: float, excluded: dict[int, str], tilts: int, profile: ThicknessProfile
) -> tuple[str, ...]:
    """Sentences about what people should look at.

    Args:
        confidence: 0 to 1.
        disagreement: Of two halves of the features, px.
        excluded: Images left out.
        tilts: Number of images.
        profile: The sample.
    """
    said: list[str] = []
    if confidence < 0.5:
        said.append(f"The alignment is uncertain (confidence {confidence:.2f}): look at the aligned series.")
    if disagreement > 1:
        said.append(f"Two halves of the features disagree by {disagreement:.1f} px of the alignment.")
    if len(excluded) > tilts / 4:
        said.append(f"{len(excluded)} of {tilts} images were left out.")
    y, x = profile.certain_inclination
    if max(abs(y), abs(x)) > 8:
        said.append(f"The sample is inclined by {y:.1f}° along y and {x:.1f}° along x; --level turns it.")
    return tuple(said)
