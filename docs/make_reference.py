"""Writes the reference of jobs and options from what the jobs declare, each time the documentation is built."""

from __future__ import annotations

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from thon.base.options import Options
from thon.cli.flags import Flag, flags_of
from thon.job.record import RunSettings
from thon.job.registry import listings, load
from thon.job.spec import Chain, JobSpec

PAGE = "reference/jobs.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """mkdocs asks for files that lie nowhere."""
    files.append(File.generated(config, PAGE, content=reference()))
    return files


def reference() -> str:
    """The page, in Markdown."""
    parts = [
        "# Jobs and options",
        "Written from the jobs' own declarations. The same names are the command line's flags, the fields of the "
        "`Options` classes in Python, and the keys of a job's record. `thon show --schema JOB` prints the JSON Schema.",
    ]
    for name, listing in listings().items():
        if listing.module.startswith("thon.jobs."):
            parts += describe(name)
    parts += ["## Flags of every job", table(RunSettings)]
    return "\n\n".join(parts) + "\n"


def describe(name: str) -> list[str]:
    """A job type's section."""
    found = load(name)
    parts = [f"## thon {name}", found.doc]
    if isinstance(found, Chain):
        steps = ", ".join(f"[{step}](#thon-{step})" for step in found.steps)
        parts.append(f"Runs {steps}. Their options are its flags; where two steps share one, as `--method`, each has")
        parts[-1] += " the first word of its step in front: `--align-method`, `--reconstruct-method`."
        if found.shared:
            names = " and ".join(f"`--{name.replace('_', '-')}`" for name in found.shared)
            parts[-1] += f" One flag for all steps that have it: {names}."
        return parts
    return [*parts, ports(found), table(found.options)]


def ports(spec: JobSpec) -> str:
    """What goes in and what comes out."""
    taken = [f"`{port.type.__name__}`" + (" (optional)" if port.optional else "") for port in spec.ports]
    return f"Takes {', '.join(taken)}, gives `{spec.gives.__name__}`."


def table(options: type[Options]) -> str:
    """A row for each option; those for experts last."""
    flags = sorted(flags_of(options), key=lambda flag: flag.advanced)
    rows = [f"| {shown(flag)} | {escaped(flag.help)} |" for flag in flags]
    return "\n".join(["| flag | meaning |", "|---|---|", *rows])


def shown(flag: Flag) -> str:
    """The flag, and whether it is for experts."""
    return f"`--{flag.name}`" + (" *expert*" if flag.advanced else "")


def escaped(text: str) -> str:
    """Text for a cell of a table."""
    return click.unstyle(text).replace("|", "\\|").replace("[", "\\[").replace("\n", " ").replace("<", "&lt;")
