"""An index follows its job folders, in whichever database, and is the same as one made anew."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from tests.project.conftest import DUMMIES, Do, doer, empty
from thon.base.errors import InputError, StoreError
from thon.engine.waiting import restart
from thon.job.events import Started
from thon.job.folder import JobFolder
from thon.job.items_file import ItemLine
from thon.job.lines import append_line
from thon.job.record import ItemResult, Made, Reference
from thon.job.worker import run as run_worker
from thon.project import database
from thon.project.database import connect, place_of, prepare
from thon.project.index import lock_file, open_index, reindex
from thon.project.kept_index import KeptIndex
from thon.project.lock import OwnerLock
from thon.project.project import Project
from thon.project.tables import metadata


@pytest.fixture(params=["sqlite", "postgresql"])
def database_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Keep indexes in this kind of database."""
    if request.param == "postgresql":
        monkeypatch.setenv("THON_DATABASE", request.getfixturevalue("server"))
    return request.param


def dump(project: Project, told: list[str] | None = None) -> list[str]:
    with open_index(project, (told if told is not None else []).append) as index:
        return list(index.dump())


def result(value: float, state: str = "done") -> ItemResult:
    files = {"out.mrc": Made(bytes=int(value), mark=f"{value:032}")}
    return ItemResult.model_validate(
        {"state": state, "message": "" if state == "done" else "broken", "seconds": value, "bytes": int(value)}
        | {"files": files, "values": {"resolution": value}, "results": {"Map": "outputs/out.mrc"}}
    )


def line(item: str, value: float, state: str = "done") -> str:
    reference = Reference(file=f"../{item}-{value}.smp")
    return ItemLine(item=item, inputs={"sample": [reference]}, result=result(value, state)).model_dump_json()


