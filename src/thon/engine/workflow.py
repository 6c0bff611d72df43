"""Workflow templates: the jobs of a project as a YAML file, and such a file run in another project.

```yaml
workflow: micrographs to particles
inputs:
  movies: files for import-movies
  gain: a file for motion
jobs:
  import-movies:
    type: import-movies
    inputs: {movie: [$movies]}
  motion:
    type: motion
    inputs: {movie: [import-movies]}
    options: {gain: $gain, bin: 2}
```

A job takes from others by the names that they bear here. What begins with `$` is asked for by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thon.base.errors import InputError
from thon.engine.graph import in_order
from thon.engine.waiting import add_job, sources_of
from thon.job.folder import JobFolder
from thon.job.item import read_options
from thon.job.places import stored
from thon.job.record import RunSettings
from thon.job.registry import listings, load_job
from thon.project.project import Project
from thon.project.request import Request


class Step(BaseModel):
    """One job of a workflow."""

    model_config = ConfigDict(extra="forbid")

    type: str
    inputs: dict[str, list[str]] = Field(default_factory=dict)
    """For each port, jobs of the workflow (`NAME`, `NAME:ITEM`) or `$NAME` of what is asked for."""
    options: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    after: list[str] = Field(default_factory=list)


class Workflow(BaseModel):
    """Jobs that take from each other, and what they need from outside."""

    model_config = ConfigDict(extra="forbid")

    workflow: str = ""
    thon: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    """What is asked for, by name, with a word on what it is for."""
    jobs: dict[str, Step]


def read_workflow(path: Path) -> Workflow:
    """A workflow from a YAML file, its names and types checked.

    Raises:
        InputError: It cannot be read, names what is not there, or its jobs wait for each other in a ring.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("this workflow cannot be read", path=path, got=error) from error
    return parse_workflow(text, path)


def parse_workflow(text: str, path: Path | None = None) -> Workflow:
    """A workflow from YAML, its names and types checked.

    Args:
        text: The YAML.
        path: Where it was read, for what is told of mistakes in it.

    Raises:
        InputError: It is none, names what is not there, or its jobs wait for each other in a ring.
    """
    try:
        workflow = Workflow.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InputError("this workflow cannot be read", path=path, got=str(error).replace("\n", " ")) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{where}: {first['msg']}", path=path, expected="jobs, each with type, inputs, options"
        ) from error
    known = listings()
    for name, step in workflow.jobs.items():
        if step.type not in known:
            raise InputError(f"{name}: no job type '{step.type}'", path=path, mend="`thon --help` lists them")
        for other in _taken_from(step):
            if other not in workflow.jobs:
                raise InputError(f"{name}: no job '{other}'", path=path, expected=", ".join(workflow.jobs))
        for asked in _asked(step):
            workflow.inputs.setdefault(asked, f"for {step.type}")
    in_order(_parents(workflow))
    return workflow


def add_workflow(
    project: Project, workflow: Workflow, given: Mapping[str, Sequence[str]], command: str = ""
) -> list[JobFolder]:
    """Write the jobs of a workflow into a project, where they wait to be run.

    Args:
        project: The project.
        workflow: The workflow.
        given: What is asked for: files, or jobs of this project, by name.
        command: What was typed.

    Raises:
        InputError: Something that is asked for is missing, or an option or an input cannot be right.
    """
    missing = [f"{name} ({what})" for name, what in workflow.inputs.items() if not given.get(name)]
    if missing:
        names = " ".join(f"--input {text.split(' ')[0]}=…" for text in missing)
        raise InputError(f"this workflow needs {', '.join(missing)}", mend=names)
    if unknown := sorted(given.keys() - workflow.inputs.keys()):
        known = ", ".join(workflow.inputs) or "no inputs"
        raise InputError(f"this workflow asks for no '{unknown[0]}'", expected=known)
    prepared: list[tuple[str, Step, Request]] = []
    for name in in_order(_parents(workflow)):
        step = workflow.jobs[name]
        prepared.append((name, step, _request(name, step, project, given, command)))
    numbers: dict[str, str] = {}
    folders: list[JobFolder] = []
    for name, step, request in prepared:
        wants = {port: _sources(sources, project, given, numbers) for port, sources in step.inputs.items()}
        folders.append(add_job(project, request, wants, [numbers[other] for other in step.after]))
        numbers[name] = folders[-1].path.name.split("-")[0]
    return folders


def _request(name: str, step: Step, project: Project, given: Mapping[str, Sequence[str]], command: str) -> Request:
    spec = load_job(step.type)
    try:
        options = read_options(spec, _filled(step.options, project, given), project.root)
        settings = RunSettings.model_validate(step.settings)
    except ValidationError as error:
        first = error.errors()[0]
        what = ".".join(map(str, first["loc"]))
        raise InputError(f"{name}: {what}: {first['msg']}", got=first["input"]) from error
    return Request(spec, options, {}, settings, listings()[step.type].module, command)


def _filled(value: Any, project: Project, given: Mapping[str, Sequence[str]]) -> Any:
    """Options with the files that are asked for in their places."""
    if isinstance(value, dict):
        table: dict[str, Any] = value
        return {key: _filled(inner, project, given) for key, inner in table.items()}
    if isinstance(value, list):
        many: list[Any] = value
        return [_filled(inner, project, given) for inner in many]
    if isinstance(value, str) and value.startswith("$"):
        return {"path": stored(Path(given[value[1:]][0]).absolute(), project.root), "as": "Path"}
    return value


def _sources(
    sources: Sequence[str], project: Project, given: Mapping[str, Sequence[str]], numbers: Mapping[str, str]
) -> list[str]:
    found: list[str] = []
    for source in sources:
        if source.startswith("$"):
            found += sources_of(given[source[1:]], project)
        else:
            name, colon, item = source.partition(":")
            found.append(f"{numbers[name]}{colon}{item}")
    return found


def _parents(workflow: Workflow) -> dict[str, list[str]]:
    return {name: _taken_from(step) for name, step in workflow.jobs.items()}


def _taken_from(step: Step) -> list[str]:
    """The jobs of the workflow that a step waits for."""
    sources = [source for many in step.inputs.values() for source in many if not source.startswith("$")]
    return [source.partition(":")[0] for source in sources] + step.after


def _asked(step: Step) -> list[str]:
    """Names of what a step needs from outside."""
    sources = [source for many in step.inputs.values() for source in many]
    return [text[1:] for text in [*sources, *_texts(step.options)] if text.startswith("$")]


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        table: dict[str, Any] = value
        return [text for inner in table.values() for text in _texts(inner)]
    if isinstance(value, list):
        many: list[Any] = value
        return [text for inner in many for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
