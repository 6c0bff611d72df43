"""Motion correction by thon and by RELION, of the same simulated movies, in one run: track errors and CPU seconds.

    python benchmarks/motion_relion.py --case small k3 --seed 0 1

Needs `relion_run_motioncorr` (Debian's package `relion` has it). Both read an MRC file of 16-bit counts, on one thread,
and write a dose-weighted micrograph. RELION's tracks are read from its star file, thon's from its record.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import mrcfile
import numpy as np
from motion import CASES, Case, Simulation, errors

from thon.algorithms.motion_options import MotionOptions
from thon.data.motion import FrameMotion
from thon.formats.relion_motion import read_movie_motion
from thon.job.folder import JobFolder

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_STAR = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 {pixel} 300 2.7 0.1

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
movie.mrcs 1
"""


def write_movie(movie: Simulation, path: Path) -> None:
    """The frames as 16-bit counts."""
    shape = (len(movie), *movie.case.shape)
    with mrcfile.new_mmap(path, shape=shape, mrc_mode=1, overwrite=True) as file:
        frames = file.data
        assert frames is not None
        for k in range(len(movie)):
            frames[k] = movie[k].astype(np.int16)
        file.voxel_size = movie.case.pixel


def run(command: list[str], folder: Path) -> float:
    """CPU seconds of a command, of the user and the system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=os.environ | _ONE_THREAD, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def patches(case: Case) -> tuple[int, int]:
    """Patches that RELION is given."""
    return MotionOptions.model_validate(case.options).local.patches or (5, 5)


def by_relion(case: Case, folder: Path) -> tuple[FrameMotion, float]:
    """RELION's own implementation with its defaults."""
    (folder / "movies.star").write_text(_STAR.format(pixel=case.pixel))
    rows, columns = patches(case)
    command = ["relion_run_motioncorr", "--i", "movies.star", "--o", "relion/", "--use_own", "--j", "1"]
    command += ["--dose_per_frame", str(case.dose), "--patch_x", str(columns), "--patch_y", str(rows)]
    command += ["--bfactor", "150", "--dose_weighting"]
    if case.dose < 0.5:
        command += ["--group_frames", str(round(0.5 / case.dose))]
    seconds = run(command, folder)
    return read_movie_motion(folder / "relion" / "movie.star").motion, seconds


def by_thon(case: Case, folder: Path) -> tuple[FrameMotion, float]:
    """`thon motion`, start of the program and import of the movie included."""
    thon = Path(sys.executable).with_name("thon")
    rows, columns = patches(case)
    command = [str(thon), "motion", "movie.mrcs", "-o", "thon", "--pixel-size", str(case.pixel), "--frame-dose",
               str(case.dose), "--local-patches", str(rows), str(columns)]  # fmt: skip
    seconds = run(command, folder)
    [job] = (folder / "thon").glob("J*-motion")
    motion = JobFolder(job).output("movie").motion
    assert motion is not None
    return motion, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=["small"])
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    print("case      seed  program  global  local RMS error, px;  CPU s")
    for name in given.case:
        for seed in given.seed:
            movie = Simulation(CASES[name], seed)
            with tempfile.TemporaryDirectory() as folder:
                write_movie(movie, Path(folder) / "movie.mrcs")
                for program in (by_relion, by_thon):
                    motion, seconds = program(movie.case, Path(folder))
                    whole, local = errors(motion, movie)
                    print(f"{name:10s}{seed:4d}  {program.__name__[3:]:7s}{whole:8.3f}{local:8.3f}{seconds:10.2f}",
                          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
