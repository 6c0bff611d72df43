"""Images whose Ewald sphere is curved: each pixel of a spectrum holds two waves, from two points of the object's.

With the phase a whose sine is the CTF, the spectrum of an image is

    X(k) = [F(k, −s) exp(ia) − F(k, s) exp(−ia)] / 2i,    s = ± λ k² / 2,

F being that of the object at the frequency k in the image's plane and s along the beam. Where a flat sphere would be
taken, both points are one and X = F sin a. Each image gives an estimate of F at either point, X times the conjugate of
its wave's factor. What the other wave adds to it oscillates with defocus and direction, and averages out, but for where
the points are so near that an object of a known diameter makes them alike. The weights take this into account, and so
pass from sin² a, of the flat sphere, at low frequencies to one quarter for either point at high ones.

Source: DeRosier 2000, Ultramicroscopy 81, 83; Wolf, DeRosier & Grigorieff 2006, Ultramicroscopy 106, 376; Russo &
Henderson 2018, Ultramicroscopy 187, 26.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.likelihood.images import BlockImages, times
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.data.particles import ParticleCtf, ParticleOptics
from thon.ops.ctf import electron_wavelength
from thon.ops.particle_ctf import ctf_amplitude, ctf_phase


@dataclass(frozen=True)
class Wave:
    """What images say of the object on one side of their planes.

    Args:
        values: To be summed.
        weights: Of the values.
        places: (z, y, x) in the image's frame that they belong to, in pixels of the reference's spectrum.
    """

    values: Float[torch.Tensor, "n 2 pixels"]
    weights: Float[torch.Tensor, "n pixels"]
    places: Float[torch.Tensor, "3 pixels"]


def separate_waves(
    images: BlockImages,
    ctf: ParticleCtf,
    group: ParticleOptics,
    pixels: FourierPixels,
    *,
    diameter: float,
    curvature: int,
) -> tuple[Wave, Wave]:
    """The two waves in images of one optics group.

    Args:
        images: Spectra over their noise, not corrected for the CTF.
        ctf: Of each.
        group: Their optics group.
        pixels: Pixels of the spectra.
        diameter: Of the object, Å.
        curvature: 1 where the defocus of a point grows with its height z in the image's frame, −1 where it falls.
    """
    if group.optics.voltage is None:
        raise ValueError(f"optics group '{group.name}' lacks the voltage")
    frequency = torch.from_numpy(pixels.true_frequency)
    phase, amplitude = ctf_phase(frequency, ctf, group), ctf_amplitude(frequency, ctf)
    fall = torch.ones_like(phase) if amplitude is None else amplitude
    apart = electron_wavelength(group.optics.voltage) * np.square(pixels.true_frequency).sum(1)
    alike = torch.from_numpy(ball_correlation(apart, diameter))
    weights = images.weights * (fall.square() * (1 - alike * torch.cos(2 * phase)) / 4).float()
    return tuple(
        Wave(
            times(images.summed, torch.stack([phase.sin(), side * phase.cos()], 1).mul(fall[:, None] / 2).float()),
            weights,
            _places(pixels, -side * curvature * apart / 2),
        )
        for side in (1, -1)
    )  # pyright: ignore[reportReturnType]


def ball_correlation(distance: Float[np.ndarray, "n"], diameter: float) -> Float[np.ndarray, "n"]:
    """How alike the spectrum of what fills a ball is at frequencies some distance apart, −0.09 to 1.

    Args:
        distance: 1/Å.
        diameter: Å.
    """
    u = np.maximum(math.pi * diameter * distance, 1e-2)  # where it is 1 but for 1e-5, and the formula exact enough
    return 3 * (np.sin(u) - u * np.cos(u)) / u**3


def _places(pixels: FourierPixels, height: Float[np.ndarray, "pixels"]) -> Float[torch.Tensor, "3 pixels"]:
    """Places of pixels at heights along the beam, 1/Å."""
    return torch.from_numpy(np.concatenate([[height * pixels.extent], pixels.places.T]))
