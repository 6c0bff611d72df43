"""How much of the disk each job takes, and for what."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from thon.job.folder import UNFINISHED, JobFolder
from thon.job.iterations import ITERATIONS

LEFTOVERS = ("checkpoints", ITERATIONS, "interim")
"""Folders of a job that nobody needs once it is finished, but to begin another at an iteration."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of one job.

    Args:
        job: Its number.
        outputs: Results.
        leftovers: Checkpoints, iterations, interim results, and what a kill left half-written.
        rest: Record, events, previews, logs.
    """

    job: str
    outputs: int
    leftovers: int
    rest: int

    @property
    def total(self) -> int:
        """All bytes."""
        return self.outputs + self.leftovers + self.rest


def sizes_of(folder: JobFolder) -> Sizes:
    """Bytes on the disk of a job; what bears several names inside it counts once."""
    seen = set[tuple[int, int]]()
    outputs = size_of(folder.path / "outputs", seen)
    left = sum(size_of(path, seen) for path in leftovers_of(folder))
    rest = size_of(folder.path, seen)
    return Sizes(folder.path.name.split("-")[0], outputs, left, rest)


def leftovers_of(folder: JobFolder) -> list[Path]:
    """Folders of a job that can go once it has ended."""
    found = [folder.path / name for name in LEFTOVERS if (folder.path / name).is_dir()]
    half = [*folder.path.glob(f"{UNFINISHED}*"), *folder.path.glob(f"outputs/{UNFINISHED}*")]
    return [*found, *half]


def size_of(path: Path, seen: set[tuple[int, int]]) -> int:
    """Bytes of a file or folder that were not seen before."""
    if not path.is_dir():
        return _bytes(path, seen) if path.exists() else 0
    return sum(_bytes(Path(here) / name, seen) for here, _, names in os.walk(path) for name in names)


def _bytes(path: Path, seen: set[tuple[int, int]]) -> int:
    stat = path.lstat()
    if (stat.st_dev, stat.st_ino) in seen:
        return 0
    seen.add((stat.st_dev, stat.st_ino))
    return stat.st_size
