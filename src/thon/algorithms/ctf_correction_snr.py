"""Signal over noise along frequency, from how deep the Thon rings of an image are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.tilt_ctf_model import Lens, row_defocus, weigh_evidence
from thon.algorithms.tilt_ctf_refine import SILENT
from thon.algorithms.tilt_ctf_rings import RingGrid, measure_rings
from thon.data.ctf import Ctf
from thon.data.optics import Optics

_TILE = 700.0  # Å
_COARSEST = 40.0  # Å
_LEAST = 1e-3


@dataclass(frozen=True)
class SignalToNoise:
    """Power of the signal over that of the noise where the CTF is 1.

    Args:
        squared: Evenly spaced squared frequencies, 1/Å².
        ratio: At each; constant beyond the ends.
    """

    squared: Float[np.ndarray, "bins"]
    ratio: Float[np.ndarray, "bins"]

    def __call__(self, frequency: Float[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
        """Ratio at frequencies in 1/Å."""
        ratio = torch.from_numpy(self.ratio).to(frequency)
        step = float(self.squared[1] - self.squared[0])
        place = ((frequency.square() - float(self.squared[0])) / step).clamp(0, len(ratio) - 1)
        below = place.floor().long().clamp(max=len(ratio) - 2)
        return torch.lerp(ratio[below], ratio[below + 1], place - below)


def measure_signal_to_noise(
    image: Float[torch.Tensor, "rows columns"],
    pixel_size: float,
    ctf: Ctf,
    slope: tuple[float, float],
    optics: Optics,
) -> SignalToNoise | None:
    """Signal over noise of an image whose CTF is known; None where its rings cannot be told from the background.

    Rings that go from (1 − a) to (1 + a) of the background are those of a signal with 2 a / (1 − a) of the noise's
    power, since the signal is in the background with half of its power.

    Args:
        image: Grey values.
        pixel_size: Å.
        ctf: At its centre.
        slope: Of the defocus along (y, x), Å/Å.
        optics: Microscope.
    """
    lens, finest = Lens.of(optics), max(2.2 * pixel_size, 5.0)
    if finest >= 0.8 * _COARSEST:
        return None
    farthest = sum(abs(s) * n * pixel_size / 2 for s, n in zip(slope, image.shape, strict=True))
    grid = RingGrid.for_range((_COARSEST, finest), abs(ctf.defocus) + farthest, lens.wavelength)
    rings = measure_rings(image.float().cpu(), pixel_size, _TILE, grid)
    if rings is None:
        return None
    double = 2 * np.deg2rad(ctf.angle)
    values = np.array([ctf.defocus, ctf.astigmatism * np.cos(double), ctf.astigmatism * np.sin(double), 0.0])
    defocus, phase = row_defocus(values, rings, np.array(slope)), float(np.deg2rad(ctf.phase_shift))
    evidence = weigh_evidence(rings, rings.deviation(), defocus, phase, lens)
    evidence = weigh_evidence(rings, rings.deviation(evidence.modulation), defocus, phase, lens)
    if evidence.likelihood < SILENT:
        return None
    depth = evidence.amplitude
    return SignalToNoise(grid.squared, np.maximum(2 * depth / (1 - depth), _LEAST))
