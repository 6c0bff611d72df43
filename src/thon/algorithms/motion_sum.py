"""Sums of the frames of a movie, each brought to where the specimen lay in the first.

Frames are sampled by cubic B-splines where their motion says, whole and local at once, and added up; the spline's mean
response is divided out of the sums. Dose weights are sums of a few products (`motion_weights`), so that no frame is
transformed, but for binning, which crops each in Fourier space first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon import kernels
from thon.algorithms.motion_frames import Exposure, FramePlan, FrameSource, SpectralGrid, damage_table, frame_tensor
from thon.algorithms.motion_options import MotionOptions
from thon.algorithms.motion_power import GroupSpectra
from thon.algorithms.motion_weights import WeightPlanes, weight_planes
from thon.data.motion import FrameMotion
from thon.ops.frame_fourier import Preparation, centre_drift, cropped_spectrum, image_of_spectrum
from thon.ops.threads import map_in_threads

_NODES = 64  # pixels between the nodes of a displacement, which runs straight in between
_FINE = 4  # steps of a weight's table in one step of the frequency


@dataclass(frozen=True)
class MovieSums:
    """What frames add up to.

    Args:
        weighted: With dose weights, over the root of the sum of their squares; without them, the plain sum.
        unweighted: Plain sum.
        even: As `weighted`, frames 0, 2, 4 …
        odd: As `weighted`, frames 1, 3, 5 …
        spectrum: Half power spectrum, origin in the corner, of a square image.
        spectrum_pixel_size: Pixel of that image, Å.
        pixel_size: Of the sums, Å.
    """

    weighted: Float[torch.Tensor, "rows columns"]
    unweighted: Float[torch.Tensor, "rows columns"] | None
    even: Float[torch.Tensor, "rows columns"] | None
    odd: Float[torch.Tensor, "rows columns"] | None
    spectrum: Float[torch.Tensor, "size half"] | None
    spectrum_pixel_size: float
    pixel_size: float


def binned_shape(image_shape: tuple[int, int], bin_: float) -> tuple[int, int]:
    """Even (rows, columns) nearest to a binned image's; the image's own without binning."""
    if bin_ == 1:
        return image_shape
    rows, columns = (max(8, 2 * round(n / bin_ / 2)) for n in image_shape)
    return rows, columns


class FrameSummation:
    """Frames on their way into the sums.

    Args:
        plan: Frames to use.
        motion: Where the specimen lay in them.
        pixel_size: Of the frames, Å.
        exposure: Dose.
        options: Sums to make.
        device: Where to work.
    """

    def __init__(
        self,
        plan: FramePlan,
        motion: FrameMotion,
        pixel_size: float,
        exposure: Exposure,
        options: MotionOptions,
        device: torch.device,
    ) -> None:
        self.plan, self.motion, self.options, self.device = plan, motion, options, device
        self.shape = binned_shape(plan.image_shape, options.sums.bin)
        pixel = [pixel_size * o / n for o, n in zip(plan.image_shape, self.shape, strict=True)]
        self.pixel = (pixel[0], pixel[1])
        spacing = 1 / (_FINE * max(n * p for n, p in zip(self.shape, pixel, strict=True)))
        shells = math.ceil(math.hypot(0.5 / pixel[0], 0.5 / pixel[1]) / spacing) + 2
        self.grid = SpectralGrid(self.shape, self.pixel, spacing, shells, device)
        self.weights, self.norms = self._tables(exposure)
        sums = self._sums()
        self.blocks = weight_planes(sums, plan.planes)
        half = (self.shape[0], self.shape[1] // 2 + 1)
        self.spectra = {name: torch.zeros(half, dtype=torch.complex64, device=device) for name in sums}
        self.at_zero = {name: table[:, 0] for name, table in sums.items()}
        self.levels = dict.fromkeys(sums, 0.0)
        self.places: list[torch.Tensor] = []
        self.power = GroupSpectra(self.shape, self.pixel, exposure.frame, options.sums, device)

    def _tables(self, exposure: Exposure) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Weight by frame and shell, and the roots of the sums of squares by name of the sum."""
        number = self.plan.number
        if self.options.sums.dose_weight:
            weight = damage_table(self.grid, exposure.before(self.plan.first + np.arange(number)), exposure.voltage)
        else:
            weight = torch.ones(number, self.grid.shells, dtype=torch.float64, device=self.device)
        parts = {"weighted": weight, "even": weight[::2], "odd": weight[1::2]}
        norms = {name: part.square().sum(0).sqrt().clamp(min=1e-6) for name, part in parts.items()}
        if self.options.sums.dose_weight:
            return weight / norms["weighted"], norms
        return weight, dict.fromkeys(norms, torch.ones_like(norms["weighted"]))

    def _sums(self) -> dict[str, torch.Tensor]:
        """Weight by frame and shell in each sum that is made."""
        sums = {"weighted": self.weights}
        if self.options.sums.halves:
            is_even = (torch.arange(self.plan.number, device=self.device) % 2 == 0)[:, None]
            sums = {"even": self.weights * is_even, "odd": self.weights * ~is_even}
        if self.options.sums.unweighted and self.options.sums.dose_weight:
            sums["unweighted"] = torch.ones_like(self.weights)
        return sums

    def add_all(self, frames: FrameSource, held: list[torch.Tensor]) -> None:
        """Add every frame; a few at a time, so that the sums are read and written once for all of them."""
        for block in self.blocks:
            totals = torch.zeros(block.by_frame.shape[1], *self.shape, device=self.device)
            for start in range(0, len(block.frames), self.plan.batch):
                part = block.frames[start : start + self.plan.batch]
                images = map_in_threads(lambda k: self._load(frames, held, k), part)
                levels = torch.stack([image.mean() for image in images])
                fields = torch.stack([self._field(k) for k in part])
                kernels.add_warped(totals, images, levels, fields, block.by_frame[start : start + len(part)], _NODES)
                self.power.add(images, levels, fields, _NODES)
                self.places.append(fields[:, ::2, ::2].reshape(-1, 2))
                for name, factors in self.at_zero.items():
                    self.levels[name] += float(levels.double() @ factors[part.start : part.stop])
            self._weigh(block, totals)

    def _load(self, frames: FrameSource, held: list[torch.Tensor], k: int) -> torch.Tensor:
        """A frame on the grid of the sums."""
        frame = held[k] if held else frame_tensor(frames, self.plan, k, self.device)
        if self.shape == self.plan.image_shape:
            return frame
        level = float(frame.mean())
        return image_of_spectrum(cropped_spectrum(frame, self.shape, Preparation(level)), self.shape[1]).add_(level)

    def _field(self, k: int) -> Float[torch.Tensor, "nodes_y nodes_x 2"]:
        """Where the pixels of the sum lie in a frame, less their own place, px."""
        axes = [np.arange(0, n + _NODES, _NODES, dtype=np.float64) for n in self.shape]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        field = np.zeros(nodes.shape) + self.motion.displacement[k] / self.pixel
        field -= centre_drift(self.plan.image_shape, self.shape)
        if self.motion.local is not None:
            place = (nodes / (np.array(self.shape) - 1) - 0.5).reshape(-1, 2)
            moved = self.motion.local(place, np.array([float(k)]))[0]
            field += moved.reshape(nodes.shape) / self.pixel
        if self.options.magnification is not None:
            centre = np.array([n // 2 for n in self.shape])
            field += (nodes - centre) @ (stretch(self.options.magnification) - np.eye(2)).T
        return torch.from_numpy(field).to(self.device)

    def _weigh(self, block: WeightPlanes, totals: Float[torch.Tensor, "planes rows columns"]) -> None:
        """Add a block's planes to the spectra of the sums, each with its factors of the frequency."""
        rows, half = (torch.ones(1, n, dtype=torch.complex64, device=self.device) for n in self.grid.index.shape)
        parts = totals.split([len(factors) for factors in block.by_shell.values()])
        for (name, factors), planes in zip(block.by_shell.items(), parts, strict=True):
            for factor, plane in zip(factors, planes, strict=True):
                spectrum = cropped_spectrum(plane, self.shape)
                kernels.add_aligned(self.spectra[name], spectrum[None], (rows, half), self.grid.index, factor[None])

    def finish(self) -> MovieSums:
        """The sums as images."""
        places = torch.cat(self.places)
        rows, columns = (response.rsqrt().to(torch.float32) for response in self._responses(places))
        for spectrum in self.spectra.values():
            spectrum.mul_(rows[:, None]).mul_(columns)
        images: dict[str, torch.Tensor] = {}
        if self.options.sums.halves:
            whole = self.spectra["even"] + self.spectra["odd"]
            images["weighted"] = self._image(whole, self.levels["even"] + self.levels["odd"])
            for name in ("even", "odd"):
                factor = (self.norms["weighted"] / self.norms[name]).to(torch.float32)
                scaled = self.spectra[name] * factor[self.grid.index.long()]
                images[name] = self._image(scaled, self.levels[name] * float(factor[0]))
        else:
            images["weighted"] = self._image(self.spectra["weighted"], self.levels["weighted"])
        if "unweighted" in self.spectra:
            images["unweighted"] = self._image(self.spectra["unweighted"], self.levels["unweighted"])
        elif self.options.sums.unweighted:
            images["unweighted"] = images["weighted"]
        spectrum, pixel = self.power.finish(places)
        size = math.sqrt(self.pixel[0] * self.pixel[1])
        unweighted, even, odd = (images.get(name) for name in ("unweighted", "even", "odd"))
        return MovieSums(images["weighted"], unweighted, even, odd, spectrum, pixel, size)

    def _responses(self, places: Float[torch.Tensor, "places 2"]) -> list[torch.Tensor]:
        """Power that the splines left of noise, along rows and half columns."""
        cycles = (f * p for f, p in zip(self.grid.frequencies, self.pixel, strict=True))
        return [kernels.spline_response(place, frequency) for place, frequency in zip(places.T, cycles, strict=True)]

    def _image(self, spectrum: torch.Tensor, level: float) -> torch.Tensor:
        return image_of_spectrum(spectrum, self.shape[1]).add_(level)


def stretch(magnification: tuple[float, float, float]) -> Float[np.ndarray, "2 2"]:
    """Matrix on (y, x) of an anisotropic magnification (major, minor, angle in degrees anticlockwise from x)."""
    major, minor, angle = magnification
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    axes = np.array([[sine, cosine], [cosine, -sine]])
    return axes @ np.diag([major, minor]) @ axes.T
