"""What the API takes: the bodies and questions of requests, in which what is not known is refused."""

from __future__ import annotations

import json
from typing import Annotated, Any

from annotated_types import Ge, Len
from pydantic import BaseModel, ConfigDict, Field, model_validator

from thon.engine.forms import Filled

Text = Annotated[str, Field(max_length=2000)]
Name = Annotated[str, Field(max_length=200)]
Words = Annotated[list[Name], Field(max_length=50)]


class Asked(BaseModel):
    """A body of a request: what is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _check_text(cls, given: Any) -> Any:
        """Refuse what JSON can name but no file can hold: halves of a character."""
        try:
            json.dumps(given, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise ValueError("a text in it has half a character") from error
        except RecursionError as error:
            raise ValueError("it is too deep") from error
        return given


class NewProject(Asked):
    """A project to be made."""

    name: Name


class FilledIn(Asked):
    """What is asked of a new job, or of the jobs of a chain."""

    type: Name
    options: dict[str, Any] = {}
    """Options that are not as by default; of a chain by step, those that steps share beside the steps."""
    inputs: dict[Name, list[Text]] = {}
    """For each port jobs (J003, J003:ITEM) or files, relative to the project unless absolute."""
    settings: dict[str, Any] = {}
    """How to run: seed, threads, memory, workers, device."""
    after: list[Name] = []
    """Jobs to wait for besides."""

    def filled(self) -> Filled:
        """The same for the engine."""
        return Filled(self.type, self.options, self.inputs, self.settings, self.after)


class NewJob(FilledIn):
    """A new job, or the jobs of a chain."""

    run: bool = True
    """Run them when their turn comes, or let them wait."""
    lane: Name | None = None
    """Where; the default lane unless given."""
    title: Name = ""
    tags: list[Name] = []


class Changed(Asked):
    """What to write on a job; what is not given stays."""

    title: Annotated[str, Field(max_length=200)] | None = None
    note: Annotated[str, Field(max_length=20_000)] | None = None
    add: list[Name] = []
    """Tags to add."""
    remove: list[Name] = []
    """Tags to take away."""


class Where(Asked):
    """Where to run."""

    lane: Name | None = None


class CloneOf(Asked):
    """What a clone has that its original has not."""

    options: dict[str, Any] = {}
    inputs: dict[Name, list[Text]] = {}
    after: list[Name] = []
    iteration: Annotated[int, Ge(0)] | None = None
    """The original's iteration at which it begins."""
    run: bool = True
    lane: Name | None = None


class CleanAsked(Asked):
    """What to remove."""

    outputs: bool = False
    """Outputs too, of all jobs that no final result goes back to."""
    keep: list[Name] = []
    """Jobs that count as final besides those that are."""
    dry_run: bool = True
    """Only tell."""


class WorkflowAsked(Asked):
    """A template to run."""

    text: Annotated[str, Field(max_length=500_000)]
    inputs: dict[Name, list[Text]] = {}
    run: bool = True
    lane: Name | None = None


class Jobs(Asked):
    """Jobs by number."""

    jobs: Annotated[list[Name], Len(1, 10_000)]