def history(project: Project, do: Do, look: Callable[[], object]) -> None:
    """All that can happen to job folders, with a look at them after each."""
    first = do("read-numbers", "a", "b", "bad", command="thon numbers 'a b' [c] 100%")
    look()
    do("smooth-numbers", "J001", width=5)
    third = do("sum-numbers", "J002")
    look()
    (project.root.parent / "bad.txt").write_text("1 2 3")
    run_worker(first)
    look()
    # A run that goes on: lines come one by one, the last cut short by a kill, and an item may come again.
    running = do("smooth-numbers", "J001", fail_on="b")
    running.write(running.read().model_copy(update={"state": "running", "results": {}}))
    look()
    for item, value, state in (("a", 3.0, "done"), ("b", 4.0, "failed"), ("a", 3.5, "done")):
        append_line(running.results_file, line(item, value, state))
        look()
    with running.results_file.open("a") as file:
        file.write('{"item": "b", "res')
    look()
    append_line(running.results_file, line("b", 4.5))
    look()
    run_worker(running)
    look()
    # A live job: its items are in lines alone, and one is made anew from another file.
    live = do("read-samples", "a")
    record = live.read()
    live.write(record.model_copy(update={"live": "../session", "items": {}, "results": {}, "inputs": {}}))
    look()
    for item, value in (("m1", 1.0), ("m2", 2.0), ("m1", 1.5)):
        append_line(live.items_file, line(item, value))
        look()
    append_line(live.items_file, line("m2", 2.0, "failed"))
    # Edited by hand: one record is no JSON, another is of a newer thon, a folder is gone, another has a new name.
    (do("sum-numbers", "J002").path / "job.json").write_text("{")
    newer = do("sum-numbers", "J002")
    newer.write(newer.read().model_copy(update={"format": 99}))
    look()
    restart(do("read-numbers", "bad2"))
    shutil.rmtree(third.path)
    do("sum-numbers", "J002").path.rename(project.root / "J020-sum-numbers")
    look()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which much is known, and the files beside it."""
    folder = tmp_path_factory.mktemp("lived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THON_JOBS", str(DUMMIES))
        project = empty(folder)
        (folder / "bad2.txt").write_text("y")
        history(project, doer(project), lambda: None)
    return folder


@pytest.fixture
def lived(once: Path, tmp_path: Path) -> Project:
    """A copy of it."""
    return Project(shutil.copytree(once, tmp_path / "lived") / "project")


@pytest.mark.usefixtures("database_of")
def test_an_index_that_followed_is_the_same_byte_for_byte_as_one_made_anew(project: Project, do: Do) -> None:
    (project.root.parent / "bad2.txt").write_text("y")
    history(project, do, lambda: dump(project))
    followed = dump(project)
    assert reindex(project) == len(project.jobs()) == 8
    assert dump(project) == followed
    rows = [json.loads(row) for row in followed]
    states = {row["job"]: row["state"] for table, row in rows if table == "jobs"}
    assert states["J007"] == states["J006"] == "unreadable"
    assert states["J001"] == "finished"
    assert "J003" not in states
    assert [row["value"] for table, row in rows if table == "numbers" and row["item"] == "m1"] == [1.5]
    assert [row["file"] for table, row in rows if table == "inputs" and row["item"] == "m1"] == ["../m1-1.5.smp"]
    live = next(row for table, row in rows if table == "jobs" and row["job"] == "J005")
    assert (live["items"], live["done"], live["failed"], live["error"]) == (2, 1, 1, "broken")
    (command_,) = (row["command"] for table, row in rows if table == "jobs" and row["job"] == "J001")
    assert command_ == "thon numbers 'a b' [c] 100%"


def test_both_databases_hold_the_same(lived: Project, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = dump(lived)
    monkeypatch.setenv("THON_DATABASE", server)
    assert dump(lived) == embedded
    other = Project.create(lived.root.parent / "other")
    assert dump(other) == []
    assert dump(lived) == embedded


@pytest.mark.usefixtures("database_of")
def test_the_migrations_lead_to_the_tables(project: Project) -> None:
    place = place_of(project)
    engine = connect(place)
    prepare(engine, place)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


class TestDatabase:
    """In whatever state it is found."""

    @pytest.mark.parametrize("damage", ["deleted", "overwritten", "cut short", "a hole"])
    def test_deleted_or_corrupt(self, lived: Project, damage: str) -> None:
        before, told = dump(lived), list[str]()
        file = lived.root / ".thon" / "index.sqlite"
        data = file.read_bytes()
        if damage == "deleted":
            file.unlink()
        elif damage == "overwritten":
            file.write_bytes(b"this is no database " * 1000)
        elif damage == "cut short":
            file.write_bytes(data[: len(data) // 2])
        else:
            file.write_bytes(data[:4096] + bytes(len(data) - 8192) + data[-4096:])
        assert dump(lived, told) == before
        assert ("damaged" in "".join(told)) == (damage != "deleted")

    def test_older(self, lived: Project) -> None:
        before = dump(lived)
        place = place_of(lived)
        assert place.file is not None
        place.file.unlink()
        with connect(place).begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.execute(text("DELETE FROM jobs"))
        assert dump(lived) == before

    def test_newer(self, lived: Project) -> None:
        before = dump(lived)
        with connect(place_of(lived)).begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        with pytest.raises(StoreError, match=r"newer thon(.|\n)*thon reindex"):
            dump(lived)
        reindex(lived)
        assert dump(lived) == before

    def test_out_of_reach(self, project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("THON_DATABASE", f"postgresql://thon:secret@/postgres?host={tmp_path}")
        with pytest.raises(StoreError, match=r"cannot be used(.|\n)*unset THON_DATABASE") as raised:
            dump(project)
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize("url", ["mysql://host/name", "nonsense", "sqlite://"])
    def test_of_another_kind(self, project: Project, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        monkeypatch.setenv("THON_DATABASE", url)
        with pytest.raises(InputError):
            dump(project)

    def test_kept_by_the_project(self, lived: Project, server: str) -> None:
        before = dump(lived)
        with pytest.raises(InputError, match="password"):
            lived.keep_index_in("postgresql://thon:secret@host/name")
        lived.keep_index_in(server)
        assert place_of(lived).file is None
        assert dump(lived) == before

    def test_on_a_network_it_writes_no_wal(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        dump(project)
        place = place_of(project)
        modes: list[str] = []
        for shared in (False, True):
            monkeypatch.setattr(database, "is_shared", lambda file, shared=shared: shared)
            with connect(place).connect() as connection:
                modes.append(str(connection.execute(text("PRAGMA journal_mode")).scalar()))
        assert modes == ["wal", "delete"]


def test_two_folders_of_one_number_are_told(lived: Project) -> None:
    told = list[str]()
    before = dump(lived)
    shutil.copytree(lived.root / "J001-read-numbers", lived.root / "J001-zebra")
    assert dump(lived, told) == before
    assert "J001-zebra" in told[0]


@pytest.mark.usefixtures("database_of")
def test_a_process_that_is_killed_while_it_writes_leaves_nothing_half_done(lived: Project) -> None:
    """Killed in the middle of making the index anew, again and again, with nobody to let go of the lock."""
    before = dump(lived)
    code = (
        "import sys; from pathlib import Path; from thon.project.index import reindex, open_index;"
        "from thon.project.project import Project; project = Project(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "while True: reindex(project)"
    )
    for pause in (0.05, 0.11, 0.23):
        with subprocess.Popen([sys.executable, "-c", code, str(lived.root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(pause)
            process.kill()
        assert dump(lived) == before


def test_while_another_process_has_the_project_its_index_is_read(lived: Project) -> None:
    before, told = dump(lived), list[str]()
    with OwnerLock.hold(lock_file(lived), "thon serve"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("thon.project.index.PATIENCE", 0.1)
        patch.setattr("thon.project.index.LONG_PATIENCE", 0.1)
        (lived.root / "J001-read-numbers").rename(lived.root / "J030-read-numbers")
        assert dump(lived, told) == before
        assert "thon serve of" in told[0]
        shutil.rmtree(lived.root / ".thon" / "none", ignore_errors=True)
        with pytest.raises(StoreError, match="another process has this project"):
            reindex(lived)
        for file in (lived.root / ".thon").glob("index.sqlite*"):
            file.unlink()
        assert "J030" in "".join(dump(lived))
    assert dump(lived) != before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("indexed", [True, False])
def test_a_project_that_cannot_be_written_can_be_read(lived: Project, indexed: bool) -> None:
    if indexed:
        dump(lived)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(lived.root, copy)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        Path(folder).chmod(0o755)
        # Forked, for somebody else may not be able to start this Python; what it imports, it has imported here.
        process = multiprocessing.get_context("fork").Process(target=read_as_nobody, args=(copy, dump(lived)))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert not list(copy.glob(".thon/owner*"))


def read_as_nobody(copy: Path, known: list[str]) -> None:
    os.setgroups([])
    os.setuid(65534)
    with pytest.raises(PermissionError):
        (copy / "new").touch()
    there = dump(Project.open(copy))
    stamps = re.compile(r'"stamp": "[\d.]+"')  # the copies of the records are younger
    assert [stamps.sub("", row) for row in there] == [stamps.sub("", row) for row in known]


def test_a_project_of_a_newer_thon_is_refused(project: Project) -> None:
    project.mark(format=2, thon="9.0")
    for opened in (Project.open, Project.create):
        with pytest.raises(StoreError, match=r"newer thon(.|\n)*format 2, by thon 9.0"):
            opened(project.root)


def test_an_early_project_has_a_number_too(project: Project) -> None:
    marks = {name: value for name, value in project.marks().items() if name != "id"}
    (project.root / "project.json").write_text(json.dumps(marks))
    assert len(project.id) == 8
    assert project.id == Project(project.root).id


def test_a_job_that_runs_is_followed_without_reading_its_record_again(project: Project, do: Do) -> None:
    folder: JobFolder = do("read-numbers", "a", "b")
    folder.emit(Started(host="h", pid=1, items=2))
    with open_index(project) as index:
        assert index.refresh() == 0
        append_line(folder.results_file, line("a", 1.0))
        assert index.refresh() == 1
        assert index.refresh() == 0


@pytest.mark.usefixtures("database_of")
@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"seed": 10**22}},
        {"usage": {"bytes": 2**70}},
        {"results": {"a": {"state": "done", "bytes": 2**70}}},
        {"items": {"\ud800": {}}},
    ],
)
def test_one_odd_record_takes_no_other_job_with_it(project: Project, do: Do, change: dict[str, object]) -> None:
    odd = do("read-numbers", "a")
    told = json.loads((odd.path / "job.json").read_text())
    (odd.path / "job.json").write_text(json.dumps(told | change))
    do("read-numbers", "b")
    states = {row[1]["job"]: row[1]["state"] for row in map(json.loads, dump(project)) if row[0] == "jobs"}
    assert states == {"J001": "unreadable", "J002": "finished"}


@pytest.mark.usefixtures("database_of")
def test_odd_lines_take_no_other_job_with_them(project: Project, do: Do) -> None:
    folder = do("read-numbers", "a")
    before = dump(project)
    (folder.path / "results.jsonl").touch()
    append_line(folder.results_file, line("a", 1.0).replace('"message":""', '"message":"a\\u0000b"'))
    do("read-numbers", "b")
    assert '"message": "ab"' in "".join(dump(project))
    append_line(folder.results_file, line("nobody", 1.0))
    states = {row[1]["job"]: row[1]["state"] for row in map(json.loads, dump(project)) if row[0] == "jobs"}
    assert states == {"J001": "unreadable", "J002": "finished"}
    folder.results_file.unlink()
    assert set(before) <= set(dump(project))


def test_an_index_that_is_kept_needs_no_new_bytes_to_be_read(lived: Project) -> None:
    index = KeptIndex(lived)
    file = lived.root / ".thon" / "index.sqlite"
    log = file.with_name("index.sqlite-wal")
    with index.reading() as connection:
        there = log.stat().st_ino
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar()
    assert log.stat().st_ino == there
    reindex(lived)
    with index.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar()
    assert log.exists()
    index.close()
    assert not log.exists()
