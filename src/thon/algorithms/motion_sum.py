"""Sums of the frames of a movie, each brought to where the specimen lay in the first.

A frame is moved by whole pixels, so that nothing wraps around its edges, then cropped and moved by the rest in Fourier
space. Where motion is local, or the magnification is not the same along all directions, it goes back to pixels as the
coefficients of a cubic B-spline (a factor in Fourier space) and is sampled where the model says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from thon.algorithms.motion_frames import Exposure, FramePlan, FrameSource, SpectralGrid, damage_table, frame_tensor
from thon.algorithms.motion_options import MotionOptions
from thon.algorithms.motion_power import GroupSpectra
from thon.data.motion import FrameMotion
from thon.kernels.frame_spectra import add_aligned
from thon.kernels.frame_warp import add_warped
from thon.ops.frame_fourier import Preparation, centre_drift, cropped_spectrum, image_of_spectrum
from thon.ops.threads import map_in_threads

_NODES = 32  # pixels between the nodes of a displacement, which runs straight in between
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
        self.frame_pixel = pixel_size
        self.shape = binned_shape(plan.image_shape, options.sums.bin)
        pixel = [pixel_size * o / n for o, n in zip(plan.image_shape, self.shape, strict=True)]
        self.pixel = (pixel[0], pixel[1])
        spacing = 1 / (_FINE * max(n * p for n, p in zip(self.shape, pixel, strict=True)))
        shells = math.ceil(math.hypot(0.5 / pixel[0], 0.5 / pixel[1]) / spacing) + 2
        self.grid = SpectralGrid(self.shape, self.pixel, spacing, shells, device)
        self.warped = motion.local is not None or options.magnification is not None
        self.weights, self.norms = self._tables(exposure)
        names = ["even", "odd"] if options.sums.halves else ["weighted"]
        self.twin = options.sums.unweighted and options.sums.dose_weight
        size = self.shape if self.warped else (self.shape[0], self.shape[1] // 2 + 1)
        kind = torch.float32 if self.warped else torch.complex64
        self.totals = {
            name: torch.zeros(size, dtype=kind, device=device) for name in names + ["unweighted"] * self.twin
        }
        half = (self.shape[0], self.shape[1] // 2 + 1)
        # Made once: fresh memory costs as much as a transform.
        self.buffers = [torch.zeros(half, dtype=torch.complex64, device=device) for _ in range(torch.get_num_threads())]
        self.passing = (torch.zeros(half, dtype=torch.complex64, device=device), torch.zeros(self.shape, device=device))
        self.levels = dict.fromkeys(self.totals, 0.0)
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
            return (weight / norms["weighted"]).to(torch.float32), norms
        return weight.to(torch.float32), dict.fromkeys(norms, torch.ones_like(norms["weighted"]))

    def add_all(self, frames: FrameSource, held: list[torch.Tensor]) -> None:
        """Add every frame; a few at a time are prepared in threads, and added in order."""
        step = len(self.buffers)
        for start in range(0, self.plan.number, step):
            part = range(start, min(start + step, self.plan.number))
            for k, (level, spectrum) in zip(
                part, map_in_threads(lambda k: self._load(frames, held, k), part), strict=True
            ):
                self._add(k, level, spectrum)

    def _load(self, frames: FrameSource, held: list[torch.Tensor], k: int) -> tuple[float, torch.Tensor]:
        """Mean of a frame and its cropped spectrum, moved by whole pixels."""
        frame = held[k] if held else frame_tensor(frames, self.plan, k, self.device)
        level = float(frame.mean())
        down, right = (round(float(d)) for d in self.motion.displacement[k] / self.frame_pixel)
        out = self.buffers[k % len(self.buffers)]
        return level, cropped_spectrum(frame, self.shape, Preparation(level, move=(down, right)), out=out)

    def _ramps(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Factors for what is left of a frame's motion, and for the centre's place after cropping."""
        rest = self.motion.displacement[k] - self.frame_pixel * np.round(self.motion.displacement[k] / self.frame_pixel)
        rest = rest - np.array(centre_drift(self.plan.image_shape, self.shape)) * self.pixel
        return self.grid.ramps(rest[None])

    def _add(self, k: int, level: float, spectrum: torch.Tensor) -> None:
        ramps = self._ramps(k)
        self.power.add(spectrum, ramps)
        ones = torch.ones_like(self.weights[k : k + 1])
        half = ("even", "odd")[k % 2] if self.options.sums.halves else "weighted"
        for name, table in ((half, self.weights[k : k + 1]), ("unweighted", ones)):
            if name not in self.totals:
                continue
            self.levels[name] += level * float(table[0, 0])
            if not self.warped:
                add_aligned(self.totals[name], spectrum[None], ramps, self.grid.index, table)
                continue
            moved, image = self.passing
            moved.zero_()
            add_aligned(moved, spectrum[None], self._spline_ramps(ramps), self.grid.index, table)
            image = image_of_spectrum(moved, self.shape[1], out=image)
            add_warped(self.totals[name], image, self._field(k), _NODES)

    def _spline_ramps(self, ramps: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ramps that also turn pixels into spline coefficients."""
        response = [
            (2 + torch.cos(2 * math.pi * f * p)) / 3 for f, p in zip(self.grid.frequencies, self.pixel, strict=True)
        ]
        row, column = ((ramp / r).to(torch.complex64) for ramp, r in zip(ramps, response, strict=True))
        return row, column

    def _field(self, k: int) -> Float[torch.Tensor, "nodes_y nodes_x 2"]:
        """Where the pixels of the sum lie in the moved frame, less their own place, px."""
        axes = [np.arange(0, n + _NODES, _NODES, dtype=np.float64) for n in self.shape]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        field = np.zeros(nodes.shape)
        if self.motion.local is not None:
            place = (nodes / (np.array(self.shape) - 1) - 0.5).reshape(-1, 2)
            moved = self.motion.local(place, np.array([float(k)]))[0]
            field += moved.reshape(nodes.shape) / self.pixel
        if self.options.magnification is not None:
            centre = np.array([n // 2 for n in self.shape])
            field += (nodes - centre) @ (stretch(self.options.magnification) - np.eye(2)).T
        return torch.from_numpy(field).to(self.device)

    def finish(self) -> MovieSums:
        """The sums as images."""
        images: dict[str, torch.Tensor] = {}
        spectra = self.totals if not self.warped else {}
        if self.options.sums.halves:
            images["weighted"] = self._image((self.totals["even"] + self.totals["odd"]), 0.0)
            level = self.levels["even"] + self.levels["odd"]
            images["weighted"] += level
            for name in ("even", "odd"):
                factor = (self.norms["weighted"] / self.norms[name]).to(torch.float32)
                spectrum = spectra[name] if spectra else cropped_spectrum(self.totals[name], self.shape)
                scaled = spectrum * factor[self.grid.index.long()]
                images[name] = image_of_spectrum(scaled, self.shape[1]) + self.levels[name] * float(factor[0])
        else:
            images["weighted"] = self._image(self.totals["weighted"], self.levels["weighted"])
        if self.twin:
            images["unweighted"] = self._image(self.totals["unweighted"], self.levels["unweighted"])
        elif self.options.sums.unweighted:
            images["unweighted"] = images["weighted"]
        spectrum, pixel = self.power.finish()
        size = math.sqrt(self.pixel[0] * self.pixel[1])
        unweighted, even, odd = (images.get(name) for name in ("unweighted", "even", "odd"))
        return MovieSums(images["weighted"], unweighted, even, odd, spectrum, pixel, size)

    def _image(self, total: torch.Tensor, level: float) -> torch.Tensor:
        image = total if self.warped else image_of_spectrum(total, self.shape[1])
        return image.add_(level)


def stretch(magnification: tuple[float, float, float]) -> Float[np.ndarray, "2 2"]:
    """Matrix on (y, x) of an anisotropic magnification (major, minor, angle in degrees anticlockwise from x)."""
    major, minor, angle = magnification
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    axes = np.array([[sine, cosine], [cosine, -sine]])
    return axes @ np.diag([major, minor]) @ axes.T
