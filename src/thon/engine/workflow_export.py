"""The jobs of a project as a workflow template: what they take from each other by name, all else asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from thon.engine.waiting import wants_of
from thon.engine.workflow import Step, Workflow
from thon.job.folder import JobFolder
from thon.job.record import JobRecord
from thon.job.registry import load_job
from thon.job.spec import JobSpec
from thon.project.project import Project
from thon.project.request import stored_options

_ITEM = re.compile(r"(?P<job>J\d+)(:(?P<item>.+))?$")


def export(project: Project, folders: Sequence[JobFolder], *, title: str = "", every_option: bool = False) -> Workflow:
    """The workflow of jobs of a project.

    Args:
        project: The project.
        folders: The jobs, each after those that it takes from.
        title: What it is called.
        every_option: Write options that are as by default too, so that a later thon with other defaults does the same.
    """
    writer = _Writer(project, every_option)
    for folder in folders:
        writer.add(folder.read())
    version = folders[-1].head().software.version if folders else ""
    return Workflow(workflow=title, thon=version, inputs=writer.inputs, jobs=writer.jobs)


def write_workflow(workflow: Workflow) -> str:
    """A workflow as YAML."""
    content = workflow.model_dump(exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)


@dataclass
class _Writer:
    """Gathers the steps of a workflow."""

    project: Project
    every_option: bool
    names: dict[str, str] = field(default_factory=dict[str, str])
    inputs: dict[str, str] = field(default_factory=dict[str, str])
    jobs: dict[str, Step] = field(default_factory=dict[str, Step])

    def add(self, record: JobRecord) -> None:
        spec = load_job(record.type)
        self.names[record.id] = _free(record.type, self.jobs)
        wants = {spec.ports[0].name: [record.follows]} if record.follows is not None else wants_of(self.project, record)
        if record.live is not None and record.follows is None:
            wants = {spec.ports[0].name: [record.live]}
        self.jobs[self.names[record.id]] = Step(
            type=record.type,
            inputs={port: self._sources(spec, port, sources) for port, sources in wants.items()},
            options=self._options(spec, record),
            settings=record.settings.model_dump(exclude_defaults=True, exclude={"threads", "memory"}),
            after=[self.names[other] for other in record.after if other in self.names],
        )

    def _sources(self, spec: JobSpec, port: str, sources: Sequence[str]) -> list[str]:
        """Jobs by their names here; all else, in one, by a name under which it is asked for."""
        found: dict[str, None] = {}
        for source in sources:
            match = _ITEM.match(source)
            if match is not None and match["job"] in self.names:
                name = self.names[match["job"]]
                found[name if match["item"] is None else f"{name}:{match['item']}"] = None
            else:
                what = f"{'files' if match is None else 'a job'} for {spec.name}"
                found[f"${self._ask(port, what)}"] = None
        return list(found)

    def _options(self, spec: JobSpec, record: JobRecord) -> dict[str, Any]:
        required = any(info.is_required() for info in spec.options.model_fields.values())
        defaults = {} if required or self.every_option else stored_options(spec.options(), Path("/"))
        kept = {name: value for name, value in record.options.items() if defaults.get(name, ...) != value}
        return {name: self._asked(spec, name, value) for name, value in kept.items()}

    def _asked(self, spec: JobSpec, name: str, value: Any) -> Any:
        """An option with a name for each file in it, under which that is asked for."""
        if isinstance(value, dict):
            table: dict[str, Any] = value
            if table.get("as") == "Path":
                return f"${self._ask(name, f'a file for {spec.name}')}"
            return {key: self._asked(spec, key, inner) for key, inner in table.items()}
        if isinstance(value, list):
            many: list[Any] = value
            return [self._asked(spec, name, inner) for inner in many]
        return value

    def _ask(self, name: str, what: str) -> str:
        """A name to ask for something by; the same for the same."""
        free = name
        while self.inputs.get(free, what) != what:
            free = f"{free}-{what.rsplit(' ', maxsplit=1)[-1]}" if free == name else f"{free}-again"
        self.inputs[free] = what
        return free


def _free(name: str, taken: Mapping[str, object]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
