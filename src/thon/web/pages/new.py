"""The job builder: which job, on what, with which options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from thon.base.errors import ThonError
from thon.engine.forms import filled_from
from thon.engine.lanes.options import LOCAL, read_lanes
from thon.job.iterations import kept_iterations
from thon.web.cards import Card, cards_of
from thon.web.pages.fields import Field, fields_of
from thon.web.pages.render import page
from thon.web.pages.types import by_stage, fitting, form_of, known_types
from thon.web.served import Served
from thon.web.site import ServedProject

router = APIRouter()

Json = dict[str, Any]

BROKEN = ("failed", "interrupted", "unreadable")


@dataclass(frozen=True)
class Port:
    """An input of a form.

    Args:
        name: Its name.
        type: Type of record that it takes; `Path` for a file.
        optional: Whether it may be left open.
        many: Whether it takes several.
        jobs: The jobs whose yield it takes, the newest first.
        files: Whether files will do.
        sources: What is filled in at first.
    """

    name: str
    type: str
    optional: bool
    many: bool
    jobs: list[Card]
    files: bool
    sources: list[str]


@dataclass(frozen=True)
class Section:
    """The options of one job, or of one step of a chain; `first` of the step that needs to be told most."""

    name: str
    title: str
    doc: str
    fields: tuple[Field, ...]
    first: bool = True

    @property
    def open(self) -> bool:
        """Whether it is not folded away."""
        return self.first or any(field.changed or field.required for field in self.fields)


@router.get("/p/{project}/new", response_class=HTMLResponse)
def new(request: Request, served: ServedProject, type: str = "", source: str = "", find: str = "") -> HTMLResponse:
    """A new job: first its type, then all else. `from` names a job to clone, `source` one to go on with."""
    original = request.query_params.get("from", "")
    if not type and not original:
        return _types(request, served, source, find)
    given = (
        _given(served, request, original) if original else {"type": type, "options": {}, "inputs": {}, "settings": {}}
    )
    given = _with_query(given, request)
    form = form_of(served, given["type"])
    context = form_parts(served, form, given, source)
    context |= {"form": form, "section": "new", "original": original, "listing": known_types()[given["type"]]}
    context |= {"iterations": kept_iterations(served.job(original).path) if original else []}
    return page(request, "new.html", served, **context)


def form_parts(served: Served, form: Json, given: Json, source: str = "") -> Json:
    """What the form of a job or of a chain is made of."""
    cards = cards_of(served)
    fits = fitting(served, form["name"], {card.row["type"] for card in cards})
    first = form["steps"][0]
    sources: dict[str, list[str]] = {name: list(many) for name, many in given["inputs"].items()}
    ports = [
        _port(port, cards, fits.get(port["name"], []), form, sources, source, first=port is first["ports"][0])
        for port in first["ports"]
    ]
    return {
        "ports": ports,
        "further": [
            _port(port, cards, inner.get(port["name"], []), form, sources, "", first=False)
            for step in form["steps"][1:]
            for inner in [fitting(served, step["name"], {card.row["type"] for card in cards})]
            for port in step["ports"][1:]
        ],
        "sections": _sections(form, given["options"]),
        "settings": fields_of(form["settings"], "settings", given["settings"]),
        "lanes": lanes_of(served),
    }


def lanes_of(served: Served) -> tuple[list[str], str, str]:
    """Names of the lanes, the default one, and why they cannot be read."""
    try:
        lanes = read_lanes(served.project.root)
    except ThonError as error:
        return [LOCAL], LOCAL, str(error)
    return list(lanes.options), lanes.default, ""


def _types(request: Request, served: Served, source: str, find: str) -> HTMLResponse:
    """The list of job types; of those that take what a job yields where one is named."""
    stages = by_stage()
    if source:
        card = next((card for card in cards_of(served) if card.job == source), None)
        kind = card.row["type"] if card is not None else ""
        takers = {name for name in known_types() if _takes(served, name, kind)}
        stages = {stage: [one for one in many if one.name in takers] for stage, many in stages.items()}
    shown = {
        stage: [one for one in many if find.lower() in f"{one.name} {one.title} {one.summary}".lower()]
        for stage, many in stages.items()
    }
    return page(request, "new_types.html", served, stages=shown, source=source, find=find, section="new")


def _takes(served: Served, name: str, kind: str) -> bool:
    if known_types()[name].stage in ("import", "live"):
        return False
    fits = fitting(served, name, {kind})
    return bool(fits) and kind in next(iter(fits.values()))


def _given(served: Served, request: Request, original: str) -> Json:
    """What would have to be filled in to get a job again."""
    number = served.job(original).path.name.split("-")[0]
    filled = served.desk.call(filled_from, served.project.root, number)
    inputs = {name: list(sources) for name, sources in filled.wants.items()}
    return {"type": filled.type, "options": filled.options, "inputs": inputs, "settings": filled.settings}


def _with_query(given: Json, request: Request) -> Json:
    """What is filled in, with what the URL says: `options.bin=2`, `inputs.micrograph=J002`, `settings.threads=4`."""
    filled: Json = {name: dict(given[name]) for name in ("options", "inputs", "settings")}
    for name in dict.fromkeys(request.query_params):
        kind, _, path = name.partition(".")
        if kind not in filled or not path:
            continue
        values = request.query_params.getlist(name)
        if kind == "inputs":
            filled[kind][path] = values
        else:
            _put(filled[kind], path.split("."), _typed(values[-1]))
    return given | filled


def _put(values: Json, path: list[str], value: Any) -> None:
    *groups, name = path
    for group in groups:
        inner = values.get(group)
        values[group] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[group]
    values[name] = value


def _typed(text: str) -> Any:
    """A value as it is written in a URL: JSON, or a plain word."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _port(
    port: Json,
    cards: list[Card],
    types: list[str],
    form: Json,
    sources: dict[str, list[str]],
    source: str,
    *,
    first: bool,
) -> Port:
    jobs = [card for card in reversed(cards) if card.row["type"] in types]
    files = port["takes_file"] or (first and form["importer"] is not None)
    given = sources.get(port["name"], [])
    if not given and first and source:
        given = [source]
    if not given and jobs and not port["optional"] and not port["takes_file"]:
        given = [_likeliest(jobs, form["name"]).job]
    return Port(port["name"], port["type"], port["optional"], bool(port["many"]), jobs, files, given)


