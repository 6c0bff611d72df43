"""A live session in a thread of the test, with real worker processes, on samples in a folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thon.engine.live.crew import Crew
from thon.engine.live.open import SessionRequest
from thon.engine.live.options import LiveOptions
from thon.engine.live.session import run_live
from thon.engine.live.status import LiveStatus, Said
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.project.project import Project

QUICK: dict[str, Any] = {"settle": 0.15, "poll": 0.05, "workers": 1, "backoff": 0.1, "idle": 0.0}


class Live:
    """A session on `folder / "in"` that writes into `folder / "OUT"`."""

    def __init__(self, folder: Path):
        self.source, self.project = folder / "in", Project.create(folder / "OUT")
        self.source.mkdir(exist_ok=True)
        self.said: list[Said] = []
        self.statuses: list[LiveStatus] = []
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None

    def say(self, said: Said) -> None:
        self.said.append(said)

    def show(self, status: LiveStatus) -> None:
        self.statuses.append(status)

    def put(self, name: str, text: str) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start(
        self,
        location: str | None = None,
        steps: dict[str, dict[str, Any]] | None = None,
        crew: Crew | None = None,
        told: bool = False,
        **live: Any,
    ) -> None:
        given, self.code, self.error = steps or {}, None, None
        pairs = [(step, step.spec.options(**given.get(step.spec.name, {}))) for step in steps_of("watch-samples")]
        options, where = LiveOptions(**(QUICK | live)), location or str(self.source)
        request = SessionRequest(where, pairs, options, RunSettings(memory=1.0), {})

        def run() -> None:
            try:
                self.code, _ = run_live(self.project, request, self, crew, told=told)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def join(self) -> int | None:
        assert self.thread is not None
        self.thread.join(120)
        assert not self.thread.is_alive(), self.text
        if self.error is not None:
            raise self.error
        return self.code

    def run(
        self, location: str | None = None, steps: dict[str, dict[str, Any]] | None = None, **live: Any
    ) -> int | None:
        self.start(location, steps, **live)
        return self.join()

    @property
    def text(self) -> str:
        return "\n".join(one.text for one in self.said)

    def job(self, number: int) -> JobFolder:
        return self.project.job(f"J{number:03d}")

    def times_done(self, number: int) -> dict[str, int]:
        """How often each item of a job was done."""
        counts: dict[str, int] = {}
        for event in self.job(number).events():
            if event.kind == "item_done":
                counts[event.item or ""] = counts.get(event.item or "", 0) + 1
        return counts

    def wait(self, look: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            if self.thread is not None and not self.thread.is_alive():
                found = look()
                assert found, f"{self.error!r}\n{self.text}"
                return found
            time.sleep(0.02)
        raise AssertionError(f"it did not happen\n{self.text}")

    def wait_done(self, number: int, item: str) -> None:
        self.wait(lambda: len(self.project.jobs()) >= number and item in self.job(number).items())
