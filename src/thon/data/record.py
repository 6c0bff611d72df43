"""Records to JSON and back, exactly: numbers, arrays, nested records, NaN, and paths that survive a move.

A record is a frozen dataclass, or a `Path` where a job yields a plain file. JSON holds its class as `"type"`, so a
subclass comes back as itself. Arrays are written as `{"array": nested lists, "dtype": …}`, large ones by the name under
which the caller keeps them. A text or `Path` that is an absolute path becomes `{"path": stored text}`; the caller says
how a path is stored and found again, so that what lies in a project stays relative to it.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import math
import os
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from thon.base.errors import FormatError

LARGE = 4096
"""Arrays of more elements are left to the caller, where the caller keeps arrays."""

TAGS = frozenset({"type", "path", "array", "float", "map", "pairs"})
"""Keys that say what a JSON object stands for."""


def to_json(value: Any, *, place: Callable[[str], str] = str, arrays: dict[str, np.ndarray] | None = None) -> Any:
    """Turn a record (or any value inside one) into what `json.dumps(..., allow_nan=False)` takes.

    Args:
        value: Frozen dataclass, array, path, enum, number, text, tuple, list, dict or None.
        place: Stored text of an absolute path.
        arrays: Receives large arrays by name; without it every array is written inline.
    """
    return _Encoder(place, arrays).encode(value, "record")


def from_json(data: Any, *, find: Callable[[str], str] = str, arrays: Mapping[str, np.ndarray] | None = None) -> Any:
    """Build the record again.

    Args:
        data: What `to_json` made.
        find: Absolute path of a stored text.
        arrays: The large arrays by name.

    Raises:
        FormatError: The data are no record, or name a class that is not known.
    """
    try:
        return _Decoder(find, arrays or {}).decode(data, Any)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise FormatError("this is not a record of thon", got=repr(error)) from error


@dataclasses.dataclass(frozen=True)
class _Encoder:
    place: Callable[[str], str]
    arrays: dict[str, np.ndarray] | None

    def encode(self, value: Any, name: str) -> Any:
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, np.ndarray):
            return self.encode_array(value, name)
        if value is None or isinstance(value, bool | int | float | str | Path):
            return self.encode_plain(value)
        return self.encode_container(value, name)

    def encode_plain(self, value: bool | float | str | Path | None) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        if isinstance(value, Path):
            return {"path": self.place(str(value)), "as": "Path"}
        if isinstance(value, str) and is_path(value):
            return {"path": self.place(value)}
        return value

    def encode_container(self, value: Any, name: str) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                f.name: self.encode(getattr(value, f.name), f"{name}.{f.name}") for f in dataclasses.fields(value)
            }
            return {"type": class_name(type(value))} | fields
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            if all(isinstance(key, str) for key, _ in items):
                table = {key: self.encode(v, f"{name}.{key}") for key, v in items}
                return {"map": table} if TAGS & table.keys() else table
            return {"pairs": [[self.encode(k, name), self.encode(v, f"{name}.{k}")] for k, v in items]}
        if isinstance(value, tuple | list):
            sequence = cast("list[Any]", value)
            return [self.encode(v, f"{name}.{k}") for k, v in enumerate(sequence)]
        raise TypeError(f"{name}: a {type(value).__name__} cannot be part of a record")

    def encode_array(self, array: np.ndarray, name: str) -> Any:
        if array.dtype.kind not in "bifu":
            raise TypeError(f"{name}: an array of {array.dtype} cannot be part of a record")
        if self.arrays is not None and array.size > LARGE:
            self.arrays[name] = array
            return {"array": name}
        numbers: Any = array.tolist()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            numbers = _not_finite_as_text(numbers)
        return {"array": numbers, "dtype": array.dtype.name, "shape": list(array.shape)}


@dataclasses.dataclass(frozen=True)
class _Decoder:
    find: Callable[[str], str]
    arrays: Mapping[str, np.ndarray]

    def decode(self, data: Any, hint: Any) -> Any:
        if isinstance(data, list):
            return self.decode_sequence(cast("list[Any]", data), hint)
        return self.decode_table(cast("dict[str, Any]", data), hint) if isinstance(data, dict) else data

    def decode_table(self, table: dict[str, Any], hint: Any) -> Any:
        if "type" in table:
            return self.decode_record(table)
        if "path" in table:
            path = self.find(table["path"])
            return Path(path) if table.get("as") == "Path" else path
        if "array" in table:
            return self.decode_array(table)
        if "float" in table:
            return float(table["float"])
        value_hint = (typing.get_args(hint) or (Any, Any))[-1]
        pairs = table["pairs"] if "pairs" in table else table.get("map", table).items()
        return {self.decode(key, Any): self.decode(value, value_hint) for key, value in pairs}

    def decode_record(self, table: dict[str, Any]) -> Any:
        record = find_class(table["type"])
        hints = typing.get_type_hints(record)
        fields = {name: self.decode(value, _plain(hints[name])) for name, value in table.items() if name != "type"}
        return record(**fields)

    def decode_sequence(self, data: list[Any], hint: Any) -> Any:
        hints = typing.get_args(hint)
        each = len(hints) == len(data) and Ellipsis not in hints
        values = [self.decode(v, hints[k] if each else (hints or (Any,))[0]) for k, v in enumerate(data)]
        return values if typing.get_origin(hint) is list else tuple(values)

    def decode_array(self, table: dict[str, Any]) -> np.ndarray:
        if isinstance(table["array"], str):
            return self.arrays[table["array"]]
        return np.array(table["array"], table["dtype"]).reshape(table["shape"])


def is_path(text: str) -> bool:
    """Whether a text is an absolute path in its plain form."""
    return text.startswith("/") and "\n" not in text and os.path.normpath(text) == text


def class_name(record: type) -> str:
    """Name of a record's class: bare for the records of `thon.data`, `module:Class` for anybody else's."""
    inside = record.__module__.startswith("thon.data.")
    return record.__qualname__ if inside else f"{record.__module__}:{record.__qualname__}"


def find_class(name: str) -> type:
    """The record class of a name.

    Raises:
        FormatError: No such class, or it is no record.
    """
    module, _, qualname = name.rpartition(":")
    found = _find_in(module, qualname) if module else _find_in_data(name)
    if found is None or not dataclasses.is_dataclass(found):
        raise FormatError(
            f"no record type '{name}'", mend="install the package that defines it, or a newer version of thon"
        )
    return found


def _find_in(module: str, qualname: str) -> type | None:
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return None
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _find_in_data(name: str) -> type | None:
    import thon.data  # noqa: PLC0415

    for module in pkgutil.iter_modules(thon.data.__path__):
        found = _find_in(f"thon.data.{module.name}", name)
        if found is not None and found.__module__ == f"thon.data.{module.name}":
            return found
    return None


def _plain(hint: Any) -> Any:
    """The hint without `| None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else Any
    return hint


def _not_finite_as_text(numbers: Any) -> Any:
    if isinstance(numbers, list):
        return [_not_finite_as_text(number) for number in cast("list[Any]", numbers)]
    return numbers if math.isfinite(numbers) else repr(numbers)
