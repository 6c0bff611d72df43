"""Judge alignments of a real tilt series by its gold beads.

The beads are found in the raw images and linked by a bundle adjustment of their own, which starts from the stage's
angles and an axis at 0°: no alignment that is judged has any part in it. Each position is fitted to the bead's own
image. For each alignment one rigid 3D position per bead is fitted by plain least squares to all its sightings, and the
distances left over are counted in pixels.

    python benchmarks/bead_residual.py 00254.stack.mrc --angles 00254.tlt --pixel-size 10 \
        --alignment 00254.xf --alignment OUT/aligned.json --tracks bead_tracks.npz --picture beads.png

An alignment is any file that `thon.formats.alignments` reads, or a record of thon (`.json`) that holds a tilt series or
a geometry, its local field included. Images that an alignment leaves out do not count for it. The last lines printed,
the floors, are bundle adjustments on the beads themselves.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from thon.algorithms.bead_tracking import track_beads
from thon.algorithms.bundle import BundleOptions, adjust_bundle, initial_points
from thon.data.alignment import Tracks
from thon.data.geometry import TiltGeometry
from thon.data.record import from_json
from thon.data.tilt_series import TiltSeries
from thon.formats.alignments import read_alignment
from thon.formats.images import open_images
from thon.formats.tlt import read_angles


def rigid_residual(tracks: Tracks, geometry: TiltGeometry) -> np.ndarray:
    """(points, tilts, 2), Å: what is left when each bead gets the one position that suits its sightings best."""
    even = Tracks(tracks.position, np.ones_like(tracks.sigma))
    points = initial_points(even, geometry, depth=1e6, rounds=1)
    if geometry.local is not None:
        for _ in range(5):
            local = geometry.local(geometry.plane(points)).transpose(1, 0, 2)
            rigid = TiltGeometry(
                geometry.tilt, geometry.shift, geometry.rotation, geometry.x_tilt, geometry.magnification
            )
            points = initial_points(Tracks(tracks.position - local, even.sigma), rigid, depth=1e6, rounds=1)
    return tracks.position - geometry.project(points).transpose(1, 0, 2)


def describe(name: str, residual: np.ndarray, pixel_size: float) -> str:
    """One line of the table."""
    length = np.linalg.norm(residual, axis=-1) / pixel_size
    length = length[np.isfinite(length)]
    rms = np.sqrt(np.mean(length**2))
    return f"{name:44s} {length.mean():7.3f} {np.median(length):7.3f} {rms:7.3f} {len(length):7d}"


def read_geometry(path: Path, shape: tuple[int, int], pixel_size: float) -> tuple[TiltGeometry, np.ndarray]:
    """Geometry of the images that an alignment file aligns, and their indices in the stack."""
    if path.suffix != ".json":
        found = read_alignment(path, shape, pixel_size)
        kept = np.array([k for k in range(len(found.geometry)) if k not in found.excluded])
        return found.geometry.select(kept), kept
    large = path.with_suffix(".npz")  # where a record keeps its large arrays
    arrays = dict(np.load(large)) if large.exists() else None
    record = _find(from_json(json.loads(path.read_text()), arrays=arrays))
    if isinstance(record, TiltSeries):
        kept = record.kept
        return record.geometry.select(kept), np.array([record.images[k].section for k in kept])
    if isinstance(record, TiltGeometry):
        return record, np.arange(len(record))
    raise SystemExit(f"{path}: holds neither a tilt series nor a geometry")


def _find(value: Any) -> TiltSeries | TiltGeometry | None:
    """The first tilt series or geometry in nested records."""
    if isinstance(value, TiltSeries | TiltGeometry):
        return value
    inner: list[Any] = []
    if is_dataclass(value):
        inner = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list | tuple):
        inner = list(value)
    return next((found for item in inner if (found := _find(item)) is not None), None)


def draw_tracks(images: np.ndarray, tracks: Tracks, pixel_size: float, path: Path, every: int = 4) -> None:
    """Each bead (rows) in every fourth image (columns), centred on its track; empty where it was not seen."""
    half, zoom = 12, 3
    tile = (2 * half + 1) * zoom
    tilts = np.arange(0, len(images), every)
    sheet = Image.new("L", (tile * len(tilts), tile * len(tracks.position)))
    draw = ImageDraw.Draw(sheet)
    for column, k in enumerate(tilts):
        image = np.asarray(images[k], np.float64)
        low, high = np.percentile(image, [0.02, 99.8])
        padded = np.pad((image - low) / (high - low), half, constant_values=0.0)
        for row in np.nonzero(tracks.seen[:, k])[0]:
            centre = tracks.position[row, k] / pixel_size + np.array(image.shape) // 2
            y, x = np.round(centre).astype(int)
            crop = np.clip(padded[y : y + 2 * half + 1, x : x + 2 * half + 1] * 255, 0, 255).astype(np.uint8)
            corner = (column * tile, int(row) * tile)
            sheet.paste(Image.fromarray(crop).resize((tile, tile)), corner)
            at = np.array(corner) + ((centre - (y, x))[::-1] + half + 0.5) * zoom
            for arm in ((3, 0), (0, 3)):
                draw.line([*np.subtract(at, arm), *np.add(at, arm)], fill=255)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("--angles", type=Path, required=True)
    parser.add_argument("--pixel-size", type=float, required=True, help="of the stack, Å")
    parser.add_argument("--alignment", type=Path, action="append", default=[])
    parser.add_argument("--tracks", type=Path, help="npz: read if it is there, otherwise written")
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    images = np.asarray(open_images(given.stack)[:])
    nominal = TiltGeometry.nominal(read_angles(given.angles, len(images)))
    if given.tracks and given.tracks.is_file():
        stored = np.load(given.tracks)
        tracks = Tracks(stored["position"], stored["sigma"])
    else:
        tracks = track_beads(images, given.pixel_size, nominal).tracks
        if given.tracks:
            np.savez(given.tracks, position=tracks.position, sigma=tracks.sigma)
    if given.picture:
        draw_tracks(images, tracks, given.pixel_size, given.picture)
    views = tracks.seen.sum(1)
    print(f"{len(views)} beads, {views.sum()} sightings; beads by number of images: {sorted(views.tolist())}")
    print(f"{'residual, px':44s} {'mean':>7s} {'median':>7s} {'rms':>7s} {'n':>7s}")
    for path in given.alignment:
        geometry, section = read_geometry(path, images.shape[1:], given.pixel_size)
        part = Tracks(tracks.position[:, section], tracks.sigma[:, section])
        print(describe(str(path.name), rigid_residual(part, geometry), given.pixel_size))
    floors = {
        "floor: stage angles, shifts, one axis": BundleOptions(rotation="one", magnification="fixed"),
        "floor: all free in each image": BundleOptions(rotation="each", tilt="each", magnification="each"),
    }
    for name, options in floors.items():
        floor = adjust_bundle(tracks, nominal, options)
        print(describe(name, rigid_residual(tracks, floor.geometry), given.pixel_size))


if __name__ == "__main__":
    main()
