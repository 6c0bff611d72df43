"""From the fields of an `Options` class to command-line flags, and from what was typed back to the options."""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from thon.base.errors import InputError
from thon.base.options import Advanced, Provided, Unit

Model = TypeVar("Model", bound=BaseModel)

_RANGE = re.compile(r"(-?\d+)-(-?\d+)$")


@dataclass(frozen=True)
class Flag:
    """One field as a flag.

    Args:
        path: Names of the field and the options around it, outermost first.
        name: The flag without its dashes.
        type: Python type, `None` taken out.
        optional: Whether None is a value.
        info: The field.
        advanced: Left out of the short help.
        required: Must be typed, whatever the field's default.
    """

    path: tuple[str, ...]
    name: str
    type: Any
    optional: bool
    info: FieldInfo
    advanced: bool = False
    required: bool = False

    @property
    def unit(self) -> str:
        """Symbol of the unit; empty where there is none to show."""
        symbols = [entry.symbol for entry in self.info.metadata if isinstance(entry, Unit)]
        return symbols[0] if symbols and symbols[0] != "1" else ""

    @property
    def help(self) -> str:
        """Meaning, unit, limits and default."""
        text = (self.info.description or "").strip().removesuffix(".")
        text = text + (f", {self.unit}" if self.unit else "")
        notes = [note for note in (_limits(self.info), self._default()) if note]
        return f"{text}  [{'; '.join(notes)}]" if notes else text

    def _default(self) -> str:
        default = self.info.get_default(call_default_factory=True)  # pyright: ignore[reportCallIssue]
        if default is PydanticUndefined:
            return "required"
        return "" if self.required or default in (None, "", ()) else f"default: {_shown(default)}"


class FieldOption(click.Option):
    """A click option that knows its flag and the heading under which help shows it."""

    def __init__(self, *args: Any, flag: Flag, section: str, **kwargs: Any):
        self.flag, self.section = flag, section
        super().__init__(*args, **kwargs)


