"""CTFs of particles with aberrations, against RELION and written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.algorithms.aberrated_phantom import optics_group, zernike_sum
from thon.data.optics import Optics
from thon.data.particles import ParticleCtf
from thon.ops.particle_ctf import ctf_phase, odd_phase, particle_ctf, true_frequency

GOLDEN = Path(__file__).parents[1] / "data" / "relion" / "aberrations_3.1.3.npz"
EVEN = (0.2, 30.0, -8.0, 14.0, 150.0, -220.0, 40.0, 90.0, -310.0)
RELION_MATRIX = np.array([[1.05, 0.03], [-0.01, 0.96]])  # (x, y), recorded to true
CTF = ParticleCtf.of(np.array([9000.0]), np.array([8000.0]), np.array([25.0]))


def grid(box: int, pixel_size: float) -> torch.Tensor:
    s = np.fft.fftfreq(box, pixel_size)
    return torch.from_numpy(np.stack(np.meshgrid(s, s, indexing="ij"), -1))


class TestRelion:
    @pytest.mark.parametrize("magnified", [False, True])
    def test_even_aberrations_and_magnification_are_relions(self, *, magnified: bool) -> None:
        with np.load(GOLDEN) as file:
            image = file["images"][int(magnified)]
        theirs = np.fft.fft2(np.fft.ifftshift(image)).real
        inverse = np.linalg.inv(RELION_MATRIX)[::-1, ::-1]
        matrix = tuple(tuple(row) for row in inverse.tolist()) if magnified else None
        group = optics_group(24, 1.5, even_zernike=EVEN, magnification=matrix)
        recorded = grid(24, 1.5)
        ours = particle_ctf(true_frequency(recorded, group), CTF, group)[0].numpy()
        inside = np.linalg.norm(recorded.numpy(), axis=-1) < 11 / 24 / 1.5
        # Their wavelength is 5e-6 longer, which on a phase of 55 radians is 3e-4.
        assert np.abs(ours - theirs)[inside].max() < 5e-4
        plain = optics_group(24, 1.5, magnification=matrix)
        assert np.abs(particle_ctf(true_frequency(recorded, plain), CTF, plain)[0].numpy() - theirs)[inside].max() > 0.5


class TestPhases:
    def test_even_aberrations_are_taken_off(self) -> None:
        frequency = grid(10, 2.0).to(torch.float32)
        group, plain = optics_group(10, 2.0, even_zernike=EVEN), optics_group(10, 2.0)
        found = ctf_phase(frequency, CTF, plain) - ctf_phase(frequency, CTF, group)
        y, x = frequency.double().numpy().transpose(2, 0, 1)
        np.testing.assert_allclose(found[0], zernike_sum(EVEN, 0, y, x), atol=1e-4)

    def test_coma_and_odd_aberrations_add_up(self) -> None:
        frequency = grid(9, 2.0)
        odd = (0.5, -1.0, 30.0, 0.0, 0.0, 4.0)
        both = odd_phase(frequency, optics_group(9, 2.0, odd_zernike=odd, beam_tilt=(0.4, -0.2)))
        tilt = odd_phase(frequency, optics_group(9, 2.0, beam_tilt=(0.4, -0.2)))
        alone = odd_phase(frequency, optics_group(9, 2.0, odd_zernike=odd))
        assert both is not None
        assert tilt is not None
        assert alone is not None
        assert tilt.abs().max() > 0.1
        torch.testing.assert_close(both, tilt + alone)
        torch.testing.assert_close(alone, -odd_phase(-frequency, optics_group(9, 2.0, odd_zernike=odd)))  # pyright: ignore[reportOptionalOperand]
        y, x = frequency.numpy().transpose(2, 0, 1)
        np.testing.assert_allclose(alone, zernike_sum(odd, 1, y, x), atol=1e-12)

    def test_a_tilt_stands_for_all_coma(self) -> None:
        """relion_reconstruct 3.1.3 makes the same map with and without these two coefficients where there is a tilt."""
        frequency = grid(9, 2.0)
        comatic = {"odd_zernike": (0.5, -1.0, 30.0, 7.0, -12.0, 4.0)}
        found, without = (
            odd_phase(frequency, optics_group(9, 2.0, beam_tilt=(0.4, -0.2), odd_zernike=odd))
            for odd in (comatic["odd_zernike"], (0.5, -1.0, 30.0, 0.0, 0.0, 4.0))
        )
        torch.testing.assert_close(found, without)
        assert not torch.equal(
            odd_phase(frequency, optics_group(9, 2.0, **comatic)),  # pyright: ignore[reportArgumentType]
            odd_phase(frequency, optics_group(9, 2.0, odd_zernike=(0.5, -1.0, 30.0, 0.0, 0.0, 4.0))),  # pyright: ignore[reportArgumentType]
        )

    def test_nothing_odd_is_no_phase(self) -> None:
        assert odd_phase(grid(8, 1.0), optics_group(8, 1.0, odd_zernike=(0.0, 0.0), even_zernike=EVEN)) is None

    def test_fall_off_and_scale(self) -> None:
        frequency, group = grid(8, 2.0), optics_group(8, 2.0)
        faded = ParticleCtf(*(np.array([value]) for value in (9000.0, 8000.0, 25.0, 0.0, 60.0, 0.5)))
        expected = 0.5 * np.exp(-15 * np.square(frequency.numpy()).sum(-1))
        ratio = particle_ctf(frequency, faded, group) / particle_ctf(frequency, CTF, group)
        np.testing.assert_allclose(ratio[0], expected, rtol=1e-9)

    def test_missing_constants_are_named(self) -> None:
        with pytest.raises(ValueError, match="one' lacks voltage"):
            particle_ctf(grid(8, 1.0), CTF, optics_group(8, 1.0, optics=Optics(300.0, None, 0.1)))
