"""Which job types there are, found without importing any of them, and loaded by name when one is asked for.

Built-ins are the files of `thon/jobs`. Third parties publish an entry point of the group ``thon.jobs``; a file of your
own is found in a folder named by the environment variable ``THON_JOBS`` (several are separated by ``:``).
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from thon.base.errors import InputError, StoreError

if TYPE_CHECKING:
    from thon.job.spec import Chain, JobSpec

GROUP = "thon.jobs"
FOLDERS = "THON_JOBS"
OWN = "thon_own_jobs"
"""Package under which the files of the folders in `THON_JOBS` are imported."""


@dataclass(frozen=True)
class Listing:
    """What is known of a job type before it is loaded.

    Args:
        name: As typed on the command line.
        title: As shown to people.
        summary: First line of its docstring.
        stage: Heading under which faces list it.
        kind: "each", "whole" or "chain".
        module: Module to import.
        file: Source file, where known.
    """

    name: str
    title: str
    summary: str
    stage: str
    kind: str
    module: str
    file: Path | None


def listings() -> dict[str, Listing]:
    """All job types by name. A built-in cannot be replaced; a user's file takes the place of an entry point."""
    found = {entry.name: entry for entry in _entry_points()}
    for folder in _own_folders():
        found |= {entry.name: entry for entry in _files(folder, f"{OWN}.")}
    built_in = Path(__file__).parent.parent / "jobs"
    found |= {entry.name: entry for entry in _files(built_in, "thon.jobs.")}
    return dict(sorted(found.items()))


def load(name: str) -> JobSpec | Chain:
    """Import a job type.

    Raises:
        InputError: No such job type.
        StoreError: Its file does not declare it.
    """
    known = listings()
    if name not in known:
        raise InputError(f"no job type '{name}'", expected=", ".join(known), mend="`thon --help` lists them")
    listing = known[name]
    if listing.module.startswith(f"{OWN}."):
        _prepare_own(listing.module)
    module = importlib.import_module(listing.module)
    return _declared(module, listing)


def load_job(name: str) -> JobSpec:
    """Import a job type that is one job, not a chain.

    Raises:
        InputError: No such job type.
    """
    from thon.job.spec import JobSpec  # noqa: PLC0415

    found = load(name)
    if not isinstance(found, JobSpec):
        raise InputError(f"'{name}' is a chain of jobs, not one", expected=" or ".join(found.steps))
    return found


def importers() -> Iterator[JobSpec]:
    """The jobs that turn files from outside into records."""
    for name, listing in listings().items():
        if listing.stage == "import":
            yield load_job(name)


def _declared(module: ModuleType, listing: Listing) -> JobSpec | Chain:
    from thon.job.spec import Chain, JobSpec  # noqa: PLC0415

    found = getattr(module, listing.name.replace("-", "_"), None)
    if not isinstance(found, JobSpec | Chain):
        raise StoreError(
            f"declares no job '{listing.name}'",
            path=listing.file or listing.module,
            mend=f"decorate a function called {listing.name.replace('-', '_')} with @each or @whole",
        )
    return found


def _own_folders() -> list[Path]:
    """Folders of job files of the user's own."""
    return [Path(folder).absolute() for folder in os.environ.get(FOLDERS, "").split(os.pathsep) if folder]


def _prepare_own(name: str) -> None:
    """Make the user's own files importable as modules of one package, so that they can share record classes."""
    package = sys.modules.setdefault(OWN, ModuleType(OWN))
    package.__path__ = [str(folder) for folder in _own_folders()]
    loaded = sys.modules.get(name)
    if loaded is not None and not any(str(loaded.__file__).startswith(folder) for folder in package.__path__):
        del sys.modules[name]
    importlib.invalidate_caches()


def _files(folder: Path, package: str) -> Iterator[Listing]:
    if not folder.is_dir():
        return
    for file in sorted(folder.glob("[a-z]*.py")):
        listing = _read(file, file.stat().st_mtime_ns, package)
        if listing is not None:
            yield listing


def _entry_points() -> Iterator[Listing]:
    from importlib.metadata import entry_points  # noqa: PLC0415

    for point in entry_points(group=GROUP):
        file = _source(point.module)
        name = point.name.replace("_", "-")
        stat = file.stat().st_mtime_ns if file else 0
        read = _read(file, stat, "", name.replace("-", "_")) if file else None
        title, summary, stage, kind = (read.title, read.summary, read.stage, read.kind) if read else (name, "", "", "")
        yield Listing(name, title, summary, stage or "other", kind or "each", point.module, file)


def _source(module: str) -> Path | None:
    """Source file of a module, found from its top package without importing what lies below."""
    top, *below = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not below:
        return Path(spec.origin)
    base = Path(spec.origin).parent.joinpath(*below)
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


@functools.lru_cache(maxsize=256)
def _read(file: Path, mtime: int, package: str, function: str | None = None) -> Listing | None:
    """Listing of a file by its syntax tree alone; None where it declares no job of its own name."""
    wanted = function or file.stem
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, OSError):
        return None
    for node in tree.body:
        call = _declaration(node, wanted)
        if call is not None:
            kind, values = call
            doc = ast.get_docstring(tree) or values.get("doc") or ""
            name = wanted.replace("_", "-")
            title = values.get("title", name)
            summary = doc.strip().split("\n")[0].rstrip(".") or title
            return Listing(
                name,
                title,
                summary,
                values.get("stage", "other"),
                kind,
                f"{package}{file.stem}",
                file,
            )
    return None


def _declaration(node: ast.stmt, wanted: str) -> tuple[str, dict[str, str]] | None:
    """Kind and constant keywords of `@each(...) def wanted`, `@whole(...) def wanted` or `wanted = chain(...)`."""
    calls: list[ast.expr] = []
    if isinstance(node, ast.FunctionDef) and node.name == wanted:
        calls = node.decorator_list
    elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == wanted for t in node.targets):
        calls = [node.value]
    for call in calls:
        if isinstance(call, ast.Call):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in ("each", "whole", "chain"):
                pairs = ((k.arg, k.value) for k in call.keywords)
                return name, {a: str(v.value) for a, v in pairs if a and isinstance(v, ast.Constant)}
    return None
