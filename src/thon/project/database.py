"""Opens the database that holds a project's index: SQLite inside the project, or PostgreSQL by a URL.

SQLite writes ahead (WAL), which several machines cannot share: where the project lies on a network's disk its older
journal is used instead, and the project's lock lets one process write at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool, StaticPool

from thon.base.errors import InputError, StoreError
from thon.job.folder import storing
from thon.project.project import Project
from thon.project.tables import metadata

FOLDER = ".thon"
NEWEST = "0003"
"""The last of the migrations."""

NETWORK = frozenset({"nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "fuse.sshfs", "9p", "panfs"})
"""File systems that several machines share."""

URL = "THON_DATABASE"
"""Environment variable with the URL of a database for all projects."""


class DamagedError(Exception):
    """The database's file is no database any more."""


@dataclass(frozen=True)
class Place:
    """Where an index is kept.

    Args:
        url: Its database.
        file: The file of a SQLite database; None for a server, or for memory.
    """

    url: str
    file: Path | None

    @property
    def shown(self) -> str:
        """The URL without a password."""
        return str(make_url(self.url))


def place_of(project: Project) -> Place:
    """Where a project's index is: the URL in the environment, else the one in `project.json`, else in the project.

    Raises:
        InputError: The URL is none, or of another kind of database.
    """
    told = os.environ.get(URL) or project.marks().get("database")
    if not told:
        file = project.root / FOLDER / "index.sqlite"
        return Place(f"sqlite:///{file}", file)
    return read_url(str(told))


def read_url(told: str) -> Place:
    """A place by its URL.

    Raises:
        InputError: The URL is none, or of another kind of database.
    """
    try:
        url = make_url(told)
    except ArgumentError as error:
        raise InputError("this is no URL of a database", got=told, expected="postgresql://HOST/NAME") from error
    kind = url.get_backend_name()
    if kind == "postgresql":
        return Place(url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False), None)
    if kind == "sqlite" and url.database:
        return Place(str(url), Path(url.database))
    raise InputError("thon keeps no index there", got=str(url), expected="postgresql://… or sqlite:///FILE")


def in_memory() -> Place:
    """A database that is gone with the process."""
    return Place("sqlite://", None)


def connect(place: Place) -> Engine:
    """An engine for a place; nothing is opened yet."""
    if place.url.startswith("postgresql"):
        return create_engine(place.url, poolclass=NullPool, connect_args={"connect_timeout": 10})
    engine = create_engine(place.url, poolclass=StaticPool if place.file is None else NullPool)
    journal = "MEMORY" if place.file is None else "DELETE" if is_shared(place.file) else "WAL"

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:  # pyright: ignore[reportUnusedFunction]
        # Python would commit before a table is made; a kill then leaves half of them.
        connection.isolation_level = None
        for setting in (f"journal_mode={journal}", "synchronous=NORMAL", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN")

    return engine


def prepare(engine: Engine, place: Place) -> None:
    """Make the tables, or bring those of an older thon up to date.

    Raises:
        DamagedError: It is no database.
        StoreError: It was made by a newer thon, it cannot be reached, or the disk refuses.
    """
    if place.file is not None:
        with storing(place.file):
            place.file.parent.mkdir(parents=True, exist_ok=True)
    with telling(place), engine.begin() as connection:
        found = version_of(connection)
        if found == NEWEST:
            return
        if found is not None and (not found.isdigit() or int(found) > int(NEWEST)):
            raise StoreError(
                "this index was made by a newer thon",
                path=place.file or place.shown,
                got=f"version {found}",
                expected=f"version {NEWEST} or older",
                mend="use that thon, or `thon reindex` to make the index anew with this one",
            )
        if found is None and connection.dialect.name == "sqlite":
            _begin(connection)
        else:
            _migrate(connection)


def version_of(connection: Connection) -> str | None:
    """The last migration that a database has had; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


@contextlib.contextmanager
def telling(place: Place) -> Generator[None]:
    """Turn a database's complaints into ours.

    Raises:
        DamagedError: The file is no database.
        StoreError: The database cannot be reached, or cannot write.
    """
    try:
        yield
    except DBAPIError as error:
        cause = str(error.orig).strip().split("\n")[0]
        if place.file is not None and _is_damaged(error.orig):
            raise DamagedError(cause) from error
        if not isinstance(error, OperationalError):
            raise
        mend = "free some space, or see who else writes there"
        if place.file is None:
            mend = f"start it, or unset {URL} to use the project's own"
        where = place.file or place.shown
        raise StoreError("the index cannot be used", path=where, got=cause, mend=mend) from error


def is_shared(file: Path) -> bool:
    """Whether a file lies, or would lie, on a disk that several machines share."""
    path = os.path.realpath(file)
    best, kind = "", ""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        point, system = line.split()[1:3]
        point = point.replace("\\040", " ")
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, system
    return kind in NETWORK


def _is_damaged(cause: object) -> bool:
    if not isinstance(cause, sqlite3.DatabaseError):
        return False
    return cause.sqlite_errorcode in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) or "malformed" in str(cause)


def _begin(connection: Connection) -> None:
    """Make the newest tables in an empty file, which is what all migrations come to."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:newest)"), {"newest": NEWEST})


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(7461)"))  # thon by thon
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
