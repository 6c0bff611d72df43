"""A lane whose jobs run in this very process, one after another: quick, where nothing is killed."""

from __future__ import annotations

from dataclasses import dataclass, field

from thon.engine.lanes.contract import Ending, Needs
from thon.job.folder import JobFolder
from thon.job.worker import run as run_worker


@dataclass
class DoneHandle:
    """A job that has run."""

    code: int
    state: str = "running"
    reason: str = "running here"
    batch: str = ""

    def poll(self) -> Ending | None:
        return Ending(self.code)

    def cancel(self) -> None: ...

    def leave(self) -> None: ...

    def wait(self, seconds: float) -> None: ...


@dataclass
class LaneHere:
    """Runs a job as soon as it is given one."""

    started: list[str] = field(default_factory=list)

    def begin_round(self) -> None: ...

    def full(self, needs: Needs) -> str:
        return ""

    def reserve(self, needs: Needs) -> None: ...

    def start(self, folder: JobFolder, needs: Needs) -> DoneHandle:
        self.started.append(folder.path.name)
        return DoneHandle(run_worker(folder))
