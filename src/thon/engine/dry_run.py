"""What a command would do: imports for real into a scratch folder, plans everything else, writes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thon.base.errors import ThonError
from thon.base.options import Options
from thon.engine.inputs import Expanded, gather
from thon.engine.steps import Step
from thon.job.context import Context
from thon.job.events import Event, Log, Warned
from thon.job.machine import resources, share
from thon.job.plan import Plan, Resources
from thon.job.record import WHOLE_SET, Reference, RunSettings
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
    steps: Sequence[tuple[Step, Options]], items: Mapping[str, Mapping[str, Any]], settings: RunSettings
) -> tuple[list[ItemPlan], Resources]:
    """Plan each step for each item; where a step gathers groups or the whole set, it and those after it for those.

    Args:
        steps: The steps with their options.
        items: What goes into the first step's ports, by item.
        settings: How to run it.

    Returns:
        The plans, and what one item may use; an item that cannot be done ends with its error.
    """
    gpus = max((step.spec.gpus for step, _ in steps), default=0)
    allowed = share(resources(settings, gpus), min(settings.workers, max(len(items), 1)))
    plans: list[ItemPlan] = []
    first = 0
    while first < len(steps) and items:
        last = next((k for k in range(first + 1, len(steps)) if _gathers(steps[k][0].spec)), len(steps))
        yielded: dict[str, Any] = {}
        for item, values in items.items():
            more, value = _item(steps[first:last], item, values, settings, allowed)
            plans += more
            if more[-1].error is None:
                yielded[item] = value
        items = {} if last == len(steps) else planned_groups(steps[last][0].spec, yielded)
        first = last
    return plans, allowed


def _gathers(spec: JobSpec) -> bool:
    return spec.whole or spec.group is not None


def planned_groups(spec: JobSpec, yielded: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The groups of what is known to come out of a step; the whole set is None where some of it is not known."""
    port = spec.ports[0]
    if spec.whole:
        values = tuple(yielded.values())
        return {WHOLE_SET: {port.name: None if any(value is None for value in values) else values}} if values else {}
    known = {item: value for item, value in yielded.items() if value is not None}
    references = {item: {port.name: [Reference(item=item)]} for item in known}
    groups = gather(spec, references, known)
    return {
        name: {port.name: tuple(known[one.item or ""] for one in ports[port.name])} for name, ports in groups.items()
    }


def planned_inputs(spec: JobSpec, items: Expanded) -> dict[str, dict[str, Any]]:
    """What goes into each port of a job that takes files, by item."""
    many = {port.name for port in spec.ports if port.many}
    return {
        item: {port: files if port in many else files[0] for port, files in ports.items()}
        for item, ports in items.items()
    }


def _item(
    steps: Sequence[tuple[Step, Options]],
    item: str,
    values: Mapping[str, Any],
    settings: RunSettings,
    allowed: Resources,
) -> tuple[list[ItemPlan], Any]:
    """The plans of the steps for an item, and what stands for what the last of them yields; None where unknown."""
    plans: list[ItemPlan] = []
    value = values[steps[0][0].spec.ports[0].name]
    known = value is not None
    for step, options in steps:
        known = known and _fits(step.spec, value)
        if not known:
            plans.append(ItemPlan(step.spec.name, item, None))
        elif step.spec.imports:
            try:
                plan, value = _import(step.spec, item, values, options, settings.seed, allowed)
            except ThonError as error:
                return [*plans, ItemPlan(step.spec.name, item, None, error=error)], None
            plans.append(plan)
        else:
            planner = step.spec.plan
            plan = None if planner is None else planner(value, options, allowed)
            plans.append(ItemPlan(step.spec.name, item, plan))
            value = value if plan is None or plan.output is None else plan.output
    return plans, value if known else None


def _fits(spec: JobSpec, value: Any) -> bool:
    many: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    return all(spec.ports[0].accepts(type(one)) for one in many)


def _import(
    spec: JobSpec, item: str, values: Mapping[str, Any], options: Options, seed: int, allowed: Resources
) -> tuple[ItemPlan, Any]:
    """Import for real, for only the files can say what is in them; what is written goes with the scratch folder."""
    said: list[Event] = []
    with tempfile.TemporaryDirectory(prefix="thon-dry-run-") as scratch:
        context = Context.local(Path(scratch), item=item, seed=seed, resources=allowed, emit=said.append)
        arguments: dict[str, Any] = dict(values)
        arguments |= {spec.options_name: options} if spec.options_name else {}
        arguments |= {spec.context_name: context} if spec.context_name else {}
        record = spec.function(**arguments)
    understood = tuple(event.text for event in said if isinstance(event, Log))
    warnings = tuple(event.text for event in said if isinstance(event, Warned))
    plan = spec.plan(values[spec.ports[0].name], options, allowed) if spec.plan else Plan()
    heard = Plan((*plan.understood, *understood), plan.geometry, plan.memory, plan.disk, plan.seconds, plan.output)
    return ItemPlan(spec.name, item, heard, warnings), record
