"""The six methods, and BPT, against the truth of a phantom; the geometry's options; output formats; bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from thon.algorithms.reconstruct import (
    AdmmOptions,
    FilterOptions,
    IterationOptions,
    ReconstructOptions,
    reconstruct,
    scale_to_int8,
)
from thon.base.errors import InputError
from thon.data.alignment import ThicknessProfile
from thon.data.geometry import TiltGeometry


def options(phantom, method="WBP", **settings) -> ReconstructOptions:
    return ReconstructOptions(
        **({"method": method, "bin": 1, "thickness": phantom.thickness, "background": "none"} | settings)
    )


def solve(phantom, method="WBP", *, halves=False, **settings):
    found = options(phantom, method, halves=halves, **settings)
    return reconstruct(phantom.images, phantom.geometry, phantom.pixel_size, found)


@pytest.mark.parametrize(
    ("method", "least"),
    [("BPT", 0.62), ("WBP", 0.78), ("FBP", 0.77), ("SIRT", 0.78), ("SART", 0.82), ("CG", 0.86), ("ADMM", 0.95)],
)
def test_each_method_finds_a_clean_phantom(phantom, method, least):
    result = solve(phantom, method)
    assert result.volume.shape == phantom.volume.shape
    assert phantom.correlation(result.volume) > least


@pytest.mark.parametrize(
    ("method", "least"), [("WBP", 0.59), ("FBP", 0.54), ("SIRT", 0.67), ("SART", 0.57), ("CG", 0.33), ("ADMM", 0.93)]
)
def test_each_method_finds_a_noisy_phantom(noisy, method, least):
    assert noisy.correlation(solve(noisy, method).volume) > least


def test_order_of_quality(phantom, noisy):
    clean = {m: phantom.correlation(solve(phantom, m).volume) for m in ("BPT", "WBP", "CG", "ADMM")}
    assert clean["BPT"] < clean["WBP"] < clean["CG"] < clean["ADMM"]
    dirty = {m: noisy.correlation(solve(noisy, m).volume) for m in ("FBP", "WBP", "SIRT", "ADMM")}
    assert dirty["FBP"] < dirty["WBP"] < dirty["SIRT"] < dirty["ADMM"]


def measured_gain(phantom, volume: torch.Tensor) -> float:
    """Slope to the truth over the frequencies that the tilts measured, below 0.2 per voxel."""
    found, truth = np.fft.rfftn(volume.numpy()), np.fft.rfftn(phantom.volume)
    z, y, x = (
        f(n) for f, n in zip((np.fft.fftfreq, np.fft.fftfreq, np.fft.rfftfreq), phantom.volume.shape, strict=True)
    )
    z, y = abs(z)[:, None, None], y[:, None]
    reach = np.tan(np.deg2rad(phantom.geometry.tilt.max() - 2))
    seen = (z <= x * reach) & (x > 0.02) & (z**2 + y**2 + x**2 < 0.04)
    return float((found[seen] * truth[seen].conj()).sum().real / (abs(truth[seen]) ** 2).sum())


@pytest.mark.parametrize("method", ["WBP", "FBP"])
def test_values_are_the_density(make, method):
    phantom = make((40, 24, 128))
    assert measured_gain(phantom, solve(phantom, method).volume) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("method", ["BPT", "WBP"])
def test_an_even_slab_has_its_density(method):
    # A slab without end, 24 voxels thick, of density 0.5.
    geometry = TiltGeometry.nominal(np.arange(-60.0, 61, 3))
    way = 24 / np.cos(np.deg2rad(geometry.tilt))
    images = np.broadcast_to((0.5 * way)[:, None, None], (len(geometry), 16, 128)).astype(np.float32)
    setting = ReconstructOptions(method=method, bin=1, thickness=240, background="none")
    volume = reconstruct(images, geometry, 10.0, setting).volume[..., 16:-16]  # seen by all images
    assert volume.min().item() == pytest.approx(0.5, abs=0.02)
    assert volume.max().item() == pytest.approx(0.5, abs=0.02)


def test_sirt_like_filter_resembles_sirt(noisy):
    sirt = solve(noisy, "SIRT", iterations=IterationOptions(number=10, extension=0)).volume
    plain = solve(noisy, "WBP").volume
    alike = solve(noisy, "WBP", filter=FilterOptions(sirt_iterations=10, cutoff=0.7)).volume

    def correlation(first, second):
        return float(np.corrcoef(first.numpy().ravel(), second.numpy().ravel())[0, 1])

    assert correlation(alike, sirt) > 0.97
    assert 1 - correlation(alike, sirt) < 0.4 * (1 - correlation(plain, sirt))


def test_windows_and_cutoff_quieten_noise(noisy):
    deviations = [
        float(solve(noisy, "FBP", filter=FilterOptions(window=w, cutoff=c)).volume.std())
        for w, c in (("none", 0.7), ("shepp-logan", 0.7), ("hamming", 0.7), ("hann", 0.7), ("hann", 0.2))
    ]
    assert deviations == sorted(deviations, reverse=True)


def test_x_tilt_rotation_shift_and_fractional_bin_enter_through_the_projector(make):
    plain = make((24, 40, 64))
    hard = make((24, 40, 64), x_tilt=6.0, rotation=-5.0, image_shape=(58, 90), magnify=2.6)
    setting = options(hard, "WBP", bin=2.6, thickness=240, width=640, length=400, filter=FilterOptions(cutoff=0.3))
    found = reconstruct(hard.images, hard.geometry, hard.pixel_size, setting)
    same = reconstruct(plain.images, plain.geometry, 10.0, options(plain, filter=FilterOptions(cutoff=0.3)))
    assert found.voxel_size == pytest.approx(10.0)
    assert found.volume.shape == (24, 40, 64)
    assert hard.correlation(found.volume) > plain.correlation(same.volume) - 0.03
    gain = np.polyfit(same.volume.numpy().ravel(), found.volume.numpy().ravel(), 1)[0]
    assert gain == pytest.approx(1, abs=0.06)


def test_offset_and_pitch_add_to_the_angles(make):
    phantom = make((24, 40, 64), x_tilt=6.0)
    wrong = replace(phantom.geometry, tilt=phantom.geometry.tilt - 4, x_tilt=phantom.geometry.x_tilt - 6)
    expected = solve(phantom)
    setting = options(phantom, tilt_offset=4.0, pitch=6.0)
    mended = reconstruct(phantom.images, wrong, 10.0, setting)
    assert torch.allclose(mended.volume, expected.volume, atol=1e-4)
    assert phantom.correlation(mended.volume) > 0.78


def test_z_shift_moves_the_volume(phantom):
    tall = solve(phantom, "WBP", filter=FilterOptions(support=240)).volume
    high = solve(phantom, "WBP", z_shift=40.0, thickness=120, filter=FilterOptions(support=240))
    assert high.origin == (40.0, 0.0, 0.0)
    assert torch.allclose(high.volume, tall[12 + 4 - 6 : 12 + 4 + 6], atol=1e-4)


def test_measured_thickness_with_margin_sets_depth_and_height(phantom):
    profile = ThicknessProfile(np.zeros(3), np.zeros(3), lower=-60.0, upper=140.0)
    setting = options(phantom, thickness=None, margin=0.1)
    found = reconstruct(phantom.images, phantom.geometry, 10.0, setting, profile=profile)
    assert found.shape[0] == 24
    assert found.origin[0] == 40.0


def test_a_thin_volume_streaks_less_with_an_extended_slab(phantom):
    middle = phantom.volume[8:16]

    def error(extension):
        setting = options(phantom, "CG", thickness=80, iterations=IterationOptions(number=15, extension=extension))
        found = reconstruct(phantom.images, phantom.geometry, 10.0, setting).volume.numpy()
        return np.linalg.norm(found - middle) / np.linalg.norm(middle)

    assert error(1.0) < 0.7 * error(0.0)


@pytest.mark.parametrize("method", ["SIRT", "CG", "SART"])
def test_residuals_fall(noisy, method):
    heard = []
    setting = options(noisy, method, iterations=IterationOptions(number=8))
    found = reconstruct(
        noisy.images, noisy.geometry, 10.0, setting, callback=lambda number, residual: heard.append((number, residual))
    )
    assert [n for n, _ in heard] == list(range(1, 9))
    assert (np.diff(found.residuals) < 0).all()
    assert found.residuals[-1] < 0.8 * found.residuals[0]


def test_tolerance_stops_all_rows_together(phantom):
    setting = options(phantom, "SIRT", iterations=IterationOptions(number=50, tolerance=0.3))
    found = reconstruct(phantom.images, phantom.geometry, 10.0, setting)
    assert found.plan.strategy == "whole"
    assert found.residuals[-1] < 0.3 <= found.residuals[-2]
    assert len(found.residuals) < 20


@pytest.mark.parametrize("method", ["SIRT", "SART", "ADMM"])
def test_positivity(noisy, method):
    free = solve(noisy, method)
    held = solve(noisy, method, iterations=IterationOptions(positive=True))
    assert free.volume.min() < -0.01
    assert held.volume.min() >= 0
    assert noisy.correlation(held.volume) > noisy.correlation(free.volume)


@pytest.mark.parametrize("method", ["WBP", "SIRT", "SART", "CG", "ADMM"])
@pytest.mark.parametrize("orientation", ["xyz", "xzy"])
def test_mask_and_orientation(phantom, method, orientation):
    mask = np.zeros(phantom.volume.shape, np.float32)
    mask[4:17, 5:30, 10:50] = 1
    turned = mask if orientation == "xyz" else mask.transpose(1, 0, 2)
    found = reconstruct(
        phantom.images, phantom.geometry, 10.0, options(phantom, method, orientation=orientation), mask=turned
    )
    volume = found.volume.numpy()
    volume = volume if orientation == "xyz" else volume.transpose(1, 0, 2)
    assert (volume[mask == 0] == 0).all()
    assert np.corrcoef(volume[mask == 1], phantom.volume[mask == 1])[0, 1] > 0.6


def test_hand_and_orientation_only_turn_the_array(phantom):
    plain = solve(phantom).volume
    assert torch.equal(solve(phantom, orientation="xzy").volume, plain.permute(1, 0, 2))
    assert torch.equal(solve(phantom, hand="mirrored").volume, plain.flip(0))
    assert torch.equal(solve(phantom, orientation="xzy", hand="mirrored").volume, plain.flip(0).permute(1, 0, 2))


@pytest.mark.parametrize("method", ["SIRT", "CG", "ADMM"])
def test_a_good_start_is_used(phantom, method):
    setting = options(phantom, method, iterations=IterationOptions(number=2), orientation="xzy", hand="mirrored")
    truth = np.ascontiguousarray(phantom.volume[::-1].transpose(1, 0, 2))
    started = reconstruct(phantom.images, phantom.geometry, 10.0, setting, initial=truth)
    cold = reconstruct(phantom.images, phantom.geometry, 10.0, setting)
    assert started.residuals[0] < 0.1
    assert cold.residuals[0] == pytest.approx(1)
    assert np.corrcoef(started.volume.numpy().ravel(), truth.ravel())[0, 1] > 0.95


def test_background_and_contrast(phantom):
    plain = solve(phantom).volume
    bright = replace(phantom, images=1000 - 2 * phantom.images)
    mended = solve(bright, invert=True, background="mean").volume
    middle = (slice(None), slice(6, -6), slice(10, -10))
    assert np.corrcoef(mended[middle].numpy().ravel(), plain[middle].numpy().ravel())[0, 1] > 0.99
    assert np.polyfit(plain[middle].numpy().ravel(), mended[middle].numpy().ravel(), 1)[0] == pytest.approx(2, abs=0.05)


def test_number_formats(phantom):
    plain = solve(phantom)
    half, byte = solve(phantom, precision="float16").volume, solve(phantom, precision="int8", int8_range=5.0).volume
    assert half.dtype == torch.float16
    assert torch.allclose(half.float(), plain.volume, atol=2e-3)
    assert byte.dtype == torch.int8
    found = plain.statistics["full"]
    assert found.mean == pytest.approx(float(plain.volume.mean()), abs=1e-5)
    assert found.deviation == pytest.approx(float(plain.volume.std()), rel=1e-3)
    assert (found.minimum, found.maximum) == (float(plain.volume.min()), float(plain.volume.max()))
    step = 5 * found.deviation / 127
    back = found.mean + byte.float() * step
    inside = (plain.volume - found.mean).abs() < 5 * found.deviation
    assert (back - plain.volume)[inside].abs().max() <= 0.51 * step


def test_scale_to_int8():
    values = torch.tensor([0.0, 2.0, 2.0 + 1.5, -100.0, 100.0])
    assert scale_to_int8(values, mean=2.0, deviation=0.5, reach=3.0).tolist() == [-127, 0, 127, -127, 127]
    assert scale_to_int8(torch.full((2,), 4.0), mean=4.0, deviation=0.0).tolist() == [0, 0]


def test_halves_come_from_every_other_image_in_order_of_acquisition(noisy):
    order = np.argsort(np.argsort(np.abs(noisy.geometry.tilt), kind="stable"))
    setting = options(noisy, halves=True)
    found = reconstruct(noisy.images, noisy.geometry, 10.0, setting, order=order)
    for name, place in (("even", 0), ("odd", 1)):
        own = np.flatnonzero(order % 2 == place)
        alone = reconstruct(noisy.images[own], noisy.geometry.select(own), 10.0, options(noisy)).volume
        assert torch.allclose(getattr(found, name), alone, atol=1e-5)
    assert torch.allclose(found.volume, solve(noisy).volume)
    low, high = found.fsc.correlation[2:5].mean(), found.fsc.correlation[-6:].mean()
    assert low > 0.5
    assert abs(high) < 0.2


@pytest.mark.parametrize("method", ["SIRT", "ADMM"])
def test_halves_of_iterative_methods(noisy, method):
    found = solve(noisy, method, halves=True, iterations=IterationOptions(number=4))
    assert 0.3 < np.corrcoef(found.even.numpy().ravel(), found.odd.numpy().ravel())[0, 1] < 0.999
    assert noisy.correlation(found.volume) > max(noisy.correlation(found.even), noisy.correlation(found.odd))


def test_images_stay_as_they_were(phantom):
    images = torch.from_numpy(phantom.images.copy())
    reconstruct(images, phantom.geometry, 10.0, options(phantom, "SIRT", iterations=IterationOptions(number=1)))
    assert np.array_equal(images.numpy(), phantom.images)


def test_dtype_follows_a_tensor(phantom):
    images = torch.from_numpy(phantom.images).double()
    found = reconstruct(images, phantom.geometry, 10.0, options(phantom)).volume
    assert found.dtype == torch.float64
    assert torch.allclose(found.float(), solve(phantom).volume, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 40, 64), np.float32)}, "images and geometry do not match"),
        ({"pixel_size": 0.0}, "pixel size"),
        ({"pixel_size": float("nan")}, "pixel size"),
        ({"options": ReconstructOptions(bin=30)}, "less than 8 pixels"),
        ({"options": ReconstructOptions(bin=1, tilt_offset=35.0)}, "not between"),
        ({"options": ReconstructOptions(bin=1, memory=0.01)}, "does not fit the declared memory"),
        ({"options": ReconstructOptions(bin=1, method="SIRT", pitch=5, strategy="slabs")}, "depend on each other"),
        ({"mask": np.zeros((4, 4, 4))}, "mask has another shape"),
        ({"initial": np.zeros((4, 4, 4))}, "initial has another shape"),
        ({"options": ReconstructOptions(bin=1, halves=True), "order": np.arange(5)}, "acquisition order"),
        ({"options": ReconstructOptions(bin=1, halves=True), "sink": np.zeros(1)}, "three sinks"),
    ],
)
def test_bad_input_says_what_is_wrong(phantom, change, message):
    given = {"images": phantom.images, "geometry": phantom.geometry, "pixel_size": 10.0} | change
    given["options"] = change.get("options", options(phantom))
    with pytest.raises(InputError, match=message):
        reconstruct(**given)


def test_an_image_with_nan_is_named(phantom):
    images = phantom.images.copy()
    images[7, 3, 4] = np.nan
    with pytest.raises(InputError, match="image 7 has pixels that are not numbers"):
        reconstruct(images, phantom.geometry, 10.0, options(phantom))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "WBP", "iterations": {"positive": True}},
        {"thickness": 100.0, "thickness_px": 10},
        {"method": "ADMM", "strategy": "slabs"},
        {"method": "SIRT", "iterations": {"tolerance": 0.1}, "strategy": "slabs"},
        {"bins": 3},
    ],
)
def test_options_that_contradict_are_refused(settings):
    with pytest.raises(ValidationError):
        ReconstructOptions(**settings)


def test_sparsity_empties_the_background(noisy):
    plain = solve(noisy, "ADMM", admm=AdmmOptions(total_variation=0)).volume
    sparse = solve(noisy, "ADMM", admm=AdmmOptions(total_variation=0, sparsity=3.0)).volume
    empty = noisy.volume < 0.01
    assert sparse.numpy()[empty].std() < 0.7 * plain.numpy()[empty].std()
    assert noisy.correlation(sparse) > noisy.correlation(plain)
