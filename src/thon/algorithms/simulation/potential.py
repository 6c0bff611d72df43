"""A molecule as points that scatter, and its projection in any direction.

All points share a few radial curves, found as the principal ones of the scattering factors in the model, so that a
projection costs a few small Fourier transforms however many elements and B-factors there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float

from thon.data.atoms import AtomicModel
from thon.kernels.electron_counts import spread_points
from thon.ops.fourier import frequency_grid, radius_grid
from thon.ops.scattering import phase_per_scattering, solvated_scattering, unknown_elements

RINGS = 512
"""Samples of a radial curve."""

OVERSAMPLING = 2
"""Points are spread on a grid finer by this factor, whose aliases then lie beyond what is kept."""

_TOLERANCE = 3e-4
_PROTEIN_POTENTIAL = 47.87801


@dataclass(frozen=True)
class Scatterers:
    """A molecule, centred.

    Args:
        position: (z, y, x) of each point from the molecule's centre, Å.
        weight: Share of each curve in each point, 1.
        curve: Scattering at `RINGS` frequencies from 0 to `max_frequency`, Å.
        max_frequency: Finest frequency that the curves know, 1/Å.
        centre: Where the centre was in the file's coordinates, (z, y, x), Å.
    """

    position: Float[np.ndarray, "points 3"]
    weight: Float[np.ndarray, "points curves"]
    curve: Float[torch.Tensor, "curves rings"]
    max_frequency: float
    centre: Float[np.ndarray, "3"]

    @property
    def radius(self) -> float:
        """Distance of the outermost point from the centre, Å."""
        return float(np.linalg.norm(self.position, axis=1).max())


def corner_frequency(pixel_size: float) -> float:
    """Finest frequency in the spectrum of an image, 1/Å."""
    return math.sqrt(0.5) / pixel_size


def scatterers_from_atoms(model: AtomicModel, pixel_size: float, *, bfactor: float | None = None) -> Scatterers:
    """A model in ice.

    Args:
        model: Its atoms.
        pixel_size: Of the finest images that will be made, Å.
        bfactor: In place of those of the atoms, Å².

    Raises:
        ValueError: An element has no known scattering.
    """
    unknown = unknown_elements(model.element)
    if unknown:
        raise ValueError(f"no electron scattering factors are known for {', '.join(unknown)}")
    displaced = np.round(model.bfactor) if bfactor is None else np.full(len(model), bfactor)
    kinds: dict[tuple[str, float, float], int] = {}
    kind = [
        kinds.setdefault((element, float(b), round(float(h), 1)), len(kinds))
        for element, b, h in zip(model.element, displaced, model.hydrogens, strict=True)
    ]
    finest = corner_frequency(pixel_size)
    frequency = torch.linspace(0, finest, RINGS, dtype=torch.float64)
    table = torch.stack([solvated_scattering(e, frequency, bfactor=b, hydrogens=h) for e, b, h in kinds])
    left, strength, curves = torch.linalg.svd(table, full_matrices=False)
    kept = int((strength > _TOLERANCE * strength[0]).sum())
    weight = (left[:, :kept] * strength[:kept]).numpy()[np.array(kind)] * model.occupancy[:, None]
    mass = np.abs(table[:, 0].numpy())[np.array(kind)] * model.occupancy
    centre = np.average(model.position, axis=0, weights=mass)
    return Scatterers(model.position - centre, weight, curves[:kept].contiguous(), finest, centre)


def scatterers_from_map(
    density: Float[np.ndarray, "z y x"],
    voxel_size: float,
    pixel_size: float,
    *,
    contour: float | None = None,
    potential: float = 3.0,
) -> Scatterers:
    """A density map as points at its voxels.

    Args:
        density: Map, matter positive.
        voxel_size: Å.
        pixel_size: Of the finest images that will be made, Å.
        contour: Voxels below are left out; the mean and three deviations unless given.
        potential: Mean potential over that of the ice inside the contour, V.

    Raises:
        ValueError: Nothing is above the contour.
    """
    level = float(density.mean() + 3 * density.std()) if contour is None else contour
    inside = np.argwhere(density > max(level, 0.0))
    if not len(inside):
        raise ValueError(f"no voxel of the map is above {level:.3g}")
    value = density[tuple(inside.T)].astype(np.float64)
    weight = value / value.mean() * potential * voxel_size**3 / _PROTEIN_POTENTIAL
    position = inside * voxel_size
    centre = np.average(position, axis=0, weights=value)
    finest = corner_frequency(pixel_size)
    frequency = torch.linspace(0, finest, RINGS, dtype=torch.float64)
    # Beyond the map's own Nyquist frequency there are only the voxels' copies.
    edge = 0.5 / voxel_size
    curve = 1 / (1 + torch.exp(((frequency - 0.95 * edge) / (0.02 * edge)).clamp(-60, 60)))
    return Scatterers(position - centre, weight[:, None], curve[None], finest, centre)


class Projector:
    """Projections of one molecule, as phase shifts of the wave.

    Args:
        scatterers: The molecule.
        pixel_size: Å.
        voltage: Acceleration voltage, kV.
    """

    def __init__(self, scatterers: Scatterers, pixel_size: float, voltage: float):
        self.side = 2 * math.ceil(scatterers.radius / pixel_size + 4 + 6 / pixel_size)
        self.pixel_size, self.voltage = pixel_size, voltage
        self._scatterers = scatterers
        self._curves = self._on_grid() * (phase_per_scattering(voltage) / pixel_size**2)
        fine = OVERSAMPLING * self.side
        self._grid = np.zeros((len(scatterers.curve), fine, fine))

    def __call__(
        self, rotation: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, "2"]
    ) -> Float[torch.Tensor, "side side"]:
        """Phase, rad, of the molecule rotated and moved by `shift` (y, x) px from the patch's centre, pixel n // 2."""
        seen = self._scatterers.position @ rotation.T[:, 1:] / self.pixel_size + self.side // 2 + shift
        self._grid[:] = 0
        spread_points(seen * OVERSAMPLING, self._scatterers.weight, self._grid)
        spectrum = _low_frequencies(torch.fft.rfft2(torch.from_numpy(self._grid).to(torch.float32)), self.side)
        return torch.fft.irfft2((spectrum * self._curves).sum(0), s=(self.side, self.side))

    def _on_grid(self) -> Float[torch.Tensor, "curves side half"]:
        """The curves on the patch's half spectrum, with the splines' own response divided out."""
        shape = (self.side, self.side)
        radius = radius_grid(shape, dtype=torch.float64) / self.pixel_size
        place = radius / self._scatterers.max_frequency * (RINGS - 1)
        below = place.floor().long().clamp(max=RINGS - 2)
        part = (place - below).clamp(0, 1)
        curve = self._scatterers.curve
        values = curve[:, below] * (1 - part) + curve[:, below + 1] * part
        rows, columns = frequency_grid(shape, dtype=torch.float64)
        response = (torch.sinc(rows / OVERSAMPLING) * torch.sinc(columns / OVERSAMPLING)) ** 4
        values = values / response
        values[:, self.side // 2] = 0
        values[:, :, -1] = 0
        return values.to(torch.float32)


def _low_frequencies(
    spectrum: Complex[torch.Tensor, "curves fine_rows fine_half"], side: int
) -> Complex[torch.Tensor, "curves side half"]:
    half = side // 2
    return torch.cat([spectrum[:, :half, : half + 1], spectrum[:, -half:, : half + 1]], 1)
