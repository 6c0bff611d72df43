"""One declaration gives defaults, validation, help, units and the schema."""

from __future__ import annotations

from typing import Annotated

import pytest
from annotated_types import Ge, Le
from pydantic import ValidationError

from thon.base.options import Advanced, Options, Unit


class Inner(Options):
    """What lies inside."""

    width: Annotated[float, Unit("px"), Ge(0)] = 2.0
    """Width of the edge."""


class Outer(Options):
    """A method."""

    resolution: Annotated[float, Unit("Å"), Ge(2), Le(100)] = 4.0
    """Finest detail."""

    count: Annotated[int, Unit("1"), Ge(1), Advanced()] = 3
    """How many."""

    limit: Annotated[float | None, Unit("degrees"), Ge(0)] = None
    """Where to stop, if anywhere."""

    inner: Inner = Inner()
    """The edge."""

    hidden: Annotated[Inner, Advanced()] = Inner(width=1)
    """Another edge."""


def test_the_schema_holds_unit_bounds_and_help() -> None:
    schema = Outer.model_json_schema()
    resolution = schema["properties"]["resolution"]
    assert resolution["unit"] == "Å"
    assert resolution["description"] == "Finest detail."
    assert (resolution["minimum"], resolution["maximum"], resolution["default"]) == (2, 100, 4.0)
    assert schema["properties"]["limit"]["unit"] == "degrees"
    assert schema["$defs"]["Inner"]["properties"]["width"]["unit"] == "px"
    assert schema["additionalProperties"] is False


def test_only_what_is_marked_is_advanced() -> None:
    fields = Outer.model_json_schema()["properties"]
    assert {name for name, field in fields.items() if field.get("advanced")} == {"count", "hidden"}


def test_the_order_is_the_order_of_declaration() -> None:
    assert list(Outer.model_json_schema()["properties"]) == ["resolution", "count", "limit", "inner", "hidden"]


@pytest.mark.parametrize(
    "wrong", [{"resolutoin": 5}, {"inner": {"depth": 1}}, {"resolution": 1.0}, {"count": 1.5}, {"limit": -1}]
)
def test_unknown_keys_and_values_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=str(next(iter(wrong)))):
        Outer.model_validate(wrong)


def test_options_are_frozen_equal_by_value_and_survive_json() -> None:
    options = Outer(resolution=7, inner=Inner(width=0.5))
    with pytest.raises(ValidationError):
        options.resolution = 3  # pyright: ignore[reportAttributeAccessIssue]
    again = Outer.model_validate_json(options.model_dump_json())
    assert again == options
    assert again != Outer()


def test_a_wrong_default_is_found() -> None:
    class Wrong(Options):
        side: Annotated[int, Ge(4)] = 2

    with pytest.raises(ValidationError):
        Wrong()
