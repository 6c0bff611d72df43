"""Groups that fill while a session runs, such as tilt series: who belongs to them, and whether they are complete."""

from __future__ import annotations

from dataclasses import dataclass, field

from thon.engine.inputs import plain_name
from thon.job.places import free_name


@dataclass(slots=True)
class Group:
    """Items that are gathered into one.

    Args:
        name: Name of the item that they become.
        number: When its first member arrived, among all items.
        last: Monotonic time at which a member was last added or became ready.
        pending: Members on their way.
        ready: Members that can be gathered.
        failed: Members that were given up.
        open: Whether more are expected.
        closed: Number of members when it was last complete; 0 while it never was.
        interim: What the latest interim result was made from; empty for none.
        interim_runs: Whether one is being made.
    """

    name: str
    number: int
    last: float
    pending: set[str] = field(default_factory=set[str])
    ready: set[str] = field(default_factory=set[str])
    failed: set[str] = field(default_factory=set[str])
    open: bool = True
    closed: int = 0
    interim: str = ""
    interim_runs: bool = False

    @property
    def size(self) -> int:
        """Number of members known so far."""
        return len(self.pending) + len(self.ready) + len(self.failed)

    def is_complete(self, now: float, *, expected: int | None, idle: float, nothing_comes: bool) -> bool:
        """Whether it can be gathered: nothing is on its way, and nothing more is expected."""
        if self.pending or not self.ready:
            return False
        enough = self.size >= expected if expected is not None else False
        return enough or self.size <= self.closed or nothing_comes or now - self.last >= idle


class Groups:
    """All groups of a session, by the value that their members share and the folder that they came from."""

    def __init__(self) -> None:
        self.by_name: dict[str, Group] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._of: dict[str, str] = {}

    def of(self, item: str) -> Group | None:
        """The group of an item."""
        return self.by_name[self._of[item]] if item in self._of else None

    def restore(self, name: str, value: str, folder: str) -> None:
        """Keep the name that a group had in an earlier session."""
        self._names.setdefault((value, folder), name)

    def join(self, item: str, value: str, folder: str, number: int, now: float) -> tuple[Group, bool]:
        """Note that an item on its way belongs to a group; returns the group, and whether the item is new to it."""
        key = (value, folder)
        if key not in self._names:
            above = plain_name(folder.rstrip("/").rsplit("/", 1)[-1])
            self._names[key] = free_name(plain_name(value), above, set(self._names.values()))
        name = self._names[key]
        group = self.by_name.setdefault(name, Group(name, number, now))
        left = self.of(item)
        if left is not None and left is not group:
            self.leave(item)
        new = item not in group.pending | group.ready | group.failed
        group.ready.discard(item)
        group.failed.discard(item)
        group.pending.add(item)
        self._of[item] = name
        if new:
            group.last = now
        return group, new

    def reopen(self, item: str) -> None:
        """A member is done anew."""
        group = self.of(item)
        if group is not None:
            group.ready.discard(item)
            group.failed.discard(item)
            group.pending.add(item)
            group.open = True

    def leave(self, item: str) -> None:
        """An item belongs to no group any more."""
        group = self.of(item)
        if group is not None:
            for members in (group.pending, group.ready, group.failed):
                members.discard(item)
            del self._of[item]

    def settle(self, item: str, now: float, *, failed: bool) -> None:
        """A member can be gathered, or was given up."""
        group = self.of(item)
        if group is not None and item in group.pending:
            group.pending.discard(item)
            (group.failed if failed else group.ready).add(item)
            group.last = now
