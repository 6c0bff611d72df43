#!/usr/bin/env python3
"""Speed and quality of the reconstruction, beside the machine's limits, scikit-image and the ASTRA toolbox.

    python benchmarks/reconstruction.py                      both speed tests at full size, on one thread
    python benchmarks/reconstruction.py --scale 0.25         the same on a quarter of each side
    python benchmarks/reconstruction.py --phantom FOLDER     FSC and NCC of each method to the truth of a folder with
                                                             aligned.mrc, truth.mrc and series.tlt

Times are CPU seconds on one thread; other jobs on the machine raise them. The limit is that of the projections alone:
two fused multiply-adds for each voxel update at the rate of a matrix product, or each volume and each set of images
moved once, whichever takes longer; both are measured in the same run.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import torch

from thon.algorithms.reconstruct import FilterOptions, IterationOptions, ReconstructOptions, reconstruct
from thon.algorithms.reconstruction.filtered import filter_weights, weigh
from thon.data.geometry import TiltGeometry
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.limits import Limits, cpu_seconds, measure_limits
from thon.ops.projection import SlabProjector

try:
    from skimage.transform import iradon
except ImportError:
    iradon = None

try:
    import astra
except ImportError:
    astra = None

TILTS = np.arange(-60.0, 60.1, 3.0)


def iradon_seconds(images: torch.Tensor) -> float | None:
    """CPU seconds of scikit-image's iradon for all rows, from two of them; None where it is not installed."""
    if iradon is None:
        return None
    sinogram = images[:, 0].T.double().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spent, _ = cpu_seconds(lambda: iradon(sinogram, theta=TILTS, filter_name="ramp"), 2)
    return spent * images.shape[1]


