"""Speed of reading and writing EER, beside imagecodecs, tifffile and the machine's limits in the same run.

    python benchmarks/eer.py [--size 4096] [--events 336000] [--frames 40] [--groups 1 8 16 32] [--sampling 1 2]

Every frame's events are added to a float32 sum. The floor of that is one read of the sum per group of frames, one write
of those of its cache lines that an event hits, and a copy of the frames' bytes: what the symbols cost besides is the
processor's time to take them apart.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import torch

from thon.formats.eer_write import write_eer
from thon.formats.movie_file import MovieFile, open_movie
from thon.ops.limits import Limits, cpu_seconds, measure_limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of the sensor, px")
    parser.add_argument("--events", type=int, default=336_000, help="electrons in a raw frame")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 8, 16, 32], help="raw frames in a rendered frame")
    parser.add_argument("--sampling", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    limits = measure_limits()
    print(f"limit of one core: copy {limits.bandwidth / 1e9:.1f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "movie.eer")
        write(path, arguments)
        theirs = peers(path, arguments.repeats)
        for sampling in arguments.sampling:
            with open_movie(path, sampling=sampling) as movie:
                read(movie, sampling, arguments, limits, theirs)
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB, peers' included")


def write(path: Path, arguments: argparse.Namespace) -> None:
    """Write the movie and print the time; its events are four frames' over and over."""
    random = np.random.default_rng(0)
    size, frames = arguments.size, arguments.frames
    events = [random.integers(0, 4 * size, (arguments.events, 2)) for _ in range(4)]
    write_eer(path, events[:1], (size, size))
    started = time.process_time()
    lost = write_eer(path, (events[k % 4] for k in range(frames)), (size, size))
    spent = time.process_time() - started
    stored = path.stat().st_size / frames / 1e3
    print(f"{frames} frames of {size}² px, {arguments.events:,} events, {stored:.0f} kB each")
    print(f"write: {1e3 * spent / frames:6.2f} CPU ms a frame; {100 * lost / frames / arguments.events:.2f} % coincide")
    started = time.process_time()
    with open_movie(path):
        print(f"open:  {1e3 * (time.process_time() - started) / frames:6.3f} CPU ms a frame")


def peers(path: Path, repeats: int) -> dict[int, float]:
    """Print and give imagecodecs' seconds a frame, by sampling, without adding the frame to a sum; and tifffile's."""
    found: dict[int, float] = {}
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        shape = page.shape
        data = path.read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]]
        spent, _ = cpu_seconds(lambda: file.pages[1].asarray(maxworkers=1), repeats)
        print(f"tifffile, one frame as bools:    {1e3 * spent:6.2f} CPU ms")
    total = np.zeros(shape, np.float32)
    for level, sampling in enumerate((1, 2)):
        fine = (shape[0] * sampling, shape[1] * sampling)
        image = np.empty(fine, bool)

        def decode(image: np.ndarray = image, level: int = level) -> np.ndarray:
            return imagecodecs.eer_decode(data, image.shape, 7, 2, 2, superres=level, out=image)

        found[sampling], _ = cpu_seconds(decode, repeats)
        print(f"imagecodecs {sampling}×, one frame as bools: {1e3 * found[sampling]:6.2f} CPU ms")
    both, _ = cpu_seconds(lambda: np.add(total, imagecodecs.eer_decode(data, shape, 7, 2, 2), out=total), repeats)
    print(f"imagecodecs 1×, and added to a sum: {1e3 * both:6.2f} CPU ms")
    return found


def read(
    movie: MovieFile, sampling: int, arguments: argparse.Namespace, limits: Limits, theirs: dict[int, float]
) -> None:
    """Print the time of a raw frame in groups of several sizes."""
    total = np.zeros(movie.image_shape, np.float32)
    per_frame = movie.path.stat().st_size / movie.frames
    for group in arguments.groups:
        if group > movie.frames:
            continue
        spent, _ = cpu_seconds(lambda group=group: movie.add_frames(0, group, total), arguments.repeats)
        spent /= group
        hit = 1 - math.exp(-group * arguments.events / (total.nbytes / 64))
        floor, _ = limits.floor(moved=(1 + hit) * total.nbytes / group + 2 * per_frame, multiply_adds=0)
        rate = arguments.events / spent / 1e6
        print(
            f"read {sampling}×, groups of {group:2}: {1e3 * spent:6.2f} CPU ms a frame, {rate:4.0f} M events/s,"
            f" memory alone {1e3 * floor:5.2f} ms ({100 * floor / spent:3.0f} %)"
            + (f", imagecodecs {theirs[sampling] / spent:4.1f} × as long" if sampling in theirs else "")
        )


if __name__ == "__main__":
    main()
