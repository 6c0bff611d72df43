"""How a job type declares itself: `@each` for one item at a time, `@whole` for a set, `chain` for a row of jobs.

With `@each(group="series")` an item is a group: all records that have the same value of that attribute.

```python
@each(title="Align tilts", stage="tomography", plan=plan_align_tilts)
def align_tilts(series: TiltSeries, options: AlignTiltsOptions, context: Context) -> AlignedTiltSeries:
    ...
```
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thon.base.options import Options
from thon.job.plan import Plan
from thon.job.ports import Port, read_signature

Planner = Callable[..., Plan]
"""`plan(item, options, resources) -> Plan`, with the job's first port as the item."""

Expand = Callable[[Path, Any], Mapping[str, Mapping[str, tuple[Path, ...]]]]
"""`expand(path, options)`: the items that one file or folder from outside stands for, with the files of each port.

Live, it is asked about the session's folder whenever files have arrived, and names those that are inputs.
"""

WARM_START = "start"
"""Name of an optional port that takes what the job itself yielded of the same item before, to begin from."""

IMPORT_STAGE = "import"
"""A job of this stage that takes a file lets other jobs start from such files."""


@dataclass(frozen=True)
class JobSpec:
    """One job type.

    Args:
        name: As typed on the command line.
        title: As shown to people.
        stage: Heading under which faces list it.
        doc: Docstring of its module.
        function: What runs on one item, or on the set.
        whole: Whether the function takes the whole set.
        gpus: Number of GPUs that one item can use.
        ports: Inputs; the first is what the engine loops over.
        options: Its `Options` class.
        options_name: Name of that parameter, if the function has one.
        context_name: Name of the context parameter, if the function has one.
        gives: Record type of what it yields.
        plan: Says beforehand what an item will take.
        standalone: A tool rather than a step: it takes one file and names one new file or folder, outside any project.
        expand: For a job that takes files: the items that one file or folder stands for; itself unless given.
        group: Attribute of the records by whose value they are gathered into items; those with None take no part.
        spreads: Whether several processes may do its one item together, as `thon.job.ranks` starts them.
    """

    name: str
    title: str
    stage: str
    doc: str
    function: Callable[..., Any]
    whole: bool
    gpus: int
    ports: tuple[Port, ...]
    options: type[Options]
    options_name: str | None
    context_name: str | None
    gives: type
    plan: Planner | None = None
    standalone: bool = False
    expand: Expand | None = None
    group: str | None = None
    spreads: bool = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as a test or a notebook does."""
        return self.function(*args, **kwargs)

    @property
    def imports(self) -> bool:
        """Whether this job turns files from outside into records."""
        return self.stage == IMPORT_STAGE and self.ports[0].takes_file

    @property
    def starts_warm(self) -> bool:
        """Whether this job can begin from what it yielded of the same item before."""
        return any(port.name == WARM_START and port.optional and port.accepts(self.gives) for port in self.ports[1:])


def each(
    *,
    title: str,
    stage: str,
    gpus: int = 0,
    plan: Planner | None = None,
    standalone: bool = False,
    expand: Expand | None = None,
    group: str | None = None,
) -> Callable[[Callable[..., Any]], JobSpec]:
    """Declare a job that does one item, or with `group` one group of records; the engine owns the loop over items.

    Raises:
        TypeError: An annotation is missing or is no record.
    """

    def declare(function: Callable[..., Any]) -> JobSpec:
        spec = _declare(function, title=title, stage=stage, gpus=gpus, plan=plan, gathers=group is not None)
        if expand is not None and not spec.ports[0].takes_file:
            raise TypeError(f"{spec.name} expands files, but takes none")
        return replace(spec, standalone=standalone, expand=expand, group=group)

    return declare


def whole(
    *, title: str, stage: str, gpus: int = 0, plan: Planner | None = None, spreads: bool = False
) -> Callable[[Callable[..., Any]], JobSpec]:
    """Declare a job that takes the whole set: its first port is annotated `tuple[Record, ...]`."""

    def declare(function: Callable[..., Any]) -> JobSpec:
        spec = _declare(function, title=title, stage=stage, gpus=gpus, plan=plan, gathers=True)
        return replace(spec, whole=True, spreads=spreads)

    return declare


def _declare(
    function: Callable[..., Any], *, title: str, stage: str, gpus: int, plan: Planner | None, gathers: bool
) -> JobSpec:
    signature = read_signature(function, gathers=gathers)
    module = inspect.getmodule(function)
    return JobSpec(
        name=function.__name__.replace("_", "-"),
        title=title,
        stage=stage,
        doc=inspect.cleandoc((module.__doc__ if module else None) or function.__doc__ or title),
        function=function,
        whole=False,
        gpus=gpus,
        ports=signature.ports,
        options=signature.options,
        options_name=signature.options_name,
        context_name=signature.context_name,
        gives=signature.gives,
        plan=plan,
    )


@dataclass(frozen=True)
class Chain:
    """Jobs run one after another in one command, each on what the one before yielded.

    Args:
        name: As typed on the command line.
        title: As shown to people.
        stage: Heading under which faces list it.
        doc: What it is for.
        steps: Names of the jobs.
        shared: Names of options that are one flag, whose value every step with such an option gets.
        live: Takes a folder that fills while it runs, and does each item as it arrives.
    """

    name: str
    title: str
    stage: str
    doc: str
    steps: tuple[str, ...]
    shared: tuple[str, ...] = ()
    live: bool = False


def chain(
    *steps: str,
    name: str,
    title: str,
    stage: str,
    doc: str | None = None,
    shared: tuple[str, ...] = (),
    live: bool = False,
) -> Chain:
    """Declare a chain by the names of its jobs, which know nothing of each other.

    The first step takes a file from outside, or what an importer makes of one. Options of all steps become flags of one
    command; where two steps share a name, each flag gets the first word of its step in front, unless the name is
    `shared`: then it is one flag for all of them, which must be given where their defaults differ. Items that belong to
    no group end before the step that gathers groups.
    """
    return Chain(name, title, stage, inspect.cleandoc(doc or title), steps, shared, live)
