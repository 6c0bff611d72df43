"""Power of the noise in particle images, as a likelihood needs it before anything is known of the particles."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_EDGE = 5.0


def noise_power(
    images: Float[np.ndarray, "n box box"], diameter: float, pixel_size: float
) -> Float[np.ndarray, "shells"]:
    """Variance of the real part, and of the imaginary part, of the images' Fourier components, by shell.

    Transforms are divided by the number of pixels, and images masked by a circle with a soft edge, as RELION has it.
    What the particles themselves add is not taken off: at usual doses it is little.

    Args:
        images: Some hundreds are enough.
        diameter: Of the circle, Å.
        pixel_size: Å.
    """
    box = images.shape[-1]
    centred = np.arange(box) - box // 2
    radius = np.hypot(centred[:, None], centred)
    reached = np.clip((radius - diameter / (2 * pixel_size)) / _EDGE, 0, 1)
    mask = 0.5 + 0.5 * np.cos(np.pi * reached)
    spectra = np.fft.rfft2(np.fft.ifftshift(images * mask, axes=(-2, -1))) / box**2
    power = np.square(np.abs(spectra)).mean(0)
    shell = np.rint(np.hypot(np.fft.fftfreq(box, 1 / box)[:, None], np.fft.rfftfreq(box, 1 / box))).astype(int)
    inside = shell <= box // 2
    return np.bincount(shell[inside], power[inside]) / np.bincount(shell[inside]) / 2
