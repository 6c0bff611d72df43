"""Judge the joint CTF fit on simulated tilt series, whose truth is known, and time the correction.

    python benchmarks/tilt_ctf.py [--series 4] [--size 1024] [--step 3] [--pixel 2.5] [--strength 0.05]
    python benchmarks/tilt_ctf.py --correct [--size 1024] [--pixel 2.5]

A series is a thin flat random slab, -60° to 60°, dose-symmetric, 3 e/Å² an image, at 2 to 6 µm with 200 Å of drift from
image to image, up to 800 Å of astigmatism, inclined by up to 8° and 6°, about any tilt axis, of either hand. At the
default strength the power of the slab's signal is 0.15 of the noise's, falling with exp(-150 Å² s²): Thon rings some
7 % deep. One line per series, and the medians over all: error of the defocus of images up to 30° and beyond, share of
the errors within one σ, whether the hand is right and how sure, error of the inclination with its σ, CPU seconds.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.algorithms.tilt_ctf_phantom import OPTICS, CtfPhantom, dose_symmetric, drifting
from thon.algorithms.ctf_correction import CtfCorrectionOptions, ImageRestoration, TiltImaging
from thon.algorithms.tilt_ctf import TiltCtfResult, fit_tilt_rings, measure_tilt, vote_hand
from thon.algorithms.tilt_ctf_rings import TiltRings
from thon.data.ctf import Ctf
from thon.data.geometry import TiltGeometry


@dataclass(frozen=True)
class Case:
    """One series, its order of acquisition and a seed."""

    phantom: CtfPhantom
    order: np.ndarray
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--first", type=int, default=0, help="seed of the first series")
    parser.add_argument("--size", type=int, default=1024, help="side of the images, px")
    parser.add_argument("--step", type=float, default=3.0, help="degrees between tilts")
    parser.add_argument("--pixel", type=float, default=2.5, help="Å")
    parser.add_argument("--strength", type=float, default=0.05, help="signal over noise at 1 e/Å² and low frequency")
    parser.add_argument("--correct", action="store_true", help="time the correction instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.correct:
        time_correction(arguments.size, arguments.pixel, arguments.step)
        return
    results, errors = list[TiltCtfResult](), list[np.ndarray]()
    for case in make_cases(arguments):
        result, cpu = fit(case, arguments.pixel)
        results.append(result)
        errors.append(report(case, result, cpu))
    print_summary(results, np.concatenate(errors))


def make_cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Series of random kind."""
    tilt = np.arange(-60, 60.01, arguments.step)
    order = dose_symmetric(tilt)
    for seed in range(arguments.first, arguments.first + arguments.series):
        random = np.random.default_rng(seed)
        geometry = TiltGeometry.nominal(tilt, random.uniform(-180, 180))
        yield Case(
            CtfPhantom(
                (arguments.size, arguments.size),
                arguments.pixel,
                geometry,
                drifting(order, random.uniform(20e3, 60e3), 200, seed),
                astigmatism=random.uniform(0, 800),
                angle=random.uniform(0, 180),
                hand=int(random.choice([-1, 1])),
                inclination=(random.uniform(-8, 8), random.uniform(-6, 6)),
                strength=arguments.strength,
            ),
            order,
            seed,
        )


def fit(case: Case, pixel_size: float) -> tuple[TiltCtfResult, tuple[float, float]]:
    """Measure image by image, then fit; CPU seconds of both."""
    rings, measuring = list[TiltRings | None](), 0.0
    for image in case.phantom.images(case.seed):
        started = time.process_time()
        rings.append(measure_tilt(torch.from_numpy(image.astype(np.float32)), pixel_size, OPTICS))
        measuring += time.process_time() - started
    started = time.process_time()
    result = fit_tilt_rings(rings, case.phantom.geometry, OPTICS, order=case.order)
    return result, (measuring, time.process_time() - started)


def report(case: Case, result: TiltCtfResult, cpu: tuple[float, float]) -> np.ndarray:
    """Print a series' line; returns (tilt, error, σ, defocus) of its images."""
    truth = case.phantom
    error = result.ctf.defocus - truth.defocus
    sigma = np.hypot(result.ctf.sigma[:, 0], result.ctf.sigma[:, 1]) / np.sqrt(2)
    low = np.abs(truth.geometry.tilt) <= 30
    inclined = (
        f"{found - true:+.1f}±{spread:.1f}"
        for found, true, spread in zip(result.inclination, truth.inclination, result.inclination_sigma, strict=True)
    )
    print(
        f"series {case.seed}: {truth.defocus.mean():6.0f} Å, error ≤30° {np.median(np.abs(error[low])):4.0f} Å, beyond "
        f"{np.median(np.abs(error[~low])):4.0f} Å, within σ {100 * np.mean(np.abs(error) < sigma):3.0f} %, hand "
        f"{'right' if result.hand == truth.hand else 'WRONG'} ({abs(result.hand_evidence):.0f}), "
        f"alpha, beta {', '.join(inclined)}°, borrowed {len(result.ctf.borrowed)}, CPU s {cpu[0]:.1f} + {cpu[1]:.1f}",
        flush=True,
    )
    return np.stack([truth.geometry.tilt, error, sigma, truth.defocus], -1)


def print_summary(results: list[TiltCtfResult], errors: np.ndarray) -> None:
    """Print medians over all images, and the memory."""
    tilt, error, sigma, defocus = errors.T
    for name, part in (("up to 30°", np.abs(tilt) <= 30), ("beyond 30°", np.abs(tilt) > 30)):
        share = np.median(np.abs(error[part]) / defocus[part])
        print(f"{name}: median error {np.median(np.abs(error[part])):.0f} Å, {100 * share:.2f} % of the defocus")
    print(
        f"within 1 σ {100 * np.mean(np.abs(error) < sigma):.0f} %, 2 σ {100 * np.mean(np.abs(error) < 2 * sigma):.0f} %"
    )
    print(f"vote of all, each limited: hand {vote_hand([one.hand_evidence for one in results])[0]}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def time_correction(size: int, pixel_size: float, step: float) -> None:
    """Print CPU seconds of a series' correction at full size, and at 10 Å."""
    tilt = np.arange(-60, 60.01, step)
    geometry = TiltGeometry.nominal(tilt, 84.0)
    ctf = (Ctf(40_200.0, 39_800.0, 30.0),) * len(tilt)
    image = torch.randn(size, size)
    coarse = round(size * pixel_size / 10)
    small = torch.randn(coarse, coarse)
    imaging = TiltImaging(ctf, OPTICS, 1, np.linspace(1, 120, len(tilt)))
    for mode in ("phase-flip", "wiener"):
        restore = ImageRestoration(imaging, geometry, CtfCorrectionOptions(mode=mode))
        for one, pixel in ((image, pixel_size), (small, 10.0)):
            started = time.process_time()
            for k in range(len(tilt)):
                restore.observe(k, image, pixel_size)
                restore(k, one, pixel)
            seconds = time.process_time() - started
            print(f"{mode}: {len(tilt)} × {one.shape[0]}² at {pixel:g} Å: {seconds:.1f} CPU s", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
