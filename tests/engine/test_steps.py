"""Which jobs a command runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.base.errors import InputError
from thon.engine.steps import importer_for, steps_of
from thon.job.registry import load_job

CHAIN = '''
"""A chain."""
from thon.job.spec import chain
wrong = chain({steps}, name="wrong", title="Wrong", stage="test")
'''

MORE = '''
"""Find numbers."""
from dataclasses import dataclass
from pathlib import Path
from thon_own_jobs.read_numbers import Numbers
from thon.job.spec import each

@dataclass(frozen=True)
class FoundNumbers(Numbers):
    """Numbers with where they were found."""

    where: str

@each(title="Find numbers", stage="import")
def find_numbers(source: Path) -> FoundNumbers:
    raise NotImplementedError
'''


def test_a_job_on_records_gets_an_importer_in_front() -> None:
    steps = steps_of("smooth-numbers")
    assert [(step.spec.name, step.implicit) for step in steps] == [("read-numbers", True), ("smooth-numbers", False)]
    assert [step.prefix for step in steps] == ["read", "smooth"]


def test_a_job_on_files_and_a_chain_that_begins_with_one_do_not() -> None:
    assert [step.spec.name for step in steps_of("read-numbers")] == ["read-numbers"]
    assert not any(step.implicit for step in steps_of("numbers"))


def test_flags_of_a_step_begin_with_a_word_that_says_something() -> None:
    prefixes = {step.spec.name: step.prefix for step in steps_of("spa")}
    assert [prefixes[name] for name in ("import-micrographs", "ctf-fit", "ab-initio")] == ["import", "ctf", "ab-initio"]


def test_an_importer_of_the_very_type_is_before_one_that_gives_more(
    tmp_path: Path, dummy_jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "find_numbers.py").write_text(MORE)
    monkeypatch.setenv("THON_JOBS", f"{dummy_jobs}:{tmp_path}")
    more = load_job("find-numbers")
    found = importer_for(load_job("smooth-numbers"))
    assert load_job("smooth-numbers").ports[0].accepts(more.gives)
    assert found is not None
    assert found.name == "read-numbers"


def test_a_chain_whose_steps_do_not_connect(tmp_path: Path, dummy_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wrong.py").write_text(CHAIN.format(steps='"import-tilts", "smooth-numbers"'))
    monkeypatch.setenv("THON_JOBS", f"{dummy_jobs}:{tmp_path}")
    with pytest.raises(InputError, match="'smooth-numbers' does not connect to 'import-tilts'"):
        steps_of("wrong")
