"""The tables of a project's index, whose content is what the job folders say.

Every row begins with the project's number, for a facility may keep many projects in one PostgreSQL database. Times are
ISO 8601 in UTC, as in the records.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text

metadata = MetaData()

# Without row numbers SQLite keeps a row once, by its key, and not twice.


def _key(*names: str) -> list[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in ("project", *names)]


def _usage() -> list[Column[float] | Column[int]]:
    """What a job, a run or an item took: seconds, bytes, joules."""
    return [
        Column("seconds", Double, nullable=False),
        Column("cpu_seconds", Double, nullable=False),
        Column("gpu_seconds", Double, nullable=False),
        Column("peak_memory", BigInteger, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("bytes_read", BigInteger, nullable=False),
        Column("bytes_written", BigInteger, nullable=False),
        Column("energy", Double),
    ]


jobs = Table(
    "jobs",
    metadata,
    *_key("job"),
    Column("number", Integer, nullable=False),
    Column("folder", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("source_commit", Text),
    Column("seed", BigInteger),
    Column("options", Text, nullable=False),
    Column("created", Text, nullable=False),
    Column("started", Text),
    Column("ended", Text),
    Column("host", Text),
    Column("cpu", Text),
    Column("gpus", Text),
    Column("instance", Text),
    Column("lane", Text),
    *_usage(),
    Column("cost", Double),
    Column("currency", Text),
    Column("items", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("error", Text),
    Column("stamp", Text, nullable=False),
    Column("lines", BigInteger, nullable=False),
)
"""One row a job; `stamp` and `lines` say how much of its folder has been read."""

runs = Table(
    "runs",
    metadata,
    *_key("job"),
    Column("run", Integer, primary_key=True),
    Column("state", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("started", Text, nullable=False),
    Column("ended", Text),
    Column("host", Text, nullable=False),
    Column("cpu", Text, nullable=False),
    Column("cores", Integer, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("gpus", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("spot", Boolean),
    Column("lane", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("price", Double),
    Column("currency", Text, nullable=False),
    Column("share", Double, nullable=False),
    *_usage(),
    Column("cost", Double),
)
"""One row for each time that a job was taken up, on whichever machine."""

items = Table(
    "items",
    metadata,
    *_key("job", "item"),
    Column("state", Text, nullable=False),
    Column("message", Text, nullable=False),
    *_usage(),
    sqlite_with_rowid=False,
)

inputs = Table(
    "inputs",
    metadata,
    *_key("job", "item", "port"),
    Column("place", Integer, primary_key=True),
    Column("source_job", Text),
    Column("source_item", Text),
    Column("interim", Boolean, nullable=False),
    Column("file", Text),
    sqlite_with_rowid=False,
)
"""What went into each port of each item."""

prints = Table(
    "prints",
    metadata,
    *_key("job", "key", "role"),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("modified", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Hashes of the inputs, and of what a job read besides; by the key of the input."""

files = Table(
    "files",
    metadata,
    *_key("job", "item", "name"),
    Column("bytes", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
    Index("files_mark", "mark"),
    sqlite_with_rowid=False,
)
"""Outputs, with the marks by which a copy is recognised."""

results = Table(
    "results",
    metadata,
    *_key("job", "item", "title"),
    Column("path", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Main outputs by title."""

numbers = Table(
    "numbers",
    metadata,
    *_key("job", "name", "item"),
    Column("value", Double, nullable=False),
    Index("numbers_value", "project", "name", "value"),
    Index("numbers_order", "project", "job", "name", "value", "item"),
    sqlite_with_rowid=False,
)
"""Numbers of the records that items yielded, such as a resolution."""

links = Table(
    "links",
    metadata,
    *_key("job", "source_job"),
    Column("count", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""The graph of the jobs: from which each takes how many inputs."""
