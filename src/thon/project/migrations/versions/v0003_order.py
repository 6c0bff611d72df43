"""The items of a job in the order of a number, without sorting them for each page."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the index."""
    op.create_index("numbers_order", "numbers", ["project", "job", "name", "value", "item"])
