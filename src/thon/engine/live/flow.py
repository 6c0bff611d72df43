"""What a live session does next: items on their way through the steps, groups that fill, attempts that fail.

It works like `make`: an item is done when its folder says that it was made from what it would be made from now. So a
session that was killed continues, a file that changes is processed anew with all that came from it, and a group that
gets a late member is made again, by one and the same rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from thon.base.errors import InputError
from thon.engine.live.control import Threshold
from thon.engine.live.gate import Gate
from thon.engine.live.groups import Group, Groups
from thon.engine.live.inbox import Inbox
from thon.engine.live.options import LiveOptions
from thon.engine.live.stage import Entry, Stage
from thon.job.item import item_failed
from thon.job.items_file import ItemLine, hash_inputs, hash_texts
from thon.job.live_item import Attempt, Stamp, Task
from thon.job.places import found
from thon.job.plan import Resources
from thon.job.record import Reference
from thon.job.spec import WARM_START

Say = Callable[[str, str], None]
"""`say(level, text)` with the level "log", "done", "warning" or "error"."""


ALIKE = 4
"""So many items that fail for one reason, and none that does not, are no bad files but a wrong option."""


class Flow:
    """The state of a session, apart from its files and its processes.

    Args:
        stages: The steps.
        inbox: What has arrived.
        options: How the session behaves.
        say: Takes sentences for people.
        store: Calls what writes, again until the disk takes it.
        allowed: What an item of a step may use.
        thresholds: What items must pass.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        inbox: Inbox,
        options: LiveOptions,
        *,
        say: Say,
        store: Callable[[Callable[[], None]], None],
        allowed: Callable[[Stage], Resources],
        thresholds: Sequence[Threshold] = (),
    ):
        self.stages, self.inbox, self.options, self.groups = stages, inbox, options, Groups()
        self._say, self._store, self._allowed = say, store, allowed
        self._gathers = next((k for k, stage in enumerate(stages) if stage.spec.group), None)
        warm = [k for k, stage in enumerate(stages) if stage.spec.starts_warm]
        self._last_interim = max(warm, default=-1)
        self._again: set[str] = set()
        self._moving: dict[str, int] = {}
        self._data: dict[str, Stamp] = {}
        self._unread: dict[str, Stamp | None] = {}
        self._looks = 0
        self._beside: dict[tuple[str, ...], set[str]] = {}
        self._gate = Gate(stages, self._gathers, thresholds, say)

    def restore(self, now: float) -> int:
        """Take over what earlier sessions finished; returns the number of items that are complete or on their way."""
        values: dict[str, str | None] = {}
        beyond: list[tuple[int, str, str]] = []
        for k, stage in enumerate(self.stages):
            for line in stage.restore():
                self._restore_line(k, line, values)
                if why := self._gate.why(k, line.result.values):
                    beyond.append((k, line.item, why))
        for k, item, why in beyond:
            if not self._gate.has_gone_on(k, item):
                self._gate.reject(k, item, why)
        for item, entry in self.stages[0].entries.items():
            entry.number = self.inbox.items[item].number
            self._join(item, values.get(item), now)
        for item in self.stages[0].entries:
            self._advance(0, item, now)
        for group in self.groups.by_name.values():
            done = self._entry(self._per_item, group.name)
            if not group.pending and done is not None and done.basis == self._basis(self._per_item, group.name):
                self._close(group, now)
        return len(self.stages[0].entries)

    def offer(self, item: str) -> None:
        """An item has arrived, or its files have changed or settled anew."""
        stage, arrival = self.stages[0], self.inbox.items[item]
        entry = stage.entry(item, arrival.number)
        seen = hash_texts([str(arrival.stamps)])
        self._moving.pop(item, None)
        if entry.state == "running":
            self._again.add(item)
            return
        # What merely stands beside the data, such as a list of what was recorded, may grow all the time.
        if entry.state == "done" and self._data.get(item, arrival.stamps[0]) != arrival.stamps[0]:
            self._say("log", f"{item}: its file has changed, it is processed anew")
        self._data[item] = arrival.stamps[0]
        if entry.basis != seen:
            entry.basis, entry.attempts = seen, 0
        self.groups.reopen(item)
        stage.queue(item)

    def lose(self, item: str) -> None:
        """The data of an item are no longer there."""
        entry = self._entry(0, item)
        self._moving.pop(item, None)
        if entry is not None and entry.state in ("idle", "waiting"):
            self._lose(0, item)

    def looked(self, *, quiet: bool) -> None:
        """The source was looked at; when it is `quiet`, an item whose files were to settle anew and that the job no
        longer names is not waited for.
        """
        self._looks += 1
        if quiet:
            self._moving = {item: look for item, look in self._moving.items() if look >= self._looks - 1}

    def take(self, now: float) -> tuple[int, Task] | None:
        """The next task and its step, later steps first; None where nothing is ready."""
        for k in reversed(range(len(self.stages))):
            while (item := self.stages[k].take(now)) is not None:
                basis = self._basis(k, item)
                if basis is None:
                    self.stages[k].hold(item)
                    continue
                if k:
                    self.stages[k].entries[item].basis = basis
                return k, self._task(k, item, basis)
        return None

    def take_interim(self) -> tuple[Group, list[Task]] | None:
        """Tasks that make an interim result of the group that grew last; None where none has grown."""
        first = self._per_item
        if not self.options.interim or self._last_interim < first:
            return None
        grown = [one for one in self.groups.by_name.values() if one.open and not one.interim_runs and one.ready]
        for group in sorted(grown, key=lambda one: -one.last):
            basis = self._members_basis(group)
            if basis != group.interim:
                group.interim, group.interim_runs = basis, True
                steps = range(first, self._last_interim + 1)
                return group, [self._task(k, group.name, basis, interim=True) for k in steps]
        return None

    def finish_interim(self, group: Group, attempts: Sequence[Attempt]) -> None:
        """An interim result is there, or could not be made yet."""
        group.interim_runs = False
        last = attempts[-1]
        members = len(self._first(self.stages[self._per_item], attempts[0].line.inputs))
        if last.ending in ("done", "kept"):
            self._say("done", f"{group.name}: interim result of {members} members")
        elif last.ending == "full":
            group.interim = ""
        else:
            self._say("log", f"{group.name}: no interim result of {members} members yet: {_line(last)}")

    def finish(self, k: int, item: str, attempt: Attempt, now: float) -> None:
        """An attempt has ended."""
        for text in attempt.warnings:
            self._say("warning", f"{self.stages[k].spec.name} {item}: {text}")
        match attempt.ending:
            case "done" | "kept":
                self._done(k, item, attempt, now)
            case "changed":
                self._changed(k, item, attempt)
            case "full":
                self.stages[k].queue(item)
            case _:
                self._failed(k, item, attempt, now)
        if k == 0 and item in self._again:
            self._again.discard(item)
            self.offer(item)

    def close_groups(self, now: float, *, nothing_comes: bool) -> None:
        """Gather the groups that are complete."""
        if self._gathers is None:
            return
        settled = nothing_comes and not self.stages[0].is_busy
        for group in self.groups.by_name.values():
            if group.open and group.is_complete(
                now, expected=self.options.tilts, idle=self.options.series_idle, nothing_comes=settled
            ):
                self._close(group, now)

    def judge(self, thresholds: Sequence[Threshold], now: float) -> None:
        """Hold what is done against other thresholds: what passes now goes on, what no longer does goes no further."""
        for k, item in self._gate.change(thresholds):
            if k < self._per_item:
                self.groups.reopen(item)
            self._advance(k, item, now)

    @property
    def gathers(self) -> int:
        """Number of the step that gathers groups; of all steps where none does."""
        return self._per_item

    @property
    def member_stages(self) -> Sequence[Stage]:
        """The steps that members of groups go through before they are gathered."""
        return self.stages[: self._per_item]

    @property
    def waiting(self) -> int:
        """Items that wait for a worker."""
        return sum(stage.waiting for stage in self.stages)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs, waits, or will once a group is complete."""
        filling = any(group.open and (group.ready or group.pending) for group in self.groups.by_name.values())
        return filling or bool(self._moving) or any(stage.is_busy for stage in self.stages)

    @property
    def _per_item(self) -> int:
        """Number of steps before groups are gathered."""
        return len(self.stages) if self._gathers is None else self._gathers

    def _entry(self, k: int, item: str) -> Entry | None:
        return self.stages[k].entries.get(item) if k < len(self.stages) else None

    def _first(self, stage: Stage, inputs: dict[str, list[Reference]]) -> list[Reference]:
        return inputs.get(stage.spec.ports[0].name, [])

    def _restore_line(self, k: int, line: ItemLine, values: dict[str, str | None]) -> None:
        if k == 0:
            self.inbox.restore(line)
        if k < self._per_item:
            for value in line.attributes.values():
                values[line.item] = value
        elif k == self._gathers:
            members = [one.item or "" for one in self._first(self.stages[k], line.inputs)]
            self._gate.gathered.update(members)
            self._restore_group(line.item, members, values)

    def _restore_group(self, name: str, members: list[str], values: dict[str, str | None]) -> None:
        for member in members[:1]:
            value = values.get(member)
            if value is not None and member in self.inbox.items:
                self.groups.restore(name, value, self.inbox.items[member].folder)

    def _join(self, item: str, value: str | None, now: float) -> None:
        """Note to which group an item belongs."""
        if value is None:
            self.groups.leave(item)
            return
        arrival = self.inbox.items[item]
        group, new = self.groups.join(item, value, arrival.folder, arrival.number, now)
        if new and not group.open:
            self._say("log", f"{group.name}: {item} came late; its results will be made anew")
        group.open = True
        values = self._beside.setdefault(self._files_beside(item), set())
        if value not in values:
            values.add(value)
            for failed in self.stages[0].failures:
                self._count_failed(failed, now)

    def _count_failed(self, item: str, now: float) -> None:
        """Count an item that nobody can read into the group of those beside the same file, such as a series' mdoc."""
        beside = self._files_beside(item)
        values = self._beside.get(beside, set())
        if beside and len(values) == 1 and self.groups.of(item) is None:
            arrival = self.inbox.items[item]
            self.groups.join(item, next(iter(values)), arrival.folder, arrival.number, now)
            self.groups.settle(item, now, failed=True)

    def _files_beside(self, item: str) -> tuple[str, ...]:
        data = self.stages[0].spec.ports[0].name
        return tuple(file for port, files in self.inbox.items[item].files.items() if port != data for file in files)

    def _close(self, group: Group, now: float) -> None:
        group.open, group.closed = False, group.size
        entry = self._entry(self._per_item, group.name)
        if entry is None or entry.basis != self._basis(self._per_item, group.name):
            rejected = sum(any(item in stage.rejected for stage in self.member_stages) for item in group.failed)
            failed = len(group.failed) - rejected
            missing = (f", {failed} failed" if failed else "") + (f", {rejected} rejected" if rejected else "")
            self._say("log", f"{group.name}: complete with {len(group.ready)} members{missing}")
        self._consider(self._per_item, group.name, now)

    def _consider(self, k: int, item: str, now: float) -> None:
        """Queue an item at a step, unless what it would be made from is what it was made from."""
        stage = self.stages[k]
        entry = stage.entry(item, self._number(k, item))
        basis = self._basis(k, item)
        if entry.state == "running":
            return
        if basis is None:
            stage.hold(item)
        elif entry.basis == basis and entry.state == "done":
            self._advance(k, item, now)
        elif entry.basis != basis or entry.state == "idle":
            entry.attempts = entry.attempts if entry.basis == basis else 0
            entry.basis = basis
            stage.queue(item)

    def _advance(self, k: int, item: str, now: float) -> None:
        """An item is done at a step: on to the next, or into its group, unless a threshold keeps it back."""
        if item in self.stages[k].rejected:
            if k < self._per_item:
                self.groups.settle(item, now, failed=True)
            return
        if k + 1 == self._per_item:
            self.inbox.release(item)
        if k + 1 == self._gathers:
            self.groups.settle(item, now, failed=False)
        elif k + 1 < len(self.stages):
            self._consider(k + 1, item, now)

    def _number(self, k: int, item: str) -> int:
        return self.inbox.items[item].number if k < self._per_item else self.groups.by_name[item].number

    def _basis(self, k: int, item: str) -> str | None:
        """Hash of what an item would be made from now; None where that is not there."""
        if k == 0:
            return ""
        if k == self._gathers:
            group = self.groups.by_name[item]
            return None if group.pending or not group.ready else self._members_basis(group)
        before = self._entry(k - 1, item)
        if before is None or before.state != "done" or item in self.stages[k - 1].rejected:
            return None
        return self._hash(k, {item: before.version})

    def _members_basis(self, group: Group) -> str:
        members = self.stages[self._per_item - 1].entries
        return self._hash(self._per_item, {name: members[name].version for name in group.ready})

    def _hash(self, k: int, versions: dict[str, str]) -> str:
        job, port = self.stages[k - 1].job, self.stages[k].spec.ports[0].name
        references = [Reference(job=job, item=item) for item in sorted(versions)]
        return hash_inputs({port: references}, {f"{job}/{item}": version for item, version in versions.items()})

    def _task(self, k: int, item: str, basis: str, *, interim: bool = False) -> Task:
        stage = self.stages[k]
        per_item = k < self._per_item
        port = stage.spec.ports[0].name
        if k == 0:
            inputs = self.inbox.items[item].inputs
        elif k == self._gathers:
            members = sorted(self.groups.by_name[item].ready)
            inputs = {port: [Reference(job=self.stages[k - 1].job, item=member) for member in members]}
        else:
            inputs = {port: [Reference(job=self.stages[k - 1].job, item=item, interim=interim)]}
        inputs = stage.ports | inputs
        if not per_item and stage.spec.starts_warm and (stage.folder.path / "interim" / item).is_dir():
            inputs[WARM_START] = [Reference(job=stage.job, item=item, interim=True)]
        return Task(
            path=stage.folder.path,
            item=item,
            inputs=inputs,
            basis=basis,
            origins=self.inbox.items[item].origins(self.stages[0].spec.ports[0].name) if per_item else {},
            attributes=(self.stages[self._per_item].spec.group or "",) if per_item and self._gathers else (),
            resources=self._allowed(stage),
            interim=interim,
        )

    def _done(self, k: int, item: str, attempt: Attempt, now: float) -> None:
        stage, line = self.stages[k], attempt.line
        news = attempt.ending == "done" and stage.entries[item].version != line.version
        stage.finish(item, line, now)
        self._store(lambda: stage.write(line))
        if news:
            self._say("done", f"{stage.spec.name} {item}: done in {line.result.seconds:.1f} s")
        self._gate.check(k, item, line.result.values)
        if k == self._gathers:
            self._gate.gathered.update(one.item or "" for one in self._first(stage, line.inputs))
        if k < self._per_item and self._gathers and self.stages[self._gathers].spec.group in line.attributes:
            self._join(item, next(iter(line.attributes.values())), now)
        if k and self._basis(k, item) != line.basis:
            self._consider(k, item, now)
        else:
            self._advance(k, item, now)

    def _changed(self, k: int, item: str, attempt: Attempt) -> None:
        """The files moved under an attempt: from the beginning, once they have settled."""
        root, arrival = self.stages[0].folder.root, self.inbox.items[item]
        if not all(Path(found(file, root)).exists() for files in arrival.files.values() for file in files):
            self._lose(k, item)
            return
        self.stages[k].hold(item)
        self.stages[0].hold(item)
        self._say("warning", f"{self.stages[k].spec.name} {item}: {attempt.line.result.message}; it is read anew")
        self._look_again(item)

    def _lose(self, k: int, item: str) -> None:
        """Give up an item whose files are gone, unless they come back."""
        self._give_up(k, item, "its file is gone", 2)
        self.stages[k].entries[item].basis = ""
        self.inbox.look_again(item)

    def _look_again(self, item: str) -> None:
        """Wait until the files of an item have settled anew; the session does not end before."""
        self._moving[item] = self._looks
        self.inbox.look_again(item)

    def _failed(self, k: int, item: str, attempt: Attempt, now: float) -> None:
        """Try again what may pass; give up what will not."""
        stage, result = self.stages[k], attempt.line.result
        entry = stage.entries[item]
        entry.attempts += 1
        users = result.exit_code == 2
        if users and k == 0 and entry.attempts < 2:
            # It may be half-written by somebody who paused: it counts as bad once it has stayed the same for longer.
            stage.hold(item)
            if self._unread.get(item) != self._data.get(item):
                self._say("log", f"{item}: cannot be read yet ({_line(attempt)}); it is looked at again")
                self._unread[item] = self._data.get(item)
            self._look_again(item)
        elif users or entry.attempts >= self.options.attempts:
            self._give_up(k, item, result.message, result.exit_code, attempt)
        else:
            wait = self.options.backoff * 2 ** (entry.attempts - 1)
            stage.queue(item, at=now + wait)
            self._say("warning", f"{stage.spec.name} {item}: {_line(attempt)}; tried again in {wait:g} s")

    def _give_up(self, k: int, item: str, message: str, exit_code: int, attempt: Attempt | None = None) -> None:
        stage = self.stages[k]
        stage.fail(item, message, exit_code)
        self._say("error", f"{stage.spec.name} {item}: {message}")
        if attempt is not None:
            line = attempt.line.model_copy(update={"basis": stage.entries[item].basis})
            self._store(lambda: stage.write(line))
            self._store(lambda: stage.folder.emit(item_failed(item, attempt.error, line.result)))
        if k < self._per_item:
            self.groups.settle(item, time.monotonic(), failed=True)
            self._count_failed(item, time.monotonic())
        # Bad files say the same, each of itself; a question, or one file that a step needs for all, is not about them.
        if attempt is not None and attempt.error == InputError.__name__:
            self._stop_if_all_fail(stage, message, _reason)
        elif attempt is not None and exit_code == 2 and k:
            self._stop_if_all_fail(stage, message, str)

    def _stop_if_all_fail(self, stage: Stage, message: str, reason: Callable[[str], str]) -> None:
        """End the session where a step has done nothing and its items fail alike: it was asked wrongly.

        Raises:
            InputError: With what they say.
        """
        alike = [one for one in stage.failures.values() if reason(one.message) == reason(message)]
        if len(alike) >= ALIKE and not any(entry.state == "done" for entry in stage.entries.values()):
            raise InputError(
                f"the first {len(alike)} items of {stage.spec.name} failed for one reason, so the session stops here",
                got=message,
                mend="give the command again with other options; what is done is kept",
            )


def _reason(message: str) -> str:
    """A message without the file that it is about."""
    return message.split(": ", 1)[-1]


def _line(attempt: Attempt) -> str:
    return attempt.line.result.message.split("\n")[0]
