"""Options become flags, and what is typed becomes options."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Literal

import click
import pytest
from annotated_types import Ge, Lt
from click.testing import CliRunner
from pydantic import Field, model_validator

from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.cli.flags import flags_of, prefixed, read_options, to_option


class Kind(enum.Enum):
    first = "one"
    second = "two"


class InnerOptions(Options):
    depth: Annotated[float, Unit("Å")] = 5.0
    """How deep."""


class AllOptions(Options):
    pixel_size: Annotated[float, Ge(0.5), Lt(100), Unit("Å")] = 1.5
    """Pixel size of the images."""

    count: Annotated[int, Unit("1")] = 3
    """How many."""

    name: str | None = None
    """What it is called."""

    sharp: bool = True
    """Sharpen."""

    method: Literal["wbp", "sirt"] = "wbp"
    """How."""

    bin: Literal[1, 2, 4] = 1
    """Reduction."""

    kind: Kind = Kind.first
    """Which."""

    file: Path | None = None
    """A file."""

    shape: tuple[int, int] = (3, 4)
    """A shape."""

    exclude: tuple[int, ...] = ()
    """Images."""

    thickness: float | Literal["measured"] | None = "measured"
    """Thickness."""

    inner: InnerOptions = InnerOptions()
    """More."""

    expert: Annotated[InnerOptions, Advanced()] = InnerOptions()
    """For experts."""

    table: dict[str, float] = Field(default_factory=dict)
    """Numbers by name."""

    @model_validator(mode="after")
    def check(self) -> AllOptions:
        if self.count == 13:
            raise ValueError("13 brings bad luck")
        return self


def parse(*typed: str) -> AllOptions:
    flags = {f"f{k}": flag for k, flag in enumerate(flags_of(AllOptions))}
    found: list[AllOptions] = []

    def run(**values: object) -> None:
        given = [(flags[key], value) for key, value in values.items() if value is not None]
        found.append(read_options(AllOptions, given))

    command = click.Command("x", params=[to_option(f, k, "Options") for k, f in flags.items()], callback=run)
    command.main(list(typed), standalone_mode=False)
    return found[0]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("", {}),
        ("--pixel-size 2.5", {"pixel_size": 2.5}),
        ("--count 7", {"count": 7}),
        ("--no-sharp", {"sharp": False}),
        ("--method sirt", {"method": "sirt"}),
        ("--bin 4", {"bin": 4}),
        ("--kind two", {"kind": Kind.second}),
        ("--file a/b.mrc", {"file": Path("a/b.mrc")}),
        ("--shape 5 6", {"shape": (5, 6)}),
        ("--exclude 0,5,38-40", {"exclude": (0, 5, 38, 39, 40)}),
        ("--exclude -3", {"exclude": (-3,)}),
        ("--thickness 300", {"thickness": 300.0}),
        ("--thickness measured", {"thickness": "measured"}),
        ("--thickness none", {"thickness": None}),
        ("--inner-depth 8", {"inner": InnerOptions(depth=8)}),
        ('--table {"a":1}', {"table": {"a": 1.0}}),
    ],
)
def test_what_is_typed(typed: str, expected: dict[str, object]) -> None:
    assert parse(*typed.split()) == AllOptions(**expected)


class TestHelp:
    def test_meaning_unit_limits_and_default(self) -> None:
        texts = {flag.name: flag.help for flag in flags_of(AllOptions)}
        assert texts["pixel-size"] == "Pixel size of the images, Å  [>= 0.5, < 100; default: 1.5]"
        assert texts["count"] == "How many  [default: 3]"
        assert texts["name"] == "What it is called"
        assert texts["sharp"] == "Sharpen  [default: yes]"
        assert texts["shape"] == "A shape  [default: 3 4]"
        assert texts["inner-depth"] == "How deep, Å  [default: 5.0]"

    def test_the_words_for_values(self) -> None:
        command = click.Command("x", params=[to_option(f, f"f{k}", "") for k, f in enumerate(flags_of(AllOptions))])
        text = CliRunner().invoke(command, ["--help"]).output
        for part in (
            "--pixel-size FLOAT",
            "--method [wbp|sirt]",
            "--sharp / --no-sharp",
            "--exclude INTEGER,...",
            "--shape INTEGER INTEGER",
            "--thickness FLOAT|measured",
            "--file FILE",
        ):
            assert part in text

    def test_what_is_for_experts_is_marked(self) -> None:
        assert [flag.name for flag in flags_of(AllOptions) if flag.advanced] == ["expert-depth"]

    def test_a_word_in_front(self) -> None:
        flag = prefixed(next(flags_of(AllOptions)), "align")
        assert (flag.name, flag.path) == ("align-pixel-size", ("pixel_size",))


class TestMistakes:
    def test_one_line_for_each_flag(self) -> None:
        with pytest.raises(InputError) as error:
            parse("--pixel-size", "-3", "--count", "many", "--inner-depth", "deep")
        assert str(error.value).splitlines() == [
            "--pixel-size: must be greater than or equal to 0.5 (found: -3)",
            "--count: must be a valid integer, unable to parse string as an integer (found: many)",
            "--inner-depth: must be a valid number, unable to parse string as a number (found: deep)",
        ]

    def test_what_only_the_whole_shows(self) -> None:
        with pytest.raises(InputError, match=r"^13 brings bad luck$"):
            parse("--count", "13")

    def test_no_json(self) -> None:
        with pytest.raises(InputError, match="--table is no JSON"):
            parse("--table", "{")
