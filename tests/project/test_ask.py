"""What an index is asked: jobs, costs, rows of one's own choice, and files for other programs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.project.conftest import Do
from thon.base.errors import InputError
from thon.job.record import RunRecord, Usage
from thon.project.ask import ask, costs, job_log, numbers_of
from thon.project.index import open_index
from thon.project.project import Project
from thon.project.tables import metadata
from thon.project.tables_out import write_csv, write_parquet


@pytest.fixture(params=["sqlite", "postgresql"])
def priced(request: pytest.FixtureRequest, project: Project, do: Do, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three jobs, one of which was taken up twice, on machines of different prices."""
    if request.param == "postgresql":
        monkeypatch.setenv("THON_DATABASE", request.getfixturevalue("server"))
    runs = (
        [run("ada", "2026-10-31T23:00:00", 1800, 2.0, gpus=("A10G",), instance="g5.xlarge")],
        [run("ada", "2026-11-01T00:00:00", 3600, 2.0, energy=3.6e6), run("bob", "2026-11-02T00:00:00", 7200, 0.5)],
        [run("bob", "2026-11-03T00:00:00", 60, None)],
    )
    for k, (kind, many) in enumerate(zip(("read-samples", "double-sample", "double-sample"), runs, strict=True)):
        (project.root.parent / "s.txt").write_text(f"- {k} END")
        folder = do(kind, "s" if k == 0 else "J001")
        record = folder.read()
        record.results["s"].values = {"resolution": 3.987 if k == 1 else 8.0 + k, "optics.voltage": 300.0}
        update = {"runs": many, "user": "ada", "command": f"thon {kind}", "usage": Usage(seconds=1.0)}
        folder.write(record.model_copy(update=update | {"created": f"2026-11-0{k + 1}T00:00:00"}))
    return project


def run(person: str, started: str, seconds: float, price: float | None, **more: Any) -> RunRecord:
    gpus = more.get("gpus", ())
    return RunRecord(
        user=person, started=started, seconds=seconds, price=price, gpu_seconds=seconds * len(gpus), host="h", **more
    )


def asked(project: Project, statement: str) -> list[tuple[Any, ...]]:
    with open_index(project) as index, index.reading() as connection:
        columns, rows = ask(connection, statement)
        assert columns
        return list(rows)


def test_the_log_and_what_it_is_restricted_to(priced: Project) -> None:
    with open_index(priced) as index, index.reading() as connection:

        def jobs(**kept: Any) -> list[str]:
            return [row["job"] for row in job_log(connection, priced.id, **kept)]

        assert jobs() == ["J001", "J002", "J003"]
        assert jobs(types=["double-sample"], since="2026-11-03") == ["J003"]
        assert jobs(states=["failed"]) == []
        assert jobs(people=["ada"], where=["resolution=3.99"]) == ["J002"]
        assert jobs(where=["resolution=3.98"]) == []
        assert jobs(where=["resolution<9", "optics.voltage>=300"]) == ["J001", "J002"]
        assert jobs(where=["resolution > 8.5"]) == ["J003"]
        (row,) = job_log(connection, priced.id, where=["resolution=4"])
        assert (row["command"], row["cost"], row["currency"]) == ("thon double-sample", 3.0, "USD")
        assert numbers_of(connection, priced.id, ["resolution"])["J002"] == {"resolution": 3.987}
        with pytest.raises(InputError, match=r"nothing in this project has 'fsc'(.|\n)*optics.voltage, resolution"):
            jobs(where=["fsc<1"])
        with pytest.raises(InputError, match="not a condition"):
            jobs(where=["resolution"])


def test_costs_add_up_runs_and_say_what_has_no_price(priced: Project) -> None:
    with open_index(priced) as index, index.reading() as connection:

        def added(by: Any) -> dict[str, tuple[float, float | None, float]]:
            return {row[by]: (row["seconds"], row["cost"], row["unpriced"]) for row in costs(connection, priced.id, by)}

        assert added("job") == {"J001": (1800, 1.0, 0), "J002": (10800, 3.0, 0), "J003": (60, None, 60)}
        assert added("user") == {"ada": (5400, 3.0, 0), "bob": (7260, 1.0, 60)}
        assert added("month") == {"2026-10": (1800, 1.0, 0), "2026-11": (10860, 3.0, 60)}
        assert added("type") == {"read-samples": (1800, 1.0, 0), "double-sample": (10860, 3.0, 60)}
        assert added("instance") == {"g5.xlarge": (1800, 1.0, 0), "": (10860, 3.0, 60)}
        (first, second, _) = costs(connection, priced.id, "job")
        assert (first["gpu_seconds"], first["energy"], second["energy"]) == (1800, None, 3.6e6)


def test_the_time_of_a_machine_that_several_share_counts_once(priced: Project) -> None:
    for number, share in (("J001", 0.25), ("J002", 0.75), ("J003", 0.0)):
        folder = priced.job(number)
        folder.write(folder.read().model_copy(update={"runs": [run("ada", "2026-11-05", 400, 9.0, share=share)]}))
    with open_index(priced) as index, index.reading() as connection:
        (row,) = costs(connection, priced.id, "user")
        assert (row["jobs"], row["seconds"], row["cost"]) == (3, 400, pytest.approx(1.0))
        assert [row["seconds"] for row in costs(connection, priced.id, "job")] == [100, 300, 0]


def test_sql_reads_and_cannot_write(priced: Project) -> None:
    # A facility's database holds other projects too.
    ours = f"project = '{priced.id}'"
    statement = f"SELECT job, value FROM numbers WHERE {ours} AND name LIKE 'res%' ORDER BY value;"
    mine = f"SELECT job FROM jobs WHERE {ours} ORDER BY job"
    assert asked(priced, statement)[:1] == [("J002", 3.987)]
    for bad in (
        "DELETE FROM jobs",
        "UPDATE jobs SET cost = 0",
        "DROP TABLE jobs",
        "SELECT 1; DELETE FROM jobs",
        "SELECT 1) AS x; DELETE FROM jobs; --",
        "WITH gone AS (DELETE FROM jobs RETURNING job) SELECT * FROM gone",
        "ATTACH 'other.db' AS other",
        "PRAGMA writable_schema = 1",
        "COPY jobs TO PROGRAM 'cat > /dev/null'",
        "COMMIT",
        "nonsense",
        "SELECT nothing FROM jobs",
    ):
        with pytest.raises(InputError, match=r"cannot answer|asks for no rows"):
            asked(priced, bad)
    assert asked(priced, mine) == [("J001",), ("J002",), ("J003",)]


def test_tables_for_other_programs(priced: Project, tmp_path: Path) -> None:
    with open_index(priced) as index, index.reading() as connection:
        for name in metadata.tables:
            count = write_parquet(connection, priced.id, name, tmp_path / f"{name}.parquet")
            assert pq.read_table(tmp_path / f"{name}.parquet").num_rows == count
        assert write_csv(connection, priced.id, "runs", tmp_path / "runs.csv") == 4
        with pytest.raises(InputError, match=r"no table 'job'(.|\n)*jobs"):
            write_csv(connection, priced.id, "job", tmp_path / "none.csv")
    jobs = pq.read_table(tmp_path / "jobs.parquet").to_pydict()
    assert jobs["cost"] == [1.0, 3.0, None]
    assert jobs["gpus"] == ["A10G", "", ""]
    rows = list(csv.DictReader((tmp_path / "runs.csv").read_text().splitlines()))
    assert [row["price"] for row in rows] == ["2.0", "2.0", "0.5", ""]
