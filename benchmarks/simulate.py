"""CPU seconds of a simulated movie, stage by stage, and how near its frames come to the machine's limit.

python benchmarks/simulate.py MODEL [--size 4096] [--frames 40] [--format tiff|eer]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from thon.algorithms.simulate import simulate_spa
from thon.algorithms.simulation.camera import make_camera
from thon.algorithms.simulation.frames import OVERSAMPLING, count_events, count_frames
from thon.algorithms.simulation.options import SimulateSpaOptions
from thon.algorithms.simulation.potential import scatterers_from_atoms
from thon.formats.atomic_model import read_atomic_model
from thon.ops.limits import measure_limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--format", choices=["tiff", "eer"], default="tiff")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = SimulateSpaOptions(size=arguments.size, frames=arguments.frames, format=arguments.format)
    started = time.process_time()
    scatterers = scatterers_from_atoms(read_atomic_model(arguments.model), options.pixel_size)
    camera = make_camera(options.shape, options.camera, np.random.default_rng(0))
    movie = next(simulate_spa(scatterers, options, 0))
    started = lap("model, camera, places", started)
    assert movie.contrast.fading.isfinite().all()
    started = lap(f"contrast of {len(movie.view.position)} particles and ice", started)
    count = count_events if arguments.format == "eer" else count_frames
    total = 0
    for frame in count(movie.contrast, movie.exposure, camera):
        total += len(frame) if arguments.format == "eer" else int(frame.sum(dtype=np.int64))
    spent = time.process_time() - started
    started = lap(f"{arguments.frames} frames, {total / 1e6:.0f} million electrons", started)
    if arguments.format == "tiff":
        rows, columns = movie.exposure.field.shape
        # Each frame: spectrum read, weighted and written (complex), image written and read on the finer grid, counts.
        moved = arguments.frames * rows * columns * (3 * 4 + 2 * 4 * OVERSAMPLING**2 + 2 * 4 + 5)
        floor, why = measure_limits().floor(moved=moved, multiply_adds=arguments.frames * rows * columns * 60)
        print(f"limit of the frames {floor:.1f} s ({why}): {100 * floor / spent:.0f} % reached")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def lap(what: str, started: float) -> float:
    """Print the CPU seconds since `started`; gives the time now."""
    now = time.process_time()
    print(f"{what}: {now - started:.1f} CPU s")
    return now


if __name__ == "__main__":
    main()
