"""Gain, dark and defects fitted to frames and applied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thon.algorithms.detector import (
    DetectorOptions,
    correct_frame,
    prepare_detector,
    samples_per_pixel,
    turn_gain,
)
from thon.base.errors import InputError

SHAPE = (18, 28)


def random_gain(shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return (1 + 0.05 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def seen(picture: str) -> np.ndarray:
    """Letters as they are seen, turned into rows from the bottom."""
    return np.array([[ord(letter) for letter in row] for row in picture.split()[::-1]])


def test_orientations_as_they_are_seen() -> None:
    """MotionCor's manual: RotGain turns anticlockwise; FlipGain 1 is upside down, 2 left to right; first the turn."""
    gain = seen("ABC DEF")
    for (rotate, flip), picture in {
        (1, "none"): "CF BE AD",
        (2, "none"): "FED CBA",
        (3, "none"): "DA EB FC",
        (0, "up-down"): "DEF ABC",
        (0, "left-right"): "CBA FED",
        (1, "up-down"): "AD BE CF",
        (1, "left-right"): "FC EB DA",
    }.items():
        np.testing.assert_array_equal(turn_gain(gain, rotate, flip), seen(picture))


def test_a_frame_is_corrected_and_not_changed() -> None:
    random = np.random.default_rng(1)
    gain, dark = random_gain(), random.normal(3, 0.5, SHAPE)
    correction = prepare_detector(SHAPE, gain, dark)
    for dtype in (np.uint8, np.int16, np.uint16, np.float32):
        counts = random.poisson(40, SHAPE).astype(dtype)
        frame, before = torch.from_numpy(counts), counts.copy()
        found = correct_frame(frame, correction)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, (counts.astype(float) - dark) * gain, rtol=3e-6, atol=1e-5)
        np.testing.assert_array_equal(counts, before)
    out = torch.empty(2, *SHAPE)
    assert correct_frame(torch.stack([frame, 2 * frame]), correction, out=out) is out
    np.testing.assert_allclose(out[0], found, rtol=1e-6)
    np.testing.assert_allclose(out[1], (2 * counts.astype(float) - dark) * gain, rtol=3e-6, atol=1e-5)
    own = frame.clone()
    assert correct_frame(own, correction, out=own) is own
    np.testing.assert_array_equal(own, found)


def test_only_what_is_given_is_applied() -> None:
    frame = torch.from_numpy(np.random.default_rng(2).poisson(3, SHAPE).astype(np.uint8))
    np.testing.assert_array_equal(correct_frame(frame, prepare_detector(SHAPE)), frame.float())
    dark = np.full(SHAPE, 0.25)
    np.testing.assert_array_equal(correct_frame(frame, prepare_detector(SHAPE, dark=dark)), frame.float() - 0.25)
    with pytest.raises(ValueError, match="references of"):
        correct_frame(frame[:-1], prepare_detector(SHAPE))


def test_a_gain_that_divides() -> None:
    gain = random_gain()
    said = DetectorOptions(invert_gain=True)
    for correction in (prepare_detector(SHAPE, gain, divides=True), prepare_detector(SHAPE, gain, options=said)):
        np.testing.assert_allclose(correction.gain, 1 / gain, rtol=1e-6)
    kept = prepare_detector(SHAPE, gain, divides=True, options=DetectorOptions(invert_gain=False))
    np.testing.assert_allclose(kept.gain, gain, rtol=1e-6)


@pytest.mark.parametrize("divides", [False, True])
def test_dead_pixels_of_the_gain_are_defects(divides: bool) -> None:
    gain = random_gain()
    gain[3, 4] = gain[10] = 0
    gain[5, 6] = 0.1 if divides else 10
    listed = np.zeros(SHAPE, bool)
    listed[0, 0] = True
    correction = prepare_detector(SHAPE, gain, defects=listed, divides=divides)
    wanted = (gain == 0) | listed
    wanted[5, 6] = True
    np.testing.assert_array_equal(correction.defects, wanted)
    assert correction.gain is not None
    assert torch.isfinite(correction.gain).all()
    assert (correction.gain[torch.from_numpy(gain == 0)] == 0).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_a_fine_gain_for_coarse_frames_flattens_what_the_sensor_saw(factor: int) -> None:
    """An even beam on a sensor of uneven parts: the sum over a pixel's parts, corrected, is even."""
    fine = (SHAPE[0] * factor, SHAPE[1] * factor)
    gain = random_gain(fine)
    seen_by_parts = 10 / gain.astype(float)
    frame = seen_by_parts.reshape(SHAPE[0], factor, SHAPE[1], factor).sum((1, 3))
    flat = correct_frame(torch.from_numpy(frame), prepare_detector(SHAPE, gain))
    np.testing.assert_allclose(flat, np.full(SHAPE, 10.0 * factor**2), rtol=1e-6)
    gain[0, 0] = 0
    assert np.flatnonzero(prepare_detector(SHAPE, gain).defects).tolist() == [0]


