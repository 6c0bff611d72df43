"""From layers of specimen to the contrast of an image that took no dose yet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float

from thon.algorithms.simulation.layers import Layer, weak_gold
from thon.algorithms.simulation.optics import GOLD_CONTRAST, Lens
from thon.ops.ctf import amplitude_phase


@dataclass(frozen=True)
class Contrast:
    """Spectrum of an image's relative contrast, before damage and camera.

    Args:
        fading: Of what radiation damages: half spectrum of the contrast, or whole spectrum of the wave less one.
        lasting: Of gold, which lasts; None where there is none.
        wave: Whether `fading` is of the wave, whose squared length is the intensity.
    """

    fading: Complex[torch.Tensor, "rows spectrum"]
    lasting: Complex[torch.Tensor, "rows spectrum"] | None = None
    wave: bool = False


def form_contrast(layers: Iterable[Layer], lens: Lens, noise: Float[torch.Tensor, "rows half"], hand: int) -> Contrast:
    """Contrast of a specimen, weak or by its full wave as the lens's options say.

    Args:
        layers: From the lowest to the highest.
        lens: Microscope.
        noise: What turns white noise into ice (`noise_amplitude`).
        hand: Sign of the change of defocus with height.
    """
    return _follow_wave(layers, lens, noise, hand) if lens.options.wave else _add_weak(layers, lens, noise, hand)


def _add_weak(layers: Iterable[Layer], lens: Lens, noise: Float[torch.Tensor, "rows half"], hand: int) -> Contrast:
    rows, columns = lens.shape
    fading = torch.zeros(rows, columns // 2 + 1, dtype=torch.complex64)
    lasting = torch.zeros_like(fading)
    has_gold = False
    for layer in layers:
        spectrum = _phase_spectrum(layer, noise)
        if spectrum is not None:
            fading += spectrum * lens.weak_contrast(hand * layer.height)
        if layer.beads is not None:
            has_gold = True
            lasting += torch.fft.rfft2(weak_gold(layer.beads)) * lens.weak_contrast(hand * layer.height, GOLD_CONTRAST)
    loss = torch.polar(lens.envelope(), lens.coma()) if lens.has_coma else lens.envelope()
    return Contrast(fading * loss, lasting * loss if has_gold else None)


def _phase_spectrum(layer: Layer, noise: Float[torch.Tensor, "rows half"]) -> Complex[torch.Tensor, "rows half"] | None:
    spectrum = None if layer.phase is None else torch.fft.rfft2(layer.phase)
    if layer.noise is None:
        return spectrum
    ice = torch.fft.rfft2(layer.noise) * noise
    return ice if spectrum is None else spectrum + ice


def _follow_wave(layers: Iterable[Layer], lens: Lens, noise: Float[torch.Tensor, "rows half"], hand: int) -> Contrast:
    """Layer by layer in the order of growing defocus, between them free space, which adds defocus."""
    ordered = list(layers) if hand > 0 else list(layers)[::-1]
    ones = torch.ones(lens.shape, dtype=torch.complex64)
    wave, last = ones, ordered[0].height
    unit = torch.polar(torch.ones(()), torch.tensor(amplitude_phase(lens.options.amplitude_contrast)))
    gold = torch.polar(torch.ones(()), torch.tensor(amplitude_phase(GOLD_CONTRAST)))
    for layer in ordered:
        path = hand * (layer.height - last)
        if path:
            away = whole_spectrum(lens.aberration(last * hand) - lens.aberration(layer.height * hand), lens.shape)
            wave = torch.fft.ifft2(torch.fft.fft2(wave) * torch.polar(torch.ones_like(away), away))
        spectrum = _phase_spectrum(layer, noise)
        exponent = torch.zeros(lens.shape, dtype=torch.complex64)
        if spectrum is not None:
            exponent += torch.fft.irfft2(spectrum, s=lens.shape) * unit
        if layer.beads is not None:
            exponent += layer.beads * gold
        wave, last = wave * torch.exp(1j * exponent), layer.height
    aberration = whole_spectrum(lens.aberration(hand * last), lens.shape)
    if lens.has_coma:
        aberration += whole_spectrum(lens.coma(), lens.shape, odd=True)
    loss = whole_spectrum(lens.envelope(), lens.shape)
    scattered = torch.fft.fft2(wave - 1) * torch.polar(loss, aberration + math.radians(lens.ctf.phase_shift))
    return Contrast(scattered, wave=True)


def whole_spectrum(
    half: Float[torch.Tensor, "rows half"], shape: tuple[int, int], *, odd: bool = False
) -> Float[torch.Tensor, "rows columns"]:
    """An even function on the whole spectrum, or an odd one, from the one on half of it."""
    rest = half[:, 1 : shape[1] - half.shape[1] + 1].flip(1)
    rest = -rest if odd else rest
    return torch.cat([half, torch.roll(rest.flip(0), 1, 0)], 1)
