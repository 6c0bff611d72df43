"""A tunable parameter is declared once, as a field of an `Options` class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema


class Options(BaseModel):
    """Frozen, validated parameters of one method.

    Unknown keys are refused and attribute docstrings become help. From the fields come the Python defaults, the
    validation, the command-line flags, the JSON Schema and the values in a job's record.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


@dataclass(frozen=True)
class Unit:
    """Unit of a number, shown in help and forms: `Annotated[float, Unit("Å")]`. Use "1" for a ratio or a count."""

    symbol: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"unit": self.symbol}


@dataclass(frozen=True)
class Provided:
    """Marks a field that a job sets from what its run may use (memory, threads): faces have that elsewhere."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"provided": True}


@dataclass(frozen=True)
class Advanced:
    """Marks a field, or a nested `Options`, that faces fold away at first."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"advanced": True}
