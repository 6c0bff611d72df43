"""Judge the marker-free alignment on simulated series, whose truth is known.

    python benchmarks/alignment.py --simulated DIR...        series of an independent simulator
    python benchmarks/alignment.py --size 1024               41 images simulated here: CPU time and memory

A folder holds `series.mrc`, `series.tlt` and `truth.json` with the true `axis` (degrees), `shift` (x, y per image, px),
`magnification` (per image), `dark` (indices) and `local`, the amplitude in px of a motion of image k of n along (x, y)

    local sin(3 k / n) (sin(2π v / size), cos(2π u / size))

on top of  (x, y) = m R(axis) (u, v) + shift,  u = x cos t + z sin t,  v = y,  from the centre, pixel n // 2.

For each series one line says, in px of the images and without what a translation of the whole specimen explains, the
root mean square error of the rigid shifts (y, x), of the image position of the specimen's centre, motion included, and
of the positions of points all over the specimen (one rigid place fitted to each); the error of the mean axis; the share
of dark images found; and what it took. Each series is aligned in a process of its own, on one core unless told.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.algorithms.tilt_phantom import AlignmentError, TiltPhantom, judge, simulate_series
from thon.algorithms.align_tilts import AlignTiltsOptions, align_tilt_series, alignment_memory
from thon.data.geometry import TiltGeometry
from thon.formats.images import open_images
from thon.formats.tlt import read_angles


@dataclass(frozen=True)
class Result:
    """One aligned series."""

    error: AlignmentError
    sigma: np.ndarray
    confidence: float
    dark: str
    seconds: dict[str, float]
    memory: float
    planned: float


def read_phantom(folder: Path) -> TiltPhantom:
    """A series and its truth as the simulator writes them."""
    truth = json.loads((folder / "truth.json").read_text())
    with open_images(folder / "series.mrc") as stack:
        images, pixel_size = stack.asarray(), float(stack.pixel_size or 10.0)
    tilt = read_angles(folder / "series.tlt", len(images))
    shift = np.array(truth["shift"])[:, ::-1] * pixel_size
    geometry = TiltGeometry(tilt, shift, truth["axis"], magnification=np.array(truth["magnification"]))
    return TiltPhantom(images, pixel_size, geometry, truth["local"], tuple(truth["dark"]), np.zeros((0, 3)))


def grid_points(shape: tuple[int, ...], pixel_size: float, depth: float = 0.1) -> np.ndarray:
    """(points, 3): places all over the field at three heights, Å."""
    axes = [np.array([-depth, 0, depth]) * min(shape)] + [np.linspace(-0.4, 0.4, 9) * n for n in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) * pixel_size


def measure(source: Path | int, options: AlignTiltsOptions) -> Result:
    """Align one series, from a folder or simulated with images of a size, and compare it with its truth."""
    if isinstance(source, Path):
        phantom = read_phantom(source)
    else:
        phantom = simulate_series(
            (source, source), step=3.0, max_shift=20.0, magnification=0.002, motion=2.0, noise=2.0, dark=(3, 30, 37),
            thickness=source / 4, number=source * 2,
        )  # fmt: skip
    shape = phantom.images.shape[1:]
    last, stage = time.process_time(), "read"
    seconds: dict[str, float] = {}

    def progress(_: float, what: str) -> None:
        nonlocal last, stage
        now = time.process_time()
        seconds[stage] = seconds.get(stage, 0.0) + now - last
        last, stage = now, what

    found = align_tilt_series(phantom.images, phantom.tilt, phantom.pixel_size, options, progress=progress)
    progress(1.0, "end")
    kept = np.array([k for k in range(len(phantom.tilt)) if k not in found.excluded and k not in phantom.dark])
    right = len(set(phantom.dark) & found.excluded.keys())
    return Result(
        judge(found.geometry, phantom, kept, grid_points(shape, phantom.pixel_size)),
        np.sqrt(np.nanmean(found.diagnostics.sigma.shift**2, 0)) / phantom.pixel_size,
        found.diagnostics.confidence,
        f"{right}/{len(phantom.dark)}+{len(found.excluded) - right}",
        {name: value for name, value in seconds.items() if value > 0.005},
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        alignment_memory(len(phantom.tilt), (shape[0], shape[1]), options)[0] / 2**30,
    )


def describe(name: str, result: Result) -> str:
    """One line of the table."""
    e = result.error
    numbers = (*e.shift, *e.centre, e.position, e.axis, *result.sigma)
    return (
        f"{name:12s}"
        + "".join(f"{n:8.3f}" for n in numbers)
        + f"{result.confidence:7.2f}{result.dark:>7s}{sum(result.seconds.values()):8.1f}{result.memory:7.2f}"
        + f"{result.planned:7.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=Path, nargs="+", default=[], metavar="DIR")
    parser.add_argument("--size", type=int, help="of images that are simulated here, px")
    parser.add_argument("--options", default="{}", help="of the alignment, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(given.threads))
    options = AlignTiltsOptions.model_validate_json(given.options)
    sources: list[Path | int] = [*given.simulated] + ([given.size] if given.size else [])
    print("errors: rigid shift y, x; centre y, x; points, px; axis, degrees; stated sigma of the shift y, x, px")
    print("dark: found/there+others left out; CPU seconds; peak and planned memory, GiB")
    heads = ("shift y", "x", "centre y", "x", "points", "axis", "sigma y", "x")
    print(f"{'series':12s}{''.join(f'{h:>8s}' for h in heads)}{'conf':>7s}{'dark':>7s}{'CPU s':>8s}  GiB    plan")
    stages: dict[str, dict[str, float]] = {}
    for source in sources:
        name = source.name if isinstance(source, Path) else f"{source} px"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            result = alone.submit(measure, source, options).result()
        print(describe(name, result), flush=True)
        stages[name] = result.seconds
    for name, seconds in stages.items():
        print(f"{name:12s}" + ", ".join(f"{stage} {value:.1f} s" for stage, value in seconds.items()))


if __name__ == "__main__":
    main()
