"""The API of the job builder: which job types there are, what they take, and what is wrong with what was filled in."""

from __future__ import annotations

import shutil
from typing import Any

from fastapi import APIRouter

from thon.engine import forms, orders
from thon.job.registry import Listing, listings
from thon.web.api.asked import FilledIn
from thon.web.api.jobs import number_of
from thon.web.api.models import Candidate, Checked, DryRun, TypeInList
from thon.web.cards import cards_of
from thon.web.faults import AbsentError
from thon.web.forms import Forms
from thon.web.site import ServedProject, ServedSite

router = APIRouter(tags=["job types"])

_forms = Forms()


@router.get("/job-types")
def list_types() -> list[TypeInList]:
    """All job types and chains; none is loaded for it."""
    return [
        TypeInList(name=one.name, title=one.title, summary=one.summary, stage=one.stage, kind=one.kind)
        for one in listings().values()
    ]


@router.get("/job-types/{type}")
def show_type(site: ServedSite, type: str) -> dict[str, Any]:
    """A job type, or a chain of them.

    `ports` (name, type, optional, many, takes_file), `gives`, and `options`: a JSON Schema with help (`description`),
    `unit`, limits, `default`, `advanced` (folded at first) and `provided` (set from what the run may use: not shown);
    nested options in their places. A chain has `steps`, each such a thing, and the names of options that are `shared`.
    """
    return _forms.describe(site.desk, listing_of(type))


@router.get("/projects/{project}/job-types/{type}/inputs")
def suggest_inputs(served: ServedProject, type: str) -> dict[str, list[Candidate]]:
    """For each port of a job type the jobs whose yield it takes, the newest first."""
    cards = cards_of(served)
    fits = _forms.fitting(served.desk, listing_of(type), {card.row["type"] for card in cards})
    return {
        port: [
            Candidate(
                job=card.job,
                type=card.row["type"],
                title=card.title,
                state=card.state,
                items=card.row["items"],
                done=card.row["done"],
            )
            for card in reversed(cards)
            if card.row["type"] in types
        ]
        for port, types in fits.items()
    }


@router.post("/projects/{project}/validate")
def validate(served: ServedProject, filled: FilledIn) -> Checked:
    """What is wrong with what was filled in, field by field, and what is not as by default."""
    listing_of(filled.type)
    return Checked.model_validate(served.desk.call(orders.check, served.project.root, filled.filled()))


@router.post("/projects/{project}/dry-run")
def dry_run(served: ServedProject, filled: FilledIn) -> DryRun:
    """What a job would take: memory, disk, time, and what it understands of its input. Nothing is written."""
    listing_of(filled.type)
    told = served.desk.call(orders.plan, served.project.root, filled.filled())
    return DryRun.model_validate(told | {"free_disk": shutil.disk_usage(served.project.root).free})


@router.get("/projects/{project}/jobs/{job}/filled")
def filled_from(served: ServedProject, job: str) -> FilledIn:
    """What would have to be filled in to get the same job again."""
    number = number_of(served.job(job))
    filled = served.desk.call(forms.filled_from, served.project.root, number)
    return FilledIn(
        type=filled.type,
        options=filled.options,
        inputs={name: list(sources) for name, sources in filled.wants.items()},
        settings=filled.settings,
        after=list(filled.after),
    )


def listing_of(type: str) -> Listing:
    """What is known of a job type before it is loaded.

    Raises:
        AbsentError: There is none.
    """
    known = listings()
    if type not in known:
        raise AbsentError(f"no job type '{type}'", expected=", ".join(known))
    return known[type]