def astra_seconds(images: torch.Tensor, method: str, iterations: int = 1) -> float | None:
    """CPU seconds of ASTRA's CPU code for all rows, from two of them; None where it is not installed."""
    if astra is None:
        return None
    n = images.shape[-1]
    beams = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS))
    slab = astra.create_vol_geom(n // 4, n)
    setting = astra.astra_dict(method)
    setting["ProjectorId"] = astra.create_projector("linear", beams, slab)
    setting["ProjectionDataId"] = astra.data2d.create("-sino", beams, images[:, 0].numpy())
    setting["ReconstructionDataId"] = astra.data2d.create("-vol", slab)
    algorithm = astra.algorithm.create(setting)
    spent, _ = cpu_seconds(lambda: astra.algorithm.run(algorithm, iterations), 2)
    astra.clear()
    return spent * images.shape[1]


def report(name: str, seconds: float, passes: int, n: int, limits: Limits, target: float | None = None) -> None:
    """One line of the table, for passes over 41 × n² images and an n × n × n/4 volume."""
    updates = float(passes) * len(TILTS) * n**3 / 4
    moved = 4.0 * passes * (len(TILTS) * n**2 + n**3 / 4)
    floor, why = limits.floor(moved=moved, multiply_adds=2 * updates)
    wanted = "" if target is None else f", target {target:.2f} s {'met' if seconds <= target else 'missed'}"
    share = f"{100 * floor / seconds:.0f} % of the limit ({why})"
    print(f"{name:44s}{seconds:8.2f} s{updates / seconds / 1e9:7.2f} G updates/s, {share}{wanted}")


def speed_of_wbp(n: int, limits: Limits, target: float) -> None:
    """WBP of random images, in parts and in all, and iradon."""
    geometry, images = TiltGeometry.nominal(TILTS), random_images(n)
    options = ReconstructOptions(bin=1, thickness_px=n // 4, memory=16)
    print(f"WBP: {len(TILTS)} × {n}² to {n} × {n} × {n // 4}")
    projector = SlabProjector.from_geometry(geometry, 10.0, n // 4, n, n)
    laid = images.transpose(1, 2).contiguous()
    weights = filter_weights(torch.from_numpy(TILTS).float(), n, n // 4, 10.0, options)
    filtering, _ = cpu_seconds(lambda: weigh(laid, weights), 2)
    projecting, _ = cpu_seconds(lambda: backproject_in_slabs(projector, laid), 2)
    report("  filter and back-project, aligned images", filtering + projecting, 1, n, limits, target)
    report("    of which back-projection", projecting, 1, n, limits)
    whole, _ = cpu_seconds(lambda: reconstruct(images, geometry, 10.0, options, sink=drop), 1)
    report("  reconstruct(), raw images to slabs", whole, 1, n, limits)
    if (other := iradon_seconds(images)) is not None:
        # iradon makes slices of n × n, four times what is asked for here.
        print(f"  a quarter of scikit-image's iradon: {other / 4:.1f} s, {other / 4 / whole:.0f} times as long")
    if (other := astra_seconds(images, "FBP")) is not None:
        print(f"  ASTRA's FBP on the CPU: {other:.1f} s, {other / whole:.1f} times as long")


def speed_of_sirt(n: int, limits: Limits, target: float) -> None:
    """Ten iterations of SIRT on random images."""
    settings = IterationOptions(number=10, extension=0)
    options = ReconstructOptions(method="SIRT", bin=1, thickness_px=n // 4, memory=16, iterations=settings)
    print(f"SIRT, 10 iterations: {len(TILTS)} × {n}² to {n} × {n} × {n // 4}")
    geometry, images = TiltGeometry.nominal(TILTS), random_images(n)
    whole, _ = cpu_seconds(lambda: reconstruct(images, geometry, 10.0, options, sink=drop), 1)
    report("  reconstruct(), raw images to slabs", whole, 20, n, limits, target)
    if (other := astra_seconds(images, "SIRT", 10)) is not None:
        print(f"  ASTRA's SIRT on the CPU: {other:.1f} s, {other / whole:.1f} times as long")


def random_images(n: int) -> torch.Tensor:
    """A series of noise."""
    return torch.randn(len(TILTS), n, n, generator=torch.Generator().manual_seed(0))


def drop(index: tuple[slice, ...], slab: np.ndarray) -> None:
    """A sink that keeps nothing: the time of the disk is not what is measured."""


def backproject_in_slabs(projector: SlabProjector, laid: torch.Tensor) -> None:
    """Back-project 256 rows at a time, as a reconstruction does."""
    for start in range(0, projector.rows, 256):
        stop = min(start + 256, projector.rows)
        projector.slab(start, stop).adjoint(laid[..., start:stop])


def quality(folder: Path, noise: float) -> None:
    """NCC and FSC of each method to the truth."""
    images = torch.from_numpy(mrcfile.read(folder / "aligned.mrc").astype(np.float32))
    truth = torch.from_numpy(mrcfile.read(folder / "truth.mrc").astype(np.float32))
    geometry = TiltGeometry.nominal(np.loadtxt(folder / "series.tlt"))
    images = images + noise * images.std() * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    common = {"bin": 1, "thickness_px": truth.shape[0], "memory": 16, "background": "none"}
    trials = {
        "BPT": {"method": "BPT"},
        "WBP, exact weights": {},
        "WBP, SIRT-like filter 10": {"filter": FilterOptions(sirt_iterations=10)},
        "FBP, ramp": {"method": "FBP"},
        "FBP, Hann": {"method": "FBP", "filter": FilterOptions(window="hann")},
        "SIRT, 10": {"method": "SIRT"},
        "SART, 3": {"method": "SART", "iterations": IterationOptions(number=3)},
        "CG, 10": {"method": "CG"},
        "ADMM, 10": {"method": "ADMM"},
        "ADMM, 10, positive": {"method": "ADMM", "iterations": IterationOptions(positive=True)},
    }
    print(f"{folder.name}: {tuple(images.shape)} to {tuple(truth.shape)}, noise {noise:g} times the signal")
    print(f"{'method':26s}{'NCC':>7s}{'FSC(.05)':>10s}{'FSC(.1)':>10s}{'FSC(.2)':>10s}{'FSC = .5':>12s}{'CPU s':>8s}")
    for name, settings in trials.items():
        options = ReconstructOptions(**(common | settings))
        made: list[torch.Tensor] = []
        spent, _ = cpu_seconds(lambda o=options, m=made: m.append(reconstruct(images, geometry, 10.0, o).volume), 1)
        found = fourier_shell_correlation(made[-1], truth)
        ncc = np.corrcoef(made[-1].numpy().ravel(), truth.numpy().ravel())[0, 1]
        at = [float(found.correlation[(found.frequency - f).abs().argmin()]) for f in (0.05, 0.1, 0.2)]
        columns = "".join(f"{a:10.3f}" for a in at)
        print(f"{name:26s}{ncc:7.3f}{columns}{float(found.crossing(0.5)):9.3f}/px{spent:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of each side, for short runs")
    parser.add_argument("--phantom", type=Path, help="folder of a simulated series; skips the speed tests")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation over the signal's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.phantom is not None:
        quality(given.phantom, given.noise)
        return
    limits = measure_limits()
    large, small = (64 * max(1, round(n * given.scale / 64)) for n in (1024, 512))
    speed_of_wbp(large, limits, 2.7 * (large / 1024) ** 3)
    speed_of_sirt(small, limits, 8.0 * (small / 512) ** 3)


if __name__ == "__main__":
    main()
