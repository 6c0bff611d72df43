"""Numbers of the records that items yielded, and the graph of the jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LEAN = {"sqlite_with_rowid": False}


def upgrade() -> None:
    """Make the tables; every job is read anew for them."""
    value, count = sa.Column("value", sa.Double, nullable=False), sa.Column("count", sa.Integer, nullable=False)
    op.create_table("numbers", *_key("job", "name", "item"), value, **LEAN)
    op.create_index("numbers_value", "numbers", ["project", "name", "value"])
    op.create_table("links", *_key("job", "source_job"), count, **LEAN)
    op.execute("UPDATE jobs SET stamp = ''")


def _key(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in ("project", *names)]
