"""Whole tables of an index as files that other programs read: Parquet and CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import BigInteger, Boolean, Connection, Double, Integer, Table, select

from thon.base.errors import InputError
from thon.project.tables import metadata

ROWS = 50_000
"""Rows that are held in memory at a time."""


def write_parquet(connection: Connection, project: str, name: str, target: Path) -> int:
    """Write a table; returns the number of rows.

    Raises:
        InputError: There is no such table.
    """
    table = _table(name)
    schema = pa.schema([pa.field(column.name, _type(column.type), column.nullable) for column in table.columns])
    count = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for rows in _chunks(connection, project, table):
            columns = [
                pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            count += len(rows)
    return count


def write_csv(connection: Connection, project: str, name: str, target: Path) -> int:
    """Write a table with a first line of names; returns the number of rows.

    Raises:
        InputError: There is no such table.
    """
    table, count = _table(name), 0
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns.keys())
        for rows in _chunks(connection, project, table):
            writer.writerows(rows)
            count += len(rows)
    return count


def _chunks(connection: Connection, project: str, table: Table) -> Iterator[Sequence[Any]]:
    query = select(table).where(table.c.project == project).order_by(*table.primary_key.columns)
    streamed = connection.execution_options(yield_per=ROWS).execute(query)
    yield from streamed.partitions()


def _table(name: str) -> Table:
    if name not in metadata.tables:
        raise InputError(f"no table '{name}'", expected=", ".join(sorted(metadata.tables)))
    return metadata.tables[name]


def _type(column: Any) -> Any:
    kinds = {BigInteger: pa.int64(), Integer: pa.int64(), Double: pa.float64(), Boolean: pa.bool_()}
    return kinds.get(type(column), pa.string())