def flags_of(options: type[BaseModel], path: tuple[str, ...] = (), *, advanced: bool = False) -> Iterator[Flag]:
    """The flags of an `Options` class; those of nested options carry their field's name in front."""
    for name, info in options.model_fields.items():
        if any(isinstance(entry, Provided) for entry in info.metadata):
            continue
        folded = advanced or any(isinstance(entry, Advanced) for entry in info.metadata)
        inner, optional = _plain(info.annotation)
        where = (*path, name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from flags_of(inner, where, advanced=folded)
        else:
            yield Flag(where, "-".join(where).replace("_", "-"), inner, optional, info, folded)


def prefixed(flag: Flag, prefix: str) -> Flag:
    """The same flag with a word in front."""
    return replace(flag, name=f"{prefix}-{flag.name}")


def to_option(flag: Flag, identifier: str, section: str) -> FieldOption:
    """The click option of a flag."""
    # A default that is None is a default to click, and what has one is not missed.
    form: dict[str, Any] = {"required": True} if flag.required else {"default": None}
    form |= {"help": flag.help, "flag": flag, "section": section}
    choices = _choices(flag.type)
    declaration = f"--{flag.name}"
    if flag.type is bool:
        declaration = f"--{flag.name}/--no-{flag.name}"
    elif choices:
        form |= {"type": click.Choice([*choices, *(["none"] if flag.optional else [])])}
    elif flag.type is Path:
        form |= {"type": click.Path(), "metavar": "FILE"}
    elif (length := _fixed_length(flag.type)) is not None:
        form |= {"nargs": length, "type": str, "metavar": " ".join([_word(typing.get_args(flag.type)[0])] * length)}
    else:
        form |= {"type": str, "metavar": _word(flag.type)}
    return FieldOption([declaration, identifier], **form)


def read_options(options: type[Model], given: Sequence[tuple[Flag, Any]]) -> Model:
    """Build options from what was typed.

    Raises:
        InputError: One line for each flag that cannot be right.
    """
    return _build(options, {}, given)


def change_options(options: Model, given: Sequence[tuple[Flag, str]]) -> Model:
    """The same options but for what was typed.

    Raises:
        InputError: One line for each flag that cannot be right.
    """
    return _build(type(options), options.model_dump(), [(flag, _in_one_word(flag, value)) for flag, value in given])


def _in_one_word(flag: Flag, text: str) -> Any:
    """The value of a flag that was typed as `NAME=VALUE`."""
    if flag.optional and text.lower() == "none":
        return text
    if flag.type is Path:
        return Path(text).absolute()
    return text.replace(",", " ").split() if _fixed_length(flag.type) is not None else text


def _build(options: type[Model], values: dict[str, Any], given: Sequence[tuple[Flag, Any]]) -> Model:
    for flag, value in given:
        place = values
        for name in flag.path[:-1]:
            place = place.setdefault(name, {})
        place[flag.path[-1]] = _value(flag, value)
    try:
        return options.model_validate(values)
    except ValidationError as error:
        names = {flag.path: f"--{flag.name}" for flag in flags_of(options)}
        names |= {flag.path: f"--{flag.name}" for flag, _ in given}
        raise InputError("\n".join(_complaint(one, names) for one in error.errors())) from error


def _value(flag: Flag, typed: Any) -> Any:
    """What was typed as pydantic takes it: texts of numbers are parsed there, with the field's limits."""
    if flag.optional and isinstance(typed, str) and typed.lower() == "none":
        return None
    choices = _choices(flag.type)
    if choices:
        return choices[typed]
    origin = typing.get_origin(flag.type) or flag.type
    if origin is dict:
        return _json(flag, typed)
    if origin in (tuple, list, set, frozenset) and isinstance(typed, str):
        return list(_many(typed))
    return typed


def _many(text: str) -> Iterator[str]:
    """The parts of `3,5,7-9`."""
    for part in filter(None, re.split(r"[,\s]+", text)):
        span = _RANGE.match(part)
        if span is not None:
            yield from map(str, range(int(span[1]), int(span[2]) + 1))
        else:
            yield part


def _json(flag: Flag, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--{flag.name} is no JSON", got=text, expected='such as {"key": 1}') from error


def _complaint(error: Any, names: dict[tuple[str, ...], str]) -> str:
    location = tuple(part for part in error["loc"] if isinstance(part, str))
    name = next((names[location[:n]] for n in range(len(location), 0, -1) if location[:n] in names), "")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "missing":
        return f"{name} is required"
    found = "" if isinstance(error["input"], dict) else f" (found: {error['input']})"
    expected = "must be " if str(error["msg"]).startswith("Input should be ") else ""
    return f"{name}: {expected}{message}{found}" if name else f"{message}"


def _plain(annotation: Any) -> tuple[Any, bool]:
    """The type without `| None` and `Annotated`, and whether None was part of it."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        optional = len(members) < len(typing.get_args(annotation))
        inner = _plain(members[0])[0] if len(members) == 1 else typing.Union[tuple(members)]  # noqa: UP007
        return inner, optional
    return annotation, False


def _choices(kind: Any) -> dict[str, Any]:
    """Values by their text, for literals and enums."""
    if typing.get_origin(kind) is typing.Literal:
        return {str(value): value for value in typing.get_args(kind)}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {str(member.value): member for member in kind}
    return {}


def _fixed_length(kind: Any) -> int | None:
    members = typing.get_args(kind)
    return len(members) if typing.get_origin(kind) is tuple and Ellipsis not in members and len(members) > 1 else None


def _word(kind: Any) -> str:
    kind = _plain(kind)[0]
    names = {int: "INTEGER", float: "FLOAT", str: "TEXT", Path: "FILE"}
    if kind in names:
        return names[kind]
    if typing.get_origin(kind) in (tuple, list, set, frozenset):
        return f"{_word(typing.get_args(kind)[0])},..."
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return "|".join(dict.fromkeys(_word(member) for member in typing.get_args(kind)))
    choices = _choices(kind)
    return "|".join(choices) if choices else "JSON"


def _limits(info: FieldInfo) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [
        f"{sign} {getattr(entry, name)}"
        for entry in info.metadata
        for name, sign in signs.items()
        if getattr(entry, name, None) is not None
    ]
    return ", ".join(found)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        many: list[Any] = list(value)
        return " ".join(_shown(one) for one in many)
    return str(value)
