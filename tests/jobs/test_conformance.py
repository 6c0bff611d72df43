"""What every job type must do, whoever wrote it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.jobs.examples import EXAMPLES
from thon.base.options import Unit
from thon.cli.flags import Flag, flags_of
from thon.cli.job_command import RESERVED
from thon.cli.main import COMMANDS, main
from thon.engine.steps import steps_of
from thon.job.folder import JobFolder
from thon.job.registry import listings, load
from thon.job.spec import JobSpec
from thon.job.worker import run as run_worker
from thon.project.project import Project

NAMES = [name for name, entry in listings().items() if entry.module.startswith("thon.jobs.")]
OWN_TESTS = {"convert", "simulate-spa", "simulate-tomo", "volume", "vote-hand"}
"""Tools that run outside a project, and a job that needs what no small input can give."""
JOBS = [name for name in NAMES if listings()[name].kind != "chain"]


def job(name: str) -> JobSpec:
    found = load(name)
    assert isinstance(found, JobSpec)
    return found


def holds_number(flag: Flag) -> bool:
    return any(kind in str(flag.type) for kind in ("int", "float")) and "Literal" not in str(flag.type)


@pytest.mark.parametrize("name", NAMES)
class TestDeclaration:
    def test_its_name_is_free_and_its_example_is_there(self, name: str) -> None:
        assert name not in COMMANDS
        assert name in EXAMPLES, "tests/jobs/examples.py needs a small input for this job"

    def test_it_says_what_it_is_for(self, name: str) -> None:
        entry, found = listings()[name], load(name)
        assert (entry.title, entry.stage) == (found.title, found.stage)
        assert len(entry.summary) > 10
        assert found.doc.startswith(entry.summary)

    def test_its_help_has_every_flag(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*name.replace("simulate-", "simulate ").split(), "--help-all"]) == 0
        text = capsys.readouterr().out
        for step in steps_of(name):
            for flag in flags_of(step.spec.options):
                shown = (f"--{flag.name} ", f"--{step.prefix}-{flag.name} ", f"--no-{flag.name}", "")
                assert any(part in text for part in shown[: 3 if flag.path != ("target",) else 4]), flag.name


@pytest.mark.parametrize("name", JOBS)
class TestOptions:
    def test_every_option_has_help_and_every_number_a_unit(self, name: str) -> None:
        for flag in flags_of(job(name).options):
            assert flag.info.description, f"{flag.name} needs a docstring"
            if flag.type in (int, float):
                assert any(isinstance(entry, Unit) for entry in flag.info.metadata), f"{flag.name} needs a Unit"

    def test_no_option_is_called_like_a_flag_of_every_job(self, name: str) -> None:
        assert not {flag.name for flag in flags_of(job(name).options)} & RESERVED

    def test_the_defaults_are_valid_and_unknown_keys_are_refused(self, name: str) -> None:
        options = job(name).options
        if not any(field.is_required() for field in options.model_fields.values()):
            options()
        with pytest.raises(ValueError, match="no_such_option"):
            options(no_such_option=1)  # type: ignore[call-arg]

    def test_the_schema_is_json_with_units(self, name: str) -> None:
        schema = json.loads(json.dumps(job(name).options.model_json_schema()))
        models: list[dict[str, Any]] = [schema, *schema.get("$defs", {}).values()]
        for model in models:
            for field, entry in model.get("properties", {}).items():
                assert "description" in entry or "$ref" in entry or "allOf" in entry, field

    def test_its_signature_is_of_records(self, name: str) -> None:
        spec = job(name)
        assert spec.ports
        assert issubclass(spec.options, BaseModel)


def typed(name: str, folder: Path) -> list[str]:
    """What to type for the example, its output in `folder`."""
    folder.mkdir(exist_ok=True)
    found = load(name)
    standalone = isinstance(found, JobSpec) and found.standalone
    return [name, *EXAMPLES[name](folder), *([] if standalone else ["-o", str(folder / "project")]), "--threads", "1"]


def content(folder: JobFolder) -> dict[str, bytes]:
    """Outputs by name; reports may tell times, so only data count."""
    files = [file for file in folder.outputs.rglob("*") if file.suffix in (".mrc", ".npz", ".json", ".hdf", ".star")]
    return {str(file.relative_to(folder.outputs)): file.read_bytes() for file in files}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run here, for to start one takes longer than most of the examples."""
    monkeypatch.setattr("thon.engine.run.run_local", lambda folder, watch: run_worker(folder))


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("name", [name for name in JOBS if name not in OWN_TESTS])
class TestRun:
    """Jobs that run in a project."""

    def test_a_tiny_run_yields_the_declared_type_and_a_whole_record(self, name: str, tmp_path: Path) -> None:
        assert main(typed(name, tmp_path)) == 0
        folder = Project(tmp_path / "project").jobs()[-1]
        record = folder.read()
        assert isinstance(folder.output(folder.items()[0]), job(name).gives)
        assert record.state == "finished"
        assert set(record.options) == set(job(name).options.model_fields)
        assert str(tmp_path / "project") not in (folder.path / "job.json").read_text()
        texts = [file.read_text() for file in folder.outputs.rglob("record.json")]
        assert not any(str(tmp_path) in text for text in texts), "paths must be relative"

    def test_kill_9_in_the_middle_leaves_nothing_half_written_and_it_resumes_to_the_same(
        self, name: str, tmp_path: Path
    ) -> None:
        if name in ("refine3d", "classify2d"):
            pytest.skip("tests of its own kill it: test_refine_jobs.py, test_class_jobs.py")
        command = typed(name, tmp_path)
        process = subprocess.Popen([sys.executable, "-m", "thon.cli.main", *command, "--quiet"])
        pid = wait_for_worker(tmp_path / "project", name)
        if pid is not None:
            subprocess.run(["kill", "-9", str(pid)], check=False)
        process.wait(120)
        folder = next(folder for folder in Project(tmp_path / "project").jobs() if folder.read().type == name)
        if process.returncode != 0:
            # A quick item may have been done when the kill came: what has its final name is whole.
            for item in folder.items():
                assert isinstance(folder.output(item), job(name).gives)
        assert main([*command, "--quiet"]) == 0
        assert main(["repeat", str(folder.path), "--quiet"]) == 0
        again = Project(tmp_path / "project").jobs()[-1]
        assert again.path != folder.path
        assert without_times(content(again)) == without_times(content(folder))


def without_times(files: dict[str, bytes]) -> dict[str, bytes]:
    """The same content without the seconds that stages took, which a record may hold."""
    result = dict(files)
    for name, data in files.items():
        if name.endswith("record.json"):
            record = json.loads(data)
            for part in (record, record.get("diagnostics") or {}):
                part.pop("seconds", None)
            result[name] = json.dumps(record).encode()
    return result


def wait_for_worker(project: Path, name: str) -> int | None:
    """The worker's process as soon as it has begun an item; None where it was quicker than we could look."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in project.glob(f"J*-{name}"):
            events = list(JobFolder(path).events())
            if any(event.kind == "item_done" for event in events):
                return None
            if any(event.kind == "item_started" for event in events):
                return next(event.pid for event in events if event.kind == "started")
        time.sleep(0.01)
    raise AssertionError("the worker did not begin")
