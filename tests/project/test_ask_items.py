"""Items of a job in any order, a page at a time: every item once, those without the number last."""

from __future__ import annotations

import pytest

from tests.project.conftest import Do
from thon.base.errors import InputError
from thon.job.record import ItemResult
from thon.project.ask_items import Order, Which, count_items, item_states, items_of, number_names, series_of
from thon.project.index import open_index
from thon.project.project import Project

VALUES = {"a": 3.0, "b": None, "c": 1.0, "d": 3.0, "e": None, "f": 2.0, "g": 5.0}


@pytest.fixture
def made(project: Project, do: Do) -> str:
    """A job whose items have a number, or have not; one failed."""
    for name in VALUES:
        (project.root.parent / f"{name}.txt").write_text("1 2 3")
    folder = do("read-numbers", *VALUES)
    record = folder.read()
    for item, value in VALUES.items():
        values = {} if value is None else {"resolution": value, "count": 10 * value}
        state = "failed" if item == "e" else "done"
        record.results[item] = ItemResult(state=state, values=values, seconds=1.0)
    (folder.path / "job.json").chmod(0o644)
    folder.write(record)
    return "J001"


@pytest.mark.parametrize(
    ("sort", "down", "wanted"),
    [
        ("item", False, "abcdefg"),
        ("item", True, "gfedcba"),
        ("resolution", False, "cfadgbe"),
        ("resolution", True, "gdafcbe"),
        ("state", False, "abcdfge"),
    ],
)
def test_pages_hold_every_item_once_in_order(made: str, project: Project, sort: str, down: bool, wanted: str) -> None:
    with open_index(project) as index, index.reading() as connection:
        place = (connection, project.id, made)
        for limit in (1, 2, 3, 10):
            found, after = "", None
            while rows := items_of(*place, Which(), Order(sort, down, after), limit):
                found += "".join(row["item"] for row in rows)
                after = rows[-1]["key"], rows[-1]["item"]
            assert found == wanted, limit
            for offset in range(8):
                rows = items_of(*place, Which(), Order(sort, down, None, offset), limit)
                assert "".join(row["item"] for row in rows) == wanted[offset : offset + limit]


def test_items_are_chosen_by_state_name_and_numbers(made: str, project: Project) -> None:
    with open_index(project) as index, index.reading() as connection:
        place = (connection, project.id, made)

        def chosen(which: Which, sort: str = "item") -> str:
            rows = items_of(*place, which, Order(sort))
            assert count_items(*place, which) == len(rows)
            return "".join(row["item"] for row in rows)

        assert chosen(Which(where=["resolution<3"])) == "cf"
        assert chosen(Which(where=["resolution>=3", "count<40"]), "resolution") == "ad"
        assert chosen(Which(states=["failed"])) == "e"
        assert chosen(Which(find="B")) == "b"
        assert chosen(Which(find="%")) == ""
        with pytest.raises(InputError, match="not a condition"):
            chosen(Which(where=["resolution"]))
        assert item_states(*place) == {"done": 6, "failed": 1}


def test_columns_of_numbers_have_a_value_for_each_item_that_has_one(made: str, project: Project) -> None:
    with open_index(project) as index, index.reading() as connection:
        assert number_names(connection, project.id, made) == ["count", "resolution"]
        items, columns = series_of(connection, project.id, made, ["resolution", "count"], 4)
        assert (items, columns) == (["a", "c", "d", "f"], [[3.0, 1.0, 3.0, 2.0], [30.0, 10.0, 30.0, 20.0]])
        with pytest.raises(InputError, match="no item has 'x'"):
            series_of(connection, project.id, made, ["x"], 4)
