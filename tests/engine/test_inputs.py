"""Files and jobs become references."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.base.errors import InputError
from thon.engine.inputs import add_port, file_items, is_job, item_name, job_items, job_of
from thon.job.folder import JobFolder
from thon.job.record import Reference, RunSettings
from thon.job.registry import load_job
from thon.job.worker import run
from thon.project.project import Project
from thon.project.request import Request, draft, new_job


@pytest.fixture
def project(tmp_path: Path) -> Project:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("1 2 3")
    return Project.create(tmp_path / "project")


@pytest.fixture
def imported(project: Project, tmp_path: Path) -> JobFolder:
    spec = load_job("read-numbers")
    items = file_items(spec, spec.options(), [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")], project)
    folder = new_job(project, draft(project, Request(spec, spec.options(), items, RunSettings(threads=1))))
    assert run(folder) == 0
    return folder


@pytest.mark.parametrize("text", ["J001", "j1", "OUT/J002", "OUT/J002-align-tilts", "J002:TS_01", "a/b/J012-x/"])
def test_these_are_jobs(text: str) -> None:
    assert is_job(text)


@pytest.mark.parametrize("text", ["J001.mrc", "TS_J001", "series.st", "J1x", "OUT"])
def test_these_are_files(text: str) -> None:
    assert not is_job(text)


def test_a_file_that_is_called_like_a_job_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("J001").write_text("")
    assert not is_job("J001")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("raw/TS_01.mrc.mdoc", "TS_01"),
        ("TS 01 (new).st", "TS_01_new_"),
        ("Position_1.5.mrc", "Position_1.5"),
        ("00254.stack.mrc", "00254.stack"),
        (".mrc", "mrc"),
        ("x.mrc.gz", "x"),
        ("P1_particles.cs", "P1_particles"),
        ("grid.csg", "grid"),
        ("mic.box", "mic"),
    ],
)
def test_items_are_named_after_their_files(file: str, name: str) -> None:
    assert item_name(Path(file)) == name


class TestFiles:
    def test_a_missing_file_and_two_of_one_name(self, project: Project, tmp_path: Path) -> None:
        spec = load_job("read-numbers")
        with pytest.raises(InputError, match="no such file"):
            file_items(spec, spec.options(), [str(tmp_path / "none.txt")], project)
        (tmp_path / "a.tlt").write_text("1")
        with pytest.raises(InputError, match="both be called 'a'"):
            file_items(spec, spec.options(), [str(tmp_path / "a.txt"), str(tmp_path / "a.tlt")], project)


class TestJobs:
    def test_all_items_or_one(self, project: Project, imported: JobFolder) -> None:
        spec = load_job("smooth-numbers")
        assert set(job_items(spec, [job_of("J001", project)], project)) == {"a", "b"}
        assert set(job_items(spec, [job_of("J001:b", project)], project)) == {"b"}
        with pytest.raises(InputError, match="no finished item 'c'"):
            job_of("J001:c", project)

    def test_a_whole_set_is_one_item(self, project: Project, imported: JobFolder) -> None:
        items = job_items(load_job("sum-numbers"), [job_of("J001", project)], project)
        assert items == {"all": {"numbers": [Reference(job="J001", item=i) for i in ("a", "b")]}}

    def test_types_that_do_not_connect(self, project: Project, imported: JobFolder, tmp_path: Path) -> None:
        spec = load_job("import-tilts")
        with pytest.raises(InputError, match="cannot take what J001-read-numbers yielded"):
            job_items(spec, [job_of("J001", project)], project)

    def test_a_job_of_another_project(self, imported: JobFolder, tmp_path: Path) -> None:
        other = Project.create(tmp_path / "other")
        with pytest.raises(InputError, match="another project"):
            job_items(load_job("smooth-numbers"), [(imported, None)], other)

    def test_a_further_port_takes_the_item_of_the_same_name_or_the_only_one(
        self, project: Project, imported: JobFolder
    ) -> None:
        items = job_items(load_job("smooth-numbers"), [job_of("J001", project)], project)
        both = add_port(items, "mask", imported, None)
        assert both["b"]["mask"] == [Reference(job="J001", item="b")]
        one = add_port(items, "mask", imported, "a")
        assert one["b"]["mask"] == [Reference(job="J001", item="a")]
        with pytest.raises(InputError, match="no 'all' for 'mask'"):
            add_port({"all": {}}, "mask", imported, None)
