"""The file of lanes: what it may say, what it may not, and where it is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from thon.base.errors import InputError
from thon.engine.lanes.local import lane_environment
from thon.engine.lanes.options import LaneOptions, Lanes, WorkerOptions, parse_lanes, read_lanes

FILE = """
default = "gpu"

[gpu]
partition = "gpu"
gpus = 2
gpu_type = "h200"
memory = 64
price = 1.5
currency = "EUR"
spot = true
setup = ["module load cuda"]
next = "cpu"
patience = 30

[gpu.workers]
max = 8

[cpu]
sbatch = ["--exclusive"]
env = { TMPDIR = "/scratch" }
"""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config" / "thon").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def test_what_a_file_says(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "config/thon/lanes.toml").write_text(FILE)
    lanes = read_lanes(None, places)
    assert list(lanes.options) == ["local", "gpu", "cpu"]
    assert lanes.named(None) == "gpu"
    assert lanes["gpu"].workers == WorkerOptions(max=8)
    assert lanes["gpu"].patience == 30
    assert lanes["local"] == LaneOptions(kind="local")
    assert lane_environment("gpu", lanes["gpu"]) == {
        "THON_LANE": "gpu",
        "THON_PRICE": "1.5",
        "THON_CURRENCY": "EUR",
        "THON_SPOT": "yes",
    }
    assert lane_environment("cpu", lanes["cpu"]) == {"THON_LANE": "cpu", "TMPDIR": "/scratch"}


def test_the_projects_own_file_is_first(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "config/thon/lanes.toml").write_text(FILE)
    named, root = tmp_path / "named.toml", tmp_path / "project"
    named.write_text("[night]\nqos = 'low'\n")
    assert list(read_lanes(root, places | {"THON_LANES": str(named)}).options) == ["local", "night"]
    (root / ".thon").mkdir(parents=True)
    (root / ".thon/lanes.toml").write_text("[own]\n")
    assert list(read_lanes(root, places | {"THON_LANES": str(named)}).options) == ["local", "own"]
    assert read_lanes(root / "other", places).file == tmp_path / "config/thon/lanes.toml"


def test_without_a_file_there_is_this_machine(tmp_path: Path, places: dict[str, str]) -> None:
    if not Path("/etc/thon/lanes.toml").exists():
        assert read_lanes(tmp_path, places) == Lanes()
    with pytest.raises(InputError, match="no such file"):
        read_lanes(tmp_path, places | {"THON_LANES": str(tmp_path / "gone.toml")})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[gpu]\nparttion = 'x'", r"gpu.parttion is not known; did you mean partition\?"),
        ("[gpu]\nworkers = { maximum = 3 }", r"gpu.workers.maximum is not known; did you mean max\?"),
        ("[gpu]\nzzz = 3", r"gpu.zzz is not known; known: kind, partition"),
        ("[gpu]\ntime = -1", r"gpu.time: Input should be greater than 0 \(found: -1\)"),
        ("[gpu]\nkind = 'pbs'", r"gpu.kind: Input should be 'local' or 'slurm'"),
        ("gpu = 3", "'gpu' is no lane"),
        ("[gpu", "cannot be read"),
        ("default = 'gpus'\n[gpu]", r"no lane 'gpus'(.|\n)*did you mean gpu\?"),
        ("[gpu]\nnext = 'cpus'\n[cpu]", r"no lane 'cpus'(.|\n)*did you mean cpu\?"),
        ("[a]\nnext = 'b'\n[b]\nnext = 'a'", "in a ring(.|\n)*a falls to b falls to a"),
    ],
)
def test_what_cannot_be_right_is_told(text: str, told: str, tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "config/thon/lanes.toml").write_text(text)
    with pytest.raises(InputError, match=told) as raised:
        read_lanes(None, places)
    assert str(tmp_path / "config/thon/lanes.toml") in str(raised.value)


def test_a_lane_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no lane 'locl'(.|\n)*did you mean local\?"):
        parse_lanes({}).named("locl")
