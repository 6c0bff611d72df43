"""Sort mixtures with a known answer into classes, in two and in three dimensions: purity, CPU seconds, memory.

    python benchmarks/classification.py flat OUT        β-galactosidase and the 30S ribosome, by EM and by VDAM
    python benchmarks/classification.py solid OUT       β-galactosidase with and without the TIM barrel of one subunit
    python benchmarks/classification.py solid OUT --poses true      the same at the true poses, without a search
    python benchmarks/classification.py solid OUT --poses any       the same with all poses searched, from a coarse map

Particles are made by ../shared/tools/simulate_particles.py (box 96, 2.66 Å, SNR 0.05; --number of each kind), which
does not depend on thon; OUT keeps them. Purity is the share of the particles that belong to the kind that most of their
class belong to. In three dimensions all particles are first refined together in D2, and then searched near the four
poses that D2 makes equal, which the lacking barrel tells from each other. In two dimensions the score of the classes is
tried as well: a third kind may be added, --noise, images of noise alone.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thon.algorithms.class_ranking import rank_classes
from thon.algorithms.classify2d import Classify2d, Classify2dOptions
from thon.algorithms.classify3d import Classify3d, Classify3dOptions
from thon.algorithms.likelihood.classes import ClassState
from thon.algorithms.refine3d import Refine3d, Refine3dOptions
from thon.data.maps import ParticleClass
from thon.data.particles import Particles, join_particles
from thon.formats.maps import read_map, write_map
from thon.formats.mrc import write_mrc
from thon.formats.particle_images import ParticleImages
from thon.formats.png import write_png
from thon.formats.relion_particles import read_particles
from thon.formats.report.classes import draw_gallery
from thon.formats.report.style import LIGHT, pixels

SHARED = Path(__file__).parents[1].parent / "shared"
MODELS = SHARED / "data" / "models"
BARREL = range(334, 628)
"""Residues of β-galactosidase's third domain."""

BOX, PIXEL = 96, 2.66


def without_domain(source: Path, target: Path) -> Path:
    """The model without the third domain of chain A."""
    kept = [
        line
        for line in source.read_text().splitlines()
        if not (line.startswith(("ATOM", "HETATM")) and line[21] == "A" and int(line[22:26]) in BARREL)
    ]
    target.write_text("\n".join(kept) + "\n")
    return target


def simulate(model: Path, out: Path, number: int, snr: float, seed: int) -> Particles:
    """Particles of a model, their micrographs named after the folder so that they are not those of another."""
    if not (out / "truth.json").exists():
        tool = SHARED / "tools" / "simulate_particles.py"
        settings = ["--number", number, "--box", BOX, "--pixel", PIXEL, "--snr", snr, "--seed", seed]
        subprocess.run([sys.executable, tool, model, out, *map(str, settings)], check=True)
    found = read_particles(out / "particles.star")
    return replace(found, micrographs=tuple(f"{out.name}_{name}" for name in found.micrographs))


def with_true_poses(out: Path, particles: Particles, frame: tuple[np.ndarray, np.ndarray]) -> Particles:
    """Particles with true poses for a map that is turned and moved (z, y, x; Å) from the one that was simulated."""
    truth = read_particles(out / "truth.star")
    assert truth.rotation is not None
    assert truth.shift is not None
    turn, move = frame
    shift = truth.shift + np.einsum("nij,j->ni", truth.rotation, move)[:, 1:]
    return replace(particles, rotation=truth.rotation @ turn, shift=shift)


def frame_of(model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Centre and axes (x, y, z) that the simulation puts a model's atoms to."""
    tool = runpy.run_path(str(SHARED / "tools" / "simulate_particles.py"))
    lines = [line for line in model.read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    atoms = [line for line in lines if line[17:20] != "HOH"]
    place = np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in atoms])
    elements = [line[76:78].strip().upper() or line[12:16].strip()[0] for line in atoms]
    weight = np.array([tool["SCATTERING"].get(element, 3.0) for element in elements])
    centre = np.average(place, axis=0, weights=weight)
    axes = np.linalg.eigh((weight[:, None] * (place - centre)).T @ (place - centre))[1]
    return centre, axes * np.sign(np.linalg.det(axes))


def between(first: Path, second: Path) -> tuple[np.ndarray, np.ndarray]:
    """What takes coordinates (z, y, x) of the first model's map to those of the second's."""
    (centre, axes), (other_centre, other_axes) = frame_of(first), frame_of(second)
    return (other_axes.T @ axes)[::-1, ::-1], ((centre - other_centre) @ other_axes)[::-1]


def noise_alone(out: Path, like: Particles, number: int) -> Particles:
    """Images of noise, with CTFs."""
    out.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(9).normal(size=(number, BOX, BOX)).astype(np.float32)
    write_mrc(out / "noise.mrcs", images, PIXEL)
    some = like.select(np.arange(number) % len(like))
    return replace(
        some, files=(str(out / "noise.mrcs"),), file=np.zeros(number, np.int64), section=np.arange(number),
        micrographs=("noise",), micrograph=np.zeros(number, np.int64),
    )  # fmt: skip


def purity(classes: np.ndarray, truth: np.ndarray) -> float:
    """Share of the particles that belong to the most frequent kind of their class."""
    table = np.zeros((classes.max() + 1, truth.max() + 1), int)
    np.add.at(table, (classes, truth), 1)
    return float(table.max(1).sum() / len(truth))


