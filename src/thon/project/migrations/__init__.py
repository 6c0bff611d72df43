"""How the tables of an index came to be, step by step (alembic)."""
