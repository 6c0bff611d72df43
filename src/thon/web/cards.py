"""How the jobs of a project stand, as the graph, the table and the tree show them."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from thon.base.errors import StoreError
from thon.engine.graph import parents_of
from thon.engine.scheduler.rounds import Standing
from thon.job.events import Event, ItemDone, Progress, parse_event
from thon.job.folder import JobFolder
from thon.project.ask import Row, job_log
from thon.project.clean import final_jobs
from thon.project.notes import Notes, notes_of
from thon.project.tables import jobs, links, numbers
from thon.web.faults import AbsentError
from thon.web.served import Served

TAIL = 1 << 16
"""Bytes at the end of a job's events from which its rate is told."""

SHOWN_NUMBERS = (
    "resolution",
    "count",
    "motion.total",
    "fit.resolution",
    "fit.ctf.defocus_u",
    "fit.ice_ring",
    "pixel_size",
)
"""Numbers that people ask for most."""

TELLING = ("classes", "map", "views", "locres", "aligned", "central-slice", "pick", "ctf")
"""What the names of pictures begin with that say most in a small size."""


@dataclass(frozen=True)
class Card:
    """One job as it stands.

    Args:
        row: What the index says of it.
        state: Its state.
        standing: More on that: what it waits for, or the queue's reason.
        lane: Where it runs, or is to run.
        progress: Part of it that is done; None where nobody can tell.
        left: Time until it is done, s; None where nobody can tell.
        parents: The jobs that it takes from or waits for.
        tile: Picture of what it yielded, relative to its folder.
        notes: What people wrote on it.
        final: Whether its results are marked as final.
        numbers: Numbers of its one result.
    """

    row: Row
    state: str
    standing: str
    lane: str
    progress: float | None
    left: float | None
    parents: tuple[str, ...]
    tile: str | None
    notes: Notes
    final: bool
    numbers: dict[str, float]

    @property
    def job(self) -> str:
        """Its number."""
        return self.row["job"]

    @property
    def title(self) -> str:
        """What people call it."""
        return self.notes.title or self.row["title"]

    def has(self, text: str) -> bool:
        """Whether a text, in small letters, is part of its name, its command or what is written on it."""
        written = (self.notes.title, *self.notes.tags, *(note.text for note in self.notes.notes))
        told = (self.job, self.row["type"], self.title, self.row["command"], *written)
        return any(text in one.lower() for one in told)

    @property
    def live(self) -> bool:
        """Whether it may change at any moment."""
        return self.state == "running"


def cards_of(served: Served) -> list[Card]:
    """All jobs of a project as they stand, by number."""
    project = served.project.id
    with served.index.reading() as connection:
        rows = job_log(connection, project)
        found = _numbers(connection, project, rows)
        before: dict[str, set[str]] = {}
        for job, source in connection.execute(
            select(links.c.job, links.c.source_job).where(links.c.project == project)
        ):
            before.setdefault(job, set()).add(source)
    surroundings = _surroundings(served)
    return [_card(served, row, before.get(row["job"], set()), found.get(row["job"], {}), surroundings) for row in rows]


def card_of(served: Served, job: str) -> Card:
    """One job as it stands, by its number.

    Raises:
        AbsentError: The index does not know it, yet.
    """
    project = served.project.id
    with served.index.reading() as connection:
        row = connection.execute(select(jobs).where(jobs.c.project == project, jobs.c.job == job)).mappings().first()
        if row is None:
            raise AbsentError(f"no job {job}", mend="it may have been made this moment; try again")
        found = _numbers(connection, project, [dict(row)])
        mine = (links.c.project == project, links.c.job == job)
        before = set(connection.execute(select(links.c.source_job).where(*mine)).scalars())
    return _card(served, dict(row), before, found.get(job, {}), _surroundings(served))


