"""The API of workflows: jobs of a project as a template in YAML, and such a template run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import PlainTextResponse, Response
from pydantic import Field

from thon.engine import orders
from thon.engine.lanes.options import read_lanes
from thon.project.history import ancestors
from thon.web.api.asked import Asked, Name, WorkflowAsked
from thon.web.api.jobs import ask_for, number_of
from thon.web.api.models import Placed
from thon.web.site import ServedProject

router = APIRouter(tags=["workflows"])


class Chosen(Asked):
    """Which jobs become a template."""

    job: Annotated[list[Name], Field(max_length=10_000)] = Field(default_factory=list)
    """Jobs, with those that they came from; all of the project unless given."""
    title: Name = ""
    all_options: bool = False
    """Write options that are as by default too."""


@router.get("/projects/{project}/workflow", responses={200: {"content": {"text/plain": {}}}})
def export_workflow(served: ServedProject, query: Annotated[Chosen, Query()]) -> Response:
    """Jobs, or all of the project, and what they came from, as a template in YAML."""
    wanted = [served.job(name) for name in query.job] or served.project.jobs()
    with served.index.reading() as connection:
        chosen = ancestors(connection, served.project.id, [number_of(folder) for folder in wanted])
    jobs = [one.path.name for one in served.project.jobs() if number_of(one) in chosen]
    text = served.desk.call(
        orders.workflow_text, served.project.root, jobs, query.title, every_option=query.all_options
    )
    headers = {"content-disposition": 'attachment; filename="workflow.yaml"'}
    return PlainTextResponse(text, headers=headers)


@router.post("/projects/{project}/workflow/inputs")
def ask_workflow(served: ServedProject, text: Annotated[str, Body(embed=True, max_length=500_000)]) -> dict[str, str]:
    """What a template asks for by name, with a word on what each is for."""
    return served.desk.call(orders.workflow_inputs, text)


@router.post("/projects/{project}/workflow", status_code=201)
def run_workflow(served: ServedProject, asked: WorkflowAsked) -> Placed:
    """Write down the jobs of a template, and run them unless told."""
    served.check_writable()
    read_lanes(served.project.root).named(asked.lane)
    numbers = served.desk.call(orders.place_workflow, served.project.root, asked.text, asked.inputs)
    ask_for(served, [served.project.job(number) for number in numbers], asked.lane, run=asked.run)
    return Placed(jobs=numbers)
