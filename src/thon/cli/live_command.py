"""The subcommand of a live chain: watch a folder or a URL and do each item as it arrives."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from thon.base.options import Options
from thon.cli.flags import flags_of, read_options, to_option
from thon.cli.job_command import (
    CONTEXT,
    RESERVED,
    JobCommand,
    StepFlags,
    named_flags,
    port_options,
    running_options,
    step_options,
    was_given,
)
from thon.cli.live_view import make_view
from thon.cli.plans import print_plans
from thon.cli.run_command import absolute
from thon.cli.typed import typed_command
from thon.engine.dry_run import ItemPlan, dry_run, planned_inputs
from thon.engine.inputs import Expanded
from thon.engine.live.crew import lane_crew
from thon.engine.live.inbox import Inbox
from thon.engine.live.open import SessionRequest
from thon.engine.live.options import LiveOptions
from thon.engine.live.session import run_live
from thon.engine.live.sources import open_source
from thon.engine.live.watch import Watcher
from thon.engine.run import worst
from thon.engine.steps import Step, steps_of
from thon.job.places import found
from thon.job.record import RunSettings
from thon.job.registry import listings
from thon.job.spec import Chain
from thon.project.project import Project, check_writable

WATCHING = "Watching"
LOOKED_AT = 100
"""Items that a dry run imports for real."""
TOLD = 3
"""Items and groups whose plans a dry run prints."""


def live_command(chain: Chain) -> click.Command:
    """The click command of a live chain."""
    watching = {f"live_{flag.path[0]}": flag for flag in flags_of(LiveOptions)}
    ours = {flag.name for flag in watching.values()}
    steps = named_flags(steps_of(chain.name), shared=chain.shared, taken=RESERVED | ours)
    parameters: list[click.Parameter] = [
        click.Argument(["location"], type=click.Path(), metavar="FOLDER|URL"),
        *port_options(steps, warm=False),
        *(to_option(flag, identifier, WATCHING) for identifier, flag in watching.items()),
        *step_options(steps),
        *running_options(project=True, without=("workers", "threads")),
    ]

    def run(**values: Any) -> int:
        given = [(flag, values[identifier]) for identifier, flag in watching.items() if was_given(values[identifier])]
        return _run(steps, read_options(LiveOptions, given), values)

    return JobCommand(
        chain.name,
        callback=run,
        params=parameters,
        help=chain.doc,
        short_help=listings()[chain.name].summary,
        no_args_is_help=True,
        context_settings=CONTEXT,
    )


def _run(steps: Sequence[StepFlags], options: LiveOptions, values: dict[str, Any]) -> int:
    request = SessionRequest(
        location=values["location"],
        steps=[(one.step, _options(one, values)) for one in steps],
        options=options,
        settings=_settings(options, values),
        ports={key.split("_", 2)[2]: value for key, value in values.items() if key.startswith("port_") and value},
        lane=values.get("lane") or "",
    )
    output = Path(values["output"]) if values.get("output") else None
    if values["dry_run"]:
        return _dry_run(request, output or Path.cwd(), as_json=values["as_json"])
    project = Project.create(output) if output is not None else Project.open(Path.cwd())
    check_writable(project)
    request = replace(request, command=typed_command(project.root))
    view = make_view(quiet=values["quiet"], as_json=values["as_json"])
    with _hearing_signals(), view:
        code, given_up = run_live(project, request, view, lane_crew(project.root, request))
    if values["as_json"]:
        failed = [{"step": one.step, "item": one.item, "message": one.message} for one in given_up]
        click.echo(json.dumps({"kind": "results", "exit_code": code, "failed": failed}, ensure_ascii=False))
    elif not values["quiet"]:
        click.echo(f"{'Results':<12} {os.path.relpath(project.root)}")
    return code


def _options(one: StepFlags, values: dict[str, Any]) -> Options:
    given = [(flag, values[identifier]) for identifier, flag in one.flags.items() if was_given(values[identifier])]
    return read_options(one.step.spec.options, absolute(given))


def _settings(options: LiveOptions, values: dict[str, Any]) -> RunSettings:
    flags = [flag for flag in flags_of(RunSettings) if f"setting_{flag.path[0]}" in values]
    given = [(flag, values[f"setting_{flag.path[0]}"]) for flag in flags]
    settings = read_options(RunSettings, [(flag, value) for flag, value in given if was_given(value)])
    workers = options.workers or len(os.sched_getaffinity(0))
    return settings.model_copy(update={"workers": workers, "threads": workers})


def _dry_run(request: SessionRequest, output: Path, *, as_json: bool) -> int:
    """Say what is there now and how it is understood; the first items are imported for real."""
    step, options = request.steps[0]
    source = open_source(request.location, request.options, output)
    if source.fetches:
        seen = source.scan(lambda name: True)
        click.echo(f"{len(seen)} objects at {source.location}; they are fetched before they are understood")
        return 0
    # Nothing is waited for here: a file that is still being written shows as the error that it is.
    inbox = Inbox(step.spec, options, source, Watcher(source, 0.0), output.absolute())
    looked = inbox.look(time.monotonic())
    items = _items(inbox, output.absolute())
    chosen = dict(sorted(items.items())[:LOOKED_AT])
    plans, allowed = dry_run(request.steps, planned_inputs(step.spec, chosen), request.settings)
    if not as_json:
        more = f"; the first {len(chosen)} were looked at" if len(items) > len(chosen) else ""
        click.echo(f"{looked.news.total} files, {len(items)} items{more}")
    print_plans(_told(plans, request.steps), allowed, where=output, as_json=as_json)
    return worst([one.error.exit_code for one in plans if one.error is not None])


def _items(inbox: Inbox, root: Path) -> Expanded:
    return {
        item: {port: tuple(Path(found(file, root)) for file in files) for port, files in arrival.files.items()}
        for item, arrival in inbox.items.items()
    }


def _told(plans: Sequence[ItemPlan], steps: Sequence[tuple[Step, Options]]) -> list[ItemPlan]:
    """The plans of the first items and groups, and every error."""
    told: list[ItemPlan] = []
    gathers = next((k for k, (step, _) in enumerate(steps) if step.spec.group), len(steps))
    grouped = {step.spec.name for step, _ in steps[gathers:]}
    for is_group in (False, True):
        mine = [one for one in plans if (one.step in grouped) == is_group]
        first = list(dict.fromkeys(one.item for one in mine))[:TOLD]
        told += [one for one in mine if one.item in first or one.error is not None]
    return told


@contextlib.contextmanager
def _hearing_signals() -> Generator[None]:
    """SIGTERM stops a session as cleanly as Ctrl-C, which a shell lets its background jobs ignore.

    So does a terminal that is closed, unless the session was told to outlive it (nohup).
    """
    outlives = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = (signal.SIGINT, signal.SIGTERM) if outlives else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
