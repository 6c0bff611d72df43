"""Lays the graph of jobs out in layers: each job below all that it takes from, lines as straight as may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 248, 108
ACROSS, DOWN = 26, 32
MARGIN = 24
WIDEST = 7
"""Jobs that depend on nothing of each other and would stand in one long row are broken into rows of so many."""

SWEEPS = 4


@dataclass(frozen=True)
class Spot:
    """Where a card lies, px."""

    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """Where everything lies.

    Args:
        spots: The cards by job.
        edges: Lines from a job to one that takes from it, with the path as SVG has it.
        width: Of the whole, px.
        height: Of the whole, px.
    """

    spots: dict[str, Spot]
    edges: list[tuple[str, str, str]]
    width: float
    height: float


def lay_out(parents: Mapping[str, Sequence[str]]) -> Layout:
    """The places of jobs, given in the order in which they were made, each with those that it takes from."""
    known = {job: [one for one in before if one in parents and one != job] for job, before in parents.items()}
    rows = _ordered(_broken(_layers(known)), known)
    widest = max((len(row) for row in rows), default=1)
    spots: dict[str, Spot] = {}
    for level, row in enumerate(rows):
        left = MARGIN + (widest - len(row)) * (WIDTH + ACROSS) / 2
        for place, job in enumerate(row):
            spots[job] = Spot(left + place * (WIDTH + ACROSS), MARGIN + level * (HEIGHT + DOWN))
    edges = [(one, job, _curve(spots[one], spots[job])) for job, before in known.items() for one in before]
    width = 2 * MARGIN + widest * (WIDTH + ACROSS) - ACROSS
    height = 2 * MARGIN + len(rows) * (HEIGHT + DOWN) - DOWN
    return Layout(spots, edges, width, max(height, HEIGHT + 2 * MARGIN))


def _layers(parents: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Jobs by the length of the longest way that leads to them; a ring, as records edited by hand may hold, ends."""
    depth: dict[str, int] = {}

    def deep(job: str, way: frozenset[str]) -> int:
        if job not in depth:
            before = [deep(one, way | {job}) for one in parents[job] if one not in way]
            depth[job] = 1 + max(before, default=-1)
        return depth[job]

    for job in parents:
        deep(job, frozenset({job}))
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for job in parents:
        rows[depth[job]].append(job)
    return rows


def _broken(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(row[k : k + WIDEST]) for row in rows for k in range(0, len(row), WIDEST)]


def _ordered(rows: list[list[str]], parents: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Rows in which each job stands near the middle of those that it is tied to."""
    children: dict[str, list[str]] = {}
    for job, before in parents.items():
        for one in before:
            children.setdefault(one, []).append(job)
    for sweep in range(SWEEPS):
        ties = parents if sweep % 2 == 0 else children
        place = {job: k - len(row) / 2 for row in rows for k, job in enumerate(row)}
        for row in rows if sweep % 2 == 0 else reversed(rows):
            middle = {job: _mean([place[one] for one in ties.get(job, ())], place[job]) for job in row}
            row.sort(key=lambda job: middle[job])
            place |= {job: k - len(row) / 2 for k, job in enumerate(row)}
    return rows


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _curve(above: Spot, below: Spot) -> str:
    x1, y1, x2, y2 = above.x + WIDTH / 2, above.y + HEIGHT, below.x + WIDTH / 2, below.y
    bend = max(18.0, min(abs(y2 - y1) / 2, 60.0))
    return f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
