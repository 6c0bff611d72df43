"""What a command would do: imports for real into a scratch folder, plans everything else, writes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thon.base.errors import ThonError
from thon.base.options import Options
from thon.engine.steps import Step
from thon.job.context import Context
from thon.job.events import Event, Log, Warned
from thon.job.machine import resources, share
from thon.job.plan import Plan, Resources
from thon.job.record import RunSettings
from thon.job.spec import JobSpec


@dataclass(frozen=True)
class ItemPlan:
    """The plan of one step for one item.

    Args:
        step: Name of the job.
        item: Name of the item.
        plan: What it intends; None where that depends on what an earlier step will find.
        warnings: Sentences about what may be wrong.
        error: Why the item cannot be done.
    """

    step: str
    item: str
    plan: Plan | None
    warnings: tuple[str, ...] = ()
    error: ThonError | None = None


def dry_run(
    steps: Sequence[tuple[Step, Options]], items: dict[str, Any], settings: RunSettings
) -> tuple[list[ItemPlan], Resources]:
    """Plan each step for each item.

    Args:
        steps: The steps with their options.
        items: What goes into the first step's first port, by item.
        settings: How to run it.

    Returns:
        The plans, and what one item may use; an item that cannot be done ends with its error.
    """
    gpus = max((step.spec.gpus for step, _ in steps), default=0)
    allowed = share(resources(settings, gpus), min(settings.workers, max(len(items), 1)))
    return [plan for item, value in items.items() for plan in _item(steps, item, value, settings, allowed)], allowed


def _item(
    steps: Sequence[tuple[Step, Options]], item: str, value: Any, settings: RunSettings, allowed: Resources
) -> list[ItemPlan]:
    plans: list[ItemPlan] = []
    known = True
    for step, options in steps:
        accepted = step.spec.ports[0].accepts(type(value)) or step.spec.whole
        known = known and accepted
        if not known:
            plans.append(ItemPlan(step.spec.name, item, None))
        elif step.spec.imports:
            try:
                plan, value = _import(step.spec, item, value, options, settings.seed, allowed)
            except ThonError as error:
                return [*plans, ItemPlan(step.spec.name, item, None, error=error)]
            plans.append(plan)
        else:
            planner = step.spec.plan
            plan = None if planner is None else planner(value, options, allowed)
            plans.append(ItemPlan(step.spec.name, item, plan))
            value = value if plan is None or plan.output is None else plan.output
    return plans


def _import(
    spec: JobSpec, item: str, source: Path, options: Options, seed: int, allowed: Resources
) -> tuple[ItemPlan, Any]:
    """Import for real, for only the files can say what is in them; what is written goes with the scratch folder."""
    said: list[Event] = []
    with tempfile.TemporaryDirectory(prefix="thon-dry-run-") as scratch:
        context = Context.local(Path(scratch), item=item, seed=seed, resources=allowed, emit=said.append)
        arguments: dict[str, Any] = {spec.ports[0].name: source}
        arguments |= {spec.options_name: options} if spec.options_name else {}
        arguments |= {spec.context_name: context} if spec.context_name else {}
        record = spec.function(**arguments)
    understood = tuple(event.text for event in said if isinstance(event, Log))
    warnings = tuple(event.text for event in said if isinstance(event, Warned))
    plan = spec.plan(source, options, allowed) if spec.plan else Plan()
    heard = Plan((*plan.understood, *understood), plan.geometry, plan.memory, plan.disk, plan.seconds, plan.output)
    return ItemPlan(spec.name, item, heard, warnings), record
