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
    """

    name: str
    type: type
    optional: bool = False

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


def read_signature(function: Callable[..., Any], *, whole: bool) -> Signature:
    """Read the ports of a job function from its annotations.

    The first port is what the engine loops over. With `whole` it is annotated `tuple[Record, ...]`. Records are
    dataclasses or `Path`; the one parameter annotated with an `Options` class and the one annotated `Context` are no
    ports.

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
            many = whole and not ports
            optional = parameter.default is not inspect.Parameter.empty
            ports.append(Port(name, _record_type(hint, f"{function.__name__}.{name}", many=many), optional))
    gives = _record_type(hints.get("return"), f"{function.__name__}'s result", many=False)
    if not ports:
        raise TypeError(f"{function.__name__} takes no record and no file")
    return Signature(tuple(ports), options_name, options, context_name, gives)


def _record_type(hint: Any, where: str, *, many: bool) -> type:
    if many:
        if typing.get_origin(hint) is not tuple or typing.get_args(hint)[1:] != (Ellipsis,):
            raise TypeError(f"{where} must be annotated tuple[Record, ...] in a whole-set job, not {hint}")
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        hint = members[0] if len(members) == 1 else hint
    if isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, Path)):
        return cast("type", hint)
    raise TypeError(f"{where} must be a record of thon.data, a dataclass of yours or a Path, not {hint}")
