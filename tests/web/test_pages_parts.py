"""Parts of pages: where the cards of a graph lie, and which field an option gets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from thon.base.options import Advanced, Options, Provided, Unit
from thon.engine.forms import flat_schema
from thon.web.cards import tile_of
from thon.web.pages.fields import Field, fields_of
from thon.web.pages.layout import HEIGHT, WIDEST, WIDTH, lay_out
from thon.web.pages.render import named_fields, number, plain, prose


def test_cards_never_cover_each_other_and_lie_below_what_they_take_from() -> None:
    parents = {f"J{k:03d}": [f"J{k // 2:03d}", f"J{k // 3:03d}"] if k > 1 else [] for k in range(1, 60)}
    laid = lay_out(parents)
    for one, other in itertools.combinations(laid.spots.values(), 2):
        assert abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT
    for job, before in parents.items():
        assert all(laid.spots[parent].y < laid.spots[job].y for parent in before if parent in parents)
    assert max(spot.x for spot in laid.spots.values()) + WIDTH <= laid.width
    assert max(spot.y for spot in laid.spots.values()) + HEIGHT <= laid.height
    assert len({spot.y for spot in laid.spots.values()}) >= 59 / WIDEST


def test_a_ring_and_a_missing_parent_are_drawn_all_the_same() -> None:
    laid = lay_out({"J001": ["J002"], "J002": ["J001"], "J003": ["J009"]})
    assert laid.spots.keys() == {"J001", "J002", "J003"}
    assert {(above, below) for above, below, _ in laid.edges} == {("J001", "J002"), ("J002", "J001")}
    assert lay_out({}).edges == []


class Inner(Options):
    depth: Annotated[float, Unit("Å")] = 5.0
    """How deep."""


class Outer(Options):
    size: Annotated[int, Ge(16), Le(512), Unit("px")] = 64
    """Side."""
    ratio: Annotated[float | None, Ge(0), Unit("1")] = None
    needed: Annotated[float, Unit("kV")]
    kind: Literal["first", "second"] = "first"
    flag: bool = True
    perhaps: bool | None = None
    file: Path | None = None
    words: tuple[str, ...] = ()
    several: tuple[Literal["a", "b"], ...] = ("a",)
    pair: tuple[float, float] = (1.0, 2.0)
    inner: Annotated[Inner, Advanced()] = Inner()
    memory: Annotated[float, Provided(), Unit("GB")] = 2.0


def flat(fields: Iterable[Field]) -> Iterator[Field]:
    for field in fields:
        yield from flat(field.fields) if field.kind == "group" else (field,)


def test_each_option_gets_the_field_that_fits_it() -> None:
    fields = fields_of(flat_schema(Outer), "options", {"size": 128, "inner": {"depth": 7.0}})
    by_name = {field.name.removeprefix("options."): field for field in flat(fields)}
    assert {name: field.kind for name, field in by_name.items()} == {
        "size": "integer",
        "ratio": "number",
        "needed": "number",
        "kind": "choice",
        "flag": "boolean",
        "perhaps": "maybe",
        "file": "path",
        "words": "words",
        "several": "choices",
        "pair": "tuple",
        "inner.depth": "number",
    }
    size = by_name["size"]
    assert (size.low, size.high, size.unit, size.default, size.value, size.help) == (16, 512, "px", 64, 128, "Side.")
    assert [name for name, field in by_name.items() if field.changed] == ["size", "inner.depth"]
    assert (by_name["needed"].required, by_name["needed"].unit, by_name["ratio"].unit) == (True, "kV", "")
    assert by_name["kind"].choices == ("first", "second")
    assert by_name["pair"].size == 2
    assert next(field for field in fields if field.kind == "group").advanced


def test_numbers_values_and_prose_for_people() -> None:
    told = {None: "", 3.0: "3", 3.98765: "3.988", 14123.4: "14123", 12345678.9: "1.235e+07"}
    assert {one: number(one) for one in told} == told
    values = (None, True, 0.1, {"path": "a.mrc", "as": "Path"}, [1, 2])
    assert [plain(one) for one in values] == ["none", "yes", "0.1", "a.mrc", "1, 2"]
    assert prose("an `.mdoc` <b>") == "an <code>.mdoc</code> &lt;b&gt;"


def test_a_command_s_options_are_told_as_fields() -> None:
    assert named_fields("give --pixel-size 1.2, or --dose") == "give “pixel size” 1.2, or “dose”"
    assert named_fields("a--b and -- and ---") == "a--b and -- and ---"


def test_the_picture_of_a_job_is_the_one_that_says_most(tmp_path: Path) -> None:
    place = tmp_path / "previews" / "all"
    place.mkdir(parents=True)
    for count, name in enumerate(("posterior", "origin", "ctf", "views", "map2", "classes")):
        (place / f"{name}.png").touch()
        assert tile_of(tmp_path, str(count), 0) == f"previews/all/{name}.png"
