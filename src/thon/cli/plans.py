"""Prints what a dry run found."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from thon.engine.dry_run import ItemPlan
from thon.job.plan import Plan, Resources, size_text
from thon.job.told import duration


def print_plans(
    plans: Sequence[ItemPlan], allowed: Resources, *, where: Path, as_json: bool, remarks: Sequence[str] = ()
) -> None:
    """Print plans on stdout, remarks about all of them first, with the memory that is allowed and the free disk."""
    free = free_disk(where)
    if as_json:
        _print_json(plans, allowed, free, remarks)
        return
    for remark in remarks:
        click.echo(remark)
    item = None
    for one in plans:
        if one.item != item:
            item = one.item
            click.echo(click.style(item, bold=True))
        click.echo(f"  {one.step}")
        for sentence in _sentences(one):
            click.echo(f"    {sentence}")
        for warning in one.warnings:
            click.echo(f"    {click.style('warning', fg='yellow')}: {warning}")
    known = [one.plan for one in plans if one.plan is not None]
    disk, seconds = sum(plan.disk or 0 for plan in known), sum(plan.seconds or 0 for plan in known)
    memory = max((plan.memory or 0 for plan in known), default=0)
    click.echo(f"Memory  about {size_text(memory)} of {size_text(allowed.memory)} allowed, {allowed.threads} threads")
    click.echo(f"Disk    about {size_text(disk)} of {size_text(free)} free")
    click.echo(f"Time    about {duration(seconds)}")
    if any(one.plan is None and one.error is None for one in plans):
        click.echo("What depends on steps before is not counted.")
    if disk > free:
        click.echo(f"{click.style('warning', fg='yellow')}: the outputs do not fit on the disk")
    if memory > allowed.memory:
        click.echo(f"{click.style('warning', fg='yellow')}: more memory is needed than is allowed")


def _sentences(one: ItemPlan) -> list[str]:
    plan = one.plan
    if one.error is not None:
        return [f"{click.style('error', fg='red')}: {one.error}".replace("\n", "\n    ")]
    if plan is None:
        return ["depends on what the steps before will find"]
    sentences = [*plan.understood, *plan.geometry]
    figures = [
        f"memory {size_text(plan.memory)}" if plan.memory is not None else "",
        f"disk {size_text(plan.disk)}" if plan.disk is not None else "",
        f"time {duration(plan.seconds)}" if plan.seconds is not None else "",
    ]
    told = ", ".join(filter(None, figures))
    return [*sentences, told] if told else sentences


def _print_json(plans: Sequence[ItemPlan], allowed: Resources, free: int, remarks: Sequence[str]) -> None:
    rows = [
        {
            "step": one.step,
            "item": one.item,
            "warnings": one.warnings,
            "error": None if one.error is None else str(one.error),
            "plan": None
            if one.plan is None
            else {f.name: getattr(one.plan, f.name) for f in dataclasses.fields(Plan) if f.name != "output"},
        }
        for one in plans
    ]
    content = {
        "kind": "plan",
        "remarks": list(remarks),
        "plans": rows,
        "allowed": dataclasses.asdict(allowed),
        "free_disk": free,
    }
    click.echo(json.dumps(content, ensure_ascii=False))


def free_disk(where: Path) -> int:
    """Bytes free on the disk that holds this folder, or would hold it."""
    folder = next(path for path in (where.absolute(), *where.absolute().parents) if path.is_dir())
    return shutil.disk_usage(folder).free
