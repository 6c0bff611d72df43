"""What a face needs to ask for a job: a type's ports and options, and what is wrong with what was filled in.

These functions load job types, so a server calls them at its desk (`thon.engine.desk`); they take and return nothing
but what can be sent there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from thon.base.errors import InputError, ThonError
from thon.base.options import Options
from thon.engine.inputs import is_job
from thon.engine.live.options import LiveOptions
from thon.engine.steps import steps_of
from thon.engine.waiting import check_port, sources_of, valid_options, wants_of
from thon.job.record import RunSettings
from thon.job.registry import load, load_job
from thon.job.spec import Chain, JobSpec
from thon.project.project import Project

Json = dict[str, Any]


@dataclass(frozen=True)
class Filled:
    """What somebody filled in for a job, or for the jobs of a chain.

    Args:
        type: Job type, or chain.
        options: Options that are not as by default; of a chain by step.
        wants: What goes into each port: jobs (J003, J003:ITEM) or files, relative to the project unless absolute.
        settings: How to run, where that is not as by default.
        after: Jobs to wait for besides.
    """

    type: str
    options: Json = field(default_factory=dict)
    wants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    settings: Json = field(default_factory=dict)
    after: Sequence[str] = ()


@dataclass(frozen=True)
class Complaint:
    """Something that cannot be right.

    Args:
        field: `options.NAME`, `inputs.PORT` or `settings.NAME`; of a chain's step `options.STEP.NAME`. `options` alone
            where the options do not go together.
        message: What is wrong.
        got: What was filled in, in short.
    """

    field: str
    message: str
    got: str = ""


def describe(name: str) -> Json:
    """Ports and options of a job type, or of each step of a chain, as JSON.

    The ports of a chain are the first of its first step, and the further ones of all.
    """
    found, steps = load(name), steps_of(name)
    importer = next((step.spec.name for step in steps if step.implicit), None)
    told = [_describe(step.spec) for step in steps if not step.implicit]
    live = LiveOptions.model_json_schema() if isinstance(found, Chain) and found.live else None
    common: Json = {"importer": importer, "settings": flat_schema(RunSettings), "live": live}
    if isinstance(found, Chain):
        fields = {"name": name, "title": found.title, "stage": found.stage, "doc": found.doc, "kind": "chain"}
        further = [port | {"step": step["name"]} for step in told for port in step["ports"][1:]]
        ports = [told[0]["ports"][0] | {"step": told[0]["name"]}, *further]
        return fields | common | {"shared": list(found.shared), "steps": told, "ports": ports}
    return told[0] | common | {"shared": [], "steps": told}


def fitting(name: str, types: Sequence[str]) -> dict[str, list[str]]:
    """For each port of a job type, which of some types yield what it takes."""
    ports = steps_of(name)[-1].spec.ports if not isinstance(load(name), Chain) else _first_of(name).ports
    gives = {type_: given for type_ in types if (given := _given_by(type_)) is not None}
    return {port.name: [type_ for type_, given in gives.items() if port.accepts(given)] for port in ports}


def filled_from(root: Path, job: str) -> Filled:
    """What would have to be filled in to get the same job again.

    Raises:
        InputError: No such job.
        StoreError: Its options are no longer valid.
    """
    project = Project(root)
    folder = project.job(job)
    record = folder.read()
    options = valid_options(folder, load_job(record.type), record).model_dump(mode="json")
    settings = record.settings.model_dump(exclude_defaults=True)
    return Filled(record.type, options, wants_of(project, record), settings, record.after)


def complaints(root: Path, filled: Filled) -> list[Complaint]:
    """All that cannot be right in what was filled in."""
    steps = specs_of(filled)
    found: list[Complaint] = []
    for spec in steps:
        where = f"options.{spec.name}" if len(steps) > 1 else "options"
        found += _of_options(spec.options, _own(filled, spec, len(steps)), where, root)
    found += _of_options(RunSettings, filled.settings, "settings", root)
    return [*found, *_of_ports(Project(root), steps, filled)]


def changed(filled: Filled) -> list[str]:
    """The options, by dotted names, that are not as by default."""
    steps = specs_of(filled)
    names: list[str] = []
    for spec in steps:
        given = _flat(_own(filled, spec, len(steps)))
        defaults = _flat(_defaults(spec.options))
        prefix = f"{spec.name}." if len(steps) > 1 else ""
        names += [f"{prefix}{name}" for name, value in given.items() if name not in defaults or defaults[name] != value]
    return names


def options_of(spec: JobSpec, filled: Filled, steps: int, root: Path) -> Options:
    """The options of one step.

    Raises:
        InputError: One cannot be right.
    """
    values = _own(filled, spec, steps)
    first = next(iter(_of_options(spec.options, values, "options", root)), None)
    if first is not None:
        raise InputError(f"{first.field.removeprefix('options.')}: {first.message}", got=first.got or None)
    return settled(spec.options.model_validate(values), root)


def specs_of(filled: Filled) -> list[JobSpec]:
    """The job types that are run, an importer first where files are given for records."""
    steps = steps_of(filled.type)
    first = next(step.spec for step in steps if not step.implicit).ports[0].name
    sources = [source for name in {first, *(steps[0].spec.ports[0].name,)} for source in filled.wants.get(name, ())]
    from_files = bool(sources) and not any(is_job(source) for source in sources)
    return [step.spec for step in steps if from_files or not step.implicit]


def typed_sources(project: Project, sources: Sequence[str]) -> list[str]:
    """What was filled in for a port, as a record holds it.

    Raises:
        InputError: There is no such job, or no such file, or it is no file that has an end.
    """
    placed = [source if is_job(source) or "://" in source else str(project.root / source) for source in sources]
    for text in placed:
        if _is_endless(Path(text)):
            raise InputError("this is neither a file nor a folder", path=text, mend="give a file")
    return sources_of(placed, project)


def settled(options: Any, root: Path) -> Any:
    """The same options with relative paths made absolute: they are relative to the project."""
    changes: Json = {}
    for name in type(options).model_fields:
        value = getattr(options, name)
        if isinstance(value, Path) and not value.is_absolute():
            changes[name] = root / value
        elif isinstance(value, BaseModel):
            changes[name] = settled(value, root)
    return options.model_copy(update=changes) if changes else options


def flat_schema(options: type[BaseModel]) -> Json:
    """The JSON Schema of options with nested ones in their places instead of beside."""
    schema = options.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _inlined(value: Any, definitions: Json) -> Any:
    if isinstance(value, dict):
        table: Json = value
        if "$ref" in table:
            others = {key: inner for key, inner in table.items() if key != "$ref"}
            return _inlined(definitions[table["$ref"].rsplit("/", 1)[-1]], definitions) | others
        return {key: _inlined(inner, definitions) for key, inner in table.items()}
    if isinstance(value, list):
        many: list[Any] = value
        return [_inlined(inner, definitions) for inner in many]
    return value


def _describe(spec: JobSpec) -> Json:
    return {
        "name": spec.name,
        "title": spec.title,
        "stage": spec.stage,
        "doc": spec.doc,
        "kind": "whole" if spec.whole else "each",
        "gpus": spec.gpus,
        "group": spec.group,
        "standalone": spec.standalone,
        "ports": [
            {
                "name": port.name,
                "type": port.type.__name__,
                "optional": port.optional,
                "many": port.many or number == 0,
                "takes_file": port.takes_file,
            }
            for number, port in enumerate(spec.ports)
        ],
        "gives": spec.gives.__name__,
        "options": flat_schema(spec.options),
    }


def _first_of(name: str) -> JobSpec:
    return next(step.spec for step in steps_of(name) if not step.implicit)


def _given_by(name: str) -> type | None:
    """What a job type yields; None where there is no such type any more."""
    try:
        return load_job(name).gives
    except ThonError:
        return None


def _own(filled: Filled, spec: JobSpec, steps: int) -> Json:
    """The options of one step among those that were filled in."""
    if steps == 1:
        return dict(filled.options)
    chain = load(filled.type)
    shared = chain.shared if isinstance(chain, Chain) else ()
    common = {
        name: filled.options[name] for name in shared if name in filled.options and name in spec.options.model_fields
    }
    own = filled.options.get(spec.name, {})
    return common | (own if isinstance(own, dict) else {})


def _of_options(options: type[BaseModel], values: Json, where: str, root: Path) -> Iterator[Complaint]:
    try:
        built = options.model_validate(values)
    except ValidationError as error:
        for one in error.errors():
            place = ".".join((where, *(str(part) for part in one["loc"] if isinstance(part, str))))
            yield Complaint(place, _message(one), "" if isinstance(one["input"], dict) else str(one["input"])[:200])
        return
    for name, path in _files(settled(built, root)):
        if not path.exists():
            yield Complaint(f"{where}.{name}", "there is no such file", str(path))
        elif _is_endless(path):
            yield Complaint(f"{where}.{name}", "this is neither a file nor a folder", str(path))


def _is_endless(path: Path) -> bool:
    """Whether there is something that might never be read to its end: a pipe, a socket, a device."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _message(error: Any) -> str:
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "extra_forbidden":
        return "there is no such option"
    text = str(error["msg"]).removeprefix("Value error, ")
    return f"must be {text.removeprefix('Input should be ')}" if text.startswith("Input should be ") else text


