"""Dose weights as products: the noise that the exact ones would give, in few planes."""

from __future__ import annotations

import pytest
import torch

from thon.algorithms.motion_weights import WeightPlanes, weight_planes
from thon.ops.dose import exposure_weight


def dose_table(frames: int, dose: float, finest: float) -> torch.Tensor:
    frequency = torch.linspace(0, 1 / finest, 900, dtype=torch.float64)
    received = (torch.arange(frames, dtype=torch.float64) + 0.5)[:, None] * dose
    weight = exposure_weight(frequency.expand(frames, -1), received, 300.0)
    return weight / weight.square().sum(0).sqrt()


def restored(blocks: list[WeightPlanes], name: str) -> torch.Tensor:
    parts: list[torch.Tensor] = []
    for block in blocks:
        first = 0
        for other, factors in block.by_shell.items():
            if other == name:
                parts.append(block.by_frame[:, first : first + len(factors)] @ factors)
            first += len(factors)
    return torch.cat(parts)


@pytest.mark.parametrize(("frames", "dose", "most"), [(40, 1.0, 7), (40, 1.0, 2), (8, 0.4, 7), (5, 3.0, 1)])
def test_products_are_the_weights(frames: int, dose: float, most: int):
    table = dose_table(frames, dose, 1.7)
    blocks = weight_planes({"weighted": table, "plain": torch.ones_like(table)}, most)
    assert [k for block in blocks for k in block.frames] == list(range(frames))
    assert all(len(block.by_shell["weighted"]) <= most for block in blocks)
    off = (restored(blocks, "weighted") - table).square().sum(0).sqrt()
    assert float(off.max()) < 2e-3
    torch.testing.assert_close(restored(blocks, "plain").double(), torch.ones_like(table), atol=1e-4, rtol=0)


def test_a_movie_needs_few_planes():
    [block] = weight_planes({"weighted": dose_table(40, 1.0, 1.7)}, 7)
    assert block.by_frame.shape == (40, 5)
    assert len(weight_planes({"weighted": dose_table(40, 1.0, 1.7)}, 2)) > 3
