"""What a microscope does to the images of particles, at any frequencies: CTFs, phases of odd aberrations, and the two
waves that interfere in an image.

Frequencies are true ones (y, x) in 1/Å: where the magnification is anisotropic, they are what the recorded frequencies
stand for (`true_frequency`), as in RELION.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from thon.data.particles import ParticleCtf, ParticleOptics
from thon.ops.aberration import coma_phase, zernike_phase
from thon.ops.ctf import amplitude_phase, astigmatic_defocus, electron_wavelength, phase_aberration

_COMA = (3, 4)  # places of Z(3, −1) and Z(3, 1) among the odd coefficients


def true_frequency(recorded: Float[torch.Tensor, "*grid 2"], group: ParticleOptics) -> Float[torch.Tensor, "*grid 2"]:
    """Frequencies that an isotropic magnification would have recorded, for those that were recorded.

    Args:
        recorded: (y, x), 1/Å.
        group: Optics group with the magnification.
    """
    if group.magnification is None:
        return recorded
    return recorded @ recorded.new_tensor(np.linalg.inv(np.array(group.magnification)).T)


def ctf_phase(
    frequency: Float[torch.Tensor, "*grid 2"], ctf: ParticleCtf, group: ParticleOptics
) -> Float[torch.Tensor, "n *grid"]:
    """The phase whose sine is the CTF of each particle, even aberrations included, radians.

    Args:
        frequency: True ones.
        ctf: Of each particle.
        group: Their optics group.

    Raises:
        ValueError: The group lacks a constant of the microscope.
    """
    optics = group.optics
    if optics.voltage is None or optics.cs is None or optics.amplitude_contrast is None:
        raise ValueError(f"optics group '{group.name}' lacks voltage, spherical aberration or amplitude contrast")
    u, v, angle, plate = (
        _each(values, frequency) for values in (ctf.defocus_u, ctf.defocus_v, ctf.angle, ctf.phase_shift)
    )
    y, x = frequency.unbind(-1)
    azimuth, length = torch.atan2(y, x), torch.hypot(y, x)
    phase = phase_aberration(
        length.expand(len(u), *length.shape),
        astigmatic_defocus(azimuth.expand(len(u), *azimuth.shape), u, v, torch.deg2rad(angle)),
        wavelength=electron_wavelength(optics.voltage),
        cs=optics.cs,
    )
    constant = torch.deg2rad(plate) + amplitude_phase(optics.amplitude_contrast)
    if any(group.even_zernike):
        constant = constant - zernike_phase(frequency, group.even_zernike, odd=False)
    return phase + constant


def ctf_amplitude(frequency: Float[torch.Tensor, "*grid 2"], ctf: ParticleCtf) -> Float[torch.Tensor, "n *grid"] | None:
    """The factor of the sine in the CTF of each particle; None where it is 1."""
    if not (ctf.b_factor != 0).any() and not (ctf.scale != 1).any():
        return None
    fall, scale = (_each(values, frequency) for values in (ctf.b_factor, ctf.scale))
    return scale * torch.exp(-fall * frequency.square().sum(-1) / 4)


def particle_ctf(
    frequency: Float[torch.Tensor, "*grid 2"], ctf: ParticleCtf, group: ParticleOptics
) -> Float[torch.Tensor, "n *grid"]:
    """The CTF of each particle, for images in which matter is bright.

    Args:
        frequency: True ones.
        ctf: Of each particle.
        group: Their optics group.

    Raises:
        ValueError: The group lacks a constant of the microscope.
    """
    value, amplitude = torch.sin(ctf_phase(frequency, ctf, group)), ctf_amplitude(frequency, ctf)
    return value if amplitude is None else value * amplitude


def odd_phase(frequency: Float[torch.Tensor, "*grid 2"], group: ParticleOptics) -> Float[torch.Tensor, "*grid"] | None:
    """Phase that a tilted beam and odd aberrations added to the images' spectra, radians; None where they are none.

    Where the beam is tilted, the tilt is all the coma there is: coefficients of Z(3, ±1) do not count, as in RELION.
    """
    optics, tilted = group.optics, any(group.beam_tilt)
    odd = [0.0 if tilted and k in _COMA else value for k, value in enumerate(group.odd_zernike)]
    phase = zernike_phase(frequency, odd, odd=True) if any(odd) else None
    if not tilted or optics.voltage is None or optics.cs is None:
        return phase
    coma = coma_phase(frequency, group.beam_tilt, wavelength=electron_wavelength(optics.voltage), cs=optics.cs)
    return coma if phase is None else phase + coma


def _each(values: Float[np.ndarray, "n"], frequency: Float[torch.Tensor, "*grid 2"]) -> torch.Tensor:
    """One value for each particle, to go with a grid."""
    return torch.from_numpy(np.asarray(values, np.float64)).to(frequency).reshape(-1, *[1] * (frequency.ndim - 1))
