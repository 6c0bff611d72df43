"""Job types are found without being imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thon.base.errors import InputError, StoreError
from thon.job.registry import importers, listings, load, load_job
from thon.job.spec import Chain

JOB = '''
"""Copy a file, as an example.

More about it.
"""
from pathlib import Path
from thon.job.context import Context
from thon.job.spec import each

@each(title="Copy it", stage="examples")
def copy_it(source: Path, context: Context) -> Path:
    path = context.output("copy")
    path.write_bytes(source.read_bytes())
    return path
'''


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """A folder that looks like site-packages with a package that publishes a job."""
    package = tmp_path / "thon_example_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "copy_it.py").write_text(JOB)
    info = tmp_path / "thon_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thon-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[thon.jobs]\ncopy-it = thon_example_package.copy_it\n")
    return tmp_path


class TestFolders:
    def test_title_stage_kind_and_summary_come_from_the_syntax_tree(self) -> None:
        found = listings()
        assert found["smooth-numbers"].title == "Smooth numbers"
        assert found["smooth-numbers"].stage == "test"
        assert found["sum-numbers"].kind == "whole"
        assert found["numbers"].kind == "chain"
        assert found["read-numbers"].summary == "Read numbers from a text file, one per line"

    def test_the_built_in_jobs_are_there(self) -> None:
        assert {"import-tilts", "convert"} <= listings().keys()

    def test_listing_imports_no_job(self) -> None:
        code = (
            "import sys; from thon.job.registry import listings; listings();"
            "print([m for m in sys.modules if m.startswith(('thon.jobs.', 'thon_own_jobs.', 'numpy', 'pydantic'))])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_a_file_that_does_not_parse_is_no_job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "broken.py").write_text("def (")
        (tmp_path / "copy_it.py").write_text(JOB)
        monkeypatch.setenv("THON_JOBS", str(tmp_path))
        assert "copy-it" in listings()
        assert "broken" not in listings()

    def test_a_built_in_cannot_be_replaced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "convert.py").write_text(JOB.replace("copy_it", "convert"))
        monkeypatch.setenv("THON_JOBS", str(tmp_path))
        assert listings()["convert"].module == "thon.jobs.convert"


class TestEntryPoints:
    def test_a_third_party_is_listed_without_import(self, third_party: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(third_party))
        found = listings()["copy-it"]
        assert (found.title, found.stage, found.summary) == ("Copy it", "examples", "Copy a file, as an example")

    def test_and_loaded(self, third_party: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (third_party / "thon_example_package" / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(third_party))
        assert load_job("copy-it").title == "Copy it"


class TestLoad:
    def test_jobs_and_chains(self) -> None:
        assert load_job("smooth-numbers").ports[0].name == "numbers"
        assert isinstance(load("numbers"), Chain)
        assert "read-numbers" in [spec.name for spec in importers()]

    def test_an_unknown_name(self) -> None:
        with pytest.raises(InputError, match="no job type 'nonsense'"):
            load("nonsense")

    def test_a_chain_is_no_job(self) -> None:
        with pytest.raises(InputError, match="chain"):
            load_job("numbers")

    def test_a_file_whose_function_is_not_decorated_after_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "undone.py").write_text(JOB.replace("copy_it", "undone") + "\nundone = None\n")
        monkeypatch.setenv("THON_JOBS", str(tmp_path))
        with pytest.raises(StoreError, match="declares no job 'undone'"):
            load("undone")
