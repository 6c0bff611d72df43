"""The house itself: who may import whom, what is exported and explained, and how fast thon is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import types
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

import thon
from thon.base.options import Options, Unit
from thon.data.record import TAGS
from thon.job.registry import listings, load, load_job
from thon.job.spec import Chain

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "thon").rglob("*.py"))
PUBLIC_ROOMS = ("algorithms", "data", "formats", "ops")
EXPORTED = {
    "AlignTiltsOptions",
    "LocalField",
    "ReconstructOptions",
    "TiltGeometry",
    "TiltSeries",
    "align_tilt_series",
    "reconstruct",
    "connect",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "src"))


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_import_takes_less_than_a_tenth_of_a_second() -> None:
    code = (
        "import time; bare = time.process_time(); import thon; spent = time.process_time() - bare; import sys;"
        "print(spent, [m for m in ('numpy', 'pydantic') if m in sys.modules])"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(5)]
    assert min(float(run.stdout.split()[0]) for run in runs) < 0.1
    assert runs[0].stdout.endswith("[]\n")


def test_exported_names() -> None:
    assert set(thon.__all__) == EXPORTED
    assert all(getattr(thon, name).__name__ == name for name in EXPORTED)
    with pytest.raises(AttributeError, match="no attribute 'utils'"):
        thon.utils  # noqa: B018


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_is_a_room_and_not_a_hall(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500
    assert path.stem not in {"utils", "helpers", "common", "misc", "manager"}


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.relative_to(ROOT / "src/thon").parts[0] in PUBLIC_ROOMS], ids=name_of
)
def test_what_is_public_is_explained(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not tree.body or ast.get_docstring(tree), "the module"
    assert [name for name, node in public(tree) if not ast.get_docstring(node)] == []


def public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Public functions and classes of a module, and the public methods of those classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            inherits = bool(node.bases)
            for method in node.body:
                # A method that takes the place of its parent's has that one's docstring.
                if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and not inherits:
                    yield f"{node.name}.{method.name}", method


def every_options() -> list[type[Options]]:
    """All `Options` that thon declares."""
    for module in walk_packages(thon.__path__, "thon."):
        if module.name.split(".")[1] in ("algorithms", "job", "jobs", "ops"):
            import_module(module.name)
    found, waiting = set[type[Options]](), [Options]
    while waiting:
        children = [child for child in waiting.pop().__subclasses__() if child.__module__.startswith("thon.")]
        found.update(children)
        waiting += children
    return sorted(found, key=lambda options: options.__qualname__)


def test_every_number_has_a_unit_and_every_option_a_sentence() -> None:
    options = every_options()
    assert len(options) > 10
    named = [(f"{o.__qualname__}.{name}", field) for o in options for name, field in o.model_fields.items()]
    assert [name for name, field in named if not field.description] == []
    assert [name for name, field in named if is_number(field) and not has_unit(field)] == []


def test_no_option_has_a_name_that_records_keep_for_themselves() -> None:
    named = [(options.__qualname__, name) for options in every_options() for name in options.model_fields]
    assert [(owner, name) for owner, name in named if name in TAGS] == []


def test_options_that_a_chain_shares_belong_to_several_of_its_steps() -> None:
    chains = [found for found in map(load, listings()) if isinstance(found, Chain)]
    assert {"live", "spa", "tomo"} <= {one.name for one in chains}
    for one in chains:
        fields = [name for step in one.steps for name in load_job(step).options.model_fields]
        assert [name for name in one.shared if fields.count(name) < 2] == [], one.name


def is_number(field: FieldInfo) -> bool:
    members = set(members_of(field.annotation))
    return bool(members & {int, float}) and bool not in members


def members_of(annotation: Any) -> Iterator[Any]:
    """The annotation, or what it is a union of, without `Annotated`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from members_of(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from members_of(member)
    else:
        yield annotation


def has_unit(field: FieldInfo) -> bool:
    inner = [argument for member in typing.get_args(field.annotation) for argument in typing.get_args(member)]
    return any(isinstance(entry, Unit) for entry in (*field.metadata, *inner))


def test_one_version_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    released = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is not None
    assert released[1] == version


def test_what_is_installed_is_pinned() -> None:
    """A version that nobody wrote down is a version that nobody tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    names = {name.lower().replace("_", "-") for name in pinned}
    assert {re.split(r"[\[<>=; ]", requirement)[0].lower() for requirement in wanted} <= names
