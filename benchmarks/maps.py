"""Masks, FSC, sharpening, local resolution and symmetry axes beside RELION's, on its own half maps.

    python benchmarks/maps.py /work/shared/data/relion_bgal_simulated MAP

FOLDER holds run_half1_class001_unfil.mrc, its twin, run_class001.mrc, mask.mrc and the postprocess.star that RELION
5.0.1 made of them; MAP is the noise-free truth (truth.mrc of simulate_particles.py), whose axes are standard. RELION
3.1.3, where it is on the machine, is run beside. One thread; RELION's CPU seconds include the start of a program.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import scipy
import torch

from thon.algorithms.align_volumes import AlignVolumesOptions, align_volumes
from thon.algorithms.find_symmetry import FindSymmetryOptions, align_to_symmetry, find_symmetry
from thon.algorithms.local_resolution import LocalResolutionOptions, local_resolution
from thon.algorithms.mask import MaskOptions, make_mask
from thon.algorithms.postprocess import PostprocessOptions, postprocess_map
from thon.formats.maps import read_map, write_map
from thon.formats.relion_postprocess import read_postprocess
from thon.ops.rotation import random_rotations
from thon.ops.symmetry import angular_distance
from thon.ops.volume_rotation import move_volume

PIXEL = 2.66
HALVES = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc")
Result = TypeVar("Result")


def timed(what: str, work: Callable[[], Result]) -> Result:
    """The result, with the CPU seconds told."""
    started = time.process_time()
    result = work()
    print(f"{what}: thon {time.process_time() - started:.2f} CPU s")
    return result


def relion(scratch: Path, *command: str) -> bool:
    """Run a program of RELION's where there is one, and tell its CPU seconds."""
    if shutil.which(command[0]) is None:
        return False
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(command, cwd=scratch, capture_output=True, check=False)
    print(f"  {command[0]} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before:.2f} CPU s")
    return True


def load(path: Path) -> torch.Tensor:
    """A map."""
    return torch.from_numpy(read_map(path)[0])


def compare_mask(folder: Path, scratch: Path) -> torch.Tensor:
    """The mask of the shipped commands, voxel by voxel."""
    options = MaskOptions(threshold=0.01, extend=3, edge=6, low_pass=15)
    made = timed("mask", lambda: make_mask(load(folder / "run_class001.mrc"), PIXEL, options)).mask
    command = ("--ini_threshold", "0.01", "--extend_inimask", "3", "--width_soft_edge", "6", "--lowpass", "15")
    source = str(folder / "run_class001.mrc")
    relion(scratch, "relion_mask_create", "--i", source, "--o", "m.mrc", *command, "--angpix", str(PIXEL))
    expected = load(folder / "mask.mrc")
    difference = (made - expected).abs()
    print(f"  {int((difference > 1e-3).sum())} of {made.numel()} voxels differ, by up to {float(difference.max()):.3f}")
    return expected


def compare_postprocess(folder: Path, scratch: Path, mask: torch.Tensor) -> None:
    """Curves, B-factor and resolution against RELION 5.0.1's star."""
    first, second = (load(folder / name) for name in HALVES)
    expected = read_postprocess(folder / "postprocess.star")
    options = PostprocessOptions(fit_from=12, fit_to=5)
    made = timed("postprocess", lambda: postprocess_map(first, second, PIXEL, options, mask=mask))
    halves = ("--i", str(folder / HALVES[0]), "--mask", str(folder / "mask.mrc"), "--angpix", str(PIXEL))
    (scratch / "pp").mkdir()
    relion(scratch, "relion_postprocess", *halves, "--o", "pp", "--auto_bfac", "--autob_lowres", "12")
    for name in ("unmasked", "masked", "corrected"):
        apart = np.abs(getattr(made.correlation.curves, name) - getattr(expected.curves, name))
        print(f"  {name}: largest difference {apart.max():.4f}, median {np.median(apart):.4f}")
    print(f"  B-factor {made.b_factor:.1f} (RELION {expected.b_factor:.1f}) Å²")
    print(f"  resolution {made.correlation.resolution:.2f} (RELION {expected.resolution:.2f}) Å")


def compare_local_resolution(folder: Path, scratch: Path, mask: torch.Tensor) -> None:
    """Local resolution within the mask against RELION's own run."""
    first, second = (load(folder / name) for name in HALVES)
    options = LocalResolutionOptions(randomise_from=25)
    made = timed("local resolution", lambda: local_resolution(first, second, PIXEL, options, b_factor=-100))
    (scratch / "loc").mkdir()
    halves = ("--i", str(folder / HALVES[0]), "--angpix", str(PIXEL))
    if not relion(scratch, "relion_postprocess", *halves, "--o", "loc", "--locres", "--adhoc_bfac", "-100"):
        return
    ours, theirs = made.resolution[mask > 0.5].numpy(), load(scratch / "loc_locres.mrc")[mask > 0.5].numpy()
    rank = scipy.stats.spearmanr(ours, theirs)[0]
    print(f"  median {np.median(ours):.2f} (RELION {np.median(theirs):.2f}) Å; Spearman {rank:.3f}")
    apart = ours - theirs
    print(f"  median difference {np.median(apart):+.3f} Å, median size of it {np.median(abs(apart)):.3f} Å")


def compare_symmetry(truth: Path, scratch: Path) -> None:
    """A map turned at random, brought back to D2's axes; each may take the place of another."""
    volume = load(truth)
    turned = move_volume(volume, random_rotations(1, 5)[0])
    write_map(scratch / "turned.mrc", turned.numpy(), PIXEL)
    found = timed("align to D2", lambda: align_to_symmetry(turned, "D2", voxel_size=PIXEL, resolution=10))
    error = float(angular_distance(found.rotation @ random_rotations(1, 5)[0], np.eye(3), "O"))
    print(f"  error {error:.3f}°")
    if relion(scratch, "relion_align_symmetry", "--i", "turned.mrc", "--o", "aligned.mrc", "--sym", "D2"):
        left = align_volumes(load(scratch / "aligned.mrc"), volume, PIXEL, AlignVolumesOptions())
        print(f"  RELION's error {float(angular_distance(left.rotation, np.eye(3), 'O')):.3f}°")
    best, _ = timed("find the group", lambda: find_symmetry(turned, PIXEL, FindSymmetryOptions()))
    print(f"  {best.symmetry}, lowest correlation {best.lowest:.2f}")
    moved = timed("align to a map", lambda: align_volumes(turned, volume, PIXEL, AlignVolumesOptions()))
    print(f"  error {float(angular_distance(moved.rotation @ random_rotations(1, 5)[0], np.eye(3), 'D2')):.3f}°")


def main() -> None:
    """All comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("truth", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        mask = compare_mask(given.folder.absolute(), scratch)
        compare_postprocess(given.folder.absolute(), scratch, mask)
        compare_local_resolution(given.folder.absolute(), scratch, mask)
        compare_symmetry(given.truth.absolute(), scratch)


if __name__ == "__main__":
    main()
