"""What a face needs to ask for jobs: complaints by field, and the command that does the same as what was filled in."""

from __future__ import annotations

import operator
import os
import shlex
import time
from pathlib import Path

import click
import pytest

from thon.base.errors import InputError, StoreError
from thon.cli import job_command
from thon.engine import forms, typed_as
from thon.engine.desk import BusyError, Desk
from thon.engine.forms import Filled, changed, complaints, describe
from thon.engine.pool import WorkerDiedError
from thon.engine.scheduler.threads import in_thread
from thon.engine.typed_as import command_of
from thon.project.project import Project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("1 2 3")
    return Project.create(tmp_path / "project").root


@pytest.mark.parametrize(
    ("filled", "command"),
    [
        (Filled("read-numbers", {}, {"source": ["../a.txt"]}), "thon read-numbers ../a.txt"),
        (
            Filled("smooth-numbers", {"scale": 2.0, "edge": {"mode": "zero"}, "noisy": False}, {"numbers": ["J001"]}),
            "thon smooth-numbers J001 --smooth-scale 2.0 --edge-mode zero --no-noisy",
        ),
        (
            Filled("totals", {"scale": 3, "smooth-numbers": {"width": 5}}, {"source": ["../a b.txt"]}, {"seed": 7}),
            "thon totals '../a b.txt' --width 5 --scale 3 --seed 7",
        ),
    ],
)
def test_the_command_does_the_same(filled: Filled, command: str) -> None:
    assert command_of(filled) == command
    name, *words = shlex.split(command)[1:]
    parsed = job_command.job_command(name).make_context(name, list(words))
    assert isinstance(parsed, click.Context)
    assert list(parsed.params["inputs"]) == [words[0]]


def test_flags_that_mean_something_else_are_known_here_too() -> None:
    assert job_command.RESERVED <= typed_as.RESERVED


def test_complaints_name_the_field(root: Path) -> None:
    filled = Filled(
        "totals", {"smooth-numbers": {"width": 0}, "scale": "x"}, {"source": ["../none.txt"], "odd": ["J001"]}
    )
    fields = {one.field for one in complaints(root, filled)}
    assert {"options.smooth-numbers.width", "options.read-numbers.scale", "inputs.source", "inputs.odd"} <= fields
    assert complaints(root, Filled("read-numbers", {}, {"source": ["../a.txt"]})) == []
    weights = Filled("read-numbers", {"weights": "gone.txt"}, {"source": ["../a.txt"]})
    assert [one.field for one in complaints(root, weights)] == ["options.weights"]


def test_what_might_have_no_end_is_not_begun_to_be_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    found = complaints(root, Filled("read-numbers", {"weights": "pipe"}, {"source": ["pipe"]}))
    assert [one.field for one in found] == ["options.weights", "inputs.source"]
    assert all("neither a file nor a folder" in one.message for one in found)


def test_what_is_not_as_by_default_is_named() -> None:
    filled = Filled("smooth-numbers", {"width": 3, "seconds": 2.0, "edge": {"mode": "zero"}})
    assert changed(filled) == ["seconds", "edge.mode"]


def test_a_chain_has_the_ports_of_all_its_steps() -> None:
    told = describe("totals")
    assert (told["ports"][0]["name"], told["ports"][0]["step"]) == ("source", "read-numbers")
    assert told["steps"][1]["options"]["properties"]["edge"]["properties"]["mode"]["default"] == "reflect"


def test_a_desk_starts_when_it_is_needed_and_outlives_a_death() -> None:
    desk = Desk()
    try:
        assert not desk.is_open
        assert desk.call(forms.changed, Filled("read-numbers", {"scale": 2.0})) == ["scale"]
        assert desk.is_open
        with pytest.raises(WorkerDiedError):
            desk.call(os._exit, 1)
        assert desk.call(forms.changed, Filled("read-numbers")) == []
    finally:
        desk.close()
    assert not desk.is_open


def test_a_desk_gives_up_what_takes_too_long_and_goes_on() -> None:
    desk = Desk(limit=30.0)
    try:
        assert desk.call(operator.mul, 2, 4) == 8
        desk._limit = 0.1
        with pytest.raises(InputError, match="took too long"):
            desk.call(time.sleep, 60)
        desk._limit = 30.0
        assert desk.call(operator.mul, 3, 4) == 12
    finally:
        desk.close()


def test_a_desk_takes_no_more_calls_than_it_has_room_for(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    desk = Desk(room=1)
    try:
        first = in_thread(desk.call, Path.read_text, pipe)
        with pipe.open("w") as writer:  # opens once the call has begun
            with pytest.raises(BusyError):
                desk.call(operator.mul, 2, 4)
            writer.write("all well")
        assert first.result(20) == "all well"
        # What the disk said comes along with the error.
        with pytest.raises(StoreError) as refused:
            desk.call(Project.create, Path("/proc/none"))
        assert isinstance(refused.value.__cause__, FileNotFoundError)
    finally:
        desk.close()


def test_a_desk_that_nobody_needs_ends() -> None:
    desk = Desk(idle=0.2)
    assert desk.call(operator.mul, 2, 4) == 8
    deadline = time.monotonic() + 20
    while desk.is_open:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert desk.call(operator.mul, 3, 4) == 12
    desk.close()
