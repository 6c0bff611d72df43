"""The subcommand of a job type or a chain, built from its ports and options."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from thon.cli.flags import FieldOption, Flag, flags_of, prefixed, read_options, to_option
from thon.cli.shell import JobName, JobOrFile
from thon.engine.steps import Step, steps_of
from thon.job.record import RunSettings
from thon.job.registry import listings, load
from thon.job.spec import WARM_START, Chain

RUNNING = "Running"
SHARED = "Options of several steps"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
RESERVED = frozenset(
    {"output", "lane", "after", "dry-run", "quiet", "json", "traceback", "help", "help-all", "overwrite"}
    | {flag.name for flag in flags_of(RunSettings)}
)
"""Flags of every job; a job's option of the same name gets its step's word in front."""


@dataclass(frozen=True)
class StepFlags:
    """A step with its flags by click's identifiers; steps that share a flag have one identifier for it."""

    step: Step
    flags: dict[str, Flag]


class JobCommand(click.Command):
    """A click command whose help has a section per step, and hides advanced flags unless asked with `--help-all`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        everything = bool(ctx.meta.get("thon.help_all"))
        sections: dict[str, list[tuple[str, str]]] = {}
        hidden = 0
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is None or not row[1]:
                continue
            section = parameter.section if isinstance(parameter, FieldOption) else RUNNING
            if isinstance(parameter, FieldOption) and parameter.flag.advanced and not everything:
                hidden += 1
            else:
                sections.setdefault(section, []).append(row)
        running = sections.pop(RUNNING, [])
        for section, rows in [*sections.items(), (RUNNING, running)]:
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)
        if hidden:
            formatter.write_paragraph()
            formatter.write_text(f"{hidden} more options for experts: --help-all")


def job_command(name: str) -> click.Command:
    """The click command of a job type or a chain."""
    found = load(name)
    if isinstance(found, Chain) and found.live:
        from thon.cli.live_command import live_command  # noqa: PLC0415

        return live_command(found)
    steps = named_flags(steps_of(name), shared=found.shared if isinstance(found, Chain) else ())
    last = steps[-1].step.spec
    parameters: list[click.Parameter] = [_argument(steps)]
    if last.standalone:
        parameters.append(click.Argument(["target"], type=click.Path(), metavar="OUT"))
        parameters.append(click.Option(["--overwrite"], is_flag=True, help="Replace OUT if it exists."))
    else:
        wait = click.Option(["--after"], multiple=True, type=JobName(), metavar="JOB", help="Wait for this job first.")
        parameters.append(wait)
    parameters += [*port_options(steps), *step_options(steps), *running_options(project=not last.standalone)]

    def run(**values: Any) -> int:
        from thon.cli.run_command import Typed, run_command  # noqa: PLC0415

        return run_command(_typed(steps, values, Typed))

    return JobCommand(
        name,
        callback=run,
        params=parameters,
        help=found.doc,
        short_help=listings()[name].summary,
        no_args_is_help=True,
        context_settings=CONTEXT,
    )


def step_options(steps: Sequence[StepFlags]) -> list[click.Parameter]:
    """The click options of all steps, each under its step's heading, before them those that steps share."""
    sections: dict[str, tuple[Flag, str]] = {}
    for one in steps:
        for identifier, flag in one.flags.items():
            section = SHARED if identifier in sections else _section(one.step, len(steps))
            sections[identifier] = sections.get(identifier, (flag, ""))[0], section
    first = sorted(sections.items(), key=lambda entry: entry[1][1] != SHARED)
    return [to_option(flag, identifier, section) for identifier, (flag, section) in first]


def named_flags(
    steps: Sequence[Step], *, shared: Sequence[str] = (), taken: frozenset[str] | set[str] = RESERVED
) -> list[StepFlags]:
    """The flags of all steps; where two share a name, or one is taken, each gets its step's word in front.

    Those of `shared` options are one flag, which is required where the defaults of the steps differ.
    """
    every = [list(flags_of(step.spec.options)) for step in steps]
    if steps[-1].spec.standalone:
        every[-1] = [flag for flag in every[-1] if flag.path != ("target",)]
    counts = Counter(flag.name for flags in every for flag in flags)
    ports = {port.name.replace("_", "-") for step in steps for port in step.spec.ports[1:]}
    taken = taken | ports | {name for name, count in counts.items() if count > 1}
    required = {name for name in shared if len(set(_defaults(every, name))) > 1}

    def named(number: int, k: int, flag: Flag) -> tuple[str, Flag]:
        if flag.path[0] in shared and len(flag.path) == 1:
            return f"shared_{flag.path[0]}", replace(flag, required=flag.path[0] in required)
        return f"option_{number}_{k}", prefixed(flag, steps[number].prefix) if flag.name in taken else flag

    return [
        StepFlags(step, dict(named(number, k, flag) for k, flag in enumerate(flags)))
        for number, (step, flags) in enumerate(zip(steps, every, strict=True))
    ]


