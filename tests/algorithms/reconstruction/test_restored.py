"""Tomograms from images with a CTF: corrected they agree with the truth beyond the first zero; halves from frames."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_ctf_phantom import OPTICS, CtfPhantom
from thon.algorithms.reconstruct import (
    CtfCorrectionOptions,
    ReconstructOptions,
    TiltImaging,
    plan_reconstruction,
    reconstruct,
)
from thon.base.errors import InputError
from thon.data.ctf import Ctf
from thon.data.geometry import TiltGeometry
from thon.ops.fsc import fourier_shell_correlation
from thon.ops.projection import SlabProjector

PIXEL = 6.0
SHAPE = (30, 120, 140)
TILT = np.arange(-60.0, 61.0, 6.0)


@lru_cache
def scene() -> tuple[np.ndarray, np.ndarray, TiltGeometry, TiltImaging]:
    """A random slab, its images with the CTF of each place, their geometry and how they were taken."""
    random = np.random.default_rng(0)
    volume = np.zeros(SHAPE, np.float32)
    volume[10:20] = random.standard_normal((10, *SHAPE[1:]))
    geometry = TiltGeometry.nominal(TILT)
    projector = SlabProjector.from_geometry(geometry, PIXEL, *(SHAPE[0], SHAPE[2], SHAPE[1]))
    sums = projector.forward(torch.from_numpy(volume).transpose(1, 2).contiguous())
    middle = projector.columns // 2 - SHAPE[2] // 2
    flat = sums[:, middle : middle + SHAPE[2], : SHAPE[1]].transpose(1, 2).numpy()
    defocus = 30_000 + random.normal(0, 1500, len(TILT))
    phantom = CtfPhantom(SHAPE[1:], PIXEL, geometry, defocus, astigmatism=500, angle=30, hand=-1)
    images = np.stack([phantom.blur(np.fft.rfft2(image), k) for k, image in enumerate(flat)]).astype(np.float32)
    ctf = tuple(Ctf(float(one) + 250, float(one) - 250, 30.0) for one in defocus)
    return volume, images, geometry, TiltImaging(ctf, OPTICS, -1, np.full(len(TILT), np.nan))


def options(mode: str = "none", **settings) -> ReconstructOptions:
    return ReconstructOptions(bin=1, thickness=SHAPE[0] * PIXEL, ctf=CtfCorrectionOptions(mode=mode), **settings)


def agreement(volume: torch.Tensor) -> float:
    """Mean FSC with the truth beyond the first zero, which lies at 24 Å."""
    shells = fourier_shell_correlation(volume, torch.from_numpy(scene()[0]), PIXEL)
    beyond = (shells.frequency > 1 / 22) & (shells.frequency < 1 / 13)
    return float(shells.correlation[beyond].mean())


@pytest.mark.parametrize("mode", ["phase-flip", "multiply", "wiener"])
def test_correction_restores_what_lies_beyond_the_first_zero(mode):
    _, images, geometry, imaging = scene()
    assert agreement(reconstruct(images, geometry, PIXEL, options(), imaging=imaging).volume) < 0.1
    assert agreement(reconstruct(images, geometry, PIXEL, options(mode), imaging=imaging).volume) > 0.5


def test_auto_corrects_what_is_known_and_nothing_else():
    _, images, geometry, imaging = scene()
    plain = reconstruct(images, geometry, PIXEL, options()).volume
    assert torch.equal(reconstruct(images, geometry, PIXEL, options("auto")).volume, plain)
    unknown = replace(imaging, ctf=(None,) * len(TILT))
    assert torch.equal(reconstruct(images, geometry, PIXEL, options("auto"), imaging=unknown).volume, plain)
    corrected = reconstruct(images, geometry, PIXEL, options("auto"), imaging=imaging).volume
    assert torch.equal(corrected, reconstruct(images, geometry, PIXEL, options("wiener"), imaging=imaging).volume)
    assert not torch.allclose(corrected, plain, atol=0.1 * float(plain.std()))
    with pytest.raises(InputError, match="needs to know how the images were taken"):
        reconstruct(images, geometry, PIXEL, options("wiener"))


def test_exposure_weights_unless_told_not_to():
    _, images, geometry, imaging = scene()
    exposed = replace(imaging, exposure=np.linspace(2, 120, len(TILT)))
    plain = reconstruct(images, geometry, PIXEL, options(), imaging=imaging).volume
    weighted = reconstruct(images, geometry, PIXEL, options(), imaging=exposed).volume
    assert float(weighted.std()) < 0.8 * float(plain.std())
    off = options(dose_weight=False)
    assert torch.equal(reconstruct(images, geometry, PIXEL, off, imaging=exposed).volume, plain)


def test_the_plan_counts_the_correction():
    _, images, geometry, imaging = scene()
    shape = (images.shape[1], images.shape[2])
    bare = plan_reconstruction(shape, geometry, PIXEL, options("auto"))
    more = plan_reconstruction(shape, geometry, PIXEL, options("auto"), imaging=imaging)
    assert more.memory >= bare.memory
    made = reconstruct(images, geometry, PIXEL, options("auto"), imaging=imaging, sink=np.empty(SHAPE, np.float32))
    assert made.plan.memory >= bare.memory


@pytest.mark.parametrize("method", ["WBP", "SIRT"])
def test_halves_from_frames_use_all_tilts_and_the_same_correction(method):
    _, images, geometry, imaging = scene()
    noise = np.random.default_rng(1).normal(0, images.std(), images.shape).astype(np.float32)
    settings = options("wiener", halves=True, method=method)
    settings = settings.model_copy(update={"iterations": settings.iterations.model_copy(update={"number": 2})})
    shares: list[float] = []
    made = reconstruct(
        images,
        geometry,
        PIXEL,
        settings,
        imaging=imaging,
        half_images=(images + noise, images - noise),
        progress=shares.append,
    )
    for half in (made.even, made.odd):
        assert half.shape == made.volume.shape
        assert not torch.allclose(half, made.volume, atol=0.1 * float(made.volume.std()))
    assert torch.allclose((made.even + made.odd) / 2, made.volume, atol=1e-3 * float(made.volume.std()))
    assert set(made.statistics) == {"full", "even", "odd"}
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert made.fsc is not None
    assert float(made.fsc.correlation[1:].mean()) < 0.9
    by_tilts = settings.model_copy(update={"halves_from": "tilts"})
    other = reconstruct(images, geometry, PIXEL, by_tilts, imaging=imaging, half_images=(images, images))
    assert not torch.allclose(other.even, made.volume, atol=0.1 * float(made.volume.std()))


def test_halves_from_frames_go_to_their_sinks_and_are_checked():
    _, images, geometry, _ = scene()
    settings = options(halves=True, halves_from="frames")
    files = {name: np.zeros(SHAPE, np.float32) for name in ("full", "even", "odd")}
    made = reconstruct(images, geometry, PIXEL, settings, half_images=(2 * images, 3 * images), sink=files)
    assert made.volume is None
    assert files["even"] == pytest.approx(2 * files["full"], abs=1e-4)
    assert files["odd"] == pytest.approx(3 * files["full"], abs=1e-4)
    assert files["full"].std() > 0.01
    with pytest.raises(InputError, match="half the frames"):
        reconstruct(images, geometry, PIXEL, settings)
    with pytest.raises(InputError, match="half images differ"):
        reconstruct(images, geometry, PIXEL, settings, half_images=(images, images[:3]))
