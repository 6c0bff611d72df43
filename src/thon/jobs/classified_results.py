"""What jobs that sort particles into classes share: checks of the particles, progress, results and their figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from thon.algorithms.likelihood.classes import ClassRecord, ClassState
from thon.algorithms.particle_sets import half_sets
from thon.base.errors import InputError
from thon.data.maps import ParticleClass
from thon.data.particles import Particles
from thon.formats.checkpoint import read_checkpoint, write_checkpoint
from thon.formats.report.class_flow import flow_figure
from thon.formats.report.convergence import ClassHistory, class_history_figure
from thon.formats.report.job_page import ReportFigure
from thon.formats.report.posterior import posterior_figure
from thon.job.context import Context

_SHOWN = 6
"""Iterations whose classes the flow of particles is drawn between."""


@dataclass(frozen=True)
class ClassTrail:
    """Class of each particle after some iterations, kept beside the checkpoint, for the flow between classes.

    Args:
        iterations: Their numbers, from 1.
        members: Class of each particle, from 0; −1 where it was not looked at yet.
    """

    iterations: tuple[int, ...]
    members: Int[np.ndarray, "shown n"]

    @classmethod
    def begin(cls, context: Context, particles: int, done: int) -> ClassTrail:
        """What an interrupted run has left of the iterations that are done, or nothing."""
        path = context.checkpoints / "trail.npz"
        if not path.exists():
            return cls((), np.zeros((0, particles), np.int32))
        found: ClassTrail = read_checkpoint(path)
        kept = sum(number <= done for number in found.iterations)
        return cls(found.iterations[:kept], found.members[:kept])

    def follow(self, context: Context, state: ClassState, total: int) -> ClassTrail:
        """With the last iteration, if it is one of those that are shown; to be called before its checkpoint is written.

        Args:
            context: The item's.
            state: After the iteration.
            total: Number of iterations.
        """
        number, poses = len(state.records), state.poses
        if number not in np.linspace(1, total, _SHOWN).round().astype(int):
            return self
        members = np.where(poses.significant > 0, poses.classes, -1).astype(np.int32)
        grown = ClassTrail((*self.iterations, number), np.concatenate([self.members, members[None]]))
        write_checkpoint(context.checkpoints / "trail.npz", grown)
        return grown


def check_particles(particles: Particles, diameter: float, classes: int = 1, *, need_ctf: bool = True) -> Particles:
    """The particles, without optics groups that none belongs to, if they can be sorted into classes.

    Raises:
        InputError: There are fewer than classes, they have no CTF, or their box is too small for the mask.
    """
    if len(particles) < max(classes, 1):
        raise InputError(
            "there are too few particles", got=len(particles), expected=f"at least {max(classes, 1)}, one for a class"
        )
    if need_ctf and particles.ctf is None:
        raise InputError("the particles have no CTF", mend="fit it with `thon ctf-fit` before extracting")
    used = particles.compact()
    for group in used.optics:
        if diameter > group.box * group.pixel_size:
            raise InputError(
                f"the box of optics group '{group.name}' is too small for the diameter",
                got=f"{group.box * group.pixel_size:.0f} Å",
                expected=f"more than {diameter:.0f} Å",
                mend="extract a larger box, or give a smaller --diameter",
            )
    return used


def check_halves(particles: Particles, seed: int) -> None:
    """Refuse particles that cannot be parted into two independent halves.

    Args:
        particles: The particles.
        seed: By which those without half set get one.

    Raises:
        InputError: Half sets share images, or one of them is empty.
    """
    shared = particles.in_both_halves()
    if len(shared):
        raise InputError(
            "half sets share images, so they are not independent",
            got=f"{len(shared)} in both, the first {particles.image_name(int(shared[0]))}",
            mend="`thon remove-duplicates`, or give particles without half sets",
        )
    first, second = np.bincount(half_sets(particles, np.random.default_rng(seed)), minlength=3)[1:3].tolist()
    if not first or not second:
        raise InputError(
            "a half set is empty",
            got=f"{first} and {second} particles",
            expected="particles of different images in both",
            mend="give more particles, or particles without half sets",
        )


def teller(context: Context, iteration: int, total: int) -> Callable[[int], None]:
    """A function that is told numbers of particles and tells the progress of an iteration."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        context.progress(min(done, total), total, f"iteration {iteration}")

    return tell


def sentence(record: ClassRecord) -> str:
    """An iteration in words."""
    shares = np.asarray(record.shares)
    used = int((shares > 0.1 / len(shares)).sum())
    return (
        f"Iteration {record.iteration}: {record.particles:,} particles; finest class {min(record.resolution):.1f} Å, "
        f"median {np.median(record.resolution):.1f} Å; {used} of {len(shares)} classes in use, the largest with "
        f"{100 * shares.max():.0f} %; {100 * record.changed:.1f} % changed their class; best poses hold "
        f"{100 * record.probability:.0f} % of the posterior."
    )


def classified_fields(particles: Particles, state: ClassState) -> dict[str, Any]:
    """Fields of the particles with poses and classes of a state."""
    poses = state.poses
    fields = {name: getattr(particles, name) for name in Particles.__dataclass_fields__}
    return fields | {
        "rotation": poses.rotation,
        "shift": poses.shift,
        "class_number": poses.classes + 1,
        "probability": poses.probability,
        "likelihood": poses.likelihood,
        "significant": poses.significant,
        "norm": state.model.norm,
    }


def class_shares(state: ClassState) -> tuple[float, ...]:
    """Share of the particles whose best pose is in each class."""
    counts = np.bincount(state.poses.classes, minlength=len(state.references))
    return tuple((counts / counts.sum()).tolist())


def class_figures(state: ClassState, trail: ClassTrail, pixel_size: float) -> list[ReportFigure]:
    """How particles moved between classes, how the classes came about, and how sure poses are."""
    records, classes = state.records, len(state.references)
    extent = state.references.shape[-1] * pixel_size
    history = ClassHistory(
        shares=np.array([one.shares for one in records]),
        resolution=np.array([one.resolution for one in records]),
        probability=np.array([one.probability for one in records]),
        changed=np.array([one.changed for one in records]),
        finest=extent / np.array([one.shells for one in records]),
    )
    flow = [flow_figure(trail.members, trail.iterations, classes)] if classes > 1 and len(trail.iterations) > 1 else []
    seen = state.poses.significant > 0
    posterior = posterior_figure(state.poses.probability[seen], state.poses.significant[seen])
    return [*flow, class_history_figure(history), posterior]


def class_numbers(state: ClassState, particles: Particles, pixel_size: float) -> dict[str, str]:
    """What people look for first in a classification."""
    last, shares = state.records[-1], np.array(class_shares(state))
    return {
        "Particles": f"{len(particles):,}",
        "Classes": f"{int((shares > 0).sum())} of {len(shares)} with particles",
        "Largest class": f"{100 * shares.max():.1f} % of the particles",
        "Finest class": f"{min(last.resolution):.1f} Å",
        "Box": f"{state.references.shape[-1]} px of {pixel_size:.4g} Å",
        "Iterations": str(len(state.records)),
        "Changed class at last": f"{100 * last.changed:.1f} % of the particles",
        "Best poses (Pmax)": f"{last.probability:.2f} on average",
    }


def empty_classes(context: Context, classes: Sequence[ParticleClass]) -> list[str]:
    """Name the classes that no particle belongs to; returns the sentence that was said, if there was one."""
    empty = [str(k) for k, one in enumerate(classes, 1) if not one.share]
    told = [f"No particle is in class {', '.join(empty)}."] if empty else []
    for sentence_ in told:
        context.warn(sentence_)
    return told
