"""Text files are read whatever their encoding and line ends; complaints name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.text import filled_lines, numeric_row, numeric_table, read_text, to_integer, to_number


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a").write_bytes("Überschrift\r\n\r\n 2 \r3".encode(encoding))
    assert list(filled_lines(read_text(tmp_path / "a"))) == [(1, "Überschrift"), (3, "2"), (4, "3")]


@pytest.mark.parametrize(("data", "what"), [(b"", "empty"), (b" \n\t\n", "empty"), (b"\x00\x01\x02abc", "not a text")])
def test_no_text(tmp_path: Path, data: bytes, what: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(FormatError, match=what):
        read_text(tmp_path / "a")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_text(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)


@pytest.mark.parametrize(("word", "value"), [("1.5D+02", 150.0), ("-.5", -0.5), ("3.", 3.0), ("+2e-1", 0.2)])
def test_numbers(word: str, value: float) -> None:
    assert to_number(word, "f", 1) == value


@pytest.mark.parametrize("word", ["nan", "inf", "1_0", "*****", "1e999", "1e300", "", "0x1", "1,5"])
def test_what_is_no_number(word: str) -> None:
    with pytest.raises(FormatError, match="line 7"):
        to_number(word, "f", 7)


def test_rows(tmp_path: Path) -> None:
    assert numeric_row("1, 2 3", "f", 1, 3) == [1, 2, 3]
    assert to_integer("3.0", "f", 1) == 3
    with pytest.raises(FormatError, match="whole number"):
        to_integer("3.5", "f", 1)
    (tmp_path / "a").write_text("1 2\n\n3 4\n5\n")
    with pytest.raises(FormatError, match="line 4 has the wrong number"):
        numeric_table(tmp_path / "a", 2)
    (tmp_path / "a").write_text("1 2\n\n3 4\n")
    np.testing.assert_array_equal(numeric_table(tmp_path / "a", 2), [[1, 2], [3, 4]])
