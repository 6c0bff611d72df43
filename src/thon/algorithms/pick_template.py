"""Scores of picking with references: correlation under a circular mask, normalised by the surroundings.

Normalised by what lies under the mask alone, the score is a correlation coefficient, which says little where the noise
is low: any dark spot correlates well. Normalised by wider surroundings it keeps how dark a particle is, and still
follows ice that becomes thicker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float

from thon.algorithms.pick_avoid import local_sd
from thon.algorithms.pick_image import PickImage
from thon.algorithms.pick_log import ScoreMap
from thon.algorithms.pick_options import PickOptions
from thon.base.errors import InputError
from thon.data.ctf import Ctf
from thon.data.optics import Optics
from thon.ops.ctf import astigmatic_defocus, contrast_transfer, electron_wavelength, phase_aberration
from thon.ops.fourier import fourier_crop, radius_grid

_BATCH = 8  # templates matched at a time


@dataclass(frozen=True)
class Templates:
    """References to look for; matter bright.

    Args:
        images: One or more views of the particle in the middle of a square box.
        pixel_size: Å.
    """

    images: Float[torch.Tensor, "views box box"]
    pixel_size: float


def template_scores(
    image: PickImage, templates: Templates, options: PickOptions, *, ctf: Ctf | None, optics: Optics | None
) -> ScoreMap:
    """Correlation of the best template and in-plane angle at each place.

    It is a correlation coefficient, −1 to 1, where `surroundings` is 1.

    Args:
        image: What is searched.
        templates: What is looked for.
        options: Diameter of the mask, resolution, in-plane step.
        ctf: Multiplies the templates; None to leave them.
        optics: For the CTF.

    Raises:
        InputError: The references are smaller than the mask, empty, or not of numbers.
    """
    number_of, views = _prepare(templates, options)
    side = 2 * math.ceil(options.diameter / 2 / min(image.pixel_size)) + 3
    circle = _circle(side, image, options.diameter)
    transfer = None if ctf is None or optics is None else _transfer(2 * side, image.pixel_size, ctf, optics)
    spectrum = torch.fft.rfft2(image.values)
    score = torch.full_like(image.values, -torch.inf)
    mirror = torch.full_like(image.values, -torch.inf)
    number, angle = torch.zeros_like(score).long(), torch.zeros_like(score)
    steps = torch.arange(0, 360, 360 / max(1, round(360 / options.psi_step)), dtype=torch.float64)
    for k, view in zip(number_of, views, strict=True):
        for psi in steps.split(_BATCH):
            turned = _turn(view, templates.pixel_size, psi, 2 * side, image.pixel_size)
            if transfer is not None:
                turned = torch.fft.irfft2(torch.fft.rfft2(turned) * transfer, s=(2 * side, 2 * side))
            found = _correlate(spectrum, _normalise(turned, circle), image)
            best, which = found.max(0)
            mirror = torch.maximum(mirror, -found.amin(0))
            better = best > score
            score = torch.where(better, best, score)
            number = torch.where(better, torch.full_like(number, k), number)
            angle = torch.where(better, psi.to(angle)[which], angle)
    spread = local_sd(image, options.surroundings * options.diameter) * math.sqrt(float(circle.sum()))
    return ScoreMap(score / spread, torch.full_like(score, options.diameter), number, angle, mirror / spread)


def project_map(
    volume: Float[torch.Tensor, "z y x"], pixel_size: float, *, step: float, resolution: float
) -> Templates:
    """Views of a map from directions about `step` degrees apart all over the sphere.

    The map is binned first to what the resolution (Å) needs; a projection is a plain sum along the beam.

    Raises:
        InputError: The map is not a cube.
    """
    box = volume.shape[0]
    if volume.shape != (box, box, box):
        raise InputError("the reference map is not a cube", got=tuple(volume.shape), mend="crop or pad it")
    n = min(box, max(4, 2 * math.ceil(1.5 * box * pixel_size / resolution)))
    small = fourier_crop(fourier_crop(volume.float(), (n, n)).permute(2, 0, 1), (n, n)).permute(1, 2, 0)
    axis = torch.arange(n, dtype=small.dtype, device=small.device) - n // 2
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    views = [_sample(small, grid @ rotation.to(grid), "bilinear").sum(0) for rotation in _directions(step)]
    return Templates(torch.stack(views), pixel_size * box / n)


def _directions(step: float) -> Float[torch.Tensor, "directions 3 3"]:
    """Rotations of (z, y, x) that bring directions spread evenly over the sphere (on a spiral) onto z."""
    count = max(1, round(4 * math.pi / math.radians(step) ** 2))
    k = torch.arange(count, dtype=torch.float64)
    height, azimuth = 1 - (2 * k + 1) / count, k * math.pi * (3 - math.sqrt(5))
    flat, none = (1 - height.square()).sqrt(), torch.zeros_like(k)
    along = torch.stack([height, flat * azimuth.sin(), flat * azimuth.cos()], -1)
    across = torch.stack([none, azimuth.cos(), -azimuth.sin()], -1)
    return torch.stack([along, across, torch.linalg.cross(along, across)], 1)


def _sample(values: torch.Tensor, place: torch.Tensor, mode: str) -> torch.Tensor:
    """Values at places given in pixels from the centre n // 2, zero outside."""
    size = torch.tensor(values.shape, device=values.device, dtype=values.dtype)
    scaled = (2 * (place + size.div(2, rounding_mode="floor")) + 1) / size - 1
    found = torch.nn.functional.grid_sample(
        values[None, None], scaled.flip(-1)[None], mode=mode, padding_mode="zeros", align_corners=False
    )
    return found[0, 0]


