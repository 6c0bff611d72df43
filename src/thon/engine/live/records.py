"""The records of a session's jobs, from where it takes them up to where it closes them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from thon.engine.live.crew import Crew
from thon.engine.live.stage import Stage
from thon.engine.run import worst
from thon.job.events import Failed, Finished, Interrupted, Started
from thon.job.machine import held_gpus, now
from thon.job.runs import RunEnding, begin_run, close_killed, end_run


def open_record(stage: Stage, crew: Crew) -> str:
    """Take up the job of a step; returns when its run began."""
    record = stage.folder.head()
    close_killed(stage.folder, record)
    allowed = crew.resources
    shown = {"threads": allowed.threads * crew.size, "memory": allowed.memory * crew.size}
    shown |= {"device": allowed.device if stage.spec.gpus else "cpu"}
    state = {"state": "running", "started": record.started or now(), "ended": None}
    record = record.model_copy(update=shown | state)
    gpus = held_gpus(allowed.device, stage.spec.gpus) if crew.gpus_here else 0
    run = begin_run(record, gpus=gpus, watches=crew.is_elsewhere)
    stage.folder.write(record)
    return run.started


def tell_started(stage: Stage) -> None:
    """Tell that a step begins, with what is there of earlier sessions."""
    stage.folder.emit(Started(host=platform.node(), pid=os.getpid(), items=len(stage.entries), finished=stage.done))


def close_record(stage: Stage, share: float, seconds: float, energy: float | None, *, ended: bool) -> None:
    """Close the job of a step.

    Args:
        stage: The step.
        share: Its part of the machines.
        seconds: How long the session lasted.
        energy: Joules that the machine took meanwhile; None where it does not tell.
        ended: Whether the session came to its end.
    """
    codes = [failure.exit_code for failure in stage.failures.values()]
    record = stage.folder.head()
    state: RunEnding = "interrupted" if not ended else "failed" if codes else "finished"
    record.state, record.ended = state, now()
    joules = None if energy is None else round(energy * share, 3)
    own = stage.took[""].model_copy(update={"seconds": round(seconds, 3), "energy": joules})
    end_run(stage.folder, record, state, stage.took | {"": own}, record.ended, share=share)
    record.usage.bytes = stage.size
    stage.folder.write(record)
    if state == "interrupted":
        stage.folder.emit(Interrupted(seconds=seconds))
    elif codes:
        message = f"{len(codes)} of {len(stage.entries)} items failed"
        stage.folder.emit(Failed(message=message, exit_code=worst(codes), seconds=seconds))
    else:
        stage.folder.emit(Finished(seconds=seconds))


def shares(stages: Sequence[Stage]) -> list[float]:
    """Each step's part of the session's CPU time, which is its part of the machines."""
    used = [sum(took.cpu_seconds for took in stage.took.values()) for stage in stages]
    whole = sum(used)
    return [round(one / whole, 4) if whole else 1 / len(stages) for one in used]
