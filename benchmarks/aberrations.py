"""Maps from images taken with an imperfect lens, from images multiplied by their CTFs, and with Ewald's sphere curved.

    python benchmarks/aberrations.py [--relion] [--stack FOLDER]

The images are those of the tests, of balls, in float64 and written out (`tests/algorithms/aberrated_phantom.py`): what
is known of the lens is told, or not. Figures are the mean FSC of a map with the truth. With `--relion`,
relion_reconstruct makes a map of the same images and star files. With `--stack`, particles of
`shared/tools/simulate_particles.py` are reconstructed at their true poses, as they are and multiplied by CTFs; with
`--refine N`, the first N of them are refined as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.algorithms.aberrated_phantom import Microscope, balls_volume, optics_group, simulate_aberrated
from tests.algorithms.likelihood_phantom import Phantom, phantom
from thon.algorithms.likelihood.images import ImageSource
from thon.algorithms.reconstruct_particles import ReconstructParticlesOptions, reconstruct_with_poses
from thon.algorithms.refine3d import Refine3d, Refine3dOptions
from thon.data.optics import Optics
from thon.data.particles import ParticleOptics, Particles
from thon.formats.maps import read_map
from thon.formats.mrc_writer import write_mrc
from thon.formats.particle_images import ParticleImages
from thon.formats.relion_particles import read_particles, write_particles
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.particle_ctf import particle_ctf

ABERRATIONS = {
    "odd_zernike": (0.0, 0.0, 400.0, 0.0, 0.0, 500.0),
    "even_zernike": (0.2, 40.0, 0.0, -30.0, 1500.0, 200.0, 0.0, -150.0, -2000.0),
    "beam_tilt": (2.0, -3.0),
    "magnification": ((1.04, 0.02), (-0.015, 0.97)),
}


class Multiplied:
    """Images of particles, multiplied by their CTFs over the whole spectrum."""

    def __init__(self, particles: Particles, source: ImageSource) -> None:
        self.particles, self.source = particles, source

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Some of them."""
        images = self.source.read(indices)
        group, ctf = self.particles.optics[0], self.particles.ctf
        assert ctf is not None
        y, x = (
            make(group.box, group.pixel_size, dtype=torch.float64) for make in (torch.fft.fftfreq, torch.fft.rfftfreq)
        )
        frequency = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1)
        transfer = particle_ctf(frequency, ctf.select(indices), group).numpy()
        return np.fft.irfft2(np.fft.rfft2(images) * transfer, s=images.shape[1:]).astype(np.float32)


def agreement(found: Float[np.ndarray, "z y x"], truth: Float[np.ndarray, "z y x"], shells: range) -> float:
    """Mean FSC over some shells."""
    curve = fourier_shell_correlation(torch.from_numpy(found), torch.from_numpy(truth), 1.0).correlation
    return float(curve[shells.start : shells.stop].mean())


