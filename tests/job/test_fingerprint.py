"""Fingerprints tell contents apart, whatever the size."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

import thon.job.fingerprint as module
from thon.base.errors import InputError
from thon.job.fingerprint import fingerprint


def test_a_small_file_is_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    found = fingerprint(path)
    assert found.sha256 == hashlib.sha256(b"content").hexdigest()
    assert (found.bytes, found.partial) == (7, False)


def test_the_time_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    before = fingerprint(path)
    os.utime(path, (1, 1))
    assert fingerprint(path) != before
    assert fingerprint(path).same_content(before)


def test_a_large_file_is_sampled_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("WHOLE", 1000), ("END", 100), ("BLOCK", 10), ("BLOCKS", 8)):
        monkeypatch.setattr(module, name, size)
    path = tmp_path / "large"
    content = bytearray(range(256)) * 8
    path.write_bytes(content)
    before = fingerprint(path)
    assert before.partial
    for place in (50, len(content) - 50, 100):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert not fingerprint(path).same_content(before)
    path.write_bytes(content + b"x")
    assert not fingerprint(path).same_content(before)


def test_a_folder_counts_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("1")
    before = fingerprint(tmp_path / "f")
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "b")
    assert not fingerprint(tmp_path / "f").same_content(before)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        fingerprint(tmp_path / "none")


@pytest.mark.parametrize("odd", ["fifo", "/dev/zero"])
def test_what_never_ends_is_refused(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "odd"
    os.mkfifo(path) if odd == "fifo" else path.symlink_to(odd)
    with pytest.raises(InputError, match="neither a file nor a folder"):
        fingerprint(path)
