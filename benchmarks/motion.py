"""Motion correction of simulated movies with known motion: track errors, CPU seconds, memory.

    python benchmarks/motion.py --case small unblur k3 eer

The specimen is random, with the amplitudes of a protein in ice under a CTF, of realistic contrast; each frame is its
image, shifted and warped to where the truth has it, damaged by radiation, and a Poisson sample of that. Errors are root
mean square differences from the truth over frames (and places), in pixels, an arbitrary constant offset aside.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import numpy as np
import torch

from thon.algorithms.motion import correct_motion, motion_memory
from thon.algorithms.motion_frames import Exposure
from thon.algorithms.motion_options import MotionOptions
from thon.data.motion import FrameMotion
from thon.kernels.frame_warp import add_warped
from thon.ops.dose import exposure_weight
from thon.ops.fourier import frequency_grid
from thon.ops.frame_fourier import image_of_spectrum


@dataclass(frozen=True)
class Case:
    """A movie to simulate.

    Args:
        shape: (rows, columns), px.
        frames: Number.
        dose: e/Å² in a frame.
        pixel: Å.
        drift: Length of the global drift, Å.
        local: Largest local displacement, Å.
        gain: Standard deviation of a gain error that is not corrected, 1.
        hot: Hot pixels left in the frames.
        contrast: Standard deviation of the specimen's image, over its mean.
        options: Of the motion correction.
    """

    shape: tuple[int, int]
    frames: int
    dose: float
    pixel: float
    drift: float = 20.0
    local: float = 8.0
    gain: float = 0.0
    hot: int = 0
    contrast: float = 0.07
    options: dict[str, object] = field(default_factory=dict[str, object])


CASES = {
    "small": Case((1024, 1024), 16, 1.0, 1.0, options={"local": {"patches": [3, 3]}}),
    "unblur": Case((2048, 2048), 30, 1.0, 1.0, local=0.0, options={"local": {"patches": [1, 1]}}),
    "k3": Case((4096, 4096), 40, 1.0, 0.85),
    "k3-gain": Case((4096, 4096), 40, 1.0, 0.85, gain=0.03, hot=200),
    "eer": Case((2048, 2048), 400, 0.1, 0.85),
    "eer-half": Case((2048, 2048), 400, 0.5, 0.85),
    "eer-4k": Case((4096, 4096), 400, 0.5, 0.85),
    "tilt": Case((4096, 4096), 8, 0.4, 1.35, local=4.0),
    "still": Case((2048, 2048), 30, 1.0, 1.0, drift=0.0, local=0.0, gain=0.02),
}


class Simulation:
    """Frames of a case, made one at a time, and its truth."""

    def __init__(self, case: Case, seed: int = 0) -> None:
        self.case = case
        generator = np.random.default_rng(seed)
        self._seed = seed
        rows, columns = case.shape
        self._spectrum = _specimen(case, generator)
        self._gain = 1 + case.gain * generator.normal(size=case.shape).astype(np.float32)
        hot = generator.integers(0, rows * columns, case.hot)
        self._gain.reshape(-1)[hot] = generator.uniform(5, 50, case.hot)
        t = (np.arange(case.frames) + 0.5) * case.dose
        total = t[-1]
        # A burst as the beam comes on, then a slow drift that turns.
        burst, slow = 1 - np.exp(-t / 3), t / total
        way = np.stack([0.6 * burst + 0.4 * slow**1.3, 0.3 * burst + 0.7 * np.sin(1.5 * slow)], -1)
        self.whole = case.drift * (way - way[0]) / max(np.linalg.norm(way[-1] - way[0]), 1e-9)
        self._time = np.stack([0.7 * burst + 0.3 * slow, 0.4 * burst + 0.6 * slow], -1)
        self._time -= self._time[0]

    def __len__(self) -> int:
        return self.case.frames

    def local(self, place: np.ndarray) -> np.ndarray:
        """(frames, points, 2), Å, at places (y, x) from −½ to ½."""
        y, x = 2 * np.asarray(place, np.float64).T
        bowl = np.stack([np.sin(1.2 * y) + 0.3 * x * y - 0.2 * x**2, np.cos(1.5 * x + 0.5) - 0.4 * y + 0.3 * x * y], -1)
        return self.case.local * bowl[None] * self._time[:, None] / 1.2

    def truth(self, place: np.ndarray) -> np.ndarray:
        """Displacement of the specimen's image, (frames, points, 2), Å."""
        return self.whole[:, None] + self.local(place)

    def __getitem__(self, k: int) -> np.ndarray:
        case = self.case
        rows, columns = frequency_grid(case.shape, None, torch.float32)
        radius = torch.sqrt(rows**2 + columns**2) / case.pixel
        spectrum = self._spectrum * exposure_weight(radius, (k + 0.5) * case.dose, 300.0)
        coefficients = [(2 + torch.cos(2 * np.pi * f)) / 3 for f in (rows, columns)]
        shift = self.whole[k] / case.pixel
        ramp = torch.exp(-2j * np.pi * (rows * shift[0] + columns * shift[1]))
        spectrum = (spectrum * ramp / (coefficients[0] * coefficients[1])).to(torch.complex64)
        step = 32
        axes = [np.arange(0, n + step, step) for n in case.shape]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        centre = np.array(case.shape)
        # frame(p + d(p)) = specimen(p): the frame at p' shows the specimen at p' − d(p), a few rounds find it.
        back = np.zeros(grid.shape)
        for _ in range(3):
            where = ((grid + back) / (centre - 1) - 0.5).reshape(-1, 2)
            back = -self._local_at(where, k).reshape(grid.shape) / case.pixel
        image, one = torch.zeros(1, *case.shape), torch.ones(1, 1)
        still = image_of_spectrum(spectrum, case.shape[1])
        add_warped(image, [still], torch.zeros(1), torch.from_numpy(back)[None], one, step)
        rate = case.dose * case.pixel**2 * (1 + image[0])
        generator = torch.Generator().manual_seed(self._seed * 100003 + k)
        counts = torch.poisson(rate.clamp(min=0), generator=generator)
        return counts.numpy() * self._gain

    def _local_at(self, place: np.ndarray, k: int) -> np.ndarray:
        y, x = 2 * place.T
        bowl = np.stack([np.sin(1.2 * y) + 0.3 * x * y - 0.2 * x**2, np.cos(1.5 * x + 0.5) - 0.4 * y + 0.3 * x * y], -1)
        return self.case.local * bowl * self._time[k] / 1.2


