"""Refine a stack with a known answer, and say how far from it map and poses are, and what it cost.

    python benchmarks/refinement.py FOLDER --symmetry D2 --mask mask.mrc

FOLDER is what `shared/tools/simulate_particles.py` wrote: particles.star, truth.star with the poses, truth.mrc. The
reference is the truth, low-pass filtered to 40 Å, as in the runs of RELION in `docs/accuracy.md`. With `--ab-initio`
no reference is given, and the map found is compared with the truth in either hand.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.ab_initio import AbInitio, AbInitioOptions
from thon.algorithms.align_volumes import AlignVolumesOptions, align_volumes
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.refine3d import Refine3d, Refine3dOptions, Refinement
from thon.data.particles import Particles
from thon.formats.maps import read_map
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import read_particles
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.symmetry import symmetry_rotations
from thon.ops.volume_rotation import flip_hand, move_volume


def compare_maps(
    volume: Float[torch.Tensor, "z y x"],
    truth: Float[torch.Tensor, "z y x"],
    pixel_size: float,
    mask: Float[torch.Tensor, "z y x"] | None,
) -> str:
    """Mean FSC over all shells but the first and last, and where it crosses 0.5 and 0.143, with and without mask."""
    said: list[str] = []
    for name, within in (("unmasked", None), ("masked", mask)):
        if name == "masked" and within is None:
            continue
        found = fourier_shell_correlation(volume, truth, pixel_size, mask=within)
        curve = found.correlation[1 : len(truth) // 2]
        half, seventh = (1 / float(found.crossing(threshold)) for threshold in (0.5, 0.143))
        said.append(f"{name} {float(curve.mean()):.4f} ({half:.1f} / {seventh:.1f} Å)")
    return ", ".join(said)


def compare_poses(poses: Poses, truth: Particles, symmetry: str) -> str:
    """Errors of rotations, the same but for symmetry, and of shifts."""
    assert truth.rotation is not None
    assert truth.shift is not None
    group = symmetry_rotations(symmetry)
    trace = np.einsum("nji,njk,ski->ns", poses.rotation, truth.rotation, group).max(1)
    angle = np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    shift = np.linalg.norm(poses.shift - truth.shift, axis=1)
    return (
        f"rotations median {np.median(angle):.2f}°, 90 % {np.quantile(angle, 0.9):.2f}°, above 10° "
        f"{100 * (angle > 10).mean():.1f} %; shifts median {np.median(shift):.2f} Å"
    )


def say(state: Refinement, seconds: float) -> None:
    """An iteration in one line."""
    record = state.records[-1]
    print(
        f"{record.iteration:3d} {seconds:6.1f} CPU s  {record.resolution:5.2f} Å  {record.shells} shells  "
        f"{record.angular_step:.2f}° {record.offset_step:.2f} px {'local ' if record.local else 'global'}  "
        f"Pmax {record.probability:.3f}  poses {record.significant:.0f}",
        flush=True,
    )


def refine(
    particles: Particles, truth: Float[np.ndarray, "z y x"], pixel_size: float, options: Refine3dOptions, seed: int
) -> Refinement:
    """Refine from the truth at a low resolution."""
    with ParticleImages(particles) as source:
        refinement = Refine3d(particles, source, pixel_size, options, seed)
        state = refinement.start(truth)
        while not state.converged:
            begun = time.process_time()
            state = refinement.iterate(state)
            say(state, time.process_time() - begun)
    return state


def find(particles: Particles, options: AbInitioOptions, seed: int) -> Float[np.ndarray, "z y x"]:
    """A map from nothing."""
    with ParticleImages(particles) as source:
        search = AbInitio(particles, source, options, seed)
        state = search.start()
        while len(state.records) < options.mini_batches:
            state = search.iterate(state)
    return state.references[0]


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--symmetry", default="D2")
    parser.add_argument("--alike", help="point group of the particles, where they are refined in a lower one")
    parser.add_argument("--mask", type=Path)
    parser.add_argument("--diameter", type=float, default=200.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ab-initio", action="store_true")
    parser.add_argument("--regularisation", choices=["spectral", "local"], default="spectral")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    known = read_particles(arguments.folder / "truth.star")
    blind = replace(known, rotation=None, shift=None)
    truth, pixel_size = read_map(arguments.folder / "truth.mrc")
    mask = None if arguments.mask is None else torch.from_numpy(read_map(arguments.mask)[0])
    begun = time.process_time()
    if arguments.ab_initio:
        found = torch.from_numpy(find(blind, AbInitioOptions(diameter=arguments.diameter), arguments.seed))
        seconds = time.process_time() - begun
        how = align_volumes(found, torch.from_numpy(truth), pixel_size, AlignVolumesOptions(either_hand=True))
        turned = move_volume(flip_hand(found) if how.flipped else found, how.rotation, how.shift / pixel_size)
        compared = compare_maps(turned, torch.from_numpy(truth), pixel_size, mask)
        print(f"{'mirror image, ' if how.flipped else ''}{compared}")
    else:
        options = Refine3dOptions(
            diameter=arguments.diameter, symmetry=arguments.symmetry, initial_lowpass=40,
            regularisation=arguments.regularisation,
        )  # fmt: skip
        state = refine(blind, truth, pixel_size, options, arguments.seed)
        seconds = time.process_time() - begun
        print(compare_maps(torch.from_numpy(state.volume), torch.from_numpy(truth), pixel_size, mask))
        print(compare_poses(state.poses, known, arguments.alike or arguments.symmetry))
    print(f"{seconds:.0f} CPU s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
