"""The options of a job beside their defaults, units and help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from thon.web.pages.fields import plain_json, unit_of
from thon.web.pages.types import schema_of
from thon.web.served import Served

Json = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """An option of a job.

    Args:
        name: Dotted, where it lies in other options.
        value: What it was.
        default: What it is by default.
        known: Whether the default is known, and there is one.
        unit: Its unit; empty for a plain number.
        help: What it is.
    """

    name: str
    value: Any
    default: Any
    known: bool
    unit: str
    help: str

    @property
    def changed(self) -> bool:
        """Whether it is not as by default."""
        return self.known and not _same(self.value, self.default)


def tell_options(served: Served, type_: str, values: Json) -> list[Told]:
    """The options of a job, those that are not as by default first."""
    schema = schema_of(served, type_) or {}
    told = list(_told(values, schema.get("properties", {}), ""))
    return sorted(told, key=lambda one: not one.changed)


def _told(values: Json, properties: Json, prefix: str) -> Iterator[Told]:
    """Options in the order in which their type declares them, those that it has no more last."""
    for name in (
        *(name for name in properties if name in values),
        *(name for name in values if name not in properties),
    ):
        value, field = values[name], properties.get(name, {})
        if field.get("provided"):
            continue
        if "properties" in field and isinstance(value, dict):
            yield from _told(value, field["properties"], f"{prefix}{name}.")
        else:
            known = "default" in field
            told = field.get("description", "")
            yield Told(f"{prefix}{name}", value, field.get("default"), known, unit_of(field), told)


def _same(value: Any, default: Any) -> bool:
    return plain_json(value) == default
