"""Which images are left out, and which never are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.algorithms.dark_tilts import DarkTiltOptions, find_dark_tilts

TILT = np.arange(-60.0, 61, 6)


def clean(level: float = 100.0, seed: int = 0) -> torch.Tensor:
    """A slab whose brightness falls to a third at 60°, with detail and noise; 90 × 101 px."""
    random = torch.Generator().manual_seed(seed)
    path = torch.from_numpy(1 / np.cos(np.deg2rad(TILT))).float()
    bright = level * torch.exp(-1.0 * (path - 1))
    detail = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 94, 105, generator=random), 5, 1)[0]
    noise = torch.randn(len(TILT), 90, 101, generator=random)
    return bright[:, None, None] * (1 + 0.3 * detail) + 0.1 * level * noise


def test_nothing_is_left_out_of_a_clean_series() -> None:
    assert find_dark_tilts(clean(), TILT, DarkTiltOptions()) == {}


def test_a_dark_image_is_named_with_its_brightness() -> None:
    images = clean()
    images[3] *= 0.2
    found = find_dark_tilts(images, TILT, DarkTiltOptions(detail=0))
    assert list(found) == [3]
    assert found[3].startswith("dark: 2")
    assert "-42.0°" in found[3]
    assert find_dark_tilts(images, TILT, DarkTiltOptions(tolerance=0, detail=0, blocked_area=1)) == {}


def test_a_blocked_image_is_told_from_a_dark_one() -> None:
    """A grid bar over 45 % of the area."""
    images = clean()
    images[18, :, :45] *= 0.05
    found = find_dark_tilts(images, TILT, DarkTiltOptions())
    assert list(found) == [18]
    assert found[18].startswith("blocked: 4")
    assert find_dark_tilts(images, TILT, DarkTiltOptions(blocked_area=0.6)) == {}


@pytest.mark.parametrize("level", [100.0, 0.0])
def test_an_image_without_detail_is_found_also_in_data_of_zero_mean(level: float) -> None:
    images = clean() - (100 - level)
    if level == 0:
        images = images - images.mean((-2, -1), keepdim=True)
    images[6] = images[6].mean() + 0.05 * images[6].std() * torch.randn(90, 101)
    found = find_dark_tilts(images, TILT, DarkTiltOptions())
    assert list(found) == [6]
    assert found[6].startswith("without detail: varies 5%")
    assert find_dark_tilts(images, TILT, DarkTiltOptions(detail=0)) == {}


def test_data_of_zero_mean_are_not_judged_by_brightness() -> None:
    images = clean()
    images = images - images.mean((-2, -1), keepdim=True)
    images[2] -= 40
    assert find_dark_tilts(images, TILT, DarkTiltOptions()) == {}


def test_low_tilts_are_never_left_out_by_brightness() -> None:
    images, options = clean(), DarkTiltOptions(detail=0)
    zero = int(np.argmin(np.abs(TILT)))
    images[zero] *= 0.2
    assert find_dark_tilts(images, TILT, options) == {}
    assert list(find_dark_tilts(images, TILT, options.model_copy(update={"low_tilt": 0.0}))) == [zero]
    images[zero + 1] *= 0.2
    assert list(find_dark_tilts(images, TILT, options)) == [zero + 1]


def test_several_at_once_whatever_the_order() -> None:
    images = clean()
    for k in (0, 1, 19):
        images[k] = 5 + 0.5 * torch.randn(90, 101, generator=torch.Generator().manual_seed(k))
    order = np.random.default_rng(0).permutation(len(TILT))
    found = find_dark_tilts(images[torch.from_numpy(order)], TILT[order], DarkTiltOptions())
    assert sorted(order[list(found)]) == [0, 1, 19]


def test_constant_images_are_left_out_whatever_the_limits() -> None:
    images = clean()
    images[4] = 100.0
    off = DarkTiltOptions(tolerance=0, detail=0, blocked_area=1)
    assert list(find_dark_tilts(images, TILT, off)) == [4]
    assert len(find_dark_tilts(torch.full((21, 80, 90), 5.0), TILT, DarkTiltOptions())) == 21
