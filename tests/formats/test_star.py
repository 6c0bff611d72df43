"""STAR files."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError
from thon.formats.star import StarBlock, read_star, write_star

SHARED = Path(__file__).resolve().parents[3] / "shared/data"

TEXT = """# version 50001   a comment

data_general   # another
_rlnName  'a name with blanks'
_rlnCount   012
_rlnHash   a#b

data_particles

loop_
_rlnImageName #1
_rlnUnknownColumn #2
_rlnAngleRot #3
000001@a.mrcs   "two words"  1.50   # trailing
000002@b.mrcs   None        -2.0e1

data_
loop_
_one
"""


def test_everything_there_is(tmp_path: Path) -> None:
    (tmp_path / "a.star").write_text(TEXT)
    blocks = read_star(tmp_path / "a.star")
    assert list(blocks) == ["general", "particles", ""]
    assert blocks["general"].pairs == {"rlnName": "a name with blanks", "rlnCount": "012", "rlnHash": "a#b"}
    assert next(blocks["particles"].rows()) == {
        "rlnImageName": "000001@a.mrcs",
        "rlnUnknownColumn": "two words",
        "rlnAngleRot": "1.50",
    }
    np.testing.assert_array_equal(blocks["particles"].numbers("rlnAngleRot"), [1.5, -20])
    assert blocks[""].columns == {"one": []}
    write_star(tmp_path / "b.star", blocks)
    assert read_star(tmp_path / "b.star") == blocks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "line 1: a value stands before any"),
        ("# only a comment\n", "is no STAR file"),
        ("data_a\n\nhello\n", "line 3: a value belongs to no label"),
        ("data_a\nloop_\n_a\n_b\n1 2\n3\n", "line 6: a row has the wrong number"),
        ("data_a\nloop_\n1 2\n", "line 3: a loop has values but no labels"),
        ("data_a\n_a 1\n_a 2\n", "line 3: a label occurs twice"),
        ("data_a\n_a\n", "line 2: a label has the wrong number"),
        ("data_a\nloop_\n_a\n1\nloop_\n_b\n2\n", "line 5: a block has two loops"),
        ("data_a\n_a 1\ndata_a\n_b 1\n", "line 3: a block occurs twice"),
        ("data_a\nloop_\n_a\n1\n_b\n", "line 5: a label stands among the rows"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.star").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_star(tmp_path / "a.star")


def test_columns_that_are_no_numbers() -> None:
    block = StarBlock({}, {"a": ["1", "x"], "b": ["1.5", "2"]})
    with pytest.raises(FormatError, match="no column c"):
        block.numbers("c")
    with pytest.raises(FormatError, match="no number"):
        block.numbers("a")
    with pytest.raises(FormatError, match="whole"):
        block.integers("b")
    with pytest.raises(InputError, match="differ in length"):
        StarBlock({}, {"a": ["1"], "b": []})


VALUE = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\x85\u2028\u2029"), max_size=8)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=4), pair=VALUE)
def test_any_value_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], pair: str) -> None:
    path = tmp_path_factory.mktemp("star") / "a.star"
    columns = {"first": [row[0] for row in rows], "second": [row[1] for row in rows]}
    blocks = {"all": StarBlock({"pair": pair}, columns)}
    both = [v for v in (pair, *columns["first"], *columns["second"]) if '"' in v and "'" in v]
    try:
        write_star(path, blocks)
    except InputError:
        assert both
        return
    assert read_star(path) == blocks


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_real_files_come_back(tmp_path: Path) -> None:
    project = SHARED / "relion5_empiar10164_project"
    files = [f for f in sorted(project.rglob("*.star")) if f.stat().st_size < 100_000]
    assert len(files) > 50
    for file in files:
        blocks = read_star(file)
        write_star(tmp_path / "a.star", blocks)
        assert read_star(tmp_path / "a.star") == blocks, file


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not at hand")
def test_malformed_mtf_file() -> None:
    (file,) = SHARED.rglob("mtf_f3_200_linear.star")
    with pytest.raises(FormatError, match=r"line \d+") as caught:
        read_star(file)
    assert "To unsubscribe" in str(caught.value)


def test_large_file_is_read_in_time(tmp_path: Path) -> None:
    """A tenth of 200 000 × 20; the bound is loose, for slow machines, but a quadratic reader fails it."""
    rows = 20_000
    columns = {f"column{k}": [f"{k + 0.37 * row:.6f}" for row in range(rows)] for k in range(20)}
    start = time.perf_counter()
    write_star(tmp_path / "a.star", {"particles": StarBlock({}, columns)})
    back = read_star(tmp_path / "a.star")["particles"]
    assert time.perf_counter() - start < 5
    assert back.columns == columns
