"""Simulate movies of single particles or tilt series, with the truth about everything in them.

One exposure is made in four steps: molecules, gold and ice are drawn into layers; each layer's phase becomes contrast
with the defocus of its height; the contrast fades frame by frame with the dose and is read where the specimen has moved
to; the camera counts electrons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy
import torch
from jaxtyping import Float, Int

from thon.algorithms.simulation.frames import Exposure
from thon.algorithms.simulation.layers import Field, cut_layers, noise_amplitude
from thon.algorithms.simulation.motion import largest_displacement, random_motion
from thon.algorithms.simulation.optics import Lens, MicroscopeOptions
from thon.algorithms.simulation.options import SimulateOptions, SimulateSpaOptions, SimulateTomoOptions
from thon.algorithms.simulation.potential import Projector, Scatterers
from thon.algorithms.simulation.specimen import (
    Specimen,
    View,
    inside_image,
    place_apart,
    random_rotations,
    view_specimen,
)
from thon.algorithms.simulation.wave import Contrast, form_contrast
from thon.data.ctf import Ctf
from thon.data.geometry import TiltGeometry
from thon.data.motion import FrameMotion

_MARGIN = 16
_TOUCH = 1.08
_REFOCUS = 300.0


@dataclass(frozen=True)
class Scene:
    """What the exposures of one specimen have in common.

    Args:
        specimen: What is seen.
        projector: Draws the molecules.
        field: Grid.
        hand: Sign of the change of defocus with height.
        options: What to simulate.
    """

    specimen: Specimen
    projector: Projector
    field: Field
    hand: int
    options: SimulateOptions


@dataclass(frozen=True)
class SimulatedMovie:
    """One movie, ready to be counted, and the truth about it.

    Args:
        name: Name of the movie.
        exposure: Its frames.
        view: Molecules and beads as the movie's first frame sees them.
        lens: Microscope.
        scene: What is seen.
    """

    name: str
    exposure: Exposure
    view: View
    lens: Lens
    scene: Scene

    @cached_property
    def contrast(self) -> Contrast:
        """Contrast before damage and camera."""
        field = self.exposure.field
        generator = torch.Generator().manual_seed(self.exposure.seed) if self.scene.options.ice else None
        layers = cut_layers(self.view, field, self.scene.projector, self.scene.specimen.bead_diameter, generator)
        noise = noise_amplitude(self.lens.frequency, self.view, field, self.lens.voltage)
        return form_contrast(layers, self.lens, noise, self.scene.hand)

    @property
    def motion(self) -> FrameMotion:
        """How the specimen lies in each frame."""
        return self.exposure.motion

    @property
    def pixel(self) -> Float[np.ndarray, "particles 2"]:
        """Molecules in the micrograph, (row, column), px."""
        return self.view.position / self.exposure.field.pixel_size + np.array(
            [n // 2 for n in self.exposure.field.image_shape]
        )

    @property
    def seen(self) -> Int[np.ndarray, "seen"]:
        """Molecules whose centres lie on the micrograph."""
        field = self.exposure.field
        return np.flatnonzero(inside_image(self.view.position, field.image_shape, field.pixel_size))

    def micrograph(self) -> Float[torch.Tensor, "rows columns"]:
        """Relative contrast without noise of counting, damage, motion or camera."""
        field, still = self.exposure.field, self.contrast
        if still.wave:
            wave = torch.fft.ifft2(still.fading)
            image = wave.abs().square() + 2 * wave.real
        else:
            spectrum = still.fading if still.lasting is None else still.fading + still.lasting
            image = torch.fft.irfft2(spectrum, s=field.shape)
        (row, column), (rows, columns) = field.start, field.image_shape
        return image[row : row + rows, column : column + columns].clone()


@dataclass(frozen=True)
class SimulatedSeries:
    """A tilt series, ready to be taken, and the truth about it.

    Args:
        name: Name of the series.
        specimen: What is seen.
        geometry: True geometry of each tilt, in ascending order.
        order: Acquisition order of each tilt, from 0.
        movies: One of each tilt, in ascending order.
    """

    name: str
    specimen: Specimen
    geometry: TiltGeometry
    order: Int[np.ndarray, "tilts"]
    movies: tuple[SimulatedMovie, ...]


def simulate_spa(scatterers: Scatterers, options: SimulateSpaOptions, seed: int) -> Iterator[SimulatedMovie]:
    """Movies of single particles, one by one.

    Args:
        scatterers: The molecule.
        options: What to simulate.
        seed: Of everything random.
    """
    projector = Projector(scatterers, options.pixel_size, options.microscope.voltage)
    still = TiltGeometry(np.zeros(1), np.zeros((1, 2)))
    for index in range(options.movies):
        random = np.random.default_rng([seed, index])
        motion = random_motion(options.frames, options.dose / options.frames, options.motion, random)
        scene = Scene(_film(scatterers, options, random), projector, _field(options, [motion]), 1, options)
        ctf = _random_ctf(options.microscope, random)
        yield _movie(f"movie_{index + 1:04d}", scene, still, 0, motion, ctf, 0.0, random)


def simulate_tomo(scatterers: Scatterers, options: SimulateTomoOptions, seed: int) -> Iterator[SimulatedSeries]:
    """Tilt series, one by one; the arguments are those of `simulate_spa`."""
    projector = Projector(scatterers, options.pixel_size, options.microscope.voltage)
    for index in range(options.series):
        random = np.random.default_rng([seed, index])
        geometry, order = random_geometry(options, random)
        dose = options.dose / options.frames
        motions = [random_motion(options.frames, dose, options.motion, random) for _ in order]
        hand = 1 if options.hand == "+" else -1
        scene = Scene(_slab(scatterers, options, random), projector, _field(options, motions), hand, options)
        first = _random_ctf(options.microscope, random)
        movies: list[SimulatedMovie] = []
        for k, motion in enumerate(motions):
            name = f"TS_{index + 1:02d}_{order[k] + 1:03d}_{geometry.tilt[k]:.1f}"
            prior = float(order[k] * options.dose)
            movies.append(_movie(name, scene, geometry, k, motion, _refocused(first, random), prior, random))
        yield SimulatedSeries(f"TS_{index + 1:02d}", scene.specimen, geometry, order, tuple(movies))


def _movie(
    name: str,
    scene: Scene,
    geometry: TiltGeometry,
    tilt: int,
    motion: FrameMotion,
    ctf: Ctf,
    prior: float,
    random: np.random.Generator,
) -> SimulatedMovie:
    options, field = scene.options, scene.field
    view = view_specimen(scene.specimen, geometry, tilt)
    exposure = Exposure(
        field=field,
        motion=motion,
        frame_exposure=motion.frame_exposure,
        prior_exposure=prior,
        voltage=options.microscope.voltage,
        damage=options.damage,
        transmission=math.exp(-view.path / options.mean_free_path),
        seed=int(random.integers(2**62)),
    )
    return SimulatedMovie(name, exposure, view, Lens(field.shape, field.pixel_size, ctf, options.microscope), scene)


def _field(options: SimulateSpaOptions | SimulateTomoOptions, motions: list[FrameMotion]) -> Field:
    """The frames with a margin for the largest motion, on a grid whose Fourier transform is quick."""
    margin = _MARGIN + math.ceil(max(map(largest_displacement, motions)) / options.pixel_size)
    rows, columns = (scipy.fft.next_fast_len(n + 2 * margin, real=True) for n in options.shape)
    start = ((rows - options.shape[0]) // 2, (columns - options.shape[1]) // 2)
    return Field((rows, columns), start, options.shape, options.pixel_size)


def _film(scatterers: Scatterers, options: SimulateSpaOptions, random: np.random.Generator) -> Specimen:
    """Molecules side by side in thin ice."""
    area = np.array(options.shape) * options.pixel_size + 2 * scatterers.radius
    count = round(float(area.prod()) * 1e-8 * options.density)
    room = max(options.thickness - 2 * scatterers.radius, 0.0)
    position = place_apart(count, np.array([room, *area]), 2 * scatterers.radius * _TOUCH, random, flat=True)
    rotation = random_rotations(len(position), random)
    return Specimen(position, rotation, np.zeros((0, 3)), 0.0, options.thickness, options.carbon)


def _slab(scatterers: Scatterers, options: SimulateTomoOptions, random: np.random.Generator) -> Specimen:
    """Molecules and beads in thick ice, as wide as any tilt sees."""
    side = np.array(options.shape) * options.pixel_size
    reach = float(np.linalg.norm(side)) + 2 * options.thickness * math.tan(math.radians(options.max_tilt)) * 0.5
    beads = np.zeros((0, 3))
    if options.beads:
        count = round(reach**2 * 1e-8 * options.beads)
        room = max(options.thickness - options.bead_diameter, 0.0)
        beads = place_apart(count, np.array([room, reach, reach]), 3 * options.bead_diameter, random, flat=True)
    room = max(options.thickness - 2 * scatterers.radius, 0.0)
    count = round(options.thickness * reach**2 * 1e-12 * options.density)
    position = place_apart(count, np.array([room, reach, reach]), 2 * scatterers.radius * _TOUCH, random)
    clear = np.linalg.norm(position[:, None] - beads[None], axis=-1).min(1, initial=np.inf)
    position = position[clear > scatterers.radius + options.bead_diameter / 2]
    rotation = random_rotations(len(position), random)
    return Specimen(position, rotation, beads, options.bead_diameter, options.thickness, options.carbon)


def random_geometry(
    options: SimulateTomoOptions, random: np.random.Generator
) -> tuple[TiltGeometry, Int[np.ndarray, "tilts"]]:
    """True geometry in ascending order of tilt, and the acquisition order of each tilt."""
    steps = int(options.max_tilt / options.step + 1e-6)
    tilt = np.arange(-steps, steps + 1) * options.step
    order = np.arange(len(tilt))
    if options.order == "symmetric":
        order = np.argsort(np.lexsort((-tilt, np.abs(tilt))))
    # The stage goes astray step by step, in the order in which it is moved.
    wander = np.cumsum(random.normal(size=(len(tilt), 2)), axis=0) / math.sqrt(len(tilt))
    shift = (wander + 0.3 * random.normal(size=wander.shape))[order] * options.tracking
    shift -= shift[len(tilt) // 2]
    axis = options.tilt_axis + random.uniform(-1, 1) + random.normal(size=len(tilt)) * 0.03
    return TiltGeometry(tilt.astype(np.float64), shift, axis), order


def _random_ctf(options: MicroscopeOptions, random: np.random.Generator) -> Ctf:
    defocus, astigmatism = (
        random.uniform(min(options.defocus), max(options.defocus)),
        random.uniform(0, options.astigmatism),
    )
    angle = random.uniform(0, 180)
    return Ctf(defocus + astigmatism / 2, defocus - astigmatism / 2, angle, options.phase_shift)


def _refocused(ctf: Ctf, random: np.random.Generator) -> Ctf:
    """The next tilt's focus, which differs a little."""
    change = random.normal() * _REFOCUS
    return replace(ctf, defocus_u=ctf.defocus_u + change, defocus_v=ctf.defocus_v + change)
