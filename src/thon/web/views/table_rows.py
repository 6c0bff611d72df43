"""Tables, and the rows of them that are asked for: filtered and sorted.

A condition is told as on the command line: `score>0.4`, `defocus_u<=20000`, `micrograph~0007` (holds that text),
`class_number=3`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import MaxLen
from fastapi import Depends, Query
from jaxtyping import Bool, Int

from thon.base.errors import InputError
from thon.web.views.cache import Cache
from thon.web.views.open_files import stamp_of
from thon.web.views.records import FILE, Item
from thon.web.views.table_columns import record_columns
from thon.web.views.table_files import file_columns, is_number

_CONDITION = re.compile(r"\s*([^<>=~!]+?)\s*(<=|>=|!=|<|>|=|~)\s*(.*)\s*")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length by name: float64, int64 or text.

    Args:
        key: What it was made from; it changes with that.
        columns: The columns.
        blocks: Names of the tables that a file has.
    """

    key: Hashable
    columns: Mapping[str, np.ndarray]
    blocks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> np.ndarray:
        """A column.

        Raises:
            InputError: There is none of that name.
        """
        if name not in self.columns:
            raise InputError(f"there is no column '{name}'", expected=", ".join(self.columns))
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray:
        """A column of numbers.

        Raises:
            InputError: There is none of that name, or it holds texts.
        """
        values = self.column(name)
        if values.dtype.kind not in "iuf":
            raise InputError(f"the column '{name}' holds texts", expected="a column of numbers")
        return np.asarray(values, np.float64)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return sum(column.nbytes for column in self.columns.values())


@dataclass(frozen=True)
class Asked:
    """Which rows of a table, in which order.

    Args:
        sort: Column.
        descending: From the largest on.
        where: Conditions that all have to be met.
    """

    sort: str = ""
    descending: bool = False
    where: tuple[str, ...] = ()


def asked_rows(
    sort: Annotated[str, Query(max_length=100)] = "",
    descending: bool = False,
    where: Annotated[list[Annotated[str, MaxLen(300)]] | None, Query(max_length=20)] = None,
) -> Asked:
    """The rows that a URL asks for."""
    return Asked(sort, descending, tuple(one for one in where or [] if one.strip()))


AskedRows = Annotated[Asked, Depends(asked_rows)]

_tables: Cache[Table] = Cache(64 << 20, lambda table: table.bytes)
_rows: Cache[np.ndarray] = Cache(16 << 20, lambda rows: rows.nbytes)


def table_of(found: Item, source: str = "", block: str = "") -> Table:
    """The table of a part of a record, or of a file of the item.

    Args:
        found: The item.
        source: Empty for the record.
        block: Of a star file; its largest unless said.

    Raises:
        AbsentError: There is no such table.
        FormatError: The file is none.
    """
    if not source.startswith(FILE):
        key = (found.stamp, source)
        return _tables.get(key, lambda: Table(key, record_columns(found.part(source))))
    path = found.file(source)
    of_file = (stamp_of(path), block)
    return _tables.get(of_file, lambda: Table(of_file, *file_columns(path, block)))


def chosen_rows(table: Table, asked: Asked) -> Int[np.ndarray, "k"]:
    """Numbers of the rows that are asked for, in the order asked for.

    Raises:
        InputError: There is no such column, or a condition is none.
    """
    return _rows.get((table.key, asked), lambda: _choose(table, asked))


def _choose(table: Table, asked: Asked) -> Int[np.ndarray, "k"]:
    meets = np.ones(len(table), bool)
    for condition in asked.where:
        meets &= _meets(table, condition)
    rows = np.flatnonzero(meets)
    if not asked.sort:
        return rows[::-1] if asked.descending else rows
    values = table.column(asked.sort)[rows]
    order = np.argsort(values, kind="stable")
    if not asked.descending:
        return rows[order]
    # What is not a number comes last either way.
    last = np.isnan(values[order]) if values.dtype.kind == "f" else np.zeros(len(order), bool)
    return rows[np.concatenate([order[~last][::-1], order[last]])]


def _meets(table: Table, condition: str) -> Bool[np.ndarray, "rows"]:
    match = _CONDITION.fullmatch(condition)
    if match is None:
        raise InputError("this is no condition", got=condition, expected="such as score>0.4, or micrograph~0007")
    name, sign, text = match.groups()
    values = table.column(name)
    if sign == "~":
        return np.char.find(np.char.lower(values.astype(str)), text.lower()) >= 0
    wanted: Any = text
    if values.dtype.kind in "iufb":
        if not is_number(text):
            raise InputError(f"{name} is compared to numbers", got=text, expected="a number")
        wanted = float(text)
    compared = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "=": np.equal}
    return ~np.equal(values, wanted) if sign == "!=" else compared[sign](values, wanted)
