"""Speed of the projector pair and the lay-out, beside the machine's limits and scikit-image in the same run.

    python benchmarks/projection.py [--size 1024] [--depth 256] [--tilts 41] [--threads 1 2] [--x-tilt 0]

One update is one voxel that one image contributes to (two multiply-adds, or four with an x-tilt).
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from thon.data.geometry import TiltGeometry
from thon.ops.limits import Limits, cpu_seconds, measure_limits
from thon.ops.projection import SlabProjector, lay_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the images and of the volume, px")
    parser.add_argument("--depth", type=int, default=256, help="extent of the volume along z, voxels")
    parser.add_argument("--tilts", type=int, default=41)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--x-tilt", type=float, default=0.0, help="degrees; other than zero interpolates along y too")
    arguments = parser.parse_args()
    limits = measure_limits()
    bandwidth, arithmetic = limits.bandwidth / 1e9, limits.multiply_adds / 1e9
    print(f"limits of one core: copy {bandwidth:.1f} GB/s, {arithmetic:.0f} G multiply-adds/s")
    rates = projector_rates(arguments, limits)
    compare_with_iradon(arguments.size, arguments.tilts, rates["back-projection"])


def projector_rates(arguments: argparse.Namespace, limits: Limits) -> dict[str, float]:
    """Print each operator's rate for each number of threads; returns updates per CPU second on one thread."""
    size, depth, tilts = arguments.size, arguments.depth, arguments.tilts
    geometry = TiltGeometry(np.linspace(-60, 60, tilts), np.zeros((tilts, 2)), 84.0, x_tilt=arguments.x_tilt)
    slab = SlabProjector.from_geometry(geometry, 1.0, depth, size, size)
    raw = torch.randn(tilts, size, size)
    layout = lay_out(raw, geometry, 1.0, slab.image_rows, slab.columns, row_start=slab.image_row_start)
    volume = slab.adjoint(layout)
    updates = tilts * volume.numel()
    taps = 2 if arguments.x_tilt == 0 else 4
    # A written voxel is read first, unless the program goes around the cache.
    floor, why = limits.floor(moved=4 * (2 * volume.numel() + layout.numel()), multiply_adds=taps * updates)
    print(f"{tilts} × {size}² ↔ {size} × {size} × {depth}: {updates:.3g} updates")
    print(f"at most {updates / floor / 1e9:.1f} G updates/s per core ({why})")
    operators = {"back-projection": lambda: slab.adjoint(layout), "projection": lambda: slab.forward(volume)}
    single: dict[str, float] = {}
    for name, operator in operators.items():
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            cpu, wall = cpu_seconds(operator, arguments.repeats)
            single.setdefault(name, cpu)
            print(
                f"{name:16} {threads} threads: {cpu:6.2f} CPU s, {wall:6.2f} s, {updates / cpu / 1e9:5.2f} G updates/s"
                f" per core, {100 * floor / cpu:3.0f} % of the limit, efficiency {100 * single[name] / cpu:3.0f} %"
            )
    torch.set_num_threads(1)
    cpu, _ = cpu_seconds(lambda: lay_out(raw, geometry, 1.0, size, size), arguments.repeats)
    print(f"{'lay-out':16} 1 threads: {cpu:6.2f} CPU s, {layout.numel() / cpu / 1e6:.0f} M samples/s per core")
    return {name: updates / cpu for name, cpu in single.items()}


def compare_with_iradon(size: int, tilts: int, rate: float) -> None:
    """Print how many times faster an update is than in scikit-image's unfiltered back-projection of one slice."""
    try:
        from skimage.transform import iradon  # noqa: PLC0415
    except ImportError:
        print("scikit-image is not installed: no comparison")
        return
    sinogram = np.random.default_rng(0).normal(size=(size, tilts)).astype(np.float32)
    cpu, _ = cpu_seconds(lambda: iradon(sinogram, np.linspace(-60, 60, tilts), filter_name=None, circle=True), 2)
    theirs = tilts * size**2 / cpu
    print(f"scikit-image {theirs / 1e9:.3f} G updates/s: thon is {rate / theirs:.0f} times as fast")


if __name__ == "__main__":
    main()
