"""The content of ``job.json``: everything needed to know what a job did and to do it again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field

from thon.base.options import Options, Unit
from thon.job.fingerprint import Fingerprint

State = Literal["waiting", "running", "finished", "failed", "interrupted"]

WHOLE_SET = "all"
"""Name of the one item of a whole-set job."""


class RunSettings(Options):
    """How a job runs, as against what it computes."""

    seed: Annotated[int, Ge(0), Unit("1")] = 0
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
    """What the job or an item took."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    """Bytes, of the largest process."""
    bytes: int = 0
    """Size of the outputs."""


class ItemResult(Usage):
    """How an item ended."""

    state: Literal["done", "failed"]
    message: str = ""
    exit_code: int = 0
    log: str = ""
    results: dict[str, str] = Field(default_factory=dict)
    """Main outputs by title, relative to the job folder."""


class JobRecord(BaseModel):
    """One job: what was asked, of what, by whom, where, and how it ended."""

    model_config = ConfigDict(extra="ignore")

    format: int = 1
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
    created: str
    started: str | None = None
    ended: str | None = None
    host: str | None = None
    cpu: str | None = None
    device: str | None = None
    threads: int | None = None
    memory: int | None = None
    usage: Usage = Field(default_factory=Usage)
    results: dict[str, ItemResult] = Field(default_factory=dict)
    live: str | None = None
    """The folder or URL that a live session watches for this job's items, which are in `items.jsonl`."""
    follows: str | None = None
    """Live: the job whose items this one takes."""