def _numbers(connection: Connection, project: str, rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Numbers of the one result of each job that has one."""
    # By the names of those jobs, for the numbers of very many items are in the same table.
    alone = [row["job"] for row in rows if row["items"] == 1]
    query = select(numbers.c.job, numbers.c.name, numbers.c.value)
    query = query.where(numbers.c.project == project, numbers.c.job.in_(alone))
    found: dict[str, dict[str, float]] = {}
    for job, name, value in connection.execute(query):
        found.setdefault(job, {})[name] = value
    return found


def number_names(cards: Sequence[Card]) -> list[str]:
    """Names of the numbers that jobs with one result have, those that are asked for most first."""
    counts = Counter(name for card in cards for name in card.numbers)
    first = [name for name in SHOWN_NUMBERS if name in counts]
    return [*first, *sorted(counts.keys() - set(first))]


def state_of(folder: JobFolder, marked: str) -> str:
    """A job's state; one that is marked running although nobody runs it was interrupted."""
    if marked != "running":
        return marked
    try:
        return folder.state()
    except (StoreError, OSError):
        return "unreadable"


@dataclass(frozen=True)
class _Surroundings:
    """What is known of a project besides its index."""

    final: set[str]
    standings: Mapping[str, Standing]


def _surroundings(served: Served) -> _Surroundings:
    scheduler = served.scheduler
    return _Surroundings(set(final_jobs(served.project)), scheduler.status() if scheduler is not None else {})


def _card(served: Served, row: Row, before: set[str], numbers: dict[str, float], around: _Surroundings) -> Card:
    folder = JobFolder(served.project.root / row["folder"])
    standing = around.standings.get(row["job"])
    # The scheduler knows before the record that a job begins, and on another machine a job holds a lock that cannot be
    # seen from here everywhere.
    begins = row["state"] in ("running", "waiting", "interrupted")
    is_known = begins and standing is not None and standing.state == "running"
    state = "running" if is_known else state_of(folder, row["state"])
    if state in ("waiting", "held") or not row["items"]:
        before = before | _awaited(folder)
    progress, left = _progress(folder, row) if state == "running" else (_done(row), None)
    return Card(
        row=row,
        state=state,
        standing=_standing(standing, state, row),
        lane=(standing.lane if standing is not None else row["lane"]) or "",
        progress=progress,
        left=left,
        parents=tuple(sorted(before)),
        tile=tile_of(folder.path, row["stamp"], row["lines"]),
        notes=notes_of(folder.path),
        final=row["job"] in around.final,
        numbers=numbers,
    )


def _standing(standing: Standing | None, state: str, row: Row) -> str:
    error = str(row["error"] or "").split("\n")[0] if state in ("failed", "unreadable") else ""
    if error or standing is None or state in (standing.words, "finished"):
        return error
    return standing.words


def _awaited(folder: JobFolder) -> set[str]:
    try:
        return parents_of(folder.head())
    except StoreError:
        return set()


def _done(row: Row) -> float | None:
    return row["done"] / row["items"] if row["items"] else None


def _progress(folder: JobFolder, row: Row) -> tuple[float | None, float | None]:
    """Part of a running job that is done, and the time left at the rate of late."""
    events = tail(folder.events_file)
    ended = [event.time for event in events if isinstance(event, ItemDone)]
    if row["items"] > 1:
        done = row["done"] / row["items"]
        if len(ended) < 2 or ended[-1] == ended[0]:
            return done, None
        rate = (len(ended) - 1) / (ended[-1] - ended[0])
        return done, (row["items"] - row["done"] - row["failed"]) / rate
    return _within(events)


def _within(events: Sequence[Event]) -> tuple[float | None, float | None]:
    """Progress of a job's one item."""
    told = [event for event in events if isinstance(event, Progress) and event.total]
    if not told:
        return None, None
    last = told[-1]
    same = [event for event in told if event.total == last.total and event.done <= last.done]
    took, more = last.time - same[0].time, last.done - same[0].done
    left = (last.total - last.done) * took / more - (time.time() - last.time) if more > 0 and took > 0 else None
    return min(last.done / last.total, 1.0), left if left is not None and left > 0 else None


def tail(file: Path, size: int = TAIL) -> list[Event]:
    """The last events of a job."""
    try:
        with file.open("rb") as lines:
            lines.seek(max(0, lines.seek(0, 2) - size))
            found = [parse_event(line) for line in lines.read().splitlines()]
    except FileNotFoundError:
        return []
    return [event for event in found if event is not None]


def _rank(picture: Path) -> tuple[int, str]:
    known = (k for k, name in enumerate(TELLING) if picture.stem.startswith(name))
    return next(known, len(TELLING)), picture.stem


@functools.lru_cache(maxsize=4096)
def tile_of(folder: Path, stamp: str, lines: int) -> str | None:
    """A picture of what a job yielded; looked up again when the job has changed."""
    previews = folder / "previews"
    try:
        with_pictures = (path for path in previews.iterdir() if path.is_dir())
        pictures = (min(many, key=_rank) for path in with_pictures if (many := list(path.glob("*.png"))))
        picture = next(pictures, None)
    except FileNotFoundError:
        return None
    return None if picture is None else str(picture.relative_to(folder))
