"""Power spectra of tiles against spectra known beforehand."""

import math

import numpy as np
import pytest
import torch

from thon.ops.power_spectrum import fast_size, place_tiles, screen_tiles, tile_side, tile_spectra, tile_window


def test_white_noise_has_its_variance_everywhere() -> None:
    image = 3 * torch.randn(300, 421, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 17
    spectra = tile_spectra(image, 2.0, size=64)
    assert spectra.pixel_size == 2.0
    assert bool(spectra.kept.all())
    inner = spectra.mean()[:, 1:-1]
    assert float(inner.mean()) == pytest.approx(9.0, rel=0.03)
    assert float(inner[20:40].mean()) == pytest.approx(9.0, rel=0.05)
    torch.testing.assert_close(spectra.amplitude() ** 2, spectra.mean())


def test_a_wave_appears_where_it_belongs_and_only_there() -> None:
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(333.0), indexing="ij")
    image = torch.cos(2 * math.pi * (-9 * y + 5 * x) / 64)
    power = tile_spectra(image, 2.0, size=64).mean()
    row, column = np.unravel_index(int(power.argmax()), power.shape)
    assert (row, column) == (64 - 9, 5)
    assert float(power[10:40].max()) < 1e-3 * float(power.max())


def test_fine_pixels_are_cropped_without_moving_anything() -> None:
    side, size = tile_side(0.7, size=64)
    assert (side, size) == (128, 64)
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(300.0), indexing="ij")
    wave = torch.cos(2 * math.pi * (-9 * y + 5 * x) / 128) + torch.cos(2 * math.pi * 50 * x / 128)
    spectra = tile_spectra(wave, 0.7, size=64)
    assert spectra.pixel_size == pytest.approx(1.4)
    row, column = np.unravel_index(int(spectra.mean().argmax()), (64, 33))
    assert (row, column) == (64 - 9, 5)
    whole = tile_spectra(wave, 0.7, size=128, min_pixel_size=0.5)
    torch.testing.assert_close(spectra.power[:, :32, :33], whole.power[:, :32, :33])


def test_tiles_cover_the_image_and_know_their_place() -> None:
    first = place_tiles((100, 171), 64, 0.5)
    assert first.min(0).values.tolist() == [0, 0]
    assert first.max(0).values.tolist() == [36, 107]
    image = torch.randn(100, 171, generator=torch.Generator().manual_seed(0)) * 0.01
    image[80:90, 150:160] += 1.0
    spectra = tile_spectra(image, 3.0, size=64)
    brightest = spectra.center[int(spectra.power.sum((-1, -2)).argmax())]
    assert brightest.tolist() == [36 + 32 - 50, 107 + 32 - 85]
    with pytest.raises(ValueError, match="does not fit"):
        place_tiles((63, 100), 64, 0.5)


def test_squares_of_the_window_add_up() -> None:
    window = tile_window(64, dtype=torch.float64)
    torch.testing.assert_close(window[:32] ** 2 + window[32:] ** 2, torch.ones(32, dtype=torch.float64))


def test_empty_and_dirty_tiles_are_left_out() -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(256, 384, generator=generator) + 10
    image[:64, :64] = 0.0
    image[128:192, 128:192] += 60 * torch.rand(64, 64, generator=generator)
    spectra = tile_spectra(image, 2.0, size=64, overlap=0.0)
    assert torch.nonzero(~spectra.kept).ravel().tolist() == [0, 2 * 6 + 2]
    assert float(spectra.mean()[:, 1:-1].mean()) == pytest.approx(1.0, rel=0.03)
    assert bool(screen_tiles(torch.zeros(4), torch.ones(4)).all())


def test_where_most_tiles_are_flat_all_others_are_kept() -> None:
    deviation = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.1, 0.9, 0.0, 0.0])
    assert screen_tiles(10.0 * (deviation > 0), deviation).tolist() == (deviation > 0).tolist()
    assert bool(screen_tiles(torch.ones(3), torch.zeros(3)).all())


def test_fast_sizes_have_small_factors() -> None:
    assert [fast_size(n) for n in (0, 1, 511, 513, 722, 1001)] == [2, 2, 512, 540, 750, 1024]
