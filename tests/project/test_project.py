"""Projects are folders that can be found, listed and moved."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thon.base.errors import InputError, StoreError
from thon.job.record import JobRecord, Reference, RunSettings
from thon.job.registry import load_job
from thon.project.project import Project, check_writable, find_job
from thon.project.request import Request, changed_inputs, draft, new_job, same_job


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


@pytest.fixture
def request_(tmp_path: Path, project: Project) -> Request:
    source, weights = tmp_path / "a.txt", tmp_path / "w.txt"
    source.write_text("1 2 3")
    weights.write_text("1\n1\n2\n")
    spec = load_job("read-numbers")
    items = {"a": {"source": [Reference(file="../a.txt")]}}
    return Request(spec, spec.options(weights=weights, scale=2), items, RunSettings(seed=4), "module")


class TestProject:
    def test_it_is_made_once_and_found_from_below(self, tmp_path: Path) -> None:
        made = Project.create(tmp_path / "new" / "project")
        assert Project.create(made.root).root == made.root
        (made.root / "deep" / "down").mkdir(parents=True)
        assert Project.open(made.root / "deep" / "down").root == made.root

    def test_other_folders_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(InputError, match="other things"):
            Project.create(tmp_path)
        with pytest.raises(InputError, match="this is a file"):
            Project.create(tmp_path / "thesis.tex")
        with pytest.raises(InputError, match="no project here"):
            Project.open(tmp_path)

    def test_jobs_are_numbered_and_found_in_many_ways(self, project: Project, request_: Request) -> None:
        for _ in range(2):
            new_job(project, draft(project, request_))
        assert [job.path.name for job in project.jobs()] == ["J001-read-numbers", "J002-read-numbers"]
        for name in ("J002", "j2", "J002-read-numbers"):
            assert project.job(name).read().id == "J002"
        assert find_job(str(project.root / "J002"), None).read().id == "J002"
        assert find_job(str(project.root / "J002-read-numbers"), None).read().id == "J002"
        with pytest.raises(InputError, match="no job 'J007'"):
            project.job("J007")
        with pytest.raises(InputError, match="no project"):
            find_job("J001", None)

    def test_numbers_above_999_sort_as_numbers(self, project: Project, request_: Request) -> None:
        folder = new_job(project, draft(project, request_))
        folder.path.rename(project.root / "J999-read-numbers")
        assert new_job(project, draft(project, request_)).path.name == "J1000-read-numbers"
        assert [job.path.name[:5] for job in project.jobs()] == ["J999-", "J1000"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_project(self, project: Project) -> None:
        project.root.chmod(0o555)
        with pytest.raises(StoreError, match="cannot write"):
            check_writable(project)


class TestRequest:
    def test_the_record_holds_every_value_and_relative_paths(self, project: Project, request_: Request) -> None:
        record = new_job(project, draft(project, request_)).read()
        assert record.options == {"scale": 2.0, "weights": {"path": "../w.txt", "as": "Path"}, "keep": []}
        assert record.settings.seed == 4
        assert record.inputs.keys() == {"../a.txt", "../w.txt"}
        assert record.software.version
        assert JobRecord.model_validate_json(record.model_dump_json()) == record

    def test_the_same_request_is_recognised(self, project: Project, request_: Request) -> None:
        folder = new_job(project, draft(project, request_))
        same = same_job(project, draft(project, request_))
        assert same is not None
        assert same.path == folder.path

    def test_another_value_seed_or_content_is_another_request(
        self, project: Project, request_: Request, tmp_path: Path
    ) -> None:
        new_job(project, draft(project, request_))
        other = Request(request_.spec, request_.spec.options(scale=3), request_.items, request_.settings)
        assert same_job(project, draft(project, other)) is None
        other = Request(request_.spec, request_.options, request_.items, RunSettings(seed=5))
        assert same_job(project, draft(project, other)) is None
        (tmp_path / "w.txt").write_text("1\n1\n3\n")
        assert same_job(project, draft(project, request_)) is None

    def test_changed_and_missing_inputs_are_named(self, project: Project, request_: Request, tmp_path: Path) -> None:
        folder = new_job(project, draft(project, request_))
        assert changed_inputs(folder) == []
        (tmp_path / "a.txt").write_text("1 2 4")
        (tmp_path / "w.txt").unlink()
        assert changed_inputs(folder) == ["../a.txt has changed", "../w.txt is gone"]

    def test_a_missing_input_is_refused_before_a_folder_is_made(
        self, project: Project, request_: Request, tmp_path: Path
    ) -> None:
        (tmp_path / "w.txt").unlink()
        with pytest.raises(InputError, match="cannot be read"):
            new_job(project, draft(project, request_))
        assert project.jobs() == []
