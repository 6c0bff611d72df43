"""The picture of a spectrum: its left half is what was measured, its right half the squared CTF, in the same place."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from thon.algorithms.tilt_ctf_picture import draw_spectrum, spectrum_side
from thon.data.ctf import Ctf
from thon.data.optics import Optics
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration

OPTICS = Optics(300.0, 2.7, 0.1)
CTF = Ctf(26_000.0, 18_000.0, 35.0)
PIXEL_SIZE = 2.5


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Of white noise seen through a strongly astigmatic lens."""
    random = torch.Generator().manual_seed(3)
    noise = torch.randn(700, 640, generator=random, dtype=torch.float64)
    rows = torch.fft.fftfreq(700, PIXEL_SIZE, dtype=torch.float64)[:, None].expand(700, 321)
    columns = torch.fft.rfftfreq(640, PIXEL_SIZE, dtype=torch.float64)[None].expand(700, 321)
    u, v, angle = (
        torch.tensor(x, dtype=torch.float64) for x in (CTF.defocus_u, CTF.defocus_v, math.radians(CTF.angle))
    )
    defocus = astigmatic_defocus(torch.atan2(rows, columns), u, v, angle)
    phase = phase_aberration(torch.hypot(rows, columns), defocus, wavelength=electron_wavelength(300.0), cs=2.7)
    rings = contrast_transfer(phase, amplitude_contrast=0.1)
    image = torch.fft.irfft2(torch.fft.rfft2(noise) * rings, s=(700, 640)).float()
    return draw_spectrum(image, PIXEL_SIZE, OPTICS, CTF)


def test_the_measured_half_shows_the_rings_of_the_model_turned_by_half_a_turn(picture: np.ndarray) -> None:
    assert picture.shape == (512, 512)
    y, x = np.mgrid[:512, :512] - 256
    turned = np.roll(picture[::-1, ::-1], (1, 1), (0, 1))
    ring = (np.hypot(y, x) > 25) & (np.hypot(y, x) < 110) & (x < 0)
    assert np.corrcoef(picture[ring], turned[ring])[0, 1] > 0.5
    mirrored = np.roll(picture[:, ::-1], 1, 1)
    assert np.corrcoef(picture[ring], mirrored[ring])[0, 1] < 0.2, "astigmatism tells a turn from a mirror"


def test_without_a_fit_the_right_half_is_grey() -> None:
    image = torch.randn(200, 150, generator=torch.Generator().manual_seed(1))
    found = draw_spectrum(image, PIXEL_SIZE, OPTICS, Ctf(math.nan, math.nan))
    assert found.shape == (150, 150) == (spectrum_side((200, 150)),) * 2
    assert (found[:, 75:] == 0.5).all()
    assert found[:, :75].std() > 0.05
