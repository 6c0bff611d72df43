"""What the API answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from thon.project.notes import Note
from thon.web.cards import Card


class ProjectOut(BaseModel):
    """A project in short."""

    name: str
    path: str
    jobs: int = 0
    states: dict[str, int] = {}
    last: str | None = None
    """When the newest job was made."""
    read_only: bool = False
    remarks: list[str] = []
    """What is not as it should be."""
    trouble: str = ""
    """Why it cannot be served; empty where it can."""


class JobOut(BaseModel):
    """A job as it stands."""

    job: str
    folder: str
    type: str
    title: str
    state: str
    standing: str = ""
    """More on its state: what it waits for, the queue's reason, or what is wrong."""
    lane: str = ""
    progress: float | None = None
    """Part of it that is done, 0 to 1; none where nobody can tell."""
    left: float | None = None
    """Time until it is done, s."""
    parents: list[str] = []
    """Jobs that it takes from, or waits for."""
    tile: str | None = None
    """Picture of what it yielded, as a file of the job."""
    tags: list[str] = []
    notes: int = 0
    final: bool = False
    """Whether its results are marked to be kept."""
    numbers: dict[str, float] = {}
    """Numbers of its one result, such as a resolution."""
    items: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory: int = 0
    bytes: int = 0
    energy: float | None = None
    cost: float | None = None
    currency: str | None = None
    person: str = ""
    host: str | None = None
    instance: str | None = None
    created: str = ""
    started: str | None = None
    ended: str | None = None
    command: str = ""
    error: str | None = None


class RunOut(BaseModel):
    """One stretch of work on a job, on one machine."""

    model_config = ConfigDict(extra="ignore")

    run: int
    state: str
    person: str
    started: str
    ended: str | None
    host: str
    cpu: str
    cores: int
    gpus: str
    instance: str
    lane: str
    batch: str
    price: float | None
    currency: str
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    peak_memory: int
    energy: float | None
    cost: float | None


class JobDetail(JobOut):
    """A job with all that is known of it but its items."""

    options: dict[str, Any] = {}
    """Every option, as the record has it."""
    seed: int | None = None
    version: str = ""
    source_commit: str | None = None
    runs: list[RunOut] = []
    children: list[str] = []
    """Jobs that take from it."""
    written: list[Note] = []
    """What people wrote on it."""
    asked: bool = False
    """Whether somebody wants it run."""
    live: bool = False
    """Whether a live session gives it its items."""
    outputs: dict[str, str] = {}
    """Main outputs of its first items by title, as files of the job."""


class JobPage(BaseModel):
    """Some of the jobs of a project."""

    jobs: list[JobOut]
    total: int
    """How many there are that fit."""


class Placed(BaseModel):
    """Jobs that were written down."""

    jobs: list[str]


class ComplaintOut(BaseModel):
    """Something that cannot be right."""

    field: str
    """`options.NAME`, `inputs.PORT` or `settings.NAME`; of a chain's step `options.STEP.NAME`."""
    message: str
    got: str = ""


class Checked(BaseModel):
    """What is wrong in what was filled in, and what is not as by default."""

    errors: list[ComplaintOut]
    changed: list[str]
    """Options that are not as by default, by dotted names."""
    command: str = ""
    """The command that does the same; empty where something is wrong."""


class PlanOut(BaseModel):
    """What one step will do with one item."""

    step: str
    item: str
    warnings: list[str]
    error: str | None
    plan: dict[str, Any] | None
    """Sentences of `understood` and `geometry`, `memory`, `disk` (bytes) and `seconds`; none where that depends on what
    steps before find."""


class DryRun(BaseModel):
    """What a job would take."""

    items: int
    looked: int
    """Items that were looked at; `disk` and `seconds` are for all, as if the others were like these."""
    plans: list[PlanOut]
    memory: int | None
    allowed_memory: int
    threads: int
    device: str
    disk: float
    seconds: float
    unknown: list[str]
    """Steps of which nothing can be told before."""
    free_disk: int


class TypeInList(BaseModel):
    """A job type, or a chain of them."""

    name: str
    title: str
    summary: str
    stage: str
    kind: str


class Candidate(BaseModel):
    """A job whose yield a port takes."""

    job: str
    type: str
    title: str
    state: str
    items: int
    done: int


