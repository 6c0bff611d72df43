"""Noise power by optics group and shell: a first estimate from images, and what references leave unexplained."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from thon.algorithms.likelihood.expectation import Expected, NoiseModel
from thon.algorithms.likelihood.images import ImageSource, noise_left, transfer_function
from thon.algorithms.likelihood.pixels import FourierPixels
from thon.algorithms.likelihood.references import particle_mask
from thon.base.errors import InputError
from thon.data.particles import Particles

_SAMPLE = 1000
_FAINTEST_OFFSET = 2.0**0.5  # Å
_FAINTEST = 1e-6  # of the median shell's noise; less is none
_NORMALISED = (1e-3, 1e3)  # of the median shell's noise, which is about 1 in images that were normalised


def first_noise(particles: Particles, source: ImageSource, extent: float, shells: int, diameter: float) -> NoiseModel:
    """Power of masked images less that of their mean, over at most 1 000 particles of each optics group.

    Args:
        particles: The particles.
        source: Their images.
        extent: Side of the references' box, Å.
        shells: Number of shells.
        diameter: Of the mask, Å.

    Raises:
        InputError: Images are far from a noise of variance 1.
    """
    noise = np.ones((len(particles.optics), shells))
    for group, optics in enumerate(particles.optics):
        members = np.flatnonzero(particles.group == group)
        chosen = members[np.linspace(0, len(members) - 1, min(_SAMPLE, len(members))).astype(int)]
        pixels = FourierPixels.of(optics, extent, shells)
        mask = particle_mask(optics.box, diameter / optics.pixel_size, 2)
        power, mean = np.zeros(shells), torch.zeros((2, len(pixels.index)), dtype=torch.float64)
        for first in range(0, len(chosen), 100):
            images = torch.from_numpy(np.ascontiguousarray(source.read(chosen[first : first + 100]), np.float32))
            spectra = pixels.gather(images * mask).double()
            power += _by_shell(spectra.square().sum((0, 1)), pixels)
            mean += spectra.sum(0)
        mean /= max(len(chosen), 1)
        count = np.maximum(np.diff(pixels.starts), 1) * _noise_left(particles, chosen, pixels, diameter)
        noise[group] = (power / max(len(chosen), 1) - _by_shell(mean.square().sum(0), pixels)) / count
    noise = _without_gaps(noise)
    _check_normalised(noise, particles)
    return NoiseModel(noise, np.ones(len(particles.micrographs)), np.ones(len(particles)), 10.0)


def _check_normalised(noise: Float[np.ndarray, "groups shells"], particles: Particles) -> None:
    for group, middle in enumerate(np.median(noise, axis=1).tolist()):
        if not _NORMALISED[0] < middle < _NORMALISED[1]:
            raise InputError(
                f"the images of optics group '{particles.optics[group].name}' are not normalised",
                got=f"noise of variance {middle:.2g}",
                expected="about 1",
                mend="extract the particles again, normalised",
            )


def _noise_left(
    particles: Particles, chosen: Int[np.ndarray, "n"], pixels: FourierPixels, diameter: float
) -> Float[np.ndarray, "shells"]:
    """Share of the noise's power in images of one optics group, which is less where they were multiplied by CTFs."""
    group = particles.optics[particles.group[chosen[0]]] if len(chosen) else None
    if group is None or not group.premultiplied or particles.ctf is None:
        return np.ones(pixels.shells)
    total = torch.zeros(pixels.shells)
    for some in np.array_split(chosen, -(-len(chosen) // 100)):
        transfer = transfer_function(particles.ctf.select(some), len(some), group, pixels)
        total += pixels.mean_shells(transfer.square()).sum(0)
    return noise_left(total[None] / len(chosen), pixels, diameter / 2 / group.pixel_size)[0].double().numpy()


def update_noise(model: NoiseModel, particles: Particles, found: Expected, extent: float, shells: int) -> NoiseModel:
    """Noise, scales, norms and spread of shifts after an expectation step.

    Args:
        model: Before.
        particles: The particles.
        found: Result of the step.
        extent: Side of the references' box, Å.
        shells: Shells that the references held.
    """
    noise, weight = np.zeros_like(model.noise), np.zeros((len(model.noise), 1))
    left = np.zeros(len(particles))
    offset = 0.0
    agreement, explained = np.zeros(len(model.scale) + 1), np.zeros(len(model.scale) + 1)
    for one in found.statistics:
        noise[one.block.group] += one.residual.sum(0)
        weight[one.block.group] += len(one.block.indices)
        left[one.block.indices] = one.residual.sum(1)
        offset += float(one.offset.sum())
        micrograph = particles.micrograph[one.block.indices]
        np.add.at(agreement, micrograph, one.agreement[:, 1:].sum(1))
        np.add.at(explained, micrograph, one.explained[:, 1:].sum(1))
    for group, optics in enumerate(particles.optics):
        starts = FourierPixels.of(optics, extent, model.noise.shape[1]).starts
        noise[group] /= max(float(weight[group, 0]), 1) * np.maximum(np.diff(starts), 1)
        if not weight[group, 0]:
            noise[group] = model.noise[group]
    used = sum(len(one.block.indices) for one in found.statistics)
    return NoiseModel(
        noise=_without_gaps(noise),
        scale=_new_scale(model.scale, agreement[:-1], explained[:-1]),
        norm=_new_norm(model.norm, left, particles.group),
        offset_sigma=max((offset / max(used, 1) / 2) ** 0.5, _FAINTEST_OFFSET),
    )


def _new_norm(
    norm: Float[np.ndarray, "n"], left: Float[np.ndarray, "n"], group: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "n"]:
    """Norms that give all images of one optics group the same power beyond the reference's, with a mean of 1.

    What groups differ in is their noise.

    Args:
        norm: Before.
        left: Power beyond the reference's; 0 of particles that took no part.
        group: Optics group of each particle.
    """
    new = norm.copy()
    for one in np.unique(group[left > 0]):
        mine = (left > 0) & (group == one)
        new[mine] *= np.sqrt(left[mine] / left[mine].mean())
        new[mine] /= new[mine].mean()
    return new


def _new_scale(
    scale: Float[np.ndarray, "micrographs"],
    agreement: Float[np.ndarray, "micrographs"],
    explained: Float[np.ndarray, "micrographs"],
) -> Float[np.ndarray, "micrographs"]:
    """Scales that explain each micrograph best, within a factor of five of their median, with a mean of 1."""
    known = explained > 0
    if not known.any():
        return scale
    new = scale.copy()
    new[known] *= agreement[known] / explained[known]
    middle = float(np.median(new[known]))
    if middle <= 0:
        return scale
    new = np.clip(new, middle / 5, middle * 5)
    return new / new[known].mean()


def _by_shell(values: Float[torch.Tensor, "pixels"], pixels: FourierPixels) -> Float[np.ndarray, "shells"]:
    return np.bincount(pixels.shell, values.numpy(), pixels.shells)


def _without_gaps(noise: Float[np.ndarray, "groups shells"]) -> Float[np.ndarray, "groups shells"]:
    """Shells without samples, or without noise, take the nearest shell's."""
    result = noise.copy()
    for row in result:
        floor = _FAINTEST * np.median(row[row > 0]) if (row > 0).any() else 0.0
        good, missing = np.flatnonzero(row > floor), np.flatnonzero(~(row > floor))
        row[missing] = row[good[np.abs(missing[:, None] - good).argmin(1)]] if len(good) else 1
    return result
