"""The worker, inside the test's process where nothing is killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import StoreError
from thon.job.folder import JobFolder
from thon.job.record import Reference, RunSettings
from thon.job.registry import load_job
from thon.job.worker import main, run
from thon.project.project import Project
from thon.project.request import Items, Request, draft, new_job


def make_job(
    project: Project, name: str, items: Items, settings: RunSettings | None = None, **options: object
) -> JobFolder:
    spec = load_job(name)
    request = Request(spec, spec.options(**options), items, settings or RunSettings(threads=1))
    return new_job(project, draft(project, request))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "a.txt").write_text("1 2 3 4")
    (tmp_path / "b.txt").write_text("5 6 7")
    (tmp_path / "bad.txt").write_text("one")
    return Project.create(tmp_path / "project")


@pytest.fixture
def imported(project: Project) -> JobFolder:
    folder = make_job(project, "read-numbers", sources("a", "b"))
    assert run(folder) == 0
    return folder


def sources(*names: str) -> Items:
    return {name: {"source": [Reference(file=f"../{name}.txt")]} for name in names}


def from_job(*names: str) -> Items:
    return {name: {"numbers": [Reference(job="J001", item=name)]} for name in names}


class TestFinished:
    def test_every_item_its_record_and_what_it_took(self, project: Project, imported: JobFolder) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a", "b"))
        assert run(folder) == 0
        record = folder.read()
        assert (record.state, folder.items()) == ("finished", ["a", "b"])
        assert record.usage.bytes == sum(file.stat().st_size for file in folder.outputs.rglob("*") if file.is_file())
        assert record.usage.peak_memory > 1e6
        assert record.results["a"].results == {"Smooth": "outputs/a/smooth.txt", "Report": "outputs/a/report.html"}
        assert (folder.path / "previews" / "a" / "numbers.png").exists()
        kinds = [event.kind for event in folder.events()]
        assert kinds[0] == "started"
        assert kinds[-1] == "finished"
        assert kinds.count("item_done") == 2

    def test_the_result_is_right(self, project: Project, imported: JobFolder) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a"), noisy=False)
        run(folder)
        np.testing.assert_allclose(folder.output("a").values, [5 / 3, 2, 3, 10 / 3])

    def test_it_does_not_change_any_more(self, imported: JobFolder) -> None:
        with pytest.raises(StoreError, match="finished"):
            run(imported)
        assert all(not file.stat().st_mode & 0o222 for file in imported.outputs.rglob("*.json"))

    def test_same_seed_same_bytes_and_another_seed_others(self, project: Project, imported: JobFolder) -> None:
        bytes_: list[bytes] = []
        for seed in (1, 1, 2):
            folder = make_job(project, "smooth-numbers", from_job("a"), RunSettings(seed=seed, threads=1))
            run(folder)
            bytes_.append((folder.outputs / "a" / "smooth.txt").read_bytes())
        assert bytes_[0] == bytes_[1] != bytes_[2]

    def test_a_whole_set(self, project: Project, imported: JobFolder) -> None:
        items = {"all": {"numbers": [Reference(job="J001", item="a"), Reference(job="J001", item="b")]}}
        folder = make_job(project, "sum-numbers", items)
        assert run(folder) == 0
        assert folder.output("all").values == [28.0]

    def test_files_that_the_job_says_it_read_are_in_the_record(self, project: Project, tmp_path: Path) -> None:
        stack, angles = tmp_path / "s.mrc", tmp_path / "s.tlt"
        _write_stack(stack)
        angles.write_text("-3\n0\n3\n")
        mdoc = tmp_path / "s.mrc.mdoc"
        mdoc.write_text("PixelSpacing = 5\n" + "".join(f"[ZValue = {k}]\nTiltAngle = {3 * k}\n" for k in range(3)))
        folder = make_job(project, "import-tilts", {"s": {"source": [Reference(file="../s.mrc.mdoc")]}})
        assert run(folder) == 0
        assert set(folder.read().used) == {"../s.mrc"}


def _write_stack(path: Path) -> None:
    import mrcfile  # noqa: PLC0415

    with mrcfile.new(path) as file:
        file.set_data(np.random.default_rng(0).normal(size=(3, 10, 12)).astype(np.float32))
        file.voxel_size = 5.0


class TestFailed:
    def test_one_bad_item_is_told_and_the_others_are_done(self, project: Project) -> None:
        folder = make_job(project, "read-numbers", sources("a", "bad", "b"))
        assert run(folder) == 2
        record = folder.read()
        assert (record.state, folder.items()) == ("failed", ["a", "b"])
        assert record.results["bad"].exit_code == 2
        assert "no number" in record.results["bad"].message
        assert "ValueError" in (folder.path / "errors" / "bad.log").read_text()

    def test_what_nobody_expected_is_our_fault(self, project: Project, imported: JobFolder) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a", "b"), fail_on="a")
        assert run(folder) == 1
        assert folder.items() == ["b"]
        assert "RuntimeError: told to fail" in folder.read().results["a"].message
        assert list(folder.outputs.glob(".tmp*")) == []

    def test_it_can_be_run_again_and_only_what_failed_is_done(self, project: Project, tmp_path: Path) -> None:
        folder = make_job(project, "read-numbers", sources("a", "bad"))
        run(folder)
        before = (folder.outputs / "a" / "record.json").stat().st_mtime_ns
        (tmp_path / "bad.txt").write_text("9")
        assert run(folder) == 0
        assert (folder.outputs / "a" / "record.json").stat().st_mtime_ns == before
        assert folder.read().state == "finished"

    def test_outputs_larger_than_the_disk_are_refused_before_work(self, project: Project, imported: JobFolder) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a"), disk=10**17)
        assert run(folder) == 1
        assert "do not fit on the disk" in folder.read().results["a"].message
        assert not (folder.path / "previews").exists()

    def test_an_input_that_is_gone(self, project: Project, imported: JobFolder) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a"))
        (imported.outputs / "a").rename(imported.outputs / "z")
        assert run(folder) == 1
        assert "no finished item 'a'" in folder.read().results["a"].message

    def test_a_job_type_that_is_gone(
        self, project: Project, imported: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a"))
        monkeypatch.delenv("THON_JOBS")
        assert run(folder) == 2
        assert folder.read().state == "failed"


class TestInterrupted:
    def test_ctrl_c_keeps_what_is_done_and_nothing_half_written(
        self, project: Project, imported: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = make_job(project, "smooth-numbers", from_job("a", "b"))
        spec = load_job("smooth-numbers")
        real = spec.function

        def interrupted(**arguments: object) -> object:
            context = arguments["context"]
            if context.item == "b":  # pyright: ignore
                context.output("half.txt").write_text("half")  # pyright: ignore
                raise KeyboardInterrupt
            return real(**arguments)

        object.__setattr__(spec, "function", interrupted)
        assert run(folder) == 130
        object.__setattr__(spec, "function", real)
        assert (folder.state(), folder.items()) == ("interrupted", ["a"])
        assert not [path for path in folder.path.rglob("*") if path.name.startswith(".tmp")]
        assert run(folder) == 0
        assert folder.items() == ["a", "b"]


class TestMain:
    def test_usage(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert main(["--help"]) == 0
        assert "thon-worker JOBDIR" in capsys.readouterr().out

    def test_no_job(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([str(tmp_path)]) == 1
        assert main([str(tmp_path / "none")]) == 1
        assert "no job here" in capsys.readouterr().err
