"""cryoSPARC's tables: structured arrays in .cs files, gathered by particle where a .csg file lists several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, read_text

Table = np.ndarray
"""A structured array, one entry per particle, whose fields are called as `ctf/df1_A`."""

_STREAM = b"\x94CSDAT"
_KEY = re.compile(r"(?P<indent> *)(?P<key>[\w.]+): *(?P<value>.*)")


def load_table(path: Path) -> Table:
    """The table of a .cs file, or that of all .cs files which a .csg file lists.

    Raises:
        InputError: A file is not there.
        FormatError: It is no such file, or the files listed are not of the same particles.
    """
    return load_group(path) if path.suffix.lower() == ".csg" else load_cs(path)


def load_cs(path: PathLike) -> Table:
    """The table of a .cs file.

    Raises:
        InputError: There is no such file.
        FormatError: It is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(len(_STREAM)) == _STREAM:
                mend = "save it in NumPy's format, as cryoSPARC does unless told otherwise"
                raise FormatError("is in cryoSPARC's stream format", path=path, mend=mend)
            file.seek(0)
            table = np.load(file, allow_pickle=False)
    except OSError as error:
        raise InputError("cannot be read", path=path, got=error.strerror) from None
    except (ValueError, EOFError) as error:
        raise FormatError("is no .cs file", path=path, got=str(error)) from None
    if table.dtype.names is None or table.ndim != 1:
        raise FormatError("is no .cs file", path=path, got=f"an array of {table.dtype}", expected="a structured array")
    return table


def load_group(path: Path) -> Table:
    """One table of all fields that a .csg file says are in its .cs files, particles matched by their uid.

    Raises:
        InputError: A file is not there.
        FormatError: The files are not of the same particles.
    """
    tables = {name: load_cs(path.parent / name) for name in dict.fromkeys(group_files(path).values())}
    first, *others = tables.values()
    fields = {name: first[name] for name in first.dtype.names or ()}
    for table in others:
        order = _matching(path, first, table)
        fields |= {name: table[name][order] for name in table.dtype.names or () if name not in fields}
    return build_table(fields)


def group_files(path: Path) -> dict[str, str]:
    """The .cs file of each slot (ctf, blob, alignments3D, …) that a .csg file lists, counted from its folder.

    Raises:
        FormatError: It lists none.
    """
    found: dict[str, str] = {}
    inside, slot = False, ""
    for line in read_text(path).split("\n"):
        match = _KEY.fullmatch(line)
        if match is None:
            continue
        depth, key, value = len(match["indent"]), match["key"], match["value"].strip("'\" ")
        if depth == 0:
            inside = key == "results"
        elif inside and not value:
            slot = key
        elif inside and key == "metafile":
            found[slot] = value.removeprefix(">")
    if not found:
        raise FormatError("lists no .cs files", path=path, expected="results with a metafile each")
    return found


def build_table(fields: Mapping[str, np.ndarray]) -> Table:
    """A table of these fields; what has more than one axis becomes a field of arrays."""
    kinds = [(name, values.dtype, values.shape[1:]) for name, values in fields.items()]
    table = np.zeros(len(next(iter(fields.values()))), np.dtype(kinds))
    for name, values in fields.items():
        table[name] = values
    return table


def write_cs(path: PathLike, table: Table) -> None:
    """Write a .cs file."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, table)


def write_group(path: PathLike, name: str, table: Table, slots: Sequence[str]) -> None:
    """Write the .csg file by which cryoSPARC imports a .cs file beside it.

    Args:
        path: File to write.
        name: Of the .cs file.
        table: What is in it.
        slots: Its slots: blob, ctf, …
    """
    lines = ["created: 2000-01-01 00:00:00.000000", "group:", "  description: Particles", "  name: particles"]
    lines += ["  title: Particles", "  type: particle", "results:"]
    for slot in slots:
        lines += [
            f"  {slot}:",
            f"    metafile: '>{name}'",
            f"    num_items: {len(table)}",
            f"    type: particle.{slot}",
        ]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*lines, "version: v4.0.0", ""]))


def _matching(path: Path, first: Table, other: Table) -> np.ndarray:
    """Where the first table's particles are in another."""
    order = np.argsort(other["uid"])
    place = np.searchsorted(other["uid"], first["uid"], sorter=order)
    found = order[np.minimum(place, len(order) - 1)]
    if not np.array_equal(other["uid"][found], first["uid"]):
        raise FormatError("lists files that are not of the same particles", path=path)
    return found
