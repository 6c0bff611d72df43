"""Iterations of a job over a whole set: the state after each is kept until the job is done, and a killed run goes on
from it; some are kept for good, for jobs that begin there (`thon clone --iteration`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from thon.algorithms.likelihood.expectation import Poses
from thon.base.errors import InputError
from thon.formats.checkpoint import read_checkpoint, write_checkpoint
from thon.job.context import Context
from thon.ops.processes import from_first, is_first

_LAST = "state.npz"


class Iterated(Protocol):
    """A state that knows its iterations, and the poses of its particles."""

    @property
    def records(self) -> Sequence[Any]:
        """One of each iteration."""
        ...

    @property
    def poses(self) -> Poses:
        """Of all particles."""
        ...


State = TypeVar("State", bound=Iterated)


def last_state(context: Context, particles: int, start: Callable[[], State], *, what: str = "iteration") -> State:
    """The state that an earlier run, or another job, left, or that before the first iteration.

    Args:
        context: The item's.
        particles: Their number.
        start: Makes the first state.
        what: An iteration is called.

    Raises:
        InputError: What was left is of other particles.
    """
    return from_first(lambda: _begin(context, particles, start, what))


def _begin(context: Context, particles: int, start: Callable[[], State], what: str) -> State:
    checkpoint = context.checkpoints / _LAST
    if not checkpoint.exists():
        return start()
    state: State = read_checkpoint(checkpoint)
    known = len(state.poses.classes)
    if known != particles:
        raise InputError(
            f"the {what} to go on from is of other particles", path=checkpoint, got=f"{known}", expected=f"{particles}"
        )
    context.log(f"Going on after {what} {len(state.records)}.")
    return state


def keep_state(context: Context, state: Iterated) -> None:
    """Leave a state for a run that comes after a kill, or for a job that begins there."""
    if not is_first():
        return
    write_checkpoint(context.checkpoints / _LAST, state)
    context.keep_iteration(len(state.records))
