"""The command that does the same as what was filled in, for records that tell how to do it again."""

from __future__ import annotations

import json
import shlex
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from thon.base.options import Provided
from thon.engine.forms import Filled, specs_of
from thon.engine.steps import Step, steps_of
from thon.job.record import RunSettings
from thon.job.registry import load
from thon.job.spec import Chain, JobSpec

RESERVED = frozenset(
    {"output", "lane", "after", "dry-run", "quiet", "json", "traceback", "help", "help-all", "overwrite"}
    | {name.replace("_", "-") for name in RunSettings.model_fields}
)
"""Flags of every command; an option of the same name gets its step's word in front."""


def command_of(filled: Filled) -> str:
    """The command that places the same job, as it would be typed in the project's folder."""
    found, steps = load(filled.type), steps_of(filled.type)
    shared = found.shared if isinstance(found, Chain) else ()
    used = {spec.name for spec in specs_of(filled)}
    first = next(step.spec for step in steps if step.spec.name in used).ports[0].name
    wants = {name: list(sources) for name, sources in filled.wants.items() if sources}
    sources = wants.pop(first, None) or (wants.pop(next(iter(wants))) if wants else [])
    words = ["thon", filled.type, *sources]
    words += [word for name, many in wants.items() for word in (f"--{name.replace('_', '-')}", many[0])]
    taken = _taken(steps)
    for step in steps:
        own = filled.options if len(used) == 1 else filled.options.get(step.spec.name, {})
        if step.spec.name in used and isinstance(own, dict):
            words += _flags(step.spec.options, own, {name: f"{step.prefix}-{name}" for name in taken})
    common = {name: value for name, value in filled.options.items() if name in shared and len(used) > 1}
    for name, value in common.items():
        options = next(step.spec.options for step in steps if name in step.spec.options.model_fields)
        words += _flags(options, {name: value}, {})
    return shlex.join([*words, *_flags(RunSettings, filled.settings, {})])


def cloned(job: str, spec: JobSpec, filled: Filled, iteration: int | None) -> str:
    """The command that clones a job with what was filled in instead."""
    words = ["thon", "clone", job]
    for path, value, _ in _values(spec.options, filled.options):
        words += ["--set", f"{'-'.join(path).replace('_', '-')}={','.join(_texts(value))}"]
    words += [word for name, many in filled.wants.items() for one in many for word in ("--input", f"{name}={one}")]
    words += [word for other in filled.after for word in ("--after", other)]
    words += [] if iteration is None else ["--iteration", str(iteration)]
    return shlex.join(words)


def _taken(steps: Sequence[Step]) -> set[str]:
    """Names of flags that two steps share, or that mean something else."""
    names = [list(_names(step.spec.options)) for step in steps]
    counts = Counter(name for many in names for name in many)
    ports = {port.name.replace("_", "-") for step in steps for port in step.spec.ports[1:]}
    return ports | RESERVED | {name for name, count in counts.items() if count > 1}


def _names(options: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in options.model_fields.items():
        inner = _model(info.annotation)
        flag = f"{prefix}{name}".replace("_", "-")
        if any(isinstance(entry, Provided) for entry in info.metadata):
            continue
        yield from _names(inner, f"{flag}-") if inner is not None else (flag,)


def _flags(options: type[BaseModel], values: Mapping[str, Any], renamed: Mapping[str, str]) -> list[str]:
    words: list[str] = []
    for path, value, kind in _values(options, values):
        name = "-".join(path).replace("_", "-")
        name = renamed.get(name, name)
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif _is_fixed(kind) and isinstance(value, list | tuple):
            words += [f"--{name}", *_texts(value)]
        else:
            words += [f"--{name}", ",".join(_texts(value))]
    return words


def _values(
    options: type[BaseModel], values: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Each single value with the path to it and its type."""
    for name, value in values.items():
        info = options.model_fields.get(name)
        if info is None:
            continue
        inner = _model(info.annotation)
        if inner is not None and isinstance(value, dict):
            yield from _values(inner, value, (*path, name))
        else:
            yield (*path, name), value, info.annotation


def _model(annotation: Any) -> type[BaseModel] | None:
    found = [one for one in (annotation, *typing.get_args(annotation)) if isinstance(one, type)]
    return next((one for one in found if issubclass(one, BaseModel)), None)


def _is_fixed(annotation: Any) -> bool:
    """Whether a type is, or may be, a tuple of so many values."""
    for one in (annotation, *typing.get_args(annotation)):
        members = typing.get_args(one)
        if typing.get_origin(one) is tuple and Ellipsis not in members and len(members) > 1:
            return True
    return False


def _texts(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        many: list[Any] = list(value)
        return [text for one in many for text in _texts(one)]
    if value is None:
        return ["none"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    return [json.dumps(value)] if isinstance(value, dict) else [str(value)]
