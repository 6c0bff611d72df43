"""How accurately references allow rotations and shifts to be told."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from thon import kernels
from thon.algorithms.likelihood.expectation import NoiseModel, Poses
from thon.algorithms.likelihood.images import transfer_function
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.references import PADDING, to_spectrum
from thon.algorithms.likelihood.search import in_plane
from thon.data.particles import Particles
from thon.ops.rotation import rotation_about

_TELLING = 4.605  # of log likelihood: 99 to 1
_ANGLES = 0.25 * 2.0 ** np.arange(8)
_SHIFTS = 0.125 * 2.0 ** np.arange(7)  # px


def pose_accuracy(
    particles: Particles,
    poses: Poses,
    half: Int[np.ndarray, "n"],
    references: Float[torch.Tensor, "halves z y x"],
    model: NoiseModel,
    pixel_size: float,
    shells: int,
    *,
    seed: int = 0,
    sample: int = 100,
) -> tuple[float, float]:
    """Rotation, degrees, and shift, Å, by which a pose must differ to be 99 times less likely; mean over a sample."""
    chosen = np.random.default_rng(seed).choice(len(particles), min(sample, len(particles)), replace=False)
    spectra = to_spectrum(references, shells)
    extent = references.shape[-1] * pixel_size
    rotation, shift = [], []
    for i in np.sort(chosen):
        optics = particles.optics[particles.group[i]]
        pixels = FourierPixels.of(optics, extent, shells)
        ctf = None if particles.ctf is None else particles.ctf.select(np.array([i]))
        noise = torch.from_numpy(model.noise[particles.group[i]]).float()[torch.from_numpy(pixels.shell)]
        transfer = transfer_function(ctf, 1, optics, pixels)[0] * pixels.amplitude
        weights = transfer.square() / noise
        places = torch.from_numpy(np.ascontiguousarray(pixels.places.T * PADDING, np.float32))
        turns = [np.eye(3)] + [rotation_about(axis, float(a)) for a in _ANGLES for axis in np.eye(3)]
        matrices = in_plane(np.stack(turns) @ poses.rotation[i])
        which = torch.full((len(matrices),), int(half[i]) - 1)
        slices = kernels.cut_slices(spectra, which, matrices, places)
        apart = ((slices[1:] - slices[0]).square().sum(1) @ weights).numpy().reshape(len(_ANGLES), 3)
        rotation += [_crossing(_ANGLES, column) for column in apart.T]
        power = slices[0].square().sum(0) * weights
        phase = torch.from_numpy(pixels.index * (2 * np.pi / optics.box))
        moved = [(2 - 2 * torch.cos(phase * float(s))).float().T @ power for s in _SHIFTS]
        shift += [_crossing(_SHIFTS, column) * optics.pixel_size for column in torch.stack(moved).numpy().T]
    return float(np.mean(rotation)), float(np.mean(shift))


def _crossing(steps: Float[np.ndarray, "n"], apart: Float[np.ndarray, "n"]) -> float:
    """Step at which the difference first tells, between steps by a power law; the last where it never does."""
    above = np.flatnonzero(apart > _TELLING)
    if not len(above):
        return float(steps[-1])
    k = int(above[0])
    if k == 0:
        return float(steps[0] * np.sqrt(_TELLING / apart[0]))
    low, high = np.log(max(apart[k - 1], 1e-30)), np.log(apart[k])
    part = (np.log(_TELLING) - low) / (high - low)
    return float(steps[k - 1] * (steps[k] / steps[k - 1]) ** part)
