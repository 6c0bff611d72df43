"""Gather samples into batches by the group that they belong to."""

from __future__ import annotations

from dataclasses import dataclass

from thon_own_jobs.read_samples import Sample

from thon.base.errors import InputError
from thon.base.options import Options
from thon.job.context import Context
from thon.job.plan import Plan, Resources
from thon.job.spec import each


@dataclass(frozen=True)
class Batch:
    """Samples of one group."""

    name: str
    members: tuple[str, ...]
    total: float
    began_from: tuple[str, ...] = ()


def plan_gather_samples(samples: tuple[Sample, ...], options: Options, resources: Resources) -> Plan:
    total = sum(one.value for one in samples)
    members = tuple(one.name for one in samples)
    return Plan(understood=(f"{len(samples)} samples",), output=Batch("planned", members, total))


@each(title="Gather", stage="test", group="series", plan=plan_gather_samples)
def gather_samples(samples: tuple[Sample, ...], options: Options, context: Context) -> Batch:
    if len(samples) < 2:
        raise InputError("too few samples", got=len(samples), expected="2 or more")
    return Batch(context.item, tuple(one.name for one in samples), sum(one.value for one in samples))
