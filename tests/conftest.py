"""Checks every shape and type that thon's functions declare, while the tests run.

jaxtyping reads the shapes, beartype the types. The kernels are left out: Numba and Triton compile their functions from
the source, which a decorator would hide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from beartype import BeartypeConf, FrozenDict, beartype
from beartype.roar import BeartypeDecorHintException
from jaxtyping import config, install_import_hook

ROOMS = ("algorithms", "base", "cli", "data", "engine", "formats", "job", "jobs", "ops", "project")

NUMBERS = FrozenDict({int: int | np.integer, float: int | float | np.integer | np.floating})
"""Whole numbers pass as float, as PEP 484 has it, and NumPy's numbers as Python's."""

Checked = TypeVar("Checked", bound=Callable[..., Any])


def check_types(function: Checked) -> Checked:
    """The function with its types checked at every call."""
    if function.__name__ == "__init__" and function.__module__.startswith("thon.data."):
        # Records take what a user gave, check it themselves and say what is wrong, which has tests of its own.
        return function
    try:
        return beartype(conf=BeartypeConf(hint_overrides=NUMBERS))(function)
    except BeartypeDecorHintException:
        # `Self`, which means nothing to a checker that sees one method at a time, or a protocol only for type checkers.
        return function


install_import_hook([f"thon.{room}" for room in ROOMS], f"{__name__}.check_types")


LONG = ("web/test_walk", "slurm/", "jobs/test_conformance", "jobs/test_refine_jobs", "engine/", "docs/", "web/", "cli/")
"""Beginnings of files below this folder that take long, many of them waiting; the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    here = Path(__file__).parent

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((k for k, start in enumerate(LONG) if name.startswith(start)), len(LONG))

    items.sort(key=rank)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """For tests that hand over wrong shapes on purpose, to read thon's own message."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
