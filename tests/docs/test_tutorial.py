"""Every command of the tutorial, as it stands there, on a quarter of the example's pixels."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.docs.conftest import ROOT
from thon.formats.images import open_images

PAGE = ROOT / "docs" / "tutorial.md"


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def run(command: str, folder: Path) -> str:
    """What a command says."""
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        preexec_fn=_keep_to_one_core,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def _keep_to_one_core() -> None:
    """Tests run beside each other: a command that took all cores would be slowed down by the others, and they by it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.fixture(scope="module")
def said(workplace: Path) -> dict[str, str]:
    """What each command of the tutorial said."""
    found = commands()
    assert len(found) == 8
    dry = run(found[0], workplace)
    assert not (workplace / "tomograms").exists(), "a dry run writes nothing"
    return {found[0]: dry} | {command: run(command, workplace) for command in found[1:]}


@pytest.fixture
def outputs(said: dict[str, str], workplace: Path) -> Path:
    return workplace / "tomograms"


def test_the_dry_run_tells_what_was_understood(said: dict[str, str]) -> None:
    text = next(iter(said.values()))
    for part in ("41 images of 217 × 210 px at 30 Å", "tilts -60.0° to 60.0°", "Memory", "Disk", "Time"):
        assert part in text


def test_the_series_is_aligned(outputs: Path) -> None:
    """The tilt axis of this series is known to be near -4.3 degrees, which nobody told."""
    folder = outputs / "J002-align-tilts/outputs/TS_00254"
    assert {f"TS_00254{suffix}" for suffix in (".xf", ".tlt", ".xtilt", ".aln")} <= {f.name for f in folder.iterdir()}
    matrices = np.loadtxt(folder / "TS_00254.xf")
    assert matrices.shape == (41, 6)
    assert np.median(np.degrees(np.arctan2(matrices[:, 2], matrices[:, 0]))) == pytest.approx(4.3, abs=1)


def test_the_tomogram_shows_the_cell(outputs: Path) -> None:
    """Its middle holds more structure than the empty margins above and below."""
    with open_images(outputs / "J003-reconstruct/outputs/TS_00254/TS_00254_Vol.mrc") as volume:
        values = volume.asarray()
        assert volume.pixel_size == 60
    assert values.shape[1:] == (104, 108)
    spread = values[:, 20:-20, 20:-20].std((1, 2))
    middle, margins = spread[len(spread) // 4 : -len(spread) // 4], np.concatenate([spread[:4], spread[-4:]])
    assert middle.mean() > 1.5 * margins.mean()


def test_reports_stand_alone(outputs: Path) -> None:
    pages = [path.read_text() for path in sorted(outputs.glob("J*/outputs/TS_00254/report.html"))]
    assert len(pages) == 4
    assert not any(re.search(r'(src|href)="(?!data:|#)', page) for page in pages)


def test_halves_and_other_methods_are_there(outputs: Path) -> None:
    assert (outputs / "J004-reconstruct/outputs/TS_00254/TS_00254_Vol.mrc").is_file()
    names = {path.name for path in (outputs / "J005-reconstruct/outputs/TS_00254").glob("*.mrc")}
    assert names == {"TS_00254_Vol.mrc", "TS_00254_EVN_Vol.mrc", "TS_00254_ODD_Vol.mrc"}


def test_jobs_are_listed_and_shown(said: dict[str, str]) -> None:
    assert [f"J00{k}" in said["thon jobs tomograms"] for k in (1, 2, 3)] == [True] * 3
    assert "TS_00254" in said["thon show J002 -o tomograms"]


def test_what_is_taken_elsewhere_is_the_same(outputs: Path, workplace: Path) -> None:
    made = outputs / "J003-reconstruct/outputs/TS_00254/TS_00254_Vol.mrc"
    with open_images(made) as one, open_images(workplace / "cell.mrc") as other:
        assert other.dtype == np.int8
        first, second = one.asarray(), other.asarray().astype(np.float32)
    kept = abs(first - first.mean()) < 5.9 * first.std()
    assert kept.mean() > 0.99, "gold beads lie further out than bytes reach"
    assert np.corrcoef(first[kept], second[kept])[0, 1] > 0.999
    assert (workplace / "for_relion.star").read_text().count(".") > 41
