"""Keeps items of a session from later steps where they do not pass a threshold.

A threshold holds for what has not gone on yet. What has, stays: its later results would have to be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from thon.engine.live.control import Threshold
from thon.engine.live.stage import Stage


class Gate:
    """Between each step and the next.

    Args:
        stages: The steps.
        gathers: Number of the step that gathers groups; None where none does.
        thresholds: What items must pass.
        say: Takes sentences for people.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        gathers: int | None,
        thresholds: Sequence[Threshold],
        say: Callable[[str, str], None],
    ):
        self.gathered: set[str] = set()
        """Items that are in a group that was gathered."""
        self._stages, self._gathers, self._thresholds, self._say = stages, gathers, tuple(thresholds), say

    def why(self, k: int, values: Mapping[str, float]) -> str:
        """Why an item with these numbers does not pass; empty where it does."""
        name = self._stages[k].spec.name
        return next(filter(None, (one.why(values) for one in self._thresholds if one.step == name)), "")

    def check(self, k: int, item: str, values: Mapping[str, float]) -> None:
        """An item is done at a step: keep it back if it does not pass."""
        if why := self.why(k, values):
            self.reject(k, item, why)

    def reject(self, k: int, item: str, why: str) -> None:
        """Keep an item back."""
        stage = self._stages[k]
        if stage.rejected.get(item) != why:
            self._say("log", f"{stage.spec.name} {item}: rejected, {why}")
        stage.rejected[item] = why

    def has_gone_on(self, k: int, item: str) -> bool:
        """Whether a later step has, or had, to do with what an item yielded."""
        if k + 1 == self._gathers:
            return item in self.gathered
        after = self._stages[k + 1].entries.get(item) if k + 1 < len(self._stages) else None
        return after is not None and after.state in ("running", "done", "failed")

    def change(self, thresholds: Sequence[Threshold]) -> list[tuple[int, str]]:
        """Hold what is done against other thresholds; returns the steps and items whose way is open, or shut, now."""
        before, self._thresholds = self._thresholds, tuple(thresholds)
        steps = {one.step for one in (*before, *thresholds) if (one in before) != (one in thresholds)}
        concerned = [k for k, stage in enumerate(self._stages) if stage.spec.name in steps]
        return [(k, item) for k in concerned for item in self._judge(k, self._stages[k])]

    def _judge(self, k: int, stage: Stage) -> Iterator[str]:
        values = stage.values()
        for item, entry in stage.entries.items():
            why, known = self.why(k, values.get(item, {})), item in stage.rejected
            if entry.state != "done":
                continue
            if why and (known or not self.has_gone_on(k, item)):
                self.reject(k, item, why)
            elif known and not why:
                del stage.rejected[item]
                self._say("log", f"{stage.spec.name} {item}: passes now")
            if known != (item in stage.rejected):
                yield item
