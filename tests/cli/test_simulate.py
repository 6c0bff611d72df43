"""Jobs of the stage "simulate" are the commands of `thon simulate`, and may yield a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.cli.main import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model.txt").write_text("1 2 3")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_a_family_that_hides_its_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "simulate " in out
    assert "simulate-numbers" not in out
    assert main(["simulate", "--help"]) == 0
    assert "numbers  Simulate numbers like those in a file" in " ".join(capsys.readouterr().out.split(" " * 4))
    assert main(["simulate", "numbers", "--help"]) == 0
    assert "--files" in capsys.readouterr().out
    assert main(["simulate", "nonsense"]) == 2


def test_a_folder_is_delivered_and_replaced_only_on_demand(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "numbers", "model.txt", "made"]) == 0
    assert capsys.readouterr().out == "made\n"
    assert [str(path.relative_to(here)) for path in sorted(here.glob("made/**/*.txt"))] == [
        "made/deep/0.txt",
        "made/deep/1.txt",
    ]
    Path("made/deep/0.txt").write_text("mine to write")
    assert sorted(path.name for path in here.iterdir()) == ["made", "model.txt"]
    assert main(["simulate", "numbers", "model.txt", "made"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["simulate", "numbers", "model.txt", "made", "--overwrite", "--files", "1"]) == 0
    assert sorted(path.name for path in here.glob("made/deep/*")) == ["0.txt"]


def test_a_folder_that_holds_other_things_is_not_replaced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "made").mkdir()
    (here / "made" / "thesis.tex").write_text("")
    assert main(["simulate", "numbers", "model.txt", "made", "--overwrite"]) == 2
    assert "thesis.tex" in capsys.readouterr().err
    assert (here / "made" / "thesis.tex").exists()
