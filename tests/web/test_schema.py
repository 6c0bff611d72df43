"""The API's document tells the truth: what fits it and what does not is answered as it says, and never by 5xx."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.project.conftest import doer, empty
from tests.web.conftest import TOKEN, Servers

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

STREAMS = re.compile(r"/(events|events/live)$")
"""Answers without end."""

STARTS = re.compile(r"/(live/start|lanes/\{lane\}/test)$")
"""Routes that start processes."""

KNOWN = {"project": "project", "job": "J002", "item": "a", "type": "smooth-numbers"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def operations(surroundings: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Any]]:
    """Everything that the document of a server with a project of its own names."""
    project = empty(tmp_path_factory.mktemp("schema"))
    do = doer(project)
    do("read-numbers", "a", "b", "bad")
    do("smooth-numbers", "J001")
    servers = Servers()
    app = servers(project.root).app
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers={"authorization": f"Bearer {TOKEN}"})
    found = [result.ok() for result in document.get_all_operations()]
    yield [one for one in found if not STREAMS.search(one.path) and not STARTS.search(one.path)]
    servers.close()


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_document_tells_the_truth(operations: list[Any], mode: GenerationMode) -> None:
    assert len(operations) > 60
    for operation in operations:
        _try(operation, mode)


def _try(operation: Any, mode: GenerationMode) -> None:
    """Ask for one operation in a few ways; in half of them for what is there."""
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.body):
        return  # a path may be anything

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=2,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        known = {name: value for name, value in KNOWN.items() if name in (case.path_parameters or {})}
        case.path_parameters = (case.path_parameters or {}) | known
        case.call_and_validate(headers={"authorization": f"Bearer {TOKEN}"}, checks=CHECKS)

    ask()
