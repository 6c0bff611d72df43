"""The fields of a form, from the JSON Schema of options."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]

Kind = Literal["number", "integer", "boolean", "maybe", "choice", "choices", "text", "path", "words", "tuple", "json"]


@dataclass(frozen=True)
class Field:
    """One field, or with `fields` a group of them.

    Args:
        name: Dotted, as the API names it.
        label: For people.
        kind: How it is filled in.
        help: What it is.
        unit: Its unit; empty for a plain number.
        default: As JSON; None where it may be left out.
        required: Whether there is no default.
        value: What is filled in at first.
        advanced: Whether it is folded away.
        optional: Whether it may be left out.
        choices: What can be chosen.
        low: Smallest number.
        high: Largest number.
        size: Numbers of a tuple.
        inner: JSON type of the words of a list.
        fields: Those of a group.
    """

    name: str
    label: str
    kind: Kind | Literal["group"]
    help: str = ""
    unit: str = ""
    default: Any = None
    required: bool = False
    value: Any = None
    advanced: bool = False
    optional: bool = False
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    size: int = 1
    inner: str = "string"
    fields: tuple[Field, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether it is not as by default, or something in it is not."""
        if self.kind == "group":
            return any(field.changed for field in self.fields)
        return not self.required and self.value != self.default

    @property
    def shown(self) -> str:
        """Its value as an input has it."""
        return as_typed(self.value)

    @property
    def shown_default(self) -> str:
        """Its default as an input has it."""
        return as_typed(self.default)


def fields_of(schema: Json, prefix: str, values: Mapping[str, Any], without: Iterable[str] = ()) -> tuple[Field, ...]:
    """The fields of options, those that a run provides left out.

    Args:
        schema: JSON Schema, nested options in their places.
        prefix: What names begin with: `options`, or `options.STEP`.
        values: What is filled in at first.
        without: Names to leave out.
    """
    required = schema.get("required", ())
    left_out = set(without)
    return tuple(
        _field(name, one, prefix, values, required=name in required)
        for name, one in schema.get("properties", {}).items()
        if name not in left_out and not one.get("provided")
    )


def as_typed(value: Any) -> str:
    """A value as an input has it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list):
        many: list[Any] = value
        return " ".join(as_typed(one) for one in many)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _field(name: str, one: Json, prefix: str, values: Mapping[str, Any], *, required: bool) -> Field:
    full, label = f"{prefix}.{name}", name.replace("_", " ")
    told, advanced = one.get("description", ""), bool(one.get("advanced"))
    if "properties" in one:
        inner = values.get(name)
        fields = fields_of(one, full, inner if isinstance(inner, Mapping) else {})
        return Field(full, label, "group", told, advanced=advanced, fields=fields)
    choices = [part for part in one.get("anyOf", []) if part.get("type") != "null"]
    optional = "anyOf" in one and len(choices) < len(one["anyOf"])
    plain: Json = one | (choices[0] if len(choices) == 1 else {})
    default = one.get("default")
    value = plain_json(values[name]) if name in values else default
    kind = _kind(plain, optional=optional) if len(choices) <= 1 else "json"
    return Field(
        name=full,
        label=label,
        kind=kind,
        help=told,
        unit=unit_of(plain),
        default=default,
        required=required,
        value=value,
        advanced=advanced,
        optional=optional,
        choices=tuple(plain.get("enum") or plain.get("items", {}).get("enum") or ()),
        low=plain.get("minimum", plain.get("exclusiveMinimum")),
        high=plain.get("maximum", plain.get("exclusiveMaximum")),
        size=len(plain.get("prefixItems", ())) or 1,
        inner=plain.get("items", {}).get("type", "string"),
    )


def _kind(plain: Json, *, optional: bool) -> Kind:
    type_ = plain.get("type")
    if "enum" in plain or "const" in plain:
        return "choice"
    if type_ == "array":
        return _kind_of_list(plain)
    if type_ == "string" and plain.get("format") == "path":
        return "path"
    simple: dict[Any, Kind] = {"number": "number", "integer": "integer", "string": "text"}
    simple["boolean"] = "maybe" if optional else "boolean"
    return simple.get(type_, "json")


def _kind_of_list(plain: Json) -> Kind:
    if "prefixItems" in plain:
        return "tuple" if all(part.get("type") in ("number", "integer") for part in plain["prefixItems"]) else "json"
    inner: Json = plain.get("items", {})
    if "enum" in inner:
        return "choices"
    return "words" if inner.get("type") in ("number", "integer", "string") else "json"


def unit_of(field: Json) -> str:
    """The unit of a field, or of what is in it; empty for a plain number."""
    parts: list[Json] = [field, *field.get("anyOf", []), *field.get("prefixItems", []), field.get("items", {})]
    unit = next((part["unit"] for part in parts if "unit" in part), "")
    return "" if unit == "1" else unit


def plain_json(value: Any) -> Any:
    """A value of a record as JSON has it: files are their paths."""
    if isinstance(value, Mapping) and "path" in value:
        return value["path"]
    return list(value) if isinstance(value, tuple) else value
