"""Pictures: contrast, sizes and bytes; frames of an animation within their limit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from thon.base.errors import InputError
from thon.formats.animation import encode_frames
from thon.formats.png import encode_png, encode_webp, robust_range, shrink, to_gray, write_png


def test_contrast_ignores_hot_pixels_and_nan():
    image = np.random.default_rng(0).normal(50, 4, (90, 70))
    image[3, 4], image[5, 6], image[7, 8] = 1e6, -1e6, np.nan
    low, high = robust_range(image)
    assert low == pytest.approx(50 - 12, abs=0.8)
    assert high == pytest.approx(50 + 12, abs=0.8)
    gray = to_gray(image)
    assert gray.dtype == np.uint8
    assert (gray[3, 4], gray[5, 6], gray[7, 8]) == (255, 0, 128)
    assert gray.std() == pytest.approx(255 / 6, rel=0.05)


@pytest.mark.parametrize("image", [np.zeros((4, 5)), np.full((4, 5), np.nan), np.zeros((0, 0)), np.eye(30)])
def test_contrast_is_never_empty(image):
    low, high = robust_range(image)
    assert high > low
    assert np.isfinite([low, high]).all()


def test_contrast_of_integers_is_linear():
    image = np.arange(256, dtype=np.int16).reshape(8, 32)
    np.testing.assert_array_equal(to_gray(image, (0.0, 255.0)), image)
    np.testing.assert_array_equal(to_gray(-image, (-255.0, 0.0)), 255 - image)


def test_shrink_keeps_means_and_proportions():
    y, x = np.indices((121, 363))
    image = 3.0 * y + x
    small = shrink(image, 33)
    assert small.shape == (11, 33)
    np.testing.assert_allclose(small[3:-3, 3:-3], image.reshape(11, 11, 33, 11).mean((1, 3))[3:-3, 3:-3], atol=0.05)
    np.testing.assert_allclose(shrink(image, 1000), image)
    image[5, 5] = np.nan
    assert np.isfinite(shrink(image, 33)).all()


@pytest.mark.parametrize("shape", [(31, 17), (17, 31, 3), (5, 8, 4)])
def test_png_comes_back_as_it_was(tmp_path, shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    write_png(tmp_path / "a.png", pixels)
    read = Image.open(tmp_path / "a.png")
    assert read.format == "PNG"
    np.testing.assert_array_equal(np.asarray(read), pixels)
    assert (tmp_path / "a.png").read_bytes() == encode_png(pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_webp_is_lossless_unless_a_quality_is_given():
    pixels = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
    lossless, lossy = encode_webp(pixels), encode_webp(pixels, 30)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(lossless))), pixels)
    assert len(lossy) < len(lossless) / 3


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_what_is_not_a_picture_is_refused(pixels):
    with pytest.raises(InputError, match="not a picture"):
        encode_png(pixels)


@pytest.mark.parametrize("limit", [400_000, 60_000, 9_000])
def test_frames_keep_within_the_limit_and_look_like_the_images(limit):
    y, x = np.indices((300, 400))
    random = np.random.default_rng(4)
    images = [
        np.exp(-((y - 60) ** 2 + (x - 40 * k - 40) ** 2) / 2000) * 900 + random.normal(0, 50, y.shape) for k in range(8)
    ]
    frames = encode_frames(images, limit)
    assert len(frames) == 8
    assert sum(map(len, frames)) <= limit
    for image, frame in zip(images, frames, strict=True):
        shown = np.asarray(Image.open(io.BytesIO(frame)).convert("L")).astype(float)
        assert shown.shape[1] / shown.shape[0] == pytest.approx(4 / 3, rel=0.03)
        whole = np.asarray(Image.fromarray(to_gray(image)[::-1]).resize(shown.shape[::-1], Image.Resampling.BOX))
        assert np.corrcoef(shown.ravel(), whole.ravel())[0, 1] > 0.8


def test_larger_limits_give_finer_frames():
    images = list(np.random.default_rng(5).normal(size=(3, 460, 460)))
    sides = [Image.open(io.BytesIO(encode_frames(images, limit)[0])).width for limit in (5_000, 50_000, 500_000)]
    assert sides[0] < sides[1] < sides[2] == 448


def test_no_images_make_no_frames():
    assert encode_frames([]) == ()
