"""The specimen cut into layers of equal height, each with its own defocus.

A molecule or a bead is shared between the two layers around its height, the ice where it crosses a layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.simulation.ice import carbon_power, ice_power
from thon.algorithms.simulation.optics import GOLD_CONTRAST
from thon.algorithms.simulation.potential import Projector
from thon.algorithms.simulation.specimen import View
from thon.ops.ctf import electron_wavelength
from thon.ops.scattering import phase_per_scattering

LARGEST_PHASE = 1.0
"""Most that the aberration differs between neighbouring layers at `FINEST` of Nyquist's frequency, rad."""

FINEST = 0.75
_MOST_LAYERS = 200
_GOLD_POTENTIAL = 24.0
_VOLT_SCATTERING = 47.87801


@dataclass(frozen=True)
class Field:
    """The grid on which a specimen is seen: an image with a margin that motion may bring into view.

    Args:
        shape: (rows, columns), px.
        start: (row, column) of the image's first pixel.
        image_shape: (rows, columns) of the image.
        pixel_size: Å.
    """

    shape: tuple[int, int]
    start: tuple[int, int]
    image_shape: tuple[int, int]
    pixel_size: float

    @property
    def centre(self) -> Float[np.ndarray, "2"]:
        """Pixel that is the image's centre, n // 2."""
        return np.array([s + n // 2 for s, n in zip(self.start, self.image_shape, strict=True)], np.float64)

    def places(self) -> tuple[Float[torch.Tensor, "rows 1"], Float[torch.Tensor, "1 columns"]]:
        """y and x of the rows and columns from the image's centre, Å."""
        axes = [(torch.arange(n) - c) * self.pixel_size for n, c in zip(self.shape, self.centre.tolist(), strict=True)]
        return axes[0].to(torch.float32)[:, None], axes[1].to(torch.float32)[None]


@dataclass(frozen=True)
class Layer:
    """One layer.

    Args:
        height: Above the specimen's centre along the beam, Å.
        phase: Of the molecules, rad; None where there are none.
        noise: Ice and carbon, white and of unit variance where the layer is full; None where there is none.
        beads: Phase of gold, rad; None where there is none.
    """

    height: float
    phase: Float[torch.Tensor, "rows columns"] | None
    noise: Float[torch.Tensor, "rows columns"] | None
    beads: Float[torch.Tensor, "rows columns"] | None


def layer_heights(view: View, field: Field, voltage: float) -> Float[np.ndarray, "layers"]:
    """Heights of the layers that hold a view's ice, molecules and beads, Å."""
    finest = FINEST * 0.5 / field.pixel_size
    step = LARGEST_PHASE / (math.pi * electron_wavelength(voltage) * finest**2)
    rows, columns = ((n // 2 + 1) * field.pixel_size for n in field.shape)
    middle = -float(view.slope @ view.offset)
    reach = abs(view.slope[0]) * rows + abs(view.slope[1]) * columns + view.path / 2
    found = np.concatenate([[middle - reach, middle + reach], view.height, view.bead_height])
    low, high = float(found.min()), float(found.max())
    count = min(max(math.ceil((high - low) / step), 1), _MOST_LAYERS) + 1
    return np.linspace(low, high, count)


def cut_layers(
    view: View, field: Field, projector: Projector, bead_diameter: float, generator: torch.Generator | None
) -> Iterator[Layer]:
    """The layers of a view, from the lowest.

    Args:
        view: What is seen.
        field: Grid.
        projector: Draws molecules.
        bead_diameter: Å.
        generator: Source of the ice's noise; None for a specimen without ice.
    """
    heights = layer_heights(view, field, projector.voltage)
    molecules = _Shared(field, view.position, view.height, heights)
    gold = _Shared(field, view.beads, view.bead_height, heights)
    for index, height in enumerate(heights.tolist()):
        phase = molecules.take(index, lambda k, shift: projector(view.rotation[k], shift))
        beads = gold.take(index, lambda k, shift: bead_phase(bead_diameter, projector, shift))
        noise = None if generator is None else _ice(view, field, heights, index, generator)
        yield Layer(height, phase, noise, beads)


class _Shared:
    """Objects drawn into the two layers around their heights; each is drawn once, as the layers come."""

    def __init__(
        self,
        field: Field,
        position: Float[np.ndarray, "objects 2"],
        height: Float[np.ndarray, "objects"],
        heights: Float[np.ndarray, "layers"],
    ):
        self._field = field
        self._pixel = position / field.pixel_size + field.centre
        place = (height - heights[0]) / (heights[1] - heights[0])
        self._below = np.clip(np.floor(place), 0, len(heights) - 2)
        self._above = place - self._below
        self._next: torch.Tensor | None = None

    def take(
        self, index: int, draw: Callable[[int, Float[np.ndarray, "2"]], torch.Tensor]
    ) -> Float[torch.Tensor, "rows columns"] | None:
        """What a layer holds; layers are asked for in order."""
        layer, self._next = self._next, None
        for k in np.flatnonzero(self._below == index).tolist():
            if layer is None:
                layer = torch.zeros(self._field.shape)
            if self._next is None:
                self._next = torch.zeros(self._field.shape)
            whole = np.floor(self._pixel[k])
            patch = draw(k, self._pixel[k] - whole)
            share = float(self._above[k])
            _add(layer, patch, whole, 1 - share)
            _add(self._next, patch, whole, share)
        return layer


def _add(image: torch.Tensor, patch: torch.Tensor, centre: Float[np.ndarray, "2"], share: float) -> None:
    """Add a patch whose pixel n // 2 lies on a pixel of the image; what lies outside is lost."""
    parts: list[tuple[slice, slice]] = []
    for c, n, side in zip(centre.astype(int).tolist(), image.shape, patch.shape, strict=True):
        start = c - side // 2
        low, high = max(start, 0), min(start + side, n)
        if low >= high:
            return
        parts.append((slice(low, high), slice(low - start, high - start)))
    (rows, patch_rows), (columns, patch_columns) = parts
    image[rows, columns] += share * patch[patch_rows, patch_columns]


def bead_phase(
    diameter: float, projector: Projector, shift: Float[np.ndarray, "2"], samples: int = 4
) -> Float[torch.Tensor, "side side"]:
    """Phase, rad, behind a gold sphere moved by `shift` (y, x) px from the patch's centre, pixel n // 2."""
    side = 2 * math.ceil(diameter / 2 / projector.pixel_size + 2)
    fine = (torch.arange(side * samples, dtype=torch.float64) + 0.5) / samples - 0.5 - side // 2
    y, x = (fine - float(shift[0]))[:, None], (fine - float(shift[1]))[None]
    square = (diameter / 2) ** 2 - (y**2 + x**2) * projector.pixel_size**2
    path = 2 * square.clamp(min=0).sqrt().reshape(side, samples, side, samples).mean((1, 3))
    return (path * _GOLD_POTENTIAL * phase_per_scattering(projector.voltage) / _VOLT_SCATTERING).to(torch.float32)


def weak_gold(phase: Float[torch.Tensor, "*grid"]) -> Float[torch.Tensor, "*grid"]:
    """The small phase whose contrast in focus is that of a bead: no darker than no electrons."""
    return (1 - torch.exp(-2 * GOLD_CONTRAST * phase)) / (2 * GOLD_CONTRAST)


def noise_amplitude(frequency: Float[torch.Tensor, "*grid"], view: View, field: Field, voltage: float) -> torch.Tensor:
    """What turns the spectrum of white noise of unit variance into that of the phase behind ice and carbon."""
    power = ice_power(frequency, voltage) * view.path + carbon_power(frequency, voltage) * view.carbon
    return power.sqrt() / field.pixel_size


def _ice(
    view: View, field: Field, heights: Float[np.ndarray, "layers"], index: int, generator: torch.Generator
) -> Float[torch.Tensor, "rows columns"] | None:
    """White noise where the ice crosses a layer, with the square root of its share in it."""
    half = (heights[1] - heights[0]) / 2
    y, x = field.places()
    slope, offset = view.slope.tolist(), view.offset.tolist()
    middle = slope[0] * (y - offset[0]) + slope[1] * (x - offset[1])
    top = (middle + view.path / 2).clamp(max=float(heights[index] + half))
    bottom = (middle - view.path / 2).clamp(min=float(heights[index] - half))
    share = (top - bottom).div_(view.path).clamp_(0, 1)
    if not float(share.max()):
        return None
    return torch.randn(field.shape, generator=generator).mul_(share.sqrt_())
