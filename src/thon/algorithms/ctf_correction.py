"""Take the CTF, and the noise that radiation damage left, out of tilted images: for each place by its own defocus.

The defocus of a flat specimen rises linearly over a tilted image. The image is filtered at a few defoci over that
range, and every pixel mixes the two that are nearest its own, so there are no seams. The distance between those defoci
is a share of a ring at the finest frequency. Large images are filtered in parts, each with as much around it as the
CTF reaches, at those defoci alone that occur there.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Le
from jaxtyping import Float

from thon.algorithms.ctf_correction_snr import SignalToNoise, measure_signal_to_noise
from thon.algorithms.tilt_ctf_geometry import height_slope
from thon.base.errors import InputError
from thon.base.options import Advanced, Options, Unit
from thon.data.ctf import Ctf
from thon.data.geometry import TiltGeometry
from thon.data.optics import Optics
from thon.data.tilt_series import TiltSeries
from thon.ops.ctf import amplitude_phase, astigmatic_defocus, electron_wavelength, phase_aberration
from thon.ops.dose import exposure_weight
from thon.ops.fourier import frequency_grid
from thon.ops.power_spectrum import fast_size

CtfMode = Literal["auto", "none", "wiener", "phase-flip", "multiply"]

_BLOCK = 640  # px, of an image's parts that are filtered at a time where the defocus differs much over it
_FEW = 4  # defoci up to which the image is filtered as a whole
_UNKNOWN = 0.1
"""Signal over noise where it cannot be measured: that of an image of few electrons."""


class CtfCorrectionOptions(Options):
    """What is done about the CTF before images are projected back."""

    mode: CtfMode = "auto"
    """wiener: flip phases, and lift each frequency as far as its signal over noise allows. phase-flip: flip phases.
    multiply: with the CTF, the weight for averaging. none: nothing. auto: wiener for a series with a CTF, else none."""

    snr: Annotated[float | None, Unit("1"), Gt(0)] = None
    """Power of the signal over that of the noise where the CTF is 1, for wiener; if not given, as each image shows."""

    restore_low: bool = False
    """Also treat the frequencies below the CTF's first maximum. They are left alone otherwise: they hold most of the
    contrast, and lifting them lifts every slope of the background."""

    phase_step: Annotated[float, Unit("°"), Gt(0), Le(180), Advanced()] = 45.0
    """Largest difference of phase, at the finest frequency, between the defoci at which an image is filtered."""


@dataclass(frozen=True)
class TiltImaging:
    """How each image of a series was taken, as far as it matters to its correction.

    Args:
        ctf: Of each image, at its centre; None where there is no fit.
        optics: Microscope.
        hand: Of the series, +1 or −1; without it the defocus is taken as even over each image.
        exposure: That each image shows, to its middle and with all before it, e/Å²; NaN where nobody said.
    """

    ctf: tuple[Ctf | None, ...]
    optics: Optics
    hand: int | None
    exposure: Float[np.ndarray, "tilts"]

    def __len__(self) -> int:
        return len(self.ctf)

    @classmethod
    def of(cls, series: TiltSeries, index: np.ndarray) -> TiltImaging:
        """Of some images of a series.

        Whether motion correction weighted the frames does not matter here: it weighs them against each other and
        keeps the noise of their sum even, so that images are still to be weighted against each other.
        """
        found = [None if series.ctf is None else series.ctf.of(int(k)) for k in index]
        exposure = series.prior_exposure + np.nan_to_num(series.exposure) / 2
        return cls(
            tuple(one if one is not None and math.isfinite(one.defocus) else None for one in found),
            series.optics,
            series.hand,
            exposure[index],
        )

    @property
    def knows_ctf(self) -> bool:
        """Whether any image can be corrected."""
        return any(one is not None for one in self.ctf) and None not in (
            self.optics.voltage,
            self.optics.cs,
            self.optics.amplitude_contrast,
        )

    @property
    def knows_exposure(self) -> bool:
        """Whether any image can be weighted for its exposure."""
        return bool(np.isfinite(self.exposure).any()) and self.optics.voltage is not None


@dataclass(frozen=True)
class LocalCtf:
    """The CTF all over one image.

    Args:
        ctf: At the centre.
        slope: Of the defocus along (y, x), Å/Å.
        optics: Complete.
    """

    ctf: Ctf
    slope: tuple[float, float]
    optics: Optics


@dataclass(frozen=True)
class SpectrumFilter:
    """What a spectrum is multiplied with, for one defocus.

    Args:
        mode: Not "auto".
        snr: Signal over noise, for wiener.
        restore_low: Whether frequencies below the first maximum are treated too.
    """

    mode: CtfMode
    snr: SignalToNoise | float = _UNKNOWN
    restore_low: bool = False

    def __call__(
        self, aberration: Float[torch.Tensor, "rows half"], frequency: Float[torch.Tensor, "rows half"]
    ) -> Float[torch.Tensor, "rows half"]:
        """Factors for the whole phase (radians) of each frequency (1/Å)."""
        transfer = torch.sin(aberration)
        match self.mode:
            case "phase-flip":
                return torch.where(transfer < 0, -1.0, 1.0).to(transfer)
            case "multiply":
                factor = transfer
            case "wiener":
                noise = 1 / (self.snr(frequency) if isinstance(self.snr, SignalToNoise) else self.snr)
                factor = transfer * (1 + noise) / (transfer.square() + noise)
            case _:
                return torch.ones_like(transfer)
        kept = torch.where(transfer < 0, -1.0, 1.0).to(factor)
        return factor if self.restore_low else torch.where(aberration.abs() < math.pi / 2, kept, factor)


def correct_image(
    image: Float[torch.Tensor, "rows columns"],
    pixel_size: float,
    local: LocalCtf,
    spectrum_filter: SpectrumFilter,
    phase_step: float = 45.0,
) -> Float[torch.Tensor, "rows columns"]:
    """An image with the CTF corrected at every place by the defocus there.

    Args:
        image: Of any contrast; its mean is kept but for what the filter does at zero frequency.
        pixel_size: Å.
        local: CTF over the image.
        spectrum_filter: What to do about it.
        phase_step: Largest difference of phase between the defoci at which the image is filtered, degrees.
    """
    nodes, spacing = _nodes(image, pixel_size, local, phase_step)
    margin = _reach(local, nodes, pixel_size)
    padded, corner = _pad(image, margin)
    y, x = (_centred(n, image) * pixel_size for n in image.shape)
    place = (y[:, None] * local.slope[0] + x * local.slope[1] + (local.ctf.defocus - nodes[0])) / spacing
    side = max(_BLOCK, 2 * margin) if len(nodes) > _FEW else max(image.shape)
    result = torch.zeros_like(image)
    for block in itertools.product(*(_cuts(n, side) for n in image.shape)):
        around, inner = _surroundings(block, margin, corner, padded)
        spectrum, grid = torch.fft.rfft2(padded[around]), _Grid.of(padded[around], pixel_size)
        here = place[block]
        for number in range(max(0, math.floor(float(here.min()))), min(len(nodes), math.ceil(float(here.max())) + 1)):
            filtered = grid.filtered(spectrum, local, nodes[number], spectrum_filter)[inner]
            result[block].addcmul_((1 - (here - number).abs()).clamp_(min=0), filtered)
    return result


def weight_exposure(
    image: Float[torch.Tensor, "rows columns"], pixel_size: float, exposure: float, voltage: float
) -> Float[torch.Tensor, "rows columns"]:
    """An image with each frequency weighted by what an exposure (e/Å²) left of the specimen's signal there.

    Args:
        image: Grey values; their mean is kept.
        pixel_size: Å.
        exposure: Received by the middle of the image's own exposure.
        voltage: kV.
    """
    padded, corner = _pad(image, 8)
    frequency = _Grid.of(padded, pixel_size).frequency
    spectrum = torch.fft.rfft2(padded) * exposure_weight(frequency, exposure, voltage)
    return torch.fft.irfft2(spectrum, s=(padded.shape[0], padded.shape[1]))[corner]


@dataclass
class ImageRestoration:
    """Corrects the images of a series one by one: full images and, in the same way, the sums of half their frames.

    Args:
        imaging: How the images were taken.
        geometry: Of the images, as the volume has it.
        options: What to do about the CTF; "auto" is resolved.
        dose_weight: Whether to weight by exposure, where it is known.

    Raises:
        InputError: A correction was asked for and the CTF is not known.
    """

    imaging: TiltImaging
    geometry: TiltGeometry
    options: CtfCorrectionOptions
    dose_weight: bool = True
    measured: dict[int, SignalToNoise | float] = field(default_factory=dict[int, "SignalToNoise | float"])

    def __post_init__(self) -> None:
        if len(self.imaging) != len(self.geometry):
            raise InputError("CTFs and images differ in number", got=len(self.imaging), expected=len(self.geometry))
        if self.options.mode not in ("auto", "none") and not self.imaging.knows_ctf:
            raise InputError(
                f"CTF correction by '{self.options.mode}' needs a CTF",
                got="a series without",
                mend="fit the CTF of the tilt series first, or state voltage, Cs and amplitude contrast",
            )
        self.mode: CtfMode = resolve_mode(self.options, self.imaging)
        self.dose_weight = self.dose_weight and self.imaging.knows_exposure
        self.slope = height_slope(self.geometry) * (self.imaging.hand or 0)

    @property
    def is_idle(self) -> bool:
        """Whether images stay as they are."""
        return self.mode == "none" and not self.dose_weight

    def observe(self, index: int, image: Float[torch.Tensor, "rows columns"], pixel_size: float) -> None:
        """Measure the signal over noise of an image, before it is binned; the first answer stays."""
        if self.mode != "wiener" or self.options.snr is not None or index in self.measured:
            return
        local = self.local(index)
        if local is not None:
            found = measure_signal_to_noise(image, pixel_size, local.ctf, local.slope, local.optics)
            self.measured[index] = _UNKNOWN if found is None else found

    def local(self, index: int) -> LocalCtf | None:
        """The CTF over one image, if known."""
        ctf, (y, x) = self.imaging.ctf[index], self.slope[index]
        return None if ctf is None else LocalCtf(ctf, (float(y), float(x)), self.imaging.optics)

    def __call__(
        self, index: int, image: Float[torch.Tensor, "rows columns"], pixel_size: float
    ) -> Float[torch.Tensor, "rows columns"]:
        """One image, corrected; at any pixel size."""
        local = self.local(index)
        if self.mode != "none" and local is not None:
            snr = self.options.snr or self.measured.get(index, _UNKNOWN)
            chosen = SpectrumFilter(self.mode, snr, self.options.restore_low)
            image = correct_image(image, pixel_size, local, chosen, self.options.phase_step)
        exposure, voltage = float(self.imaging.exposure[index]), self.imaging.optics.voltage
        if self.dose_weight and voltage is not None and math.isfinite(exposure):
            image = weight_exposure(image, pixel_size, exposure, voltage)
        return image


def resolve_mode(options: CtfCorrectionOptions, imaging: TiltImaging) -> CtfMode:
    """What "auto" stands for."""
    if options.mode != "auto":
        return options.mode
    return "wiener" if imaging.knows_ctf else "none"


@dataclass(frozen=True)
class _Grid:
    """Frequencies (1/Å) and azimuths (radians) of the half spectrum of an image of a shape."""

    shape: tuple[int, int]
    frequency: Float[torch.Tensor, "rows half"]
    azimuth: Float[torch.Tensor, "rows half"]

    @classmethod
    def of(cls, image: torch.Tensor, pixel_size: float) -> _Grid:
        shape = image.shape[0], image.shape[1]
        rows, columns = frequency_grid(shape, image.device, image.dtype)
        frequency = torch.sqrt(rows**2 + columns**2) / pixel_size
        return cls(shape, frequency, torch.atan2(rows.expand_as(frequency), columns.expand_as(frequency)))

    def filtered(
        self,
        spectrum: torch.Tensor,
        local: LocalCtf,
        defocus: float,
        spectrum_filter: SpectrumFilter,
    ) -> Float[torch.Tensor, "rows columns"]:
        """The image of a spectrum, filtered for one mean defocus."""
        half = self.azimuth.new_tensor(local.ctf.astigmatism / 2)
        angle = self.azimuth.new_tensor(math.radians(local.ctf.angle))
        around = astigmatic_defocus(self.azimuth, defocus + half, defocus - half, angle)
        wavelength, cs = _constants(local.optics)
        aberration = phase_aberration(self.frequency, around, wavelength=wavelength, cs=cs)
        aberration += math.radians(local.ctf.phase_shift) + amplitude_phase(local.optics.amplitude_contrast or 0.0)
        return torch.fft.irfft2(spectrum * spectrum_filter(aberration, self.frequency), s=self.shape)


def _constants(optics: Optics) -> tuple[float, float]:
    """Wavelength (Å) and spherical aberration (mm)."""
    if optics.voltage is None or optics.cs is None:
        raise ValueError(f"a CTF needs voltage and Cs, not {optics}")
    return electron_wavelength(optics.voltage), optics.cs


def _nodes(image: torch.Tensor, pixel_size: float, local: LocalCtf, phase_step: float) -> tuple[list[float], float]:
    """Defoci at which to filter, and their distance."""
    wavelength = _constants(local.optics)[0]
    largest = math.radians(phase_step) / (math.pi * wavelength * (0.5 / pixel_size) ** 2)
    reach = sum(abs(s) * (n // 2) * pixel_size for s, n in zip(local.slope, image.shape, strict=True))
    intervals = math.ceil(2 * reach / largest - 0.1)
    if intervals <= 0:
        return [local.ctf.defocus], max(largest, 10 * reach)
    spacing = 2 * reach / intervals
    return [local.ctf.defocus - reach + number * spacing for number in range(intervals + 1)], spacing


def _reach(local: LocalCtf, nodes: list[float], pixel_size: float) -> int:
    """How far the CTF spreads the finest detail, px."""
    defocus = max(abs(node) for node in nodes) + local.ctf.astigmatism / 2
    return math.ceil(_constants(local.optics)[0] * defocus * 0.5 / pixel_size / pixel_size) + 8


def _pad(image: torch.Tensor, margin: int) -> tuple[torch.Tensor, tuple[slice, slice]]:
    """An image with its edges mirrored, at a size good for transforms, and where it lies in that."""
    margins = [min(margin, n // 2) for n in image.shape]
    sizes = [fast_size(n + 2 * m) for n, m in zip(image.shape, margins, strict=True)]
    before = [(size - n) // 2 for size, n in zip(sizes, image.shape, strict=True)]
    after = [size - n - b for size, n, b in zip(sizes, image.shape, before, strict=True)]
    sides = (before[1], after[1], before[0], after[0])
    padded = torch.nn.functional.pad(image[None, None], sides, mode="reflect")[0, 0]
    y, x = (slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    return padded, (y, x)


def _cuts(number: int, side: int) -> list[slice]:
    """Even parts of about `side` of so many pixels."""
    edges = np.linspace(0, number, max(1, round(number / side)) + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def _surroundings(
    block: tuple[slice, ...], margin: int, corner: tuple[slice, slice], padded: torch.Tensor
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a block with its margin, at a size good for transforms, lies in the padded image, and the block in that."""
    around, inner = list[slice](), list[slice]()
    for part, whole, number in zip(block, corner, padded.shape, strict=True):
        length = part.stop - part.start
        size = min(fast_size(length + 2 * margin), number)
        start = min(max(whole.start + part.start - margin, 0), number - size)
        around.append(slice(start, start + size))
        inner.append(slice(whole.start + part.start - start, whole.start + part.stop - start))
    return tuple(around), tuple(inner)


def _centred(number: int, like: torch.Tensor) -> torch.Tensor:
    return torch.arange(number, device=like.device, dtype=like.dtype) - number // 2
