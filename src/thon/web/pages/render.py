"""Renders a page: templates, what all of them are given, and how they tell numbers and times."""

from __future__ import annotations

import datetime
import functools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from thon.job.plan import size_text
from thon.job.told import duration, price
from thon.web.pages.sentences import sentence
from thon.web.served import Served

FLAG = re.compile(r"(?<![\w-])--([a-z][a-z\d]*(?:-[a-z\d]+)*)")
"""An option as the command line has it."""

TEMPLATES = Path(__file__).parent.parent / "templates"


def page(
    request: Request, template: str, served: Served | None = None, *, http_status: int = 200, **context: Any
) -> HTMLResponse:
    """A template as a response; `context` is what it shows besides the project and its URLs."""
    base = base_of(request)
    shared: dict[str, Any] = {"base": base, "served": served, "section": "", "query": query_of(request)}
    if served is not None:
        name = quote(served.name)
        shared |= {"here": f"{base}/p/{name}", "api": f"{base}/api/v1/projects/{name}"}
    text = environment().get_template(template).render(shared | context)
    return HTMLResponse(text, http_status)


def base_of(request: Request) -> str:
    """What all URLs of the server begin with, without a slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def query_of(request: Request) -> Any:
    """Makes the query of a link to this page with some values changed: `query(sort="cost", page=None)`."""
    now = list(request.query_params.multi_items())

    def query(**changes: Any) -> str:
        kept = [(key, value) for key, value in now if key not in changes]
        new = [(key, str(value)) for key, value in changes.items() if value not in (None, "", False)]
        return "?" + urlencode([*kept, *new])

    return query


@functools.cache
def environment() -> Environment:
    """The templates with their filters."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    filters: dict[str, Any] = {
        "duration": _told(duration),
        "size": _told(size_text),
        "price": price,
        "number": number,
        "moment": moment,
        "ago": ago,
        "stamp": stamp,
        "day": day,
        "plain": plain,
        "as_json": _as_json,
        "url": quote,
        "label": label,
        "prose": prose,
        "told": sentence,
        "fields": named_fields,
    }
    found.filters.update(filters)
    return found


def _told(tell: Callable[[float], str]) -> Callable[[float | None], str]:
    """The same, with nothing for what is not known."""
    return lambda value: "" if value is None else tell(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def number(value: float | None) -> str:
    """A number with the digits that matter."""
    if value is None:
        return ""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value)}"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def moment(text: str | None) -> str:
    """A time of a record, to the minute, as the server's clock has it."""
    if not text:
        return ""
    when = _time(text)
    return text if when is None else when.strftime("%Y-%m-%d %H:%M")


def stamp(seconds: float | None) -> str:
    """Seconds since 1970 as the server's clock has it."""
    return "" if seconds is None else time.strftime("%H:%M:%S", time.localtime(seconds))


def day(seconds: float) -> str:
    """Seconds since 1970 with their day, as the server's clock has it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def ago(text: str | None) -> str:
    """How long ago a time of a record is."""
    if not text:
        return ""
    when = _time(text)
    if when is None:
        return text
    seconds = (datetime.datetime.now(datetime.UTC) - when).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds < 36 * 3600:
        return f"{duration(seconds)} ago"
    return f"{seconds / 86400:.0f} days ago"


def _time(text: str) -> datetime.datetime | None:
    """A time of a record, as the server's clock has it; None where somebody wrote there what is none."""
    try:
        return datetime.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        return None


def plain(value: Any) -> str:
    """The value of an option, as a person would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, dict):
        table: dict[str, Any] = value
        return str(table["path"]) if "path" in table else ", ".join(f"{k} {plain(v)}" for k, v in table.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value) or "none"
    return str(value)


def prose(text: str) -> Markup:
    """A text of the code's documentation, with what is between back quotes as code."""
    parts = str(escape(text)).split("`")
    return Markup("".join(part if k % 2 == 0 else f"<code>{part}</code>" for k, part in enumerate(parts)))


def named_fields(text: str) -> str:
    """What a command says of its options, as the form calls them: `--pixel-size` is the field “pixel size”."""
    return FLAG.sub(lambda found: f"“{found[1].replace('-', ' ')}”", text)


def label(name: str) -> str:
    """A name of the code as people read it."""
    return name.replace("_", " ")