def _files(options: BaseModel) -> Iterator[tuple[str, Path]]:
    for name in type(options).model_fields:
        value = getattr(options, name)
        if isinstance(value, Path):
            yield name, value
        elif isinstance(value, BaseModel):
            yield from ((f"{name}.{inner}", path) for inner, path in _files(value))


def _of_ports(project: Project, steps: Sequence[JobSpec], filled: Filled) -> Iterator[Complaint]:
    first = steps[0].ports[0]
    takers = {first.name: steps[0]} | {port.name: spec for spec in steps for port in spec.ports[1:]}
    wants = ports_of(steps, filled)
    for name in wants.keys() - takers.keys():
        yield Complaint(f"inputs.{name}", "there is no such input", ", ".join(wants[name])[:200])
    for port in (first, *(port for spec in steps for port in spec.ports[1:])):
        if not wants.get(port.name) and not port.optional:
            yield Complaint(f"inputs.{port.name}", f"needs {'a file' if port.takes_file else port.type.__name__}")
    for name in wants.keys() & takers.keys():
        sources = wants[name]
        try:
            check_port(project, takers[name], name, typed_sources(project, sources))
        except ThonError as error:
            yield Complaint(f"inputs.{name}", str(error).replace("\n ", ","), ", ".join(sources)[:200])


def ports_of(steps: Sequence[JobSpec], filled: Filled) -> dict[str, Sequence[str]]:
    """What was filled in for each port; files that were given for a job's records go to the importer before it."""
    first = steps[0].ports[0].name
    replaced = {spec.ports[0].name for spec in steps[1:]} if steps[0].imports else set[str]()
    return {first if name in replaced else name: sources for name, sources in filled.wants.items()}


def _defaults(options: type[BaseModel]) -> Json:
    """The default of every option that has one, as JSON."""
    fields = {name: info for name, info in options.model_fields.items() if not info.is_required()}
    partial = options.model_construct(
        **{name: info.get_default(call_default_factory=True) for name, info in fields.items()}
    )  # pyright: ignore[reportCallIssue]
    return partial.model_dump(mode="json", include=set(fields))


def _flat(values: Json, prefix: str = "") -> Json:
    found: Json = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found