def _specimen(case: Case, generator: np.random.Generator) -> torch.Tensor:
    """Half spectrum of an image of relative density, its standard deviation set by the contrast."""
    noise = torch.from_numpy(generator.normal(size=case.shape).astype(np.float32))
    rows, columns = frequency_grid(case.shape, None, torch.float32)
    q = torch.sqrt(rows**2 + columns**2) / case.pixel
    # A protein's form factor falls to a plateau beyond 10 Å; motion and detector add a B-factor.
    form = (1 / (1 + (q * 40) ** 2) + 0.06) * torch.exp(-60 / 4 * q**2)
    phase = np.pi * 0.0197 * q**2 * 15000 - np.pi / 2 * 2.7e7 * 0.0197**3 * q**4 + 0.1
    spectrum = torch.fft.rfft2(noise) * form * torch.sin(phase)
    image = torch.fft.irfft2(spectrum, s=case.shape)
    return spectrum * (case.contrast / float(image.std()))


@dataclass(frozen=True)
class Outcome:
    """What one case gave."""

    whole: float
    local: float
    sigma: float
    seconds: float
    stages: dict[str, float]
    memory: float
    planned: float
    note: str


class Held:
    """Frames in memory, so that making them is not counted."""

    def __init__(self, frames: list[np.ndarray]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, k: int) -> np.ndarray:
        return self.frames[k].astype(np.float32)


def errors(motion: FrameMotion, movie: Simulation) -> tuple[float, float]:
    """RMS error of the mean track and of the rest, px."""
    axis = np.linspace(-0.45, 0.45, 9)
    place = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    off = (motion.at(place) - movie.truth(place)) / movie.case.pixel
    off -= off.mean(0, keepdims=True)
    whole = off.mean(1)
    rest = off - whole[:, None]
    return float(np.sqrt((whole**2).mean())), float(np.sqrt((rest**2).mean()))


def measure(name: str, overrides: str, threads: int) -> Outcome:
    """Simulate and correct one case."""

    torch.set_num_threads(threads)
    case = CASES[name]
    movie = Simulation(case)
    kind = np.uint8 if case.gain == 0 and case.hot == 0 else np.float32
    frames = [movie[k].astype(kind) for k in range(len(movie))]
    options = MotionOptions.model_validate(case.options | json.loads(overrides))
    small = Held([frame[:256, :256] for frame in frames])
    correct_motion(small, case.pixel, options, exposure=Exposure(300.0, case.dose))  # compiles
    held = Held(frames)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    stages: dict[str, float] = {}
    last, stage = time.process_time(), "start"

    def progress(_: float, what: str) -> None:
        nonlocal last, stage
        now = time.process_time()
        stages[stage] = stages.get(stage, 0.0) + now - last
        last, stage = now, what

    started = time.process_time()
    found = correct_motion(held, case.pixel, options, exposure=Exposure(300.0, case.dose), progress=progress)
    seconds = time.process_time() - started
    progress(1.0, "end")
    whole, rest = errors(found.motion, movie)
    planned, _ = motion_memory(case.shape, case.frames, case.pixel, case.dose, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return Outcome(
        whole, rest, found.motion.sigma / case.pixel, seconds, stages, peak - before, planned / 2**30, found.note
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=["small", "unblur"])
    parser.add_argument("--options", default="{}", help="of the motion correction, as JSON")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), str(given.threads))
    print(
        "global and local RMS error and stated sigma, px; CPU s; peak memory beyond the movie's own, and planned, GiB"
    )
    for name in given.case:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            found = alone.submit(measure, name, given.options, given.threads).result()
        print(f"{name:10s}{found.whole:8.3f}{found.local:8.3f}{found.sigma:8.3f}{found.seconds:8.2f}"
              f"{found.memory:7.2f}{found.planned:7.2f}  {found.note}")  # fmt: skip
        print(" " * 10 + ", ".join(f"{stage} {value:.2f}" for stage, value in found.stages.items()), flush=True)


if __name__ == "__main__":
    main()
