"""Fingerprints of inputs, to tell later whether they are still the same; marks of outputs, to know a copy of one.

A file of up to 256 MB is hashed whole. Of a larger one the first and last 16 MB and 64 blocks of 1 MB between them are
hashed together with its size, and the record says so (`partial`): hashing a terabyte of movies would take longer than
the job, and what changes a movie file changes its size or its header.

Outputs are marked as soon as they are made, so a mark costs no more than a millisecond: of a file of more than 1 MB it
covers the size, both ends and 16 places between them. Whoever needs to be sure compares fingerprints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict

from thon.base.errors import InputError

WHOLE = 256 * 2**20
END = 16 * 2**20
BLOCK = 2**20
BLOCKS = 64

MARKED_WHOLE = 2**20
MARKED_END = 2**16
MARKED_BLOCK = 2**14
MARKED_BLOCKS = 16
MARK = 32


class Fingerprint(BaseModel):
    """What identifies the content of a file or of an earlier job's item."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    bytes: int
    modified: int
    """Time of the last change, nanoseconds since 1970; for people, not compared."""
    partial: bool = False

    def same_content(self, other: Fingerprint) -> bool:
        """Whether the content is the same, whenever it was written."""
        return (self.sha256, self.bytes, self.partial) == (other.sha256, other.bytes, other.partial)


def fingerprint(path: Path) -> Fingerprint:
    """Fingerprint of a file, or of a folder by the names and contents of its files.

    Raises:
        InputError: It does not exist, cannot be read, or is neither file nor folder, so that it may never end.
    """
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            return _folder(path)
        stat = path.stat()
        if not S_ISREG(stat.st_mode):
            raise InputError("neither a file nor a folder", path=path, expected="a regular file", mend="copy it to one")
        with path.open("rb") as file:
            for block in _blocks(file, stat.st_size):
                digest.update(block)
    except OSError as error:
        raise InputError(
            "cannot be read", path=path, got=error.strerror, mend="check the path and its rights"
        ) from error
    partial = stat.st_size > WHOLE
    if partial:
        digest.update(str(stat.st_size).encode())
    return Fingerprint(sha256=digest.hexdigest(), bytes=stat.st_size, modified=stat.st_mtime_ns, partial=partial)


def mark(path: Path) -> str:
    """Mark of a file, or of a folder by the names and marks of its files: half a SHA-256 in hexadecimal.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(path)}\0{mark(file)}\0".encode())
        return digest.hexdigest()[:MARK]
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        if size <= MARKED_WHOLE:
            digest.update(file.read())
        else:
            for block in _places(file, size, MARKED_END, MARKED_BLOCK, MARKED_BLOCKS):
                digest.update(block)
    return digest.hexdigest()[:MARK]


def _folder(path: Path) -> Fingerprint:
    digest, size, modified, partial = hashlib.sha256(), 0, 0, False
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        one = fingerprint(file)
        digest.update(f"{file.relative_to(path)}\0{one.sha256}\0".encode())
        size, modified, partial = size + one.bytes, max(modified, one.modified), partial or one.partial
    return Fingerprint(sha256=digest.hexdigest(), bytes=size, modified=modified, partial=partial)


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    if size <= WHOLE:
        while block := file.read(BLOCK):
            yield block
        return
    yield from _places(file, size, END, BLOCK, BLOCKS)


def _places(file: BinaryIO, size: int, end: int, block: int, blocks: int) -> Iterator[bytes]:
    """Both ends of a file, and so many blocks between them."""
    yield file.read(end)
    step = (size - 2 * end) // blocks
    for k in range(blocks):
        file.seek(end + k * step)
        yield file.read(block)
    file.seek(size - end)
    yield file.read(end)