def _likeliest(jobs: list[Card], type_: str) -> Card:
    """What is probably meant: the newest that did not fail, rather of another type than the new job."""
    return max(jobs, key=lambda card: (card.row["type"] != type_, card.state not in BROKEN, card.row["number"]))


def _sections(form: Json, options: Mapping[str, Any]) -> list[Section]:
    """The options, of a chain those that its steps share first, then step by step."""
    steps = form["steps"]
    if form["kind"] != "chain":
        return [Section("", "Options", "", fields_of(form["options"], "options", options))]
    shared = set(form["shared"])
    common = {name: _shared(steps, name) for name in form["shared"]}
    schema = {"properties": common, "required": [name for name, one in common.items() if "default" not in one]}
    sections = [Section("", "For all steps", "", fields_of(schema, "options", options))] if shared else []
    for k, step in enumerate(steps):
        own = options.get(step["name"], {})
        fields = fields_of(step["options"], f"options.{step['name']}", own if isinstance(own, Mapping) else {}, shared)
        sections.append(Section(step["name"], step["title"], step["doc"].split("\n")[0], fields, first=k == 0))
    return sections


def _shared(steps: list[Json], name: str) -> Json:
    """An option that several steps share; it has a default where theirs agree."""
    found: list[Json] = [
        step["options"]["properties"][name] for step in steps if name in step["options"].get("properties", {})
    ]
    defaults = {repr(one.get("default")) for one in found}
    return found[0] if len(defaults) == 1 else {key: value for key, value in found[0].items() if key != "default"}