def _defaults(every: Sequence[Sequence[Flag]], name: str) -> Iterator[str]:
    """Defaults of the options of a name."""
    for flags in every:
        yield from (repr(flag.info.get_default(call_default_factory=True)) for flag in flags if flag.path == (name,))  # pyright: ignore[reportCallIssue]


def _argument(steps: Sequence[StepFlags]) -> click.Argument:
    spec = steps[0].step.spec
    if steps[-1].step.spec.standalone:
        return click.Argument(["inputs"], type=click.Path(), metavar="IN")
    metavar = "FILE..." if len(steps) == 1 and spec.ports[0].takes_file else "JOB|FILE..."
    metavar = metavar if spec.ports[0].takes_file else "JOB..."
    return click.Argument(["inputs"], nargs=-1, required=True, type=JobOrFile(), metavar=metavar)


def port_options(steps: Sequence[StepFlags], *, warm: bool = True) -> list[click.Parameter]:
    """The click options of the further ports; without `warm` not of those that the engine fills by itself."""
    options: list[click.Parameter] = []
    for number, one in enumerate(steps):
        for port in one.step.spec.ports[1:]:
            if port.name == WARM_START and one.step.spec.starts_warm and not warm:
                continue
            note = "" if port.optional else "  [required]"
            text = (
                f"{port.type.__name__} from a job, or a file{note}"
                if port.takes_file
                else f"{port.type.__name__}{note}"
            )
            options.append(
                click.Option(
                    [f"--{port.name.replace('_', '-')}", f"port_{number}_{port.name}"],
                    type=JobOrFile(),
                    metavar="FILE" if port.takes_file else "JOB",
                    required=not port.optional,
                    help=text,
                )
            )
    return options


def _section(step: Step, steps: int) -> str:
    if step.implicit:
        return f"Options of {step.spec.name}, for files"
    return "Options" if steps == 1 else f"Options of {step.spec.name}"


def running_options(*, project: bool, without: Sequence[str] = ()) -> list[click.Parameter]:
    """The click options that every job has, `without` some of how it runs."""
    flags = [flag for flag in flags_of(RunSettings) if flag.name not in without]
    settings = [to_option(flag, f"setting_{flag.path[0]}", RUNNING) for flag in flags]
    output = click.Option(
        ["-o", "--output"],
        type=click.Path(),
        metavar="FOLDER",
        help="Project to write into; made if it is missing.  [default: the project around this folder]",
    )
    return [
        *([output] if project else []),
        *([lane_option()] if project else []),
        *settings,
        click.Option(["--dry-run"], is_flag=True, help="Say what was understood and what it will take; write nothing."),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print events and results as JSON lines."),
        click.Option(["--traceback"], is_flag=True, help="Show where an error came from."),
        click.Option(
            ["--help-all"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_help_all,
            help="Show all options, those for experts too.",
        ),
    ]


def lane_option() -> click.Option:
    """The click option that names a lane."""
    return click.Option(["--lane"], metavar="NAME", help="Run it there (`thon lanes` lists them).  [default: here]")


def _help_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta["thon.help_all"] = True
        click.echo(ctx.get_help())
        ctx.exit()


def _typed(steps: Sequence[StepFlags], values: dict[str, Any], record: type) -> Any:
    """What was typed, by step."""
    given = [
        [(flag, values[identifier]) for identifier, flag in one.flags.items() if was_given(values[identifier])]
        for one in steps
    ]
    settings = [(flag, values[f"setting_{flag.path[0]}"]) for flag in flags_of(RunSettings)]
    inputs = values["inputs"]
    return record(
        steps=[one.step for one in steps],
        given=given,
        inputs=[inputs] if isinstance(inputs, str) else list(inputs),
        ports={key.split("_", 2)[2]: value for key, value in values.items() if key.startswith("port_") and value},
        settings=read_options(RunSettings, [(flag, value) for flag, value in settings if was_given(value)]),
        output=Path(values["output"]) if values.get("output") else None,
        target=Path(values["target"]) if values.get("target") else None,
        lane=values.get("lane"),
        after=list(values.get("after", ())),
        overwrite=bool(values.get("overwrite")),
        dry_run=values["dry_run"],
        quiet=values["quiet"],
        as_json=values["as_json"],
        show_traceback=values["traceback"],
    )


def was_given(value: Any) -> bool:
    """Whether a flag was typed."""
    return value is not None and value != ()
