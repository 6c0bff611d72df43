"""Judge the CTF fit on micrographs whose CTF is known, and on a real one.

    python benchmarks/ctf.py                         240 simulated micrographs of 1024², the table and its tails
    python benchmarks/ctf.py --size 2048 --number 60 larger ones
    python benchmarks/ctf.py --reference             2048² at 1.35 Å, 18000/17000 Å at 30°: values and CPU seconds
    python benchmarks/ctf.py --real FILE --pixel 0.6666 [--amplitude 0.07]

Simulated are defocus 0.3 to 5 µm (logarithmically), 1 to 40 e/Å² (logarithmically), carbon or ice, astigmatism 0 to
2000 Å, and in every other a phase plate of 0 to 120° that is fitted. A failure is a mean defocus off by more than 5 %
and 200 Å. Each micrograph is fitted on one core. Peer: ctffind 5.0.2 on the reference case, 0.48 CPU s, 18001/16999 Å
at 30.06°.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.algorithms.ctf_micrographs import Scene, simulate
from thon.algorithms.ctf_fit import CtfFitOptions, fit_ctf
from thon.data.ctf import CtfFit
from thon.data.optics import Optics
from thon.formats.images import open_images

PEER_SECONDS = 0.48


@dataclass(frozen=True)
class Trial:
    """A fitted micrograph beside its truth."""

    scene: Scene
    fit: CtfFit
    seconds: float

    @property
    def error(self) -> float:
        """Of the mean defocus, Å."""
        return self.fit.ctf.defocus - (self.scene.defocus_u + self.scene.defocus_v) / 2

    @property
    def angle_error(self) -> float:
        """Degrees, −90 to 90."""
        return (self.fit.ctf.angle - self.scene.angle + 90) % 180 - 90

    @property
    def phase_error(self) -> float:
        """Degrees, −90 to 90."""
        return (self.fit.ctf.phase_shift - self.scene.phase + 90) % 180 - 90

    @property
    def failed(self) -> bool:
        """Whether the defocus is plainly wrong."""
        return abs(self.error) > max(200.0, 0.05 * (self.scene.defocus_u + self.scene.defocus_v) / 2)

    @property
    def said(self) -> bool:
        """Whether the fit itself says that it is not to be trusted."""
        return any("noise" in warning or "uncertain" in warning for warning in self.fit.warnings)


def draw_scene(number: int, size: int, seed: int) -> tuple[Scene, bool]:
    """A random micrograph of the benchmark, and whether its phase is to be fitted."""
    generator = np.random.default_rng([seed, number])
    defocus = float(np.exp(generator.uniform(np.log(3000), np.log(50000))))
    dose = float(np.exp(generator.uniform(0, np.log(40))))
    astigmatism = float(generator.uniform(0, 2000))
    angle, phase = float(generator.uniform(0, 180)), float(generator.uniform(0, 120)) if number % 2 else 0.0
    material = "carbon" if generator.random() < 0.5 else "ice"
    scene = Scene(
        (size, size), 1.35, defocus + astigmatism / 2, defocus - astigmatism / 2, angle, phase, material, dose,
        float(generator.uniform(50, 120)), seed=number,
    )  # fmt: skip
    return scene, bool(number % 2)


def measure(number: int, size: int, seed: int) -> Trial:
    """Simulate and fit one micrograph."""
    torch.set_num_threads(1)
    scene, plate = draw_scene(number, size, seed)
    image = torch.from_numpy(simulate(scene))
    optics = Optics(scene.voltage, scene.cs, scene.amplitude_contrast)
    before = time.process_time()
    fit = fit_ctf(image, scene.pixel_size, optics, CtfFitOptions(fit_phase=plate)).fit
    return Trial(scene, fit, time.process_time() - before)


def coverage(error: np.ndarray, sigma: np.ndarray) -> str:
    """Share of errors within one and two stated standard deviations."""
    ratio = np.abs(error) / np.maximum(sigma, 1e-9)
    return f"{np.mean(ratio < 1):.0%} within 1 σ, {np.mean(ratio < 2):.0%} within 2 σ"


def report(trials: list[Trial]) -> None:
    """Print the figures of a set of micrographs."""
    defocus = np.array([(one.scene.defocus_u + one.scene.defocus_v) / 2 for one in trials])
    error = np.array([one.error for one in trials])
    failed = [one for one in trials if one.failed]
    silent = [one for one in failed if not one.said]
    print(f"{len(trials)} micrographs: median defocus error {np.median(np.abs(error) / defocus):.3%}, "
          f"90 % below {np.quantile(np.abs(error) / defocus, 0.9):.2%}")  # fmt: skip
    print(
        f"failures {len(failed)} ({len(failed) / len(trials):.1%}), of which not said by the fit itself {len(silent)}"
    )
    good = [one for one in trials if not one.failed]
    for label, values in (
        ("U", [(one.fit.ctf.defocus_u - one.scene.defocus_u, one.fit.sigma.defocus_u) for one in trials]),
        ("V", [(one.fit.ctf.defocus_v - one.scene.defocus_v, one.fit.sigma.defocus_v) for one in trials]),
        ("angle", [(one.angle_error, one.fit.sigma.angle) for one in trials]),
        ("phase", [(one.phase_error, one.fit.sigma.phase_shift) for one in trials if one.fit.sigma.phase_shift > 0]),
    ):  # fmt: skip
        pairs = np.array(values)
        print(f"  {label:6} median error {np.median(np.abs(pairs[:, 0])):8.2f}; {coverage(pairs[:, 0], pairs[:, 1])}")
    strong = np.array([abs(one.angle_error) for one in good if one.scene.defocus_u - one.scene.defocus_v > 200])
    print(f"  angle where astigmatism > 200 Å: median {np.median(strong):.2f}°, {np.mean(strong <= 3):.0%} within 3°, "
          f"90 % below {np.quantile(strong, 0.9):.1f}°")  # fmt: skip
    print(f"  CPU seconds: median {np.median([one.seconds for one in trials]):.3f}")
    for one in failed:
        scene = one.scene
        print(
            f"  failed: {scene.material} {scene.dose:.1f} e/Å², B {scene.b_factor:.0f} Å², seed {scene.seed}: truth "
            f"{scene.defocus_u:.0f}/{scene.defocus_v:.0f} at {scene.angle:.0f}°, phase {scene.phase:.0f}°; "
            f"{describe(one.fit)}; {' '.join(one.fit.warnings)}"
        )


def describe(fit: CtfFit) -> str:
    """One line."""
    ctf, sigma = fit.ctf, fit.sigma
    return (
        f"U {ctf.defocus_u:.1f} ± {sigma.defocus_u:.1f}, V {ctf.defocus_v:.1f} ± {sigma.defocus_v:.1f} Å at "
        f"{ctf.angle:.2f} ± {sigma.angle:.2f}°, rings to {fit.resolution:.2f} Å, score {fit.score:.2f}"
    )


def time_fit(image: torch.Tensor, pixel_size: float, optics: Optics) -> tuple[CtfFit, float]:
    """Fit five times; the last fit, and the median CPU seconds of those after the first."""
    seconds: list[float] = []
    fit = None
    for _ in range(6):
        before = time.process_time()
        fit = fit_ctf(image, pixel_size, optics).fit
        seconds.append(time.process_time() - before)
    assert fit is not None
    return fit, float(np.median(seconds[1:]))


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=240)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--real", type=Path)
    parser.add_argument("--pixel", type=float, default=0.6666)
    parser.add_argument("--amplitude", type=float, default=0.07)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.reference:
        fit, seconds = time_fit(torch.from_numpy(simulate(Scene((2048, 2048)))), 1.35, Optics(300, 2.7, 0.07))
        print(f"reference 18000/17000 Å at 30°: {describe(fit)}")
        print(f"  {seconds:.3f} CPU s, {seconds / PEER_SECONDS:.2f} of ctffind 5's")
    elif given.real is not None:
        with open_images(given.real) as images:
            image = torch.from_numpy(np.asarray(images.asarray(), np.float32)).reshape(images.shape[-2:])
        fit, seconds = time_fit(image, given.pixel, Optics(300, 2.7, given.amplitude))
        print(f"{given.real.name}: {describe(fit)}; {seconds:.3f} CPU s")
        print("  " + (" ".join(fit.warnings) or "no warnings"))
    else:
        with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
            count = given.number
            report(list(pool.map(measure, range(count), [given.size] * count, [given.seed] * count)))


if __name__ == "__main__":
    main()