def table_of(state: ClassState, truth: np.ndarray, kinds: list[str], scores: np.ndarray | None = None) -> None:
    """How many particles of each kind are in each class."""
    print(f"  class {' '.join(f'{kind:>8}' for kind in kinds)}   Å      score")
    for k in range(len(state.references)):
        counts = np.bincount(truth[state.poses.classes == k], minlength=len(kinds))
        score = "" if scores is None else f"{scores[k]:.2f}"
        numbers = " ".join(f"{count:8d}" for count in counts)
        print(f"  {k + 1:5d} {numbers}   {state.records[-1].resolution[k]:5.1f}  {score}")


def flat(arguments: argparse.Namespace) -> None:
    """Two proteins, and noise if asked for, into classes of two dimensions."""
    out, number = arguments.out, arguments.number
    sets = [
        simulate(MODELS / "5a1a_bgal.pdb", out / "bgal", number, arguments.snr, 1),
        simulate(MODELS / "4v4r_30S.pdb", out / "30S", number, arguments.snr, 2),
    ]
    kinds = ["β-gal", "30S"]
    if arguments.noise:
        sets.append(noise_alone(out / "noise", sets[0], arguments.noise))
        kinds.append("noise")
    particles = join_particles(sets)
    truth = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    for method in arguments.methods:
        options = Classify2dOptions(classes=arguments.classes, diameter=230, method=method)
        start = time.process_time()
        with ParticleImages(particles) as source:
            run = Classify2d(particles, source, options, arguments.seed)
            state = run.start()
            while len(state.records) < run.total:
                state = run.iterate(state)
        seconds = time.process_time() - start
        share = np.bincount(state.poses.classes, minlength=options.classes) / len(particles)
        resolution = state.records[-1].resolution
        scores = rank_classes(state.references, resolution, share.tolist(), radius=115 / PIXEL)
        table_of(state, truth, kinds, scores)
        proteins = truth < 2
        found = 100 * purity(state.poses.classes[proteins], truth[proteins])
        print(f"{method}: purity of the proteins {found:.2f} %, {seconds:.0f} CPU s, {memory()}")
        classes = [ParticleClass(*known) for known in zip(share, resolution, scores, strict=True)]
        write_png(
            out / f"classes_{method}.png", pixels(draw_gallery(state.references, classes, len(particles), PIXEL, LIGHT))
        )


def solid(arguments: argparse.Namespace) -> None:
    """A protein with and without a domain into classes of three dimensions, from one reference."""
    out, number = arguments.out, arguments.number
    out.mkdir(parents=True, exist_ok=True)
    whole = MODELS / "5a1a_bgal.pdb"
    sets = [
        simulate(whole, out / "whole", number, arguments.snr, 1),
        simulate(without_domain(whole, out / "part.pdb"), out / "part", number, arguments.snr, 2),
    ]
    if arguments.poses == "true":
        still = np.eye(3), np.zeros(3)
        sets[0] = with_true_poses(out / "whole", sets[0], still)
        sets[1] = with_true_poses(out / "part", sets[1], between(whole, out / "part.pdb"))
    particles = join_particles(sets)
    truth = np.repeat(np.arange(2), number)
    reference, pixel_size = read_map(out / "whole" / "truth.mrc")
    start = time.process_time()
    options = Classify3dOptions(classes=2, diameter=200, iterations=arguments.iterations, initial_lowpass=60)
    if arguments.poses == "refined":
        particles, reference = refine(particles, reference, arguments.seed)
        print(f"refined together: {time.process_time() - start:.0f} CPU s", flush=True)
        near = {"local_sigma": 2.0, "relax_symmetry": "D2", "level": 5, "offset_range": 2.0, "offset_step": 0.5}
        options = options.model_copy(update=near | {"initial_lowpass": 20.0, "absolute_greyscale": True})
    elif arguments.poses == "true":
        options = options.model_copy(update={"align": False})
    with ParticleImages(particles) as source:
        run = Classify3d(particles, source, pixel_size, options, arguments.seed)
        state = run.start(reference[None])
        while len(state.records) < options.iterations:
            state = run.iterate(state)
            record = state.records[-1]
            print(
                f"{record.iteration:3d}: {time.process_time() - start:5.0f} s, {record.shells} shells, "
                f"{min(record.resolution):.1f} Å, best poses {record.probability:.2f}, changed {record.changed:.3f}, "
                f"purity {100 * purity(state.poses.classes, truth):.2f} %",
                flush=True,
            )
    table_of(state, truth, ["whole", "part"])
    for k, volume in enumerate(state.references, 1):
        write_map(out / f"class{k:03d}.mrc", volume, pixel_size)
    seconds = time.process_time() - start
    print(f"purity {100 * purity(state.poses.classes, truth):.2f} %, {seconds:.0f} CPU s, {memory()}")


def refine(particles: Particles, reference: np.ndarray, seed: int) -> tuple[Particles, np.ndarray]:
    """All particles refined as if they were alike and had the symmetry of most of them."""
    options = Refine3dOptions(diameter=200, symmetry="D2", initial_lowpass=40)
    with ParticleImages(particles) as source:
        run = Refine3d(particles, source, PIXEL, options, seed)
        state = run.start(reference)
        while not state.converged:
            state = run.iterate(state)
    return replace(particles, rotation=state.poses.rotation, shift=state.poses.shift), state.volume


def memory() -> str:
    """Most memory so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB"


def main() -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flat", "solid"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--number", type=int, default=1000, help="particles of each kind")
    parser.add_argument("--noise", type=int, default=0, help="images of noise alone")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--methods", nargs="+", default=["EM", "VDAM"])
    parser.add_argument("--iterations", type=int, default=25)
    parser.add_argument("--poses", choices=["refined", "any", "true"], default="refined")
    parser.add_argument("--snr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    {"flat": flat, "solid": solid}[arguments.what](arguments)


if __name__ == "__main__":
    main()
