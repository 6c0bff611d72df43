"""Masks against RELION's, by their automatic threshold, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.algorithms.map_phantom import blobs, noise
from thon.algorithms.mask import MaskOptions, make_mask
from thon.base.errors import InputError

RELION = Path(__file__).parent.parent / "data" / "relion" / "mask_3.1.3.npz"


def test_a_mask_is_relions():
    # RELION's filter for 15 Å is at the nearest whole shell of the box.
    made = make_mask(blobs(), 4.0, MaskOptions(low_pass=160 / 11, threshold=0.3, extend=2, edge=4))
    with np.load(RELION) as file:
        expected = file["mask"]
    assert 0.02 < expected.mean() < 0.5
    np.testing.assert_allclose(made.mask, expected, atol=1e-5)
    assert made.share == pytest.approx(expected.mean(), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_the_threshold_is_found_whatever_the_scale_with_noise_or_without(scale, level):
    clean = blobs((40, 44, 48))
    map_ = scale * (clean + level * clean.std() * noise((40, 44, 48), 1) - 2)
    mask = make_mask(map_, 4.0, MaskOptions(extend=0, edge=0)).mask.bool()
    dense, far = clean > 0.5 * clean.max(), clean < 1e-4 * clean.max()
    assert float(mask[dense].float().mean()) == 1
    assert float(mask[far].float().mean()) < 0.05


def test_masks_combine_before_they_are_extended():
    first, second = blobs(), blobs().roll(6, 0)
    options = MaskOptions(threshold=0.4, low_pass=None, extend=2, edge=0)
    alone = {
        how: make_mask(first, 4.0, options.model_copy(update={"combine": how}), other=second).mask.bool()
        for how in ("and", "or", "and-not", "or-not")
    }
    a, b = first >= 0.4, second >= 0.4
    for how, inside in {"and": a & b, "or": a | b, "and-not": a & ~b, "or-not": a | ~b}.items():
        assert bool(alone[how][inside].all())
    assert float(alone["and"].sum()) < float(alone["or"].sum())
    inverted = make_mask(first, 4.0, options.model_copy(update={"invert": True})).mask
    assert torch.equal(inverted, 1 - make_mask(first, 4.0, options).mask)


def test_spheres_and_cylinders_take_their_size_in_angstrom():
    sphere = make_mask(blobs(), 4.0, MaskOptions(shape="sphere", diameter=100, edge=0)).mask
    assert float(sphere.sum()) == pytest.approx(4 / 3 * np.pi * 12.5**3, rel=0.02)
    cylinder = make_mask(blobs(), 4.0, MaskOptions(shape="cylinder", diameter=80, length=80, edge=0)).mask
    assert float(cylinder.sum()) == pytest.approx(np.pi * 10**2 * 21, rel=0.03)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MaskOptions(threshold=99), "empty"),
        (MaskOptions(threshold=-99), "whole box"),
        (MaskOptions(shape="sphere", diameter=400), "fit into the box"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_mask(blobs(), 4.0, options)
    with pytest.raises(InputError, match="another box"):
        make_mask(blobs(), 4.0, MaskOptions(), other=blobs((32, 32, 32), radius=8))
