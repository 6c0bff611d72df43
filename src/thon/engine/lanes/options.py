"""Lanes: where jobs can run, and what that costs, in one TOML file.

```toml
default = "local"                  # of jobs that name none

[slurm-gpu]
partition = "gpu"
gpus = 1                           # "any" kind, unless gpu_type names one
cpus = 8
memory = 64                        # GB
time = 24                          # h
price = 1.12                       # an hour of one job
currency = "EUR"
setup = ["module load cuda/12.4"]
next = "slurm-cpu"
patience = 30                      # min

[slurm-gpu.workers]                # item loops spread over up to 8 jobs
max = 8
```

The file is the project's own `.thon/lanes.toml`, that in `THON_LANES`, `~/.config/thon/lanes.toml` or
`/etc/thon/lanes.toml`: the first of them that there is. The lane `local` needs no entry.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import Field, ValidationError

from thon.base.errors import InputError
from thon.base.options import Options, Unit

LOCAL = "local"
"""Lane of this machine, which is always there."""


class WorkerOptions(Options):
    """How the items of one job are spread over jobs of the batch system, each a worker."""

    min: Annotated[int, Ge(0), Unit("1")] = 0
    """Workers that are kept even when there is nothing to do."""

    max: Annotated[int, Ge(1), Unit("1")] = 4
    """Workers at most."""

    cpus: Annotated[int, Ge(1), Unit("1")] = 4
    """CPUs of a worker."""

    memory: Annotated[float, Gt(0), Unit("GB")] = 16.0
    """Memory of a worker."""

    gpus: Annotated[int, Ge(0), Unit("1")] = 1
    """GPUs of a worker, where the job can use any."""


class LaneOptions(Options):
    """One lane. What is left out is left to the batch system."""

    kind: Literal["local", "slurm"] = "slurm"
    """Where it leads: to this machine, or to Slurm."""

    partition: str = ""
    """Slurm's partition; several are separated by commas."""

    account: str = ""
    """Account to charge."""

    qos: str = ""
    """Quality of service."""

    constraint: str = ""
    """Features that nodes must have."""

    gpus: Annotated[int | None, Ge(0), Unit("1")] = None
    """GPUs of a job at most. A job that uses none asks for none. On this machine: all unless given; on Slurm: none."""

    gpu_type: str = "any"
    """Type of GPU; any will do unless given."""

    cpus: Annotated[int | None, Ge(1), Unit("1")] = None
    """CPUs of a job; on this machine, of all jobs together."""

    memory: Annotated[float | None, Gt(0), Unit("GB")] = None
    """Memory of a job."""

    time: Annotated[float | None, Gt(0), Unit("h")] = None
    """Longest time that a job may take at one go; it goes on where it stopped."""

    jobs: Annotated[int | None, Ge(1), Unit("1")] = None
    """Jobs at most at the same time."""

    price: Annotated[float | None, Ge(0), Unit("1")] = None
    """Price of an hour of one job."""

    currency: str = "USD"
    """Currency of the price."""

    instance: str = ""
    """Type of the machines."""

    spot: bool | None = None
    """Whether they may be taken away."""

    setup: tuple[str, ...] = ()
    """Lines of shell that run before the job, such as `module load`."""

    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the job."""

    python: str = ""
    """Python, or the virtual environment, that has thon there; this very one unless given."""

    srun: tuple[str, ...] = ()
    """Further arguments of srun."""

    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, such as `--exclusive`."""

    next: str = ""
    """Lane to fall to where a job does not start in time."""

    patience: Annotated[float | None, Gt(0), Unit("min")] = None
    """Time in which a job must start where there is a next lane."""

    workers: WorkerOptions | None = None
    """Spread the items of one job over several workers."""


@dataclass(frozen=True)
class Lanes:
    """All lanes.

    Args:
        options: Lanes by name.
        default: Lane of jobs that name none.
        file: Where they are written; None where there is no file.
    """

    options: Mapping[str, LaneOptions] = field(default_factory=lambda: {LOCAL: LaneOptions(kind="local")})
    default: str = LOCAL
    file: Path | None = None

    def named(self, name: str | None) -> str:
        """The name of a lane that there is: that one, or the default.

        Raises:
            InputError: There is no such lane.
        """
        wanted = name or self.default
        if wanted not in self.options:
            near = difflib.get_close_matches(wanted, self.options, n=1)
            known = ", ".join(self.options)
            mend = f"did you mean {near[0]}?" if near else "`thon lanes` lists them"
            raise InputError(f"no lane '{wanted}'", path=self.file, expected=known, mend=mend)
        return wanted

    def __getitem__(self, name: str | None) -> LaneOptions:
        return self.options[self.named(name)]


def read_lanes(root: Path | None = None, environment: Mapping[str, str] = os.environ) -> Lanes:
    """The lanes for the project at `root`, or for any.

    Raises:
        InputError: The file cannot be read, or something in it cannot be right.
    """
    file = next((file for file in places(root, environment) if file.exists()), None)
    if file is None:
        if environment.get("THON_LANES"):
            raise InputError("there is no such file", path=environment["THON_LANES"], mend="mend THON_LANES")
        return Lanes()
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError("the lanes cannot be read", path=file, got=error, expected="TOML") from error
    return parse_lanes(content, file)


def places(root: Path | None, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where lanes may be written, the first first."""
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/"), ".config")
    own = [root / ".thon" / "lanes.toml"] if root is not None else []
    named = [Path(environment["THON_LANES"])] if environment.get("THON_LANES") else []
    return [*own, *named, Path(home) / "thon" / "lanes.toml", Path("/etc/thon/lanes.toml")]


def parse_lanes(content: Mapping[str, Any], file: Path | None = None) -> Lanes:
    """The lanes that a file says.

    Raises:
        InputError: Something there cannot be right.
    """
    tables = {name: value for name, value in content.items() if name != "default"}
    for name, value in tables.items():
        if not isinstance(value, dict):
            expected = 'default = "NAME" and tables such as [slurm-gpu]'
            raise InputError(f"'{name}' is no lane", path=file, got=value, expected=expected)
    options = {LOCAL: LaneOptions(kind="local")} | {name: _lane(name, value, file) for name, value in tables.items()}
    lanes = Lanes(options, str(content.get("default", LOCAL)), file)
    for name in (lanes.default, *(lane.next for lane in options.values() if lane.next)):
        lanes.named(name)
    _check_falls(lanes)
    return lanes


def _lane(name: str, content: Mapping[str, Any], file: Path | None) -> LaneOptions:
    kind = {"kind": "local"} if name == LOCAL else {}
    try:
        return LaneOptions.model_validate(kind | dict(content))
    except ValidationError as error:
        told = "\n".join(_complaint(name, one) for one in error.errors())
        raise InputError(told, path=file, mend="`thon lanes` tells what there is") from error


def _complaint(lane: str, error: Any) -> str:
    place = ".".join((lane, *map(str, error["loc"])))
    if error["type"] == "extra_forbidden":
        known = (WorkerOptions if len(error["loc"]) > 1 else LaneOptions).model_fields
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"{place} is not known" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
    return f"{place}: {error['msg']} (found: {error['input']})"


def _check_falls(lanes: Lanes) -> None:
    for name in lanes.options:
        seen = [name]
        while following := lanes.options[seen[-1]].next:
            if following in seen:
                ring = " falls to ".join((*seen, following))
                raise InputError("lanes fall to each other in a ring", path=lanes.file, got=ring)
            seen.append(following)
