"""Tables: sorted, filtered, and read from files as from records."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.web.test_views import Viewed, viewed
from thon.base.errors import FormatError, InputError
from thon.web.views.table_files import file_columns
from thon.web.views.table_rows import Asked, Table, chosen_rows

__all__ = ["viewed"]


def table(**columns: Any) -> Table:
    return Table(object(), {name: np.array(values) for name, values in columns.items()})


class TestRows:
    known = table(score=[0.5, np.nan, 0.9, 0.1], name=["b", "a10", "A2", "c"], count=[1, 2, 3, 4])

    @pytest.mark.parametrize(
        ("asked", "rows"),
        [
            (Asked(), [0, 1, 2, 3]),
            (Asked("score"), [3, 0, 2, 1]),
            (Asked("score", True), [2, 0, 3, 1]),
            (Asked("name"), [2, 1, 0, 3]),
            (Asked(where=("score>0.3",)), [0, 2]),
            (Asked(where=("score >= 0.1", "count<4")), [0, 2]),
            (Asked(where=("name~a",)), [1, 2]),
            (Asked(where=("name=c",)), [3]),
            (Asked(where=("count!=2",)), [0, 2, 3]),
            (Asked("count", True, ("count<=2",)), [1, 0]),
        ],
    )
    def test_which_and_in_which_order(self, asked: Asked, rows: list[int]) -> None:
        assert chosen_rows(self.known, asked).tolist() == rows

    @pytest.mark.parametrize(
        "asked", [Asked("nothing"), Asked(where=("score",)), Asked(where=("score>x",)), Asked(where=("nothing>1",))]
    )
    def test_what_cannot_be_asked(self, asked: Asked) -> None:
        with pytest.raises(InputError):
            chosen_rows(self.known, asked)


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("t.csv", "x,name\n1.5,one\n2.5,two\n"),
            ("t.tsv", "x\tname\n1.5\tone\n2.5\ttwo\n"),
            ("t.jsonl", '{"x": 1.5, "name": "one"}\n{"x": 2.5, "name": "two"}\n{"x": 3'),
            ("t.json", '[{"x": 1.5, "name": "one"}, {"x": 2.5, "name": "two"}]'),
            ("t.star", "data_t\nloop_\n_x\n_name\n1.5 one\n2.5 two\n"),
        ],
    )
    def test_columns_of_numbers_and_texts(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        columns, _ = file_columns(tmp_path / name)
        assert columns["x"].tolist() == [1.5, 2.5]
        assert columns["name"].tolist() == ["one", "two"]

    def test_plain_numbers(self, tmp_path: Path) -> None:
        (tmp_path / "t.tlt").write_text("# angles\n-60\n-57.5\n")
        assert file_columns(tmp_path / "t.tlt")[0]["column 1"].tolist() == [-60, -57.5]

    def test_what_is_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "t.txt").write_text("no numbers here\n")
        with pytest.raises(FormatError):
            file_columns(tmp_path / "t.txt")


class TestApi:
    def test_a_page_of_a_record(self, viewed: Viewed) -> None:
        told = viewed.json("J003", "all", "table?sort=score&descending=true&offset=1&limit=2&where=rlnNote%3Db")
        names = [one["name"] for one in told["columns"]]
        k = np.arange(230)
        members = np.flatnonzero(k % 3 == 1)
        expected = members[np.argsort(-((members * 7) % 230))][1:3]
        assert told["numbers"] == expected.tolist()
        assert told["rows"][0][names.index("defocus_u")] == 10_000 + 10 * expected[0]
        assert (told["total"], told["count"]) == (230, len(members))

    def test_a_star_file_of_the_item(self, viewed: Viewed) -> None:
        told = viewed.json("J001", "mic_1", "table?source=@table.star&sort=x")
        assert told["rows"] == [[-3, "three"], [1.5, "one"], [2.5, "two"]]
        assert told["blocks"] == ["a"]

    def test_points_of_a_plot(self, viewed: Viewed) -> None:
        data = viewed.get("J003", "all", "table/plot?x=defocus_u&y=score&where=score%3C10").content
        count = len(data) // 12
        x, y = np.frombuffer(data, "<f4", 2 * count).reshape(2, count)
        rows = np.frombuffer(data, "<u4", count, 8 * count)
        assert count == 10
        assert (x == 10_000 + 10 * rows).all()
        assert (y == (rows * 7) % 230).all()

    def test_all_rows_as_a_file(self, viewed: Viewed) -> None:
        text = viewed.get("J002", "mic_1", "table.csv?sort=x").text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [float(row["x"]) for row in rows] == [200, 500.25, 1000]

    @pytest.mark.parametrize(
        ("rest", "status"),
        [
            ("table?sort=nothing", 422),
            ("table?where=score%3E%3E1", 422),
            ("table?limit=0", 422),
            ("table?source=@nothing.star", 404),
            ("table/plot?x=score&y=micrograph", 422),
            ("table/plot?x=score", 422),
        ],
    )
    def test_what_cannot_be_asked(self, viewed: Viewed, rest: str, status: int) -> None:
        answer = viewed.get("J003", "all", rest)
        assert answer.status_code == status
        assert answer.json()["what"]
