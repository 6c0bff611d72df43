"""A cluster for the tests of a file, and projects that ordinary users may work in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.lab.cluster import USERS, Cluster, MissingError, running
from thon.engine.lanes.options import LaneOptions, Lanes
from thon.engine.scheduler.rounds import Scheduler
from thon.engine.slurm import queue as slurm_queue
from thon.engine.waiting import add_job, sources_of
from thon.job.folder import JobFolder
from thon.job.record import RunSettings
from thon.job.registry import load_job
from thon.project.project import Project
from thon.project.request import Request

ROOT = Path(__file__).parent.parent.parent
JOBS = Path(__file__).parent / "jobs"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        with running() as started:
            yield started
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def environment(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    values = cluster.environment | {"THON_JOBS": str(JOBS), "THON_METADATA": "none"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("THON_LANES", raising=False)
    monkeypatch.setattr(slurm_queue, "QUICKEST", 0.2)
    monkeypatch.setattr(slurm_queue, "SLOWEST", 0.5)
    slurm_queue.shared_queue.cache_clear()


def as_user(name: str) -> list[str]:
    """What runs a command as another user, in this environment."""
    return ["/usr/bin/setpriv", "--reuid", name, "--regid", name, "--init-groups", "/bin/sh", "-c", 'exec "$0" "$@"']


@dataclass(frozen=True)
class Person:
    """A user of the cluster.

    Args:
        name: Login name.
        home: A folder of theirs.
        python: A Python that has thon, which they may run.
        variables: What it needs in the environment.
    """

    name: str
    home: Path
    python: str
    variables: dict[str, str]

    def start(self, *command: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start a command as this user."""
        kept = {name: os.environ[name] for name in ("SLURM_CONF", "PATH", "THON_JOBS", "THON_METADATA")}
        return subprocess.Popen(
            [*as_user(self.name), *command],
            env=kept | self.variables | {"HOME": str(self.home), "LANG": "C.UTF-8"},
            cwd=folder or self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def thon(self, *words: str, folder: Path | None = None) -> subprocess.Popen[str]:
        """Start `thon` as this user."""
        return self.start(self.python, "-m", "thon.cli.main", *words, folder=folder)


@pytest.fixture(scope="session")
def python() -> tuple[str, dict[str, str]]:
    """A Python that has thon and that everybody may run, with what it needs in the environment."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ways = [
        (sys.executable, {}),
        (f"/usr/bin/{version}", {"PYTHONPATH": f"{ROOT / 'src'}:{packages}"}),
    ]
    for command, variables in ways:
        if not Path(command).exists():
            continue
        test = [*as_user(USERS[0]), command, "-c", "import thon.job.worker, numpy"]
        if subprocess.run(test, env=variables | {"PATH": "/usr/bin"}, capture_output=True, check=False).returncode == 0:
            return command, variables
    pytest.skip("ordinary users may not run this Python, nor read this folder")


@pytest.fixture
def people(cluster: Cluster, python: tuple[str, dict[str, str]]) -> list[Person]:
    found: list[Person] = []
    for name in USERS:
        home = cluster.home / "home" / name
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        shutil.chown(home, name, name)
        found.append(Person(name, home, *python))
    return found


@dataclass
class Bench:
    """A project whose jobs count.

    Args:
        project: The project.
        lanes: Its lanes.
    """

    project: Project
    lanes: Lanes

    def __post_init__(self) -> None:
        self.gates = self.project.root.parent / "gates"
        self.gates.mkdir()
        self.said: list[str] = []

    def add(self, name: str, total: int, **wanted: object) -> JobFolder:
        """A job that counts on from a number."""
        file = self.project.root.parent / f"{name}.txt"
        file.write_text(f"{total}")
        spec = load_job("count-up-to")
        options = spec.options(gates=str(self.gates))
        settings = RunSettings.model_validate({"threads": 1} | wanted)
        request = Request(spec, options, {}, settings)
        return add_job(self.project, request, {"source": sources_of([str(file)], self.project)})

    def shut(self, name: str) -> tuple[Path, Path]:
        """Shut a gate: the file that tells of one who waits there, and the one that opens it."""
        (self.gates / f"{name}.shut").touch()
        return self.gates / f"{name}.here", self.gates / name

    def scheduler(self) -> Scheduler:
        """A scheduler of the project."""
        return Scheduler(self.project, self.lanes, say=lambda job, text: self.said.append(f"{job} {text}"))


@pytest.fixture
def bench(tmp_path: Path, python: tuple[str, dict[str, str]]) -> Bench:
    alone = {"memory": 0.2, "sbatch": ("--exclusive", "--nodelist=thon-n1")}
    spot = alone | {"partition": "spot", "price": 3.6, "instance": "fake.large", "spot": True}
    options = {
        "local": LaneOptions(kind="local"),
        "spot": LaneOptions.model_validate(spot),
        "urgent": LaneOptions.model_validate(alone | {"partition": "main"}),
        "main": LaneOptions(partition="main", memory=0.2),
        "closed": LaneOptions(partition="closed", next="main", patience=0.01),
        "gpu": LaneOptions(partition="main", memory=0.2, gpus=2, instance="fake.gpu"),
        "nodes": LaneOptions(partition="main", memory=0.2, sbatch=("--nodes=2",)),
        "nowhere": LaneOptions(partition="nowhere"),
    }
    return Bench(Project.create(tmp_path / "project"), Lanes(options))


def until(condition: Callable[[], object], scheduler: Scheduler | None = None, seconds: float = 60.0) -> None:
    """Wait for a condition, with rounds meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        told = scheduler.status() if scheduler is not None else ""
        assert time.monotonic() < deadline, f"it did not come true: {told}"
        if scheduler is not None:
            scheduler.round()
        time.sleep(0.05)


def counted(total: int, iterations: int = 5) -> int:
    """What a job comes to."""
    for k in range(1, iterations + 1):
        total = (3 * total + k) % 1_000_003
    return total


def account(cluster: Cluster, batch: str) -> dict[str, str]:
    """A job as the accounting has it."""
    said = cluster.say("sacct", "-j", batch, "--json")
    job = json.loads(said)["jobs"][-1]
    return {"comment": job["comment"]["job"], "state": job["state"]["current"], "name": job["name"]}
