"""Jobs, their runs and items, inputs and outputs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LEAN = {"sqlite_with_rowid": False}


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "jobs",
        *_key("job"),
        *_texts("folder", "type", "title", "state", "person", "command", "version", "options", "created", "stamp"),
        *_texts("source_commit", "started", "ended", "host", "cpu", "gpus", "instance", "lane", "error", null=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger),
        *_usage(),
        sa.Column("cost", sa.Double),
        sa.Column("currency", sa.Text),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("items", "done", "failed")),
        sa.Column("lines", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "runs",
        *_key("job"),
        sa.Column("run", sa.Integer, primary_key=True),
        *_texts("state", "person", "started", "host", "cpu", "gpus", "provider", "instance", "region", "lane"),
        *_texts("batch", "currency"),
        *_texts("ended", null=True),
        sa.Column("cores", sa.Integer, nullable=False),
        sa.Column("memory", sa.BigInteger, nullable=False),
        sa.Column("spot", sa.Boolean),
        sa.Column("price", sa.Double),
        sa.Column("share", sa.Double, nullable=False),
        *_usage(),
        sa.Column("cost", sa.Double),
    )
    op.create_table("items", *_key("job", "item"), *_texts("state", "message"), *_usage(), **LEAN)
    op.create_table(
        "inputs",
        *_key("job", "item", "port"),
        sa.Column("place", sa.Integer, primary_key=True),
        *_texts("source_job", "source_item", "file", null=True),
        sa.Column("interim", sa.Boolean, nullable=False),
        **LEAN,
    )
    op.create_table(
        "prints",
        *_key("job", "key", "role"),
        *_texts("sha256"),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("bytes", "modified")),
        sa.Column("partial", sa.Boolean, nullable=False),
        **LEAN,
    )
    size = sa.Column("bytes", sa.BigInteger, nullable=False)
    op.create_table("files", *_key("job", "item", "name"), size, *_texts("mark"), **LEAN)
    op.create_index("files_mark", "files", ["mark"])
    op.create_table("results", *_key("job", "item", "title"), *_texts("path"), **LEAN)


def _key(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in ("project", *names)]


def _texts(*names: str, null: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=null) for name in names]


def _usage() -> list[sa.Column[Any]]:
    seconds = [sa.Column(name, sa.Double, nullable=False) for name in ("seconds", "cpu_seconds", "gpu_seconds")]
    amounts = ("peak_memory", "bytes", "bytes_read", "bytes_written")
    sizes = [sa.Column(name, sa.BigInteger, nullable=False) for name in amounts]
    return [*seconds, *sizes, sa.Column("energy", sa.Double)]
