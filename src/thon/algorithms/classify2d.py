"""Sort particles into classes of equal views and average each.

Every particle is compared with every class average at all in-plane angles and shifts that matter, and adds to each
average as likely as it belongs there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt
from jaxtyping import Float, Int

from thon.algorithms.likelihood.classes import ClassState, Classifier, filter_shells, soft_mask
from thon.algorithms.likelihood.expectation import Poses
from thon.algorithms.likelihood.images import ImageSource, transfer_function
from thon.algorithms.likelihood.noise import first_noise
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.poses import RotationGrid, ShiftGrid
from thon.algorithms.likelihood.search import SearchPlan
from thon.base.options import Options, Unit
from thon.data.particles import Particles
from thon.ops.fourier import fourier_shift
from thon.ops.rotation import rotation_about


class Classify2dOptions(Options):
    """Classes of two dimensions."""

    classes: Annotated[int, Ge(1)] = 50
    """Number of classes."""

    diameter: Annotated[float, Unit("Å"), Gt(0)] = 200.0
    """Diameter of the soft mask around particles and averages."""

    method: Literal["EM", "VDAM"] = "EM"
    """All particles in each iteration (EM), or mini-batches first (VDAM)."""

    iterations: Annotated[int, Ge(1)] = 25
    """Iterations over all particles; mini-batches come before them."""

    mini_batches: Annotated[int, Ge(1)] = 100
    """Number of mini-batches, for VDAM."""

    regularisation: Annotated[float, Gt(0)] = 2.0
    """T: larger values let finer detail into the averages, and noise with it."""

    psi_step: Annotated[float, Unit("degrees"), Gt(0)] = 6.0
    """Finest step of the in-plane angles."""

    offset_range: Annotated[float, Unit("px"), Gt(0)] = 5.0
    """Shifts are searched so far from the last ones."""

    offset_step: Annotated[float, Unit("px"), Gt(0)] = 1.0
    """Finest step of the shifts."""

    center: bool = True
    """Move averages so that their matter lies in the centre."""

    inactive: Annotated[float, Ge(0)] = 0.1
    """A class with less than this fraction of an even share is replaced by a half of the largest, for VDAM."""

    max_resolution: Annotated[float, Unit("Å"), Ge(0)] = 0.0
    """Nothing finer takes part; 0 for no limit."""


@dataclass(frozen=True)
class Classify2d:
    """A classification: its particles, images and options."""

    particles: Particles
    source: ImageSource
    options: Classify2dOptions
    seed: int = 0

    @property
    def box(self) -> int:
        """Side of the averages, px."""
        return self.particles.optics[0].box

    @property
    def pixel_size(self) -> float:
        """Of the averages, Å."""
        return self.particles.optics[0].pixel_size

    @property
    def total(self) -> int:
        """Number of iterations, mini-batches included."""
        return self.options.iterations if self.options.method == "EM" else self.options.mini_batches + 1

    def start(self) -> ClassState:
        """State before the first iteration: averages of random particles."""
        options, box = self.options, self.box
        extent = box * self.pixel_size
        model = first_noise(self.particles, self.source, extent, box // 2, options.diameter)
        shells = min(box // 2, max(6, round(extent / 35)) + 5)
        return ClassState(
            references=self._first_averages(shells),
            shares=np.full(options.classes, 1 / options.classes),
            power=np.zeros((options.classes, box // 2)),
            poses=Poses.start(self.particles),
            model=model,
            shells=shells,
        )

    def iterate(self, state: ClassState, done: Callable[[int], None] = lambda count: None) -> ClassState:
        """One iteration."""
        options, number = self.options, len(state.records)
        extent = self.box * self.pixel_size
        most = self.box // 2 if not options.max_resolution else round(extent / options.max_resolution)
        classifier = Classifier(
            self.particles, self.source, self.pixel_size, options.diameter, np.eye(3)[None], options.regularisation
        )
        plan = self._plan(state, number)
        if options.method == "EM" or number >= options.mini_batches:
            state = classifier.full_step(state, plan, most_shells=most, done=done)
        else:
            chosen = self._batch(number)
            step = 0.3 + 0.6 / (1 + np.exp((number / options.mini_batches - 0.3) * 30))
            state = classifier.stochastic_step(state, plan, chosen, step=float(step), most_shells=most, done=done)
            state = _revive(state, options.inactive, np.random.default_rng((self.seed, number, 1)))
        return _centred(state) if options.center else state

    def _plan(self, state: ClassState, number: int) -> SearchPlan:
        options = self.options
        generator = np.random.default_rng((self.seed, number))
        angles = max(1, round(360 / (2 * options.psi_step)))
        jitter = float(generator.uniform(-0.5, 0.5)) * 360 / angles
        grid = RotationGrid(2, np.eye(3)[None], rotation_about((1, 0, 0), jitter), angles)
        offset = generator.uniform(-0.5, 0.5, 2) * options.offset_step
        shifts = ShiftGrid(options.offset_step, options.offset_range, (float(offset[0]), float(offset[1])))
        resolution = grid.step(0) * np.pi * options.diameter / 360 / 1.5
        coarse = min(state.shells, int(np.ceil(self.box * self.pixel_size / resolution)))
        most = 5000 if options.method == "VDAM" else 100_000
        return SearchPlan(grid, shifts, 0, (coarse, state.shells), most=most)

    def _batch(self, number: int) -> Int[np.ndarray, "n"]:
        """Particles of a mini-batch: few in the beginning, more towards the end."""
        n, total = len(self.particles), self.options.mini_batches
        first = min(n, max(200, min(n // 200, 10_000)))
        last = min(n, max(1000, min(n // 20, 100_000)))
        part = min(max((number / total - 0.3) / 0.5, 0), 1)
        generator = np.random.default_rng((self.seed, number, 2))
        return np.sort(generator.choice(n, round(first + part * (last - first)), replace=False))

    def _first_averages(self, shells: int) -> Float[np.ndarray, "classes box box"]:
        """Averages of random particles as they lie, CTFs corrected, low-pass filtered and masked."""
        options, box, extent = self.options, self.box, self.box * self.pixel_size
        generator = np.random.default_rng(self.seed)
        count = min(len(self.particles), max(1000, 50 * options.classes))
        chosen = generator.permutation(len(self.particles))[:count]
        owner = np.arange(count) % options.classes
        pixels = FourierPixels(box, self.pixel_size, extent, shells)
        data = torch.zeros((options.classes, 2, len(pixels.index)))
        weight = torch.zeros((options.classes, len(pixels.index)))
        for group, optics in enumerate(self.particles.optics):
            mine = np.flatnonzero(self.particles.group[chosen] == group)
            own = FourierPixels.of(optics, extent, shells)
            if len(own.index) != len(pixels.index):
                continue
            for first in range(0, len(mine), 256):
                part = mine[first : first + 256]
                indices = chosen[part]
                ctf = None if self.particles.ctf is None else self.particles.ctf.select(indices)
                transfer = transfer_function(ctf, len(indices), optics, own)
                images = torch.from_numpy(np.ascontiguousarray(self.source.read(indices), np.float32))
                to = torch.from_numpy(owner[part])
                data.index_add_(0, to, own.gather(images) * transfer[:, None])
                weight.index_add_(0, to, transfer.square())
        spectrum = data / (weight + weight.mean() * 0.1)[:, None]
        half = torch.zeros((options.classes, box, box // 2 + 1), dtype=torch.complex64)
        rows, columns = torch.from_numpy(pixels.index % box).T
        half[:, rows, columns] = torch.complex(spectrum[:, 0], spectrum[:, 1])
        own_mirror = columns == 0
        half[:, (-rows[own_mirror]) % box, 0] = half[:, rows[own_mirror], 0].conj()
        images = torch.fft.irfft2(half, s=(box, box), norm="ortho").roll((box // 2, box // 2), (-2, -1))
        return (images * soft_mask(box, options.diameter / self.pixel_size, 2)).numpy()


def _revive(state: ClassState, inactive: float, generator: np.random.Generator) -> ClassState:
    """Replace a class that hardly any particle belongs to by a part of the largest class."""
    shares = state.shares
    dead = np.flatnonzero(shares < inactive / len(shares))
    if not len(dead) or len(shares) == 1:
        return state
    references, shares = state.references.copy(), shares.copy()
    momentum = None if state.momentum is None else state.momentum.copy()
    for k in dead:
        largest = int(shares.argmax())
        noise = generator.normal(size=references[k].shape).astype(np.float32) * references[largest].std() * 0.5
        smooth = filter_shells(torch.from_numpy(noise), np.ones(6)).numpy()
        references[k] = references[largest] + smooth
        shares[k] = shares[largest] = shares[largest] / 2
        if momentum is not None:
            momentum[k] = 0
    return replace(state, references=references, shares=shares, momentum=momentum)


def _centred(state: ClassState) -> ClassState:
    """Averages moved so that the centre of their positive matter lies in the centre, and shifts of particles with them."""
    box = state.references.shape[-1]
    axis = np.arange(box) - box // 2
    positive = np.maximum(state.references, 0)
    mass = positive.sum((1, 2))
    mass[mass == 0] = 1
    centre = np.stack([(positive.sum(2) * axis).sum(1), (positive.sum(1) * axis).sum(1)], -1) / mass[:, None]
    whole = torch.from_numpy(np.round(centre))
    moved = fourier_shift(torch.from_numpy(state.references), -whole.float()).numpy()
    return replace(state, references=moved)
