"""Which jobs a command runs: one, a declared chain, or an importer in front where files are given for records."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from thon.base.errors import InputError
from thon.job.registry import importers, listings, load, load_job
from thon.job.spec import Chain, JobSpec


@dataclass(frozen=True)
class Step:
    """One job of a command.

    Args:
        spec: Job type.
        prefix: What its flags begin with where they would clash with another step's.
        implicit: Runs only when files are given where the command takes records.
        source: Module of the job type.
    """

    spec: JobSpec
    prefix: str
    implicit: bool = False
    source: str = ""


def steps_of(name: str) -> tuple[Step, ...]:
    """The jobs of a command, an importer first where one exists for what the first of them takes.

    Raises:
        InputError: A chain's steps do not connect.
    """
    found = load(name)
    specs = [load_job(step) for step in found.steps] if isinstance(found, Chain) else [found]
    for before, after in itertools.pairwise(specs):
        if not after.ports[0].accepts(before.gives):
            raise InputError(
                f"'{after.name}' does not connect to '{before.name}'",
                got=before.gives.__name__,
                expected=after.ports[0].type.__name__,
            )
    first = importer_for(specs[0])
    implicit = [] if first is None else [first]
    every = [*implicit, *specs]
    words = _prefixes(every)
    known = listings()
    return tuple(
        Step(spec, word, implicit=spec is first, source=known[spec.name].module)
        for spec, word in zip(every, words, strict=True)
    )


def importer_for(spec: JobSpec) -> JobSpec | None:
    """The job that turns files into what this job takes; None if it takes files itself or nothing does.

    One that gives the very type is before those that give more than is asked for.
    """
    if spec.ports[0].takes_file:
        return None
    fitting: list[JobSpec] = []
    for one in importers():
        if one.gives is spec.ports[0].type:
            return one
        fitting += [one] if spec.ports[0].accepts(one.gives) else []
    return fitting[0] if fitting else None


def _prefixes(specs: Sequence[JobSpec]) -> list[str]:
    """First word of each job's name, or the whole name where two share it or it is too short to say anything."""
    words = [spec.name.split("-")[0] for spec in specs]
    return [
        spec.name if words.count(word) > 1 or len(word) < 3 else word for spec, word in zip(specs, words, strict=True)
    ]