@pytest.mark.parametrize("factor", [2, 4])
def test_a_coarse_gain_and_dark_for_fine_frames(factor: int) -> None:
    fine = (SHAPE[0] * factor, SHAPE[1] * factor)
    gain, dark = random_gain(), np.random.default_rng(3).uniform(0, 4, SHAPE)
    gain[2, 2] = 0
    correction = prepare_detector(fine, gain, dark)
    repeated = np.kron(gain, np.ones((factor, factor)))
    np.testing.assert_allclose(correction.gain, repeated, rtol=1e-6)
    assert correction.defects.sum() == factor**2
    frame = np.kron(dark, np.ones((factor, factor))) / factor**2
    np.testing.assert_allclose(correct_frame(torch.from_numpy(frame), correction), np.zeros(fine), atol=1e-6)
    coarse = prepare_detector(SHAPE, dark=np.ones(fine))
    np.testing.assert_allclose(correct_frame(torch.zeros(SHAPE), coarse), np.full(SHAPE, -(factor**2)))


def test_a_turned_gain_of_a_detector_that_is_not_square() -> None:
    gain = random_gain(SHAPE[::-1])
    for rotate in (1, 3):
        options = DetectorOptions(rotate_gain=rotate, flip_gain="left-right")
        found = prepare_detector(SHAPE, gain, options=options).gain
        np.testing.assert_allclose(found, np.rot90(gain, -rotate)[:, ::-1], rtol=1e-6)
    with pytest.raises(InputError, match=r"does not fit the frames(.|\n)*rotate_gain 1 or 3"):
        prepare_detector(SHAPE, gain)
    with pytest.raises(InputError, match=r"turned from 18, 28"):
        prepare_detector(SHAPE, random_gain(), options=DetectorOptions(rotate_gain=1))


@pytest.mark.parametrize("shape", [(18, 29), (36, 28), (54, 84), (9, 28)])
def test_a_gain_of_another_size_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"gain reference does not fit(.|\n)*18 rows, 28 columns"):
        prepare_detector(SHAPE, random_gain(shape))
    with pytest.raises(InputError, match="dark reference does not fit"):
        prepare_detector(SHAPE, dark=random_gain(shape))


def test_defects_of_the_sensor_are_those_of_finer_frames() -> None:
    """Read for EER's sensor, and applied to frames that are sampled finer, or coarser."""
    bad = np.zeros(SHAPE, bool)
    bad[3, 4] = bad[:, 20] = True
    fine = prepare_detector((SHAPE[0] * 4, SHAPE[1] * 4), defects=bad).defects
    np.testing.assert_array_equal(fine, np.kron(bad, np.ones((4, 4))) == 1)
    coarse = prepare_detector((SHAPE[0] // 2, SHAPE[1] // 2), defects=bad).defects
    np.testing.assert_array_equal(coarse, bad.reshape(9, 2, 14, 2).any((1, 3)))


def test_defects_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="map of defects does not fit the frames"):
        prepare_detector(SHAPE, defects=np.zeros((3, 4), bool))


def test_frames_of_known_super_resolution_cameras_have_two_samples_to_a_pixel() -> None:
    assert [samples_per_pixel(shape) for shape in ((8184, 11520), (11520, 8184), (7676, 7420))] == [2, 2, 2]
    assert [samples_per_pixel(shape) for shape in ((4092, 5760), (4096, 4096), (8192, 8192))] == [1, 1, 1]