def _prepare(templates: Templates, options: PickOptions) -> tuple[list[int], Float[torch.Tensor, "views box box"]]:
    """The references that are not empty, by number from 1: surroundings at zero, no detail beyond the resolution."""
    images, box = templates.images.float(), templates.images.shape[-1]
    if box * templates.pixel_size < options.diameter:
        raise InputError(
            "the references are smaller than the particle",
            got=f"{box * templates.pixel_size:.0f} Å",
            expected=f"at least {options.diameter:g} Å",
            mend="check their pixel size, or give a smaller --diameter",
        )
    if not torch.isfinite(images).all():
        raise InputError("the references have values that are no numbers")
    spread = images.flatten(1).std(1)
    full = torch.nonzero(spread > 1e-6 * spread.max()).flatten()
    if not len(full):
        raise InputError("all references are empty")
    axis = torch.arange(box, device=images.device) - box // 2
    outside = torch.hypot(axis[:, None].float(), axis[None].float()) * templates.pixel_size > options.diameter / 2
    images = images[full] - images[full][:, outside].mean(1)[:, None, None]
    low = radius_grid((box, box), images.device, images.dtype) * options.max_resolution / templates.pixel_size
    return (full + 1).tolist(), torch.fft.irfft2(torch.fft.rfft2(images) * (low <= 1), s=(box, box))


def _turn(
    view: Float[torch.Tensor, "box box"], pixel_size: float, psi: torch.Tensor, side: int, spacing: tuple[float, float]
) -> Float[torch.Tensor, "angles side side"]:
    """A reference turned in its plane, on the micrograph's grid."""
    axis = torch.arange(side, device=view.device, dtype=view.dtype) - side // 2
    y, x = axis[:, None] * (spacing[0] / pixel_size), axis[None] * (spacing[1] / pixel_size)
    turned: list[torch.Tensor] = []
    for angle in torch.deg2rad(psi).tolist():
        c, s = math.cos(angle), math.sin(angle)
        turned.append(_sample(view, torch.stack([c * y + s * x, c * x - s * y], -1), "bicubic"))
    return torch.stack(turned)


def _transfer(side: int, spacing: tuple[float, float], ctf: Ctf, optics: Optics) -> Float[torch.Tensor, "side half"]:
    """The CTF on the grid of the templates."""
    if optics.voltage is None or optics.cs is None:
        raise InputError("the microscope's voltage and spherical aberration are not known", mend="--no-use-ctf")
    y, x = torch.fft.fftfreq(side, spacing[0])[:, None], torch.fft.rfftfreq(side, spacing[1])[None]
    defocus = astigmatic_defocus(
        torch.atan2(y, x), *(torch.tensor(float(v)) for v in (ctf.defocus_u, ctf.defocus_v, math.radians(ctf.angle)))
    )
    aberration = phase_aberration(
        torch.hypot(y, x), defocus, wavelength=electron_wavelength(optics.voltage), cs=optics.cs
    )
    amplitude = 0.1 if optics.amplitude_contrast is None else optics.amplitude_contrast
    return contrast_transfer(aberration, amplitude_contrast=amplitude, phase_shift=math.radians(ctf.phase_shift))


def _circle(side: int, image: PickImage, diameter: float) -> Float[torch.Tensor, "side side"]:
    axis = torch.arange(side, dtype=image.values.dtype, device=image.values.device) - side // 2
    return (torch.hypot(axis[:, None] * image.pixel_size[0], axis[None] * image.pixel_size[1]) <= diameter / 2).float()


def _normalise(
    turned: Float[torch.Tensor, "angles padded padded"], circle: Float[torch.Tensor, "side side"]
) -> Float[torch.Tensor, "angles side side"]:
    """The middle of the templates with mean 0 and length 1 within the circle, 0 outside."""
    side = len(circle)
    start = turned.shape[-1] // 2 - side // 2
    inner = turned[:, start : start + side, start : start + side]
    inner = (inner - (inner * circle).sum((1, 2), keepdim=True) / circle.sum()) * circle
    return inner / inner.flatten(1).norm(dim=1).clamp(min=1e-12)[:, None, None]


def _correlate(
    spectrum: torch.Tensor, kernels: Float[torch.Tensor, "angles side side"], image: PickImage
) -> Float[torch.Tensor, "angles rows columns"]:
    """Sum of the micrograph times the template around each place."""
    rows, columns = image.values.shape
    side = kernels.shape[-1]
    padded = torch.nn.functional.pad(kernels, (0, columns - side, 0, rows - side)).roll((-(side // 2),) * 2, (1, 2))
    return torch.fft.irfft2(torch.fft.rfft2(padded).conj() * spectrum, s=(rows, columns))
