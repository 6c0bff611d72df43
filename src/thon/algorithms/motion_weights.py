"""Dose weights as sums of a few products: a factor of the frame times a factor of the frequency.

Weights fall with the exposure in much the same way at all frequencies, so that their table, frames × shells, has hardly
more than five significant singular values. Frames are therefore added as images, once for each of these, and only the
sums are transformed and weighted by frequency, where else each frame would be.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

_TOLERANCE = 1e-3
_COARSE = 8  # weights are so smooth that every eighth shell tells their rank


@dataclass(frozen=True)
class WeightPlanes:
    """What some consecutive frames are multiplied with.

    Args:
        frames: Which ones.
        by_frame: Factors of the frames in each plane, the planes of all sums after one another.
        by_shell: Factors of the frequencies in a sum's planes, by name of the sum.
    """

    frames: range
    by_frame: Float[torch.Tensor, "frames planes"]
    by_shell: Mapping[str, Float[torch.Tensor, "_ shells"]]


def weight_planes(tables: Mapping[str, Float[torch.Tensor, "frames shells"]], most: int) -> list[WeightPlanes]:
    """Factors of tables of weights, in as few blocks of frames as need no more than `most` planes for a sum.

    Args:
        tables: Weights by name of the sum, in units in which the root of the sum of their squares over the frames, the
            noise, is about 1. It is kept to 0.1 %.
        most: Planes for a sum, 1 or more.
    """
    number = len(next(iter(tables.values())))
    for blocks in itertools.count(1):
        edges = np.linspace(0, number, blocks + 1).round().astype(int)
        made = [_block(tables, range(a, b)) for a, b in itertools.pairwise(edges.tolist()) if b > a]
        if all(len(factors) <= most for block in made for factors in block.by_shell.values()):
            return made
    raise AssertionError("a block of one frame has one plane")


def _block(tables: Mapping[str, Float[torch.Tensor, "frames shells"]], frames: range) -> WeightPlanes:
    by_frame: list[torch.Tensor] = []
    by_shell: dict[str, torch.Tensor] = {}
    for name, table in tables.items():
        part = table[frames.start : frames.stop].double()
        axes = _significant_axes(part[:, ::_COARSE])
        by_frame.append(axes)
        by_shell[name] = (axes.T @ part).float()
    return WeightPlanes(frames, torch.cat(by_frame, 1).float(), by_shell)


def _significant_axes(table: Float[torch.Tensor, "frames shells"]) -> Float[torch.Tensor, "frames planes"]:
    """Orthonormal axes that hold all but the tolerance of each column."""
    _, axes = torch.linalg.eigh(table @ table.T)
    axes = axes.flip(1)
    missed = (axes.T @ table).square().flip(0).cumsum(0).flip(0).amax(1).sqrt()
    return axes[:, : max(1, int((missed > _TOLERANCE).sum()))]
