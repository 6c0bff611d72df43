"""The chains from micrographs and from movies to a map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from thon.cli.main import main
from thon.engine.steps import steps_of
from thon.formats.images import write_images

STEPS = ["ctf-fit", "pick", "extract", "classify2d", "select", "ab-initio", "refine3d", "postprocess"]


def names(chain: str) -> list[tuple[str, bool]]:
    return [(step.spec.name, step.implicit) for step in steps_of(chain)]


def test_the_steps_connect_and_both_chains_end_alike() -> None:
    own = [(name, False) for name in STEPS]
    assert names("spa") == [("import-micrographs", True), *own]
    assert names("spa-movies") == [("import-movies", False), ("motion", False), *own]


def test_a_dry_run_hands_the_diameter_on_and_plans_each_micrograph_and_then_the_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_images(f"{name}.mrc", np.zeros((1, 70, 96), np.float32), 2.0)
    assert main(["spa", "a.mrc", "b.mrc", "--diameter", "50", "--symmetry", "D2", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["remarks"] == [
        "diameter 50 Å for pick, classify2d, ab-initio, refine3d",
        "symmetry D2 for ab-initio, refine3d",
    ]
    planned = [(one["item"], one["step"]) for one in told["plans"]]
    first = ["import-micrographs", *STEPS[:3]]
    assert planned == [
        *[(name, step) for name in ("a", "b") for step in first],
        *[("all", step) for step in STEPS[3:]],
    ]


def test_the_diameter_must_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(str(tmp_path / "a.mrc"), np.zeros((1, 70, 96), np.float32), 2.0)
    assert main(["spa", str(tmp_path / "a.mrc"), "-o", str(tmp_path / "project")]) == 2
    assert "--diameter" in capsys.readouterr().err
    assert not (tmp_path / "project").exists()
