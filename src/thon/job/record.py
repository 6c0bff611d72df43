"""The content of ``job.json``: everything needed to know what a job did and to do it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Field

from thon.base.options import Options, Unit
from thon.job.fingerprint import Fingerprint

State = Literal["waiting", "held", "running", "finished", "failed", "interrupted"]
"""A job that waits is run when its turn comes; one that is held, because what it waits for failed, is not."""

FORMAT = 1
"""Of records and projects; what bears a higher number was written by a newer thon."""

WHOLE_SET = "all"
"""Name of the one item of a whole-set job."""


class RunSettings(Options):
    """How a job runs, as against what it computes."""

    seed: Annotated[int, Ge(0), Le(2**63 - 1), Unit("1")] = 0
    """Seed for everything random."""

    threads: Annotated[int | None, Ge(1), Unit("1")] = None
    """Threads for the whole job; all CPUs unless given."""

    memory: Annotated[float | None, Ge(0.1), Unit("GB")] = None
    """Working memory to keep within; 80 % of what is free unless given."""

    workers: Annotated[int, Ge(1), Unit("1")] = 1
    """Items done at the same time, or processes that do one refinement together; they share threads and memory."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU if the job can use one and there is one."""


class Reference(BaseModel):
    """Where one input comes from: an item of an earlier job, or a file."""

    model_config = ConfigDict(frozen=True)

    job: str | None = None
    item: str | None = None
    file: str | None = None
    """Stored as `thon.job.places` says."""
    interim: bool = False
    """What the job yielded of the item before all of its inputs were there."""

    @property
    def key(self) -> str:
        """Name under which the fingerprint of this input is kept."""
        if self.file is not None:
            return self.file
        return f"{self.job}/interim/{self.item}" if self.interim else f"{self.job}/{self.item}"


class Software(BaseModel):
    """What ran the job."""

    version: str
    commit: str | None = None
    python: str = ""
    packages: dict[str, str] = Field(default_factory=dict)


class Usage(BaseModel):
    """What the job, a run of it or an item took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    """Time for which GPUs were held, each counted."""
    peak_memory: int = 0
    """Bytes, of the largest process."""
    bytes: int = 0
    """Size of the outputs."""
    bytes_read: int = 0
    """Asked of files, or fetched from disks where that is more, as of files that are mapped into memory."""
    bytes_written: int = 0
    energy: float | None = None
    """Joules that the processors and the GPUs of the machine took meanwhile; None where it does not tell."""


class Machine(BaseModel):
    """What a job ran on."""

    host: str = ""
    cpu: str = ""
    """Model of the processor."""
    cores: int = 0
    """CPUs that the job might use."""
    memory: int = 0
    """Bytes in the machine."""
    gpus: tuple[str, ...] = ()
    """Model of each GPU that was held."""
    provider: str = ""
    """Cloud: aws, gcp or azure."""
    instance: str = ""
    """Type of the machine, as the cloud or the lane has it."""
    region: str = ""
    spot: bool | None = None
    """Whether the cloud may take it away; None where nobody says."""
    lane: str = ""
    price: float | None = None
    """Price of an hour; None where nobody says."""
    currency: str = "USD"


class RunRecord(Machine, Usage):
    """One stretch of work on a job, from where it was taken up to where it ended, or of one worker on its items."""

    worker: str = ""
    """Name of the worker that this machine was; empty of the run itself, which lasts as long as the job did."""

    user: str = ""
    batch: str = ""
    """The batch system's number of it."""
    started: str
    ended: str | None = None
    state: Literal["running", "finished", "failed", "interrupted", "killed"] = "running"
    share: float = 1.0
    """Part of the machine that the job had; several steps of a live session share one."""
    accounting: dict[str, Any] = Field(default_factory=dict)
    """What the batch system's accounting tells of it: state, exit code, elapsed and waited time in s, CPU seconds, peak
    memory in bytes, energy in J where it is measured, nodes, and what was allocated."""

    @property
    def cost(self) -> float | None:
        """What it cost; None where nobody told the price."""
        return None if self.price is None else self.price * self.share * self.seconds / 3600


class Made(BaseModel):
    """An output file, by which a copy of it is recognised."""

    bytes: int
    mark: str
    """As `thon.job.fingerprint.mark` says."""


class ItemResult(Usage):
    """How an item ended."""

    state: Literal["done", "failed"]
    worker: str = ""
    """The worker that did it, where items are done on other machines than the run."""
    origin: str = ""
    """The job that did it, where it was taken over from there."""
    message: str = ""
    exit_code: int = 0
    log: str = ""
    results: dict[str, str] = Field(default_factory=dict)
    """Main outputs by title, relative to the job folder."""
    files: dict[str, Made] = Field(default_factory=dict)
    """All outputs, relative to the item's folder; folders of very many files as one."""
    values: dict[str, float] = Field(default_factory=dict)
    """Numbers of the record that was yielded, such as a resolution."""


class Continues(BaseModel):
    """An iteration of an earlier job."""

    job: str
    iteration: int


class JobRecord(BaseModel):
    """One job: what was asked, of what, by whom, where, and how it ended."""

    model_config = ConfigDict(extra="ignore")

    format: int = FORMAT
    id: str
    type: str
    title: str
    source: str = ""
    """Module of the job type."""
    state: State = "waiting"
    options: dict[str, Any]
    """Every option value, defaults included."""
    settings: RunSettings
    items: dict[str, dict[str, list[Reference]]]
    """References by port, for each item."""
    inputs: dict[str, Fingerprint]
    """Fingerprints by reference, of files named in options too."""
    used: dict[str, Fingerprint] = Field(default_factory=dict)
    """Fingerprints of further files that the job said it had read."""
    software: Software
    user: str = ""
    """Who asked for it."""
    command: str = ""
    """What was typed, as it would be typed in the project's folder."""
    created: str
    started: str | None = None
    ended: str | None = None
    host: str | None = None
    cpu: str | None = None
    device: str | None = None
    threads: int | None = None
    memory: int | None = None
    usage: Usage = Field(default_factory=Usage)
    runs: list[RunRecord] = Field(default_factory=list)
    """Each time that it was taken up."""
    results: dict[str, ItemResult] = Field(default_factory=dict)
    live: str | None = None
    """The folder or URL that a live session watches for this job's items, which are in `items.jsonl`."""
    follows: str | None = None
    """Live: the job whose items this one takes."""
    wants: dict[str, list[str]] = Field(default_factory=dict)
    """Of a job that waits: what goes into each port, jobs (J003, J003:ITEM) or files; the items are looked up when its
    turn comes."""
    after: list[str] = Field(default_factory=list)
    """Jobs to wait for besides those that its inputs come from."""
    cleaned: str | None = None
    """When its outputs were removed to save space."""
    appends: str | None = None
    """The job that this one has grown from: what that one had finished is taken over, and only what is new is done."""
    continues: Continues | None = None
    """Where it begins: at an iteration that another job had reached."""
