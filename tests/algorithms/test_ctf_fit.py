"""The CTF fit on micrographs whose CTF is known."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from tests.algorithms.ctf_micrographs import Scene, height_of, phase_error, scattering, simulate
from thon.algorithms.ctf_fit import CtfFitOptions, CtfFitted, fit_ctf, ring_grid
from thon.algorithms.ctf_solve import lens_of, solve_ctf
from thon.base.errors import InputError
from thon.data.ctf import SpecimenTilt
from thon.data.optics import Optics
from thon.ops.ctf_spectrum import polar_spectrum

OPTICS = Optics(300.0, 2.7, 0.07)


@cache
def picture(scene: Scene) -> torch.Tensor:
    return torch.from_numpy(simulate(scene))


def fitted(scene: Scene, inclined: SpecimenTilt | None = None, **options: object) -> CtfFitted:
    optics = Optics(scene.voltage, scene.cs, scene.amplitude_contrast)
    return fit_ctf(
        picture(scene), scene.pixel_size, optics, CtfFitOptions.model_validate(options), specimen_tilt=inclined
    )


def turned(degrees: float) -> float:
    """The same direction of a line, within a quarter turn of zero."""
    return (degrees + 90) % 180 - 90


SCENES = [
    Scene((500, 729), defocus_u=18000, defocus_v=17000, angle=30),
    Scene((640, 512), defocus_u=9000, defocus_v=7200, angle=121, dose=15, seed=1),
    Scene((512, 512), defocus_u=42000, defocus_v=41500, angle=77, seed=2),
    Scene((600, 600), defocus_u=4100, defocus_v=3700, angle=160, seed=3),
    Scene((768, 768), defocus_u=15000, defocus_v=14600, angle=10, material="ice", seed=4, b_factor=60),
    Scene((640, 640), defocus_u=12000, defocus_v=11800, angle=95, voltage=200, cs=2.0, pixel_size=1.1, seed=5),
]


@pytest.mark.parametrize("scene", SCENES)
def test_defocus_astigmatism_and_angle_are_found_within_what_the_fit_states(scene: Scene) -> None:
    fit = fitted(scene).fit
    ctf, sigma = fit.ctf, fit.sigma
    assert ctf.defocus == pytest.approx((scene.defocus_u + scene.defocus_v) / 2, rel=0.004)
    assert abs(ctf.defocus_u - scene.defocus_u) < 3.5 * sigma.defocus_u < 0.02 * scene.defocus_u
    assert abs(ctf.defocus_v - scene.defocus_v) < 3.5 * sigma.defocus_v
    assert abs(turned(ctf.angle - scene.angle)) < 3.5 * sigma.angle
    assert fit.score > 0.5
    assert fit.resolution < 6.0


def test_stated_errors_are_the_errors() -> None:
    pulls = []
    for seed in range(8):
        scene = Scene((384, 384), defocus_u=16500, defocus_v=15500, angle=50, dose=4, seed=100 + seed)
        fit = fitted(scene).fit
        for name in ("defocus_u", "defocus_v", "angle"):
            pulls.append((getattr(fit.ctf, name) - getattr(scene, name)) / getattr(fit.sigma, name))
    assert 0.6 < float(np.sqrt(np.mean(np.square(pulls)))) < 1.5


def test_phase_plate() -> None:
    scene = Scene((640, 640), defocus_u=11000, defocus_v=10600, angle=20, phase=75, seed=6)
    fit = fitted(scene, fit_phase=True).fit
    assert fit.ctf.phase_shift == pytest.approx(75, abs=max(3 * fit.sigma.phase_shift, 1.0))
    assert fit.sigma.phase_shift < 5
    assert fit.ctf.defocus == pytest.approx(10800, abs=3.5 * fit.sigma.defocus_u)
    known = fitted(scene, phase_shift=75.0).fit
    assert known.ctf.phase_shift == pytest.approx(75)
    assert known.sigma.phase_shift == 0
    assert known.sigma.defocus_u < fit.sigma.defocus_u
    assert known.ctf.defocus == pytest.approx(10800, rel=0.004)


def test_no_astigmatism_where_none_is_allowed() -> None:
    fit = fitted(SCENES[0], fit_astigmatism=False).fit
    assert fit.ctf.astigmatism == 0
    assert fit.ctf.defocus == pytest.approx(17500, rel=0.02)


def test_noise_is_called_noise() -> None:
    fits = []
    for seed in range(5):
        noise = torch.randn(400, 400, generator=torch.Generator().manual_seed(seed))
        fits.append(fit_ctf(noise, 1.35, OPTICS).fit)
    assert all(any("noise" in warning for warning in fit.warnings) for fit in fits)
    assert min(fit.sigma.defocus_u for fit in fits) > 1000
    assert float(np.median([fit.score for fit in fits])) < 0.4


def test_dirt_and_emptiness_do_not_matter() -> None:
    scene = SCENES[0]
    image = picture(scene).clone()
    image[:128, :243] = 0
    image[300:310, 300:310] += 4000
    image[400, 100] = 1e6
    fit = fit_ctf(image, scene.pixel_size, OPTICS).fit
    assert abs(fit.ctf.defocus_u - scene.defocus_u) < 4 * fit.sigma.defocus_u < 0.01 * scene.defocus_u
    before = image.clone()
    fit_ctf(image, scene.pixel_size, OPTICS)
    assert torch.equal(image, before)


@pytest.mark.parametrize("seed", [0, 1])
def test_power_along_the_rows_and_columns_of_pixels_is_not_taken_for_rings(seed: int) -> None:
    scene = Scene((768, 768), 2.66, 8240, 7930, 97, material="ice", dose=5, b_factor=150, seed=seed)
    rows, columns = scene.shape
    ky, kx = torch.fft.fftfreq(rows)[:, None], torch.fft.rfftfreq(columns)[None]
    fourfold = 16 * (kx**4 + ky**4 - 6 * kx**2 * ky**2)  # cos 4φ, 1 at Nyquist: as an interpolation leaves it
    image = torch.fft.irfft2(torch.fft.rfft2(picture(scene)) * torch.exp(0.075 * fourfold), s=scene.shape)
    fit = fit_ctf(image, scene.pixel_size, OPTICS).fit
    assert fit.ctf.defocus == pytest.approx(8085, abs=4 * fit.sigma.defocus_u)
    assert fit.sigma.defocus_u < 100
    assert not fit.warnings


def test_a_half_empty_image_loses_that_half() -> None:
    scene = SCENES[2]
    image = picture(scene).clone()
    image[256:] = 0
    fit = fit_ctf(image, scene.pixel_size, OPTICS).fit
    assert abs(fit.ctf.defocus_u - scene.defocus_u) < 4 * fit.sigma.defocus_u < 0.01 * scene.defocus_u
    assert any("50%" in warning for warning in fit.warnings)


def test_without_noise_there_is_hardly_an_error() -> None:
    """The expected spectrum of strong rings: what the bins, or the smooth curves, got wrong would show alone."""
    truth = Scene((1024, 1024), defocus_u=9200, defocus_v=7400, angle=60, phase=80, dose=30)
    ky, kx = np.fft.fftfreq(1024, 1.35)[:, None], np.fft.rfftfreq(1024, 1.35)[None]
    s = np.hypot(ky, kx)
    rings = 4 * scattering(truth, s) * np.exp(-truth.b_factor * s**2 / 2) * np.sin(phase_error(truth, kx, ky)) ** 2
    power = torch.from_numpy((1 + truth.dose * rings).astype(np.float32))
    options = CtfFitOptions(fit_phase=True)
    lens, _ = lens_of(OPTICS)
    found = solve_ctf(polar_spectrum(power, 1024, 1.35, ring_grid(1.35, lens, options)), lens, options).likely
    twice = np.deg2rad(120)
    error = found.lens[:4] - [8300, 900 * np.cos(twice), 900 * np.sin(twice), np.deg2rad(80)]
    assert np.abs(error[:3]).max() < 0.5
    assert abs(np.rad2deg(error[3])) < 0.05
    assert (np.abs(error) < 0.3 * np.sqrt(np.diag(found.covariance)[:4])).all()


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.int16, torch.uint8])
def test_values_may_be_of_any_type(kind: torch.dtype) -> None:
    expected = fitted(SCENES[0]).fit
    found = fit_ctf(picture(SCENES[0]).clamp(0, 255).to(kind), 1.35, OPTICS).fit
    assert found.ctf.defocus == pytest.approx(expected.ctf.defocus, abs=expected.sigma.defocus_u / 4)


def test_a_small_image_says_how_little_it_knows() -> None:
    whole = fitted(SCENES[0]).fit
    for side in (64, 100):
        fit = fit_ctf(picture(SCENES[0])[:side, :side], 1.35, OPTICS).fit
        error = abs(fit.ctf.defocus - 17500)
        assert error < 4 * fit.sigma.defocus_u <= 4 * 58001 / np.sqrt(12)
        assert fit.sigma.defocus_u > 5 * whole.sigma.defocus_u
        assert not any("ice" in warning for warning in fit.warnings), "so few values tell nothing of a ring"


def test_contrast_may_have_either_sign_and_any_scale() -> None:
    one = fitted(SCENES[1]).fit.ctf
    other = fit_ctf(-3.7 * picture(SCENES[1]) + 1000, 1.35, OPTICS).fit.ctf
    assert other.defocus_u == pytest.approx(one.defocus_u, abs=0.5)
    assert other.angle == pytest.approx(one.angle, abs=0.05)


def test_diagnostic_shows_the_same_rings_on_both_sides() -> None:
    shown = fitted(SCENES[0], tile_size=256).diagnostic
    assert shown.shape == (256, 256)
    left, right = shown[:, 1:128], shown[:, :128:-1]
    turned_right = np.roll(right[::-1], 1, 0)
    y, x = np.indices(left.shape)
    radius = np.hypot(y - 128, x + 1 - 128)
    ring = (radius > 20) & (radius < 60)
    assert np.corrcoef(left[ring], turned_right[ring])[0, 1] > 0.6


def test_curves_follow_each_other() -> None:
    curves = fitted(SCENES[0]).fit.curves
    assert curves is not None
    assert bool((np.diff(curves.frequency) > 0).all())
    low = curves.frequency < 0.15
    assert np.corrcoef(curves.measured[low], curves.model[low])[0, 1] > 0.8
    assert float(curves.correlation[low].mean()) > 0.7
    assert float(curves.background.min()) > 0


@pytest.mark.parametrize(("tilt", "axis"), [(30.0, 30.0), (50.0, -110.0)])
def test_inclined_specimen(tilt: float, axis: float) -> None:
    scene = Scene((768, 900), defocus_u=22300, defocus_v=22000, tilt=tilt, axis=axis, dose=40, seed=7, b_factor=50)
    given = fitted(scene, SpecimenTilt(tilt, axis), tilt="given", tile_size=256).fit
    assert given.ctf.defocus == pytest.approx(22150, rel=0.004)
    assert given.tilt == SpecimenTilt(tilt, axis)
    found = fitted(scene, tilt="fit", tile_size=256).fit
    assert found.tilt is not None
    assert abs(found.tilt.tilt - tilt) < 4 * found.tilt.sigma[0] < 12
    assert abs(found.tilt.axis - axis) < 4 * found.tilt.sigma[1] < 20
    assert found.ctf.defocus == pytest.approx(22150, rel=0.006)


def test_local_defocus() -> None:
    scene = Scene((768, 1024), defocus_u=15000, defocus_v=15000, bump=300, dose=40, seed=8, b_factor=50)
    surface = fitted(scene, local=True, tile_size=256, local_nodes=4).fit.surface
    assert surface is not None
    rows, columns = surface.defocus.shape
    y, x = np.meshgrid(np.linspace(-518.4, 518.4, rows), np.linspace(-691.2, 691.2, columns), indexing="ij")
    truth = 15000 + height_of(scene, y, x)
    inner = (slice(1, -1), slice(1, -1))
    assert np.corrcoef(surface.defocus.ravel(), truth.ravel())[0, 1] > 0.9
    assert float(np.abs(surface.defocus - truth)[inner].max()) < 120
    assert float(np.sqrt(np.mean(((surface.defocus - truth) / surface.sigma) ** 2))) < 2


def test_thickness_shows_in_its_nodes() -> None:
    scene = Scene((768, 768), defocus_u=20000, defocus_v=19800, thickness=1000, b_factor=40, dose=40, seed=9)
    fit = fitted(scene, fit_thickness=True).fit
    assert fit.thickness is not None
    assert fit.thickness_sigma is not None
    assert abs(fit.thickness - 1000) < 4 * fit.thickness_sigma < 400
    assert fit.ctf.defocus == pytest.approx(19900, rel=0.004)
    thin = fitted(SCENES[0], fit_thickness=True).fit
    assert any("thickness" in warning for warning in thin.warnings)


def test_spectrum_from_motion_correction_takes_the_place_of_the_image() -> None:
    scene = SCENES[0]
    image = picture(scene)[:, 100:600].double()
    window = torch.hann_window(500, dtype=torch.float64)
    power = torch.fft.fftshift(torch.fft.fft2((image - image.mean()) * window * window[:, None]).abs() ** 2)
    fit = fit_ctf(torch.zeros(500, 500), 1.35, OPTICS, spectrum=power.float(), spectrum_pixel_size=1.35).fit
    assert fit.ctf.defocus == pytest.approx(17500, rel=0.005)
    assert abs(turned(fit.ctf.angle - 30)) < 4


def test_what_cannot_be_fitted_is_refused() -> None:
    image = picture(SCENES[2])
    with pytest.raises(InputError, match="voltage"):
        fit_ctf(image, 1.35, Optics(None, 2.7))
    with pytest.raises(InputError, match="small"):
        fit_ctf(image[:32], 1.35, OPTICS)
    with pytest.raises(InputError, match="small"):
        fit_ctf(image, 0.1, OPTICS)
    for size in (0.0, -1.35, math.nan, math.inf):
        with pytest.raises(InputError, match="pixel size"):
            fit_ctf(image, size, OPTICS)
    for optics, what in (
        (Optics(0.0, 2.7), "voltage"),
        (Optics(math.nan, 2.7), "voltage"),
        (Optics(300.0, math.nan), "spherical aberration"),
        (Optics(300.0, 2.7, 1.5), "amplitude contrast"),
    ):
        with pytest.raises(InputError, match=what):
            fit_ctf(image, 1.35, optics)
    for value in (math.nan, math.inf):
        broken = image.clone()
        broken[100, 100] = value
        with pytest.raises(InputError, match="not all values are numbers"):
            fit_ctf(broken, 1.35, OPTICS)
    with pytest.raises(InputError, match="without contrast"):
        fit_ctf(torch.full((300, 300), 7.0), 1.35, OPTICS)
    with pytest.raises(InputError, match="without contrast"):
        fit_ctf(image, 1.35, OPTICS, spectrum=torch.zeros(256, 256))
    with pytest.raises(InputError, match="no room"):
        fit_ctf(image, 10.0, OPTICS, CtfFitOptions(min_resolution=22.0))
    with pytest.raises(ValueError, match="larger"):
        CtfFitOptions(min_defocus=50000, max_defocus=20000)
    said = fit_ctf(image, 1.35, Optics(300.0, 2.7)).fit.warnings
    assert any("amplitude contrast" in warning for warning in said)