def relion_map(
    particles: Particles, images: Float[np.ndarray, "n box box"], options: Sequence[str]
) -> Float[np.ndarray, "z y x"]:
    """What relion_reconstruct makes of images and what is told of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_mrc(folder / "p.mrcs", images.astype(np.float32), particles.optics[0].pixel_size)
        told = replace(particles, files=(str(folder / "p.mrcs"),))
        write_particles(folder / "p.star", told, relative_to=folder)
        command = ["relion_reconstruct", "--i", "p.star", "--o", "map.mrc", "--ctf", *options]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return read_map(folder / "map.mrc")[0]


def compare_aberrations(*, relion: bool) -> None:
    """All aberrations at once, told and not."""
    box, pixel, width = 32, 3.0, 0.8
    group, plain = optics_group(box, pixel, **ABERRATIONS), optics_group(box, pixel)
    truth = balls_volume(phantom(), width, box)
    data = simulate_aberrated(phantom(), Microscope(group, width=width), 400, noise=0.1)
    for name, told in (("told", group), ("not told", plain)):
        particles = replace(data.particles, optics=(told,))
        found = reconstruct_with_poses(particles, data, ReconstructParticlesOptions(diameter=80))
        line = f"aberrations {name}: thon {agreement(found.volume, truth, range(1, 14)):.3f}"
        if relion:
            line += f", RELION {agreement(relion_map(particles, data.images, ()), truth, range(1, 14)):.3f}"
        print(line, flush=True)


def compare_curvature(*, relion: bool) -> None:
    """An object so thick for its electrons as one of 320 Å for 300 kV at 2.5 Å."""
    box, width = 48, 0.7
    group: ParticleOptics = optics_group(box, 2.2, optics=Optics(2.0, 0.0, 0.1))
    balls: Phantom = phantom(3, balls=30, radius=18.0)
    truth = balls_volume(balls, width, box)
    microscope = Microscope(group, -1, width=width, defocus=(1500.0, 3500.0))
    data = simulate_aberrated(balls, microscope, 500, noise=0.1)
    flags = {"flat": (), "curved": ("--ewald",), "the other way": ("--ewald", "--reverse_curvature")}
    for name, flag in flags.items():
        how = ReconstructParticlesOptions(
            diameter=100, ewald="--ewald" in flag, reverse_curvature="--reverse_curvature" in flag
        )
        found = reconstruct_with_poses(data.particles, data, how).halves.mean(0)
        line = f"Ewald's sphere {name}: thon {agreement(found, truth, range(1, 22)):.3f}"
        if relion:
            theirs = relion_map(data.particles, data.images, (*flag, *(("--mask_diameter", "100") if flag else ())))
            line += f", RELION {agreement(theirs, truth, range(1, 22)):.3f}"
        print(line, flush=True)


def compare_multiplied(folder: Path) -> None:
    """Known poses, images as they are and multiplied by their CTFs."""
    known, (truth, _) = read_particles(folder / "truth.star"), read_map(folder / "truth.mrc")
    multiplied = replace(known, optics=tuple(replace(group, premultiplied=True) for group in known.optics))
    options = ReconstructParticlesOptions(diameter=200, symmetry="D2")
    with ParticleImages(known) as source:
        plain = reconstruct_with_poses(known, source, options).volume
        found = reconstruct_with_poses(multiplied, Multiplied(known, source), options).volume
    shells = range(1, len(truth) // 2)
    curve = fourier_shell_correlation(torch.from_numpy(plain), torch.from_numpy(found), 1.0).correlation
    print(
        f"mean FSC with the truth {agreement(plain, truth, shells):.4f} as they are, "
        f"{agreement(found, truth, shells):.4f} multiplied; with each other at least {curve[: shells.stop].min():.5f}"
    )


def refine_multiplied(folder: Path, count: int) -> None:
    """Refinement of the first particles from the truth at 40 Å, as they are and multiplied by their CTFs."""
    known, (truth, pixel_size) = read_particles(folder / "truth.star"), read_map(folder / "truth.mrc")
    options, maps = Refine3dOptions(symmetry="D2", diameter=200, initial_lowpass=40), []
    shells = range(1, len(truth) // 2)
    for multiplied in (False, True):
        optics = tuple(replace(group, premultiplied=multiplied) for group in known.optics)
        blind = replace(known, optics=optics, rotation=None, shift=None).select(np.arange(count))
        with ParticleImages(known) as source:
            images = Multiplied(known, source) if multiplied else source
            refinement = Refine3d(blind, images, pixel_size, options, 0)
            state = refinement.start(truth)
            while not state.converged:
                state = refinement.iterate(state)
        maps.append(state.volume)
        name = "multiplied" if multiplied else "as they are"
        print(f"refined {name}: mean FSC with the truth {agreement(state.volume, truth, shells):.4f}", flush=True)
    curve = fourier_shell_correlation(torch.from_numpy(maps[0]), torch.from_numpy(maps[1]), 1.0).correlation
    print("with each other, shell by shell:", " ".join(f"{value:.3f}" for value in curve[: shells.stop]))


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relion", action="store_true", help="also run relion_reconstruct")
    parser.add_argument("--stack", type=Path, help="folder of simulated particles")
    parser.add_argument("--refine", type=int, default=0, metavar="N", help="of --stack, refine so many")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compare_aberrations(relion=arguments.relion)
    compare_curvature(relion=arguments.relion)
    if arguments.stack is not None:
        compare_multiplied(arguments.stack)
        if arguments.refine:
            refine_multiplied(arguments.stack, arguments.refine)


if __name__ == "__main__":
    main()
