"""A project's jobs as a template, and the template run in another project."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.engine.test_waiting import Add, add, project, run, states
from thon.base.errors import InputError
from thon.engine.waiting import Changes, clone
from thon.engine.workflow import Workflow, add_workflow, read_workflow
from thon.engine.workflow_export import export, write_workflow
from thon.job.registry import load_job
from thon.project.project import Project

__all__ = ["add", "project"]


@pytest.fixture
def template(project: Project, add: Add, tmp_path: Path) -> Path:
    """Of a chain with a file option, a branch and a job that waits for another."""
    (tmp_path / "w.txt").write_text("1\n1\n1\n2\n")
    add("read-numbers", source=tmp_path / "a.txt", weights=tmp_path / "w.txt", scale=2.0)
    add("smooth-numbers", numbers="J001", noisy=False, width=1)
    add("smooth-numbers", numbers="J001", noisy=False, width=3, after=["J002"])
    add("sum-numbers", numbers="J002", start="J003")
    run(project)
    path = tmp_path / "template.yaml"
    path.write_text(write_workflow(export(project, project.jobs(), title="sums")))
    return path


def test_it_names_jobs_and_asks_for_files(template: Path) -> None:
    content = yaml.safe_load(template.read_text())
    assert content["inputs"] == {"source": "files for read-numbers", "weights": "a file for read-numbers"}
    assert list(content["jobs"]) == ["read-numbers", "smooth-numbers", "smooth-numbers-2", "sum-numbers"]
    assert content["jobs"]["read-numbers"]["options"] == {"scale": 2.0, "weights": "$weights"}
    assert content["jobs"]["smooth-numbers-2"] == {
        "type": "smooth-numbers",
        "inputs": {"numbers": ["read-numbers"]},
        "options": {"noisy": False},
        "after": ["smooth-numbers"],
    }
    assert content["jobs"]["sum-numbers"]["inputs"] == {"numbers": ["smooth-numbers"], "start": ["smooth-numbers-2"]}
    assert str(template.parent) not in template.read_text()


def test_another_project_does_the_same_with_other_files(template: Path, tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_text("1\n1\n1\n")
    other = Project.create(tmp_path / "other")
    given = {"source": [str(tmp_path / "b.txt")], "weights": [str(tmp_path / "v.txt")]}
    folders = add_workflow(other, read_workflow(template), given, "thon workflow run")
    assert [folder.path.name for folder in folders][-1] == "J004-sum-numbers"
    assert states(other) == ["waiting"] * 4
    assert run(other).exit_code == 0
    # Doubled, their sum is 36, and that of means of three, whose ends see each other, is added.
    assert other.job("J004").output("all").values.tolist() == [pytest.approx(36 + 36)]
    assert other.job("J004").read().command == "thon workflow run"


def test_it_begins_from_jobs_of_the_other_project(project: Project, template: Path, tmp_path: Path) -> None:
    whole = read_workflow(template)
    steps = {name: step for name, step in whole.jobs.items() if name != "read-numbers"}
    steps["smooth-numbers"].inputs = steps["smooth-numbers-2"].inputs = {"numbers": ["$numbers"]}
    path = tmp_path / "part.yaml"
    path.write_text(write_workflow(Workflow(jobs=steps)))
    folders = add_workflow(project, read_workflow(path), {"numbers": [f"{project.root}/J001"]})
    assert run(project).exit_code == 0
    assert folders[-1].output("all").values.tolist() == project.job("J004").output("all").values.tolist()


def test_one_of_several_items_is_named(project: Project, add: Add, tmp_path: Path) -> None:
    folder = project.job(add("read-numbers", source=tmp_path / "a.txt"))
    folder.write(folder.read().model_copy(update={"wants": {"source": ["../a.txt", "../b.txt"]}}))
    run(project)
    add("sum-numbers", numbers="J001:b")
    run(project)
    again = clone(project.job("J002"), Changes(wants={"numbers": ["J001:a"]}))
    run(project)
    assert again.output("all").values.tolist() == [10.0]
    written = export(project, project.jobs())
    assert written.jobs["sum-numbers-2"].inputs == {"numbers": ["read-numbers:a"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: [", "cannot be read"),
        ("- a\n- b", "dictionary"),
        ("jobs: {a: {type: nonsense}}", "a: no job type 'nonsense'"),
        ("jobs: {a: {kind: sum-numbers}}", "jobs.a.type: Field required"),
        ("jobs: {a: {type: sum-numbers, inputs: {numbers: [b]}}}", "a: no job 'b'"),
        ("jobs: {a: {type: join, inputs: {x: [b]}}, b: {type: join, inputs: {x: [a]}}}", "in a ring"),
        ("jobs: {a: {type: sum-numbers, after: [a], inputs: {numbers: [$x]}}}", "in a ring"),
    ],
)
def test_a_template_that_cannot_be_right(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_workflow(path)


def test_what_is_missing_is_asked_for_by_name(template: Path, tmp_path: Path) -> None:
    workflow, other = read_workflow(template), Project.create(tmp_path / "other")
    with pytest.raises(InputError, match=r"source \(files for read-numbers\)(.|\n)*--input source="):
        add_workflow(other, workflow, {"weights": [str(tmp_path / "w.txt")]})
    given = {"source": [str(tmp_path / "a.txt")], "weights": [str(tmp_path / "w.txt")]}
    with pytest.raises(InputError, match="asks for no 'sauce'"):
        add_workflow(other, workflow, given | {"sauce": ["x"]})
    workflow.jobs["smooth-numbers"].options["width"] = 0
    with pytest.raises(InputError, match="smooth-numbers: width: Input should be greater"):
        add_workflow(other, workflow, given)
    assert other.jobs() == []


def test_options_that_are_as_by_default_are_written_on_demand(project: Project, template: Path) -> None:
    every = export(project, project.jobs(), every_option=True).jobs["smooth-numbers"].options
    assert every.keys() == load_job("smooth-numbers").options.model_fields.keys()
