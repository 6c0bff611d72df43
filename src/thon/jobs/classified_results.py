"""What jobs that sort particles into classes share: checks of the particles, progress, and the records they yield."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from thon.algorithms.likelihood.classes import ClassRecord, ClassState
from thon.base.errors import InputError
from thon.data.maps import ParticleClass
from thon.data.particles import Particles
from thon.formats.png import encode_png
from thon.formats.report.classes import draw_class_history, draw_sharpness
from thon.formats.report.style import LIGHT, pixels
from thon.job.context import Context


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
        if group.odd_zernike or group.even_zernike or group.premultiplied:
            raise InputError(
                f"optics group '{group.name}' has Zernike aberrations or images that were multiplied by their CTF",
                expected="images as they were taken, with beam tilt at most",
                mend="extract them without --multiply-ctf; further aberrations cannot be corrected yet",
            )
        if diameter > group.box * group.pixel_size:
            raise InputError(
                f"the box of optics group '{group.name}' is too small for the diameter",
                got=f"{group.box * group.pixel_size:.0f} Å",
                expected=f"more than {diameter:.0f} Å",
                mend="extract a larger box, or give a smaller --diameter",
            )
    return used


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


def show_history(context: Context, records: Sequence[ClassRecord], state: ClassState) -> None:
    """Previews of how the classes changed and how sure poses are."""
    shares, resolution = (np.array([getattr(one, name) for one in records]) for name in ("shares", "resolution"))
    changed = np.array([one.changed for one in records])
    history = draw_class_history(shares, changed, resolution, LIGHT)
    context.preview("history", encode_png(pixels(history)), "How the classes changed")
    seen = state.poses.significant > 0
    sharpness = draw_sharpness(state.poses.probability[seen], state.poses.significant[seen], LIGHT)
    context.preview("sharpness", encode_png(pixels(sharpness)), "How sure poses are")


def empty_classes(context: Context, classes: Sequence[ParticleClass]) -> None:
    """Name the classes that no particle belongs to."""
    empty = [str(k) for k, one in enumerate(classes, 1) if not one.share]
    if empty:
        context.warn(f"No particle is in class {', '.join(empty)}.")
