"""The Python code of the guides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from tests.docs.conftest import ROOT
from thon.cli.main import main, thon
from thon.formats.images import write_images


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / "guide" / page).read_text()
    return re.findall(r"^```python.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_guide_to_python(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    names: dict[str, object] = {}
    for block in blocks("python.md"):
        exec(compile(block, "python.md", "exec"), names)
    assert "torch.Size([40, 64, 64]) 20.0" in capsys.readouterr().out
    volume = names["made"].volume  # type: ignore[attr-defined]
    deepest = np.unravel_index(int(volume.argmin()), volume.shape)
    assert any(np.abs(np.array(deepest) - spot).max() <= 1 for spot in ([25, 17, 44.5], [12.5, 42, 12]))
    made = names["align_and_reconstruct"](names["stack"], names["tilt"])  # type: ignore[operator]
    assert made.voxel_size == 60
    assert made.volume.shape[1:] == (104, 108)
    axis, confidence = map(float, capsys.readouterr().out.split())
    assert axis == pytest.approx(-4.3, abs=1)
    assert confidence > 0.3


def test_a_job_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's job finds the pixels that were made to stand out."""
    jobs = tmp_path / "my_jobs"
    jobs.mkdir()
    [code] = blocks("add_a_job.md")
    (jobs / "count_outliers.py").write_text(code)
    monkeypatch.setenv("THON_JOBS", str(jobs))
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 40, 30)).astype(np.float32)
    for k in range(4):
        images[k].flat[7 : 7 + k] = 30
    write_images("series.st", images, 10.0)
    Path("series.tlt").write_text("-20\n0\n20\n40\n")
    assert main(["count-outliers", "series.st", "--angles", "series.tlt", "-o", "OUT", "--limit", "6"]) == 0
    found = Path("OUT/J002-count-outliers/outputs/series/series.txt").read_text()
    assert found == "-20.00 0\n0.00 1\n20.00 2\n40.00 3\n"
    assert main(["count-outliers", "series.st", "--angles", "series.tlt", "-o", "OUT", "--limit", "-1"]) == 2


def commands_of(group: click.Group) -> Iterator[click.Command]:
    """All commands, those of groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from commands_of(command)


@pytest.fixture(scope="module")
def known_flags() -> set[str]:
    """All flags of all commands."""
    commands = list(commands_of(thon))
    parameters = [p for command in commands for p in command.get_params(click.Context(command))]
    return {flag for p in parameters for flag in (*p.opts, *p.secondary_opts) if flag.startswith("--")}


# The job that add_a_job.md adds has a flag of its own, and a test above.
GUIDES = [page for page in sorted((ROOT / "docs" / "guide").glob("*.md")) if page.name != "add_a_job.md"]
OTHER_PROGRAMS = re.compile(r"^```bash\n(pip|python|make).*?^```|`(pip|python) [^`]*`", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *GUIDES], ids=lambda page: page.name
)
def test_every_flag_that_a_page_names_is_there(page: Path, known_flags: set[str]) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]+", OTHER_PROGRAMS.sub("", page.read_text())))
    assert named <= known_flags
