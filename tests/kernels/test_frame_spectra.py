"""Shifted sums and scores of frame spectra: the compiled kernels do what the formula says."""

from __future__ import annotations

import pytest
import torch

from thon.kernels import frame_spectra
from thon.kernels.frame_spectra import add_aligned, score_frames

Given = tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]


def given(frames: int = 3, rows: int = 21, half: int = 14) -> Given:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.complex64, generator=generator)

    index = torch.randint(0, 9, (rows, half), generator=generator)
    weights = torch.rand(frames, 9, generator=generator)
    return draw(frames, rows, half), (draw(frames, rows), draw(frames, half)), index, weights


def test_sum_agrees_with_the_formula_in_double_precision():
    spectra, ramps, index, weights = given()
    total = torch.ones(21, 14, dtype=torch.complex64)
    add_aligned(total, spectra, ramps, index, weights)
    turn = ramps[0].to(torch.complex128)[:, :, None] * ramps[1].to(torch.complex128)[:, None]
    truth = 1 + (weights.double()[:, index] * turn * spectra.to(torch.complex128)).sum(0)
    torch.testing.assert_close(total.to(torch.complex128), truth, atol=2e-5, rtol=1e-5)


def test_scores_agree_with_the_formula_in_double_precision():
    spectra, ramps, index, weights = given()
    y, x = torch.linspace(-3, 2, 21), torch.linspace(0, 4, 14)
    reference, constant = spectra[1] * 0.5, spectra[2] * 2j
    found = score_frames(spectra, ramps, (y, x), index, weights, reference, constant)
    turn = ramps[0].to(torch.complex128)[:, :, None] * ramps[1].to(torch.complex128)[:, None]
    fit = weights.double()[:, index] * turn * (spectra.to(torch.complex128) * reference + constant)
    rows, columns = y.double()[:, None], x.double()
    parts = [-fit.imag * rows, -fit.imag * columns]
    parts += [fit.real * rows * rows, fit.real * rows * columns, fit.real * columns * columns]
    truth = torch.stack([part.sum((1, 2)) for part in parts], -1)
    torch.testing.assert_close(found, truth, atol=2e-3, rtol=1e-5)


def test_plain_references_agree_with_the_compiled_kernels():
    spectra, ramps, index, weights = given(2, 16, 9)
    y, x = torch.linspace(-1, 1, 16), torch.linspace(0, 1, 9)
    totals = [torch.zeros(16, 9, dtype=torch.complex64) for _ in range(2)]
    add_aligned(totals[0], spectra, ramps, index, weights)
    frame_spectra.add_aligned_reference(totals[1], spectra, *ramps, index, weights)
    torch.testing.assert_close(totals[0], totals[1], atol=1e-5, rtol=1e-5)
    found = score_frames(spectra, ramps, (y, x), index, weights, spectra[0], spectra[1])
    truth = frame_spectra.score_frames_reference(spectra, *ramps, y, x, index, weights, spectra[0], spectra[1])
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=1e-5)


def test_operators_are_registered_properly():
    spectra, ramps, index, weights = given(2, 8, 5)
    y, x = torch.linspace(-1, 1, 8), torch.linspace(0, 1, 5)
    torch.library.opcheck(torch.ops.thon.score_frames.default, (spectra, *ramps, y, x, index, weights, *spectra))
    total = torch.zeros(8, 5, dtype=torch.complex64)
    torch.library.opcheck(torch.ops.thon.add_aligned.default, (total, spectra, *ramps, index, weights))


def test_shapes_that_do_not_fit_are_refused():
    spectra, ramps, index, weights = given()
    with pytest.raises(ValueError, match="spectra are"):
        add_aligned(torch.zeros(21, 13, dtype=torch.complex64), spectra, ramps, index, weights)
    with pytest.raises(ValueError, match="complex64"):
        add_aligned(torch.zeros(21, 14, dtype=torch.complex128), spectra, ramps, index, weights)
