"""Iterations of a job over a whole set: the state after each is kept until the job is done, and a killed run goes on
from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from thon.formats.checkpoint import read_checkpoint, write_checkpoint
from thon.job.context import Context

_LAST = "state.npz"
_EACH = "it{:03d}.npz"


class Iterated(Protocol):
    """A state that knows its iterations."""

    @property
    def records(self) -> Sequence[Any]:
        """One of each."""
        ...


State = TypeVar("State", bound=Iterated)


def last_state(context: Context, start: Callable[[], State], *, what: str = "iteration") -> State:
    """The state that an earlier run left, or that before the first iteration."""
    checkpoint = context.checkpoints / _LAST
    if not checkpoint.exists():
        return start()
    state: State = read_checkpoint(checkpoint)
    context.log(f"Going on after {what} {len(state.records)}.")
    return state


def keep_state(context: Context, state: Iterated, *, forever: bool = False) -> None:
    """Leave a state for a run that comes after a kill, and, if asked for, for whoever continues from this iteration."""
    if forever:
        write_checkpoint(context.checkpoints / _EACH.format(len(state.records)), state)
    write_checkpoint(context.checkpoints / _LAST, state)


def hand_over_states(context: Context) -> None:
    """Put the states that were kept forever among the outputs, into `iterations/`."""
    for path in sorted(context.checkpoints.glob(_EACH.replace("{:03d}", "*"))):
        shutil.move(path, context.output(f"iterations/{path.name}"))
