"""How a job type declares itself: `@each` for one item at a time, `@whole` for a set, `chain` for a row of jobs.

```python
@each(title="Align tilts", stage="tomography", plan=plan_align_tilts)
def align_tilts(series: TiltSeries, options: AlignTiltsOptions, context: Context) -> AlignedTiltSeries:
    ...
```
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thon.base.options import Options
from thon.job.plan import Plan
from thon.job.ports import Port, read_signature

Planner = Callable[..., Plan]
"""`plan(item, options, resources) -> Plan`, with the job's first port as the item."""

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
        standalone: A tool rather than a step: it takes one file and names one new file, outside any project.
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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as a test or a notebook does."""
        return self.function(*args, **kwargs)

    @property
    def imports(self) -> bool:
        """Whether this job turns files from outside into records."""
        return self.stage == IMPORT_STAGE and self.ports[0].takes_file


def each(
    *, title: str, stage: str, gpus: int = 0, plan: Planner | None = None, standalone: bool = False
) -> Callable[[Callable[..., Any]], JobSpec]:
    """Declare a job that does one item; the engine owns the loop over items."""
    return _declare(title=title, stage=stage, gpus=gpus, plan=plan, standalone=standalone, whole=False)


def whole(
    *, title: str, stage: str, gpus: int = 0, plan: Planner | None = None
) -> Callable[[Callable[..., Any]], JobSpec]:
    """Declare a job that takes the whole set: its first port is annotated `tuple[Record, ...]`."""
    return _declare(title=title, stage=stage, gpus=gpus, plan=plan, standalone=False, whole=True)


def _declare(
    *, title: str, stage: str, gpus: int, plan: Planner | None, standalone: bool, whole: bool
) -> Callable[[Callable[..., Any]], JobSpec]:
    def declare(function: Callable[..., Any]) -> JobSpec:
        signature = read_signature(function, whole=whole)
        module = inspect.getmodule(function)
        return JobSpec(
            name=function.__name__.replace("_", "-"),
            title=title,
            stage=stage,
            doc=inspect.cleandoc((module.__doc__ if module else None) or function.__doc__ or title),
            function=function,
            whole=whole,
            gpus=gpus,
            ports=signature.ports,
            options=signature.options,
            options_name=signature.options_name,
            context_name=signature.context_name,
            gives=signature.gives,
            plan=plan,
            standalone=standalone,
        )

    return declare


@dataclass(frozen=True)
class Chain:
    """Jobs run one after another in one command, each on what the one before yielded.

    Args:
        name: As typed on the command line.
        title: As shown to people.
        stage: Heading under which faces list it.
        doc: What it is for.
        steps: Names of the jobs.
    """

    name: str
    title: str
    stage: str
    doc: str
    steps: tuple[str, ...]


def chain(*steps: str, name: str, title: str, stage: str, doc: str | None = None) -> Chain:
    """Declare a chain by the names of its jobs, which know nothing of each other.

    The first step takes a file from outside. Options of all steps become flags of one command; where two steps share a
    name, each flag gets the first word of its step in front.
    """
    return Chain(name=name, title=title, stage=stage, doc=inspect.cleandoc(doc or title), steps=steps)
