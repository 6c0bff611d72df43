"""Damaged mdocs: an error of thon's own, or records that hang together; never a crash."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import ThonError
from thon.formats.mdoc import parse_date, read_mdoc, write_mdoc
from thon.formats.mdoc_series import describe_mdoc, read_mdoc_series

DATA = Path(__file__).resolve().parents[1] / "data/mdoc"
FILES = sorted(DATA.glob("*.mdoc"))
DAMAGE = settings(
    max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Bytes or lines changed, left out, repeated or copied from elsewhere, at one to four places."""
    for _ in range(data.draw(st.integers(1, 4))):
        lines = content.split(b"\n")
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["byte", "byte", "drop", "repeat", "swap", "value", "cut"]))
        if kind == "byte" and lines[at]:
            place = data.draw(st.integers(0, len(lines[at]) - 1))
            byte = data.draw(st.integers(0, 255)).to_bytes()
            lines[at] = lines[at][:place] + byte + lines[at][place + 1 :]
        elif kind == "drop":
            del lines[at : at + data.draw(st.integers(1, 30))]
        elif kind == "repeat":
            lines[at:at] = lines[at : at + data.draw(st.integers(1, 30))]
        elif kind == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "value":
            values = [b"", b"nan", b"inf", b"-1e400", b"0", b"9" * 400, b"1 2 3", b"\xff\xfe", b"[ZValue = 0]", b"="]
            lines[at] = lines[at].split(b"=")[0] + b"= " + data.draw(st.sampled_from(values))
        elif kind == "cut":
            lines = lines[: max(at, 1)]
        content = b"\n".join(lines) or b"\n"
    return content


@pytest.mark.parametrize("name", [path.name for path in FILES])
@DAMAGE
@given(data=st.data())
def test_a_damaged_mdoc(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = tmp_path / "a.mdoc"
    path.write_bytes(damaged((DATA / name).read_bytes(), data))
    try:
        found = read_mdoc(path)
    except ThonError:
        return
    assert found.sections
    # What was understood is written and read back the same.
    write_mdoc(tmp_path / "b.mdoc", found)
    again = read_mdoc(tmp_path / "b.mdoc")
    assert [(s.kind, s.entries) for s in again.sections] == [(s.kind, s.entries) for s in found.sections]
    try:
        series = read_mdoc_series(path)
    except ThonError:
        return
    count = len(series)
    assert len(series.movies) == len(series.tilt) == len(series.exposure) == len(series.prior_exposure) == count
    assert np.isfinite(series.tilt).all()
    assert sorted(series.order) == list(range(count))
    describe_mdoc(series)


@DAMAGE
@given(st.binary(max_size=400))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mdoc").write_bytes(content)
    for read in (read_mdoc, read_mdoc_series):
        with contextlib.suppress(ThonError):
            assert read(tmp_path / "a.mdoc") is not None


@DAMAGE
@given(st.text(alphabet="0123456789-/.: ,JanFebOctDezAPMpm", max_size=40))
def test_any_date(text: str) -> None:
    found = parse_date(text)
    assert found is None or 1 <= found.month <= 12
