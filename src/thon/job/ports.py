"""What a job takes and what it yields, read from its annotations."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, cast

from thon.base.options import Options
from thon.job.context import Context


@dataclass(frozen=True)
class Port:
    """One input of a job.

    Args:
        name: Name of the parameter.
        type: Record class, or `Path` for a file from outside.
        optional: May be left open; the job then gets its default.
        many: Takes a tuple of them.
    """

    name: str
    type: type
    optional: bool = False
    many: bool = False

    @property
    def takes_file(self) -> bool:
        """Whether this port takes a file from outside rather than a record."""
        return issubclass(self.type, Path)

    def accepts(self, given: type) -> bool:
        """Whether a record of this type connects: the type asked for, or a subclass of it."""
        return issubclass(given, self.type)


@dataclass(frozen=True)
class Signature:
    """A job function's ports, its options and its context by parameter name, and what it yields."""

    ports: tuple[Port, ...]
    options_name: str | None
    options: type[Options]
    context_name: str | None
    gives: type


def read_signature(function: Callable[..., Any], *, gathers: bool) -> Signature:
    """Read the ports of a job function from its annotations.

    The first port is what the engine loops over. Where the job `gathers` records, a whole set or a group, it is
    annotated `tuple[Record, ...]`. Records are dataclasses or `Path`; the one parameter annotated with an `Options`
    class and the one annotated `Context` are no ports.

    Raises:
        TypeError: An annotation is missing or is no record.
    """
    hints = typing.get_type_hints(function)
    ports: list[Port] = []
    options_name, options, context_name = None, Options, None
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        if hint is None:
            raise TypeError(f"{function.__name__}: the parameter '{name}' needs an annotation")
        if isinstance(hint, type) and issubclass(hint, Options):
            options_name, options = name, hint
        elif isinstance(hint, type) and issubclass(hint, Context):
            context_name = name
        else:
            where = f"{function.__name__}.{name}"
            many = typing.get_origin(_without_none(hint)) is tuple
            if gathers and not ports and not many:
                raise TypeError(f"{where} must be annotated tuple[Record, ...] where a job gathers records, not {hint}")
            optional = parameter.default is not inspect.Parameter.empty
            ports.append(Port(name, _record_type(hint, where), optional, many))
    gives = _record_type(hints.get("return"), f"{function.__name__}'s result")
    if not ports:
        raise TypeError(f"{function.__name__} takes no record and no file")
    return Signature(tuple(ports), options_name, options, context_name, gives)


def _record_type(hint: Any, where: str) -> type:
    hint = _without_none(hint)
    if typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (Ellipsis,):
        hint = typing.get_args(hint)[0]
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Path)):
        return cast("type", hint)
    raise TypeError(f"{where} must be a record of thon.data, a dataclass of yours or a Path, not {hint}")


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else hint
    return hint