class ItemOut(BaseModel):
    """How an item of a job ended."""

    item: str
    state: str
    message: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    bytes: int = 0
    numbers: dict[str, float] = {}
    tile: str | None = None
    """Picture of it, as a file of the job."""


class ItemPage(BaseModel):
    """Some of the items of a job."""

    items: list[ItemOut]
    total: int
    """How many there are that fit."""
    next: str | None = None
    """What to give as `after` for those that follow; none at the end."""
    states: dict[str, int] = {}
    """All items of the job by state."""
    names: list[str] = []
    """Numbers that its items have."""


class Series(BaseModel):
    """Columns of numbers, one value an item."""

    names: list[str]
    items: list[str]
    values: list[list[float | None]]
    """For each name a column."""
    total: int


class FileOut(BaseModel):
    """A file or a folder."""

    name: str
    path: str
    """Relative to the job's folder; where files are chosen, absolute."""
    folder: bool
    bytes: int
    modified: float
    """Seconds since 1970."""


class Listing(BaseModel):
    """What a folder holds."""

    path: str
    parent: str | None
    """The folder above, where that may be looked at."""
    entries: list[FileOut]
    total: int
    roots: list[str] = []
    """Folders below which one may look."""


class EventsOut(BaseModel):
    """Events of a job in the order in which they happened."""

    events: list[dict[str, Any]]
    next: int
    """What to give as `after` for those that follow."""


class LogText(BaseModel):
    """A part of a log."""

    name: str
    text: str
    start: int
    """Where it begins, in bytes."""
    next: int
    """What to give as `after` for what follows."""
    bytes: int


class Edge(BaseModel):
    """That a job takes from another."""

    source: str
    target: str
    count: int
    """How many inputs; 0 where it only waits for it."""


class Graph(BaseModel):
    """The jobs of a project and what they take from each other."""

    jobs: list[JobOut]
    edges: list[Edge]


class Step(BaseModel):
    """A job of the history of a file."""

    job: str
    type: str
    title: str
    state: str
    command: str
    options: dict[str, Any]
    version: str
    host: str | None
    instance: str | None
    gpus: str | None
    seconds: float
    cpu_seconds: float
    cost: float | None
    currency: str | None
    used: int
    """Items of it that the file goes back to."""
    changed: list[str]
    """Inputs that have changed since."""


class RawOut(BaseModel):
    """Files from outside in one folder."""

    folder: str
    count: int
    bytes: int


class Why(BaseModel):
    """Where a file came from."""

    job: str
    item: str | None
    copy_of: str | None
    remark: str
    chain: list[Step]
    raw: list[RawOut]
    seconds: float
    cpu_seconds: float
    cost: float | None
    """What is known of it; none where nothing is."""
    currency: str | None


class CostOut(BaseModel):
    """Time, energy and money of some runs."""

    name: str
    type: str | None = None
    """Of one job."""
    jobs: int
    seconds: float
    cpu_seconds: float
    gpu_seconds: float
    energy: float | None
    cost: float | None
    currency: str | None
    unpriced: float
    """Seconds at no known price."""


class Rows(BaseModel):
    """Rows of a question in SQL."""

    columns: list[str]
    rows: list[list[Any]]
    more: bool
    """Whether there were more than were given."""


class Freed(BaseModel):
    """What cleaning frees."""

    job: str
    bytes: int
    what: list[str]
    outputs: bool


class Cleaning(BaseModel):
    """What was, or would be, removed."""

    removed: list[Freed]
    bytes: int
    dry_run: bool


class LaneOut(BaseModel):
    """A lane."""

    name: str
    default: bool
    kind: Literal["local", "slurm"]
    options: dict[str, Any]


def job_out(card: Card) -> JobOut:
    """A job as the API tells it."""
    return JobOut.model_validate(card_values(card))


def card_values(card: Card) -> dict[str, Any]:
    """What is told of a job, by name."""
    own = {
        "title": card.title,
        "state": card.state,
        "standing": card.standing,
        "lane": card.lane,
        "progress": card.progress,
        "left": card.left,
        "parents": list(card.parents),
        "tile": card.tile,
        "tags": list(card.notes.tags),
        "notes": len(card.notes.notes),
        "final": card.final,
        "numbers": card.numbers,
    }
    return {name: value for name, value in card.row.items() if name in JobOut.model_fields} | own
