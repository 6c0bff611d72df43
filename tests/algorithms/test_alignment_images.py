"""Images made ready: binned around their centre pixel, standardised, some left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.algorithms.tilt_phantom import draw_blobs
from thon.algorithms.alignment_images import AlignmentImages, bin_images, standardise
from thon.algorithms.dark_tilts import DarkTiltOptions
from thon.base.errors import InputError

TILT = np.array([-20.0, -10, 0, 10, 20])


def noise(shape: tuple[int, int] = (97, 131), tilts: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 5, (tilts, *shape)).astype(np.float32)


def ready(images: object, mask: object = None, max_size: int = 256, tilt: np.ndarray = TILT) -> AlignmentImages:
    found = AlignmentImages(images, tilt, 2.5, max_size, mask)
    found.exclude({}, (), DarkTiltOptions())
    return found


@pytest.mark.parametrize("shape", [(97, 131), (98, 132), (99, 130), (101, 133), (100, 129)])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_centre_pixel_is_kept_by_any_bin_of_any_size(shape: tuple[int, int], factor: int) -> None:
    """A blob (y, x) px from pixel n // 2 lies 1 / factor of that from the new one, to 0.01 px."""
    place = np.array([5.0, -7.0])
    image = draw_blobs(shape, place[None] + [n // 2 for n in shape], np.array([6.0]), np.ones(1))
    binned = bin_images(torch.from_numpy(image)[None], factor)[0].double().numpy()
    assert binned.shape == (shape[0] // factor, shape[1] // factor)
    at = np.stack(np.mgrid[: binned.shape[0], : binned.shape[1]], -1) - [n // 2 for n in binned.shape]
    np.testing.assert_allclose((binned[..., None] * at).sum((0, 1)) / binned.sum(), place / factor, atol=0.01)
    assert binned.max() == pytest.approx(1, abs=0.05)


def test_images_are_binned_until_they_fit_and_have_unit_deviation() -> None:
    images = ready(noise((200, 301)), max_size=256)
    assert images.bin == 2
    assert images.pixel_size == 5.0
    assert images.values.shape == (5, 100, 150)
    assert images.extent == (500.0, 750.0)
    np.testing.assert_allclose(images.values.mean((1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(images.values.std((1, 2)), 1, atol=1e-2)
    small, pixel = images.reduced(50)
    assert small.shape == (5, 33, 50)
    assert pixel == 15.0


def test_outliers_are_clipped_and_what_is_not_a_number_is_not_spread() -> None:
    images = noise()
    images[1, 20, 30], images[2, 5, 6] = 1e6, np.nan
    found = ready(images)
    assert float(found.values.abs().max()) <= 6
    assert bool(torch.isfinite(found.values).all())
    assert np.isnan(images[2, 5, 6])
    assert float(standardise(torch.full((1, 8, 8), 3.0)).abs().max()) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.int16, np.uint8, np.float64])
def test_any_kind_of_number_gives_the_same(dtype: type) -> None:
    whole = np.rint(noise())
    np.testing.assert_allclose(ready(whole.astype(dtype)).values, ready(whole).values, atol=1e-5)


def test_images_are_read_one_by_one() -> None:
    class Lazy:
        shape = (5, 97, 131)
        asked: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 5

        def __getitem__(self, k: int) -> np.ndarray:
            self.asked.append(k)
            return noise()[k]

    found = ready(Lazy())
    assert Lazy.asked == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(found.values, ready(torch.from_numpy(noise())).values, atol=1e-6)


def test_a_mask_serves_all_images_or_each_and_follows_those_that_are_kept() -> None:
    one = np.ones((97, 131))
    one[:, :40] = 0
    images = AlignmentImages(noise(), TILT, 2.5, 256, one)
    images.exclude({1: "known"}, (), DarkTiltOptions())
    assert images.mask is not None
    assert images.mask.shape == (4, 97, 131)
    np.testing.assert_array_equal(images.mask[2], one)
    each = np.stack([one * (k != 2) for k in range(5)])
    images = AlignmentImages(noise(), TILT, 2.5, 70, each)
    images.exclude({1: "known"}, (), DarkTiltOptions())
    assert images.mask is not None
    assert images.mask.shape == images.values.shape == (4, 48, 65)
    assert set(np.unique(images.mask)) == {0, 1}
    np.testing.assert_allclose(images.mask.mean((1, 2)), [0.7, 0, 0.7, 0.7], atol=0.02)


def test_what_lies_outside_the_mask_has_no_part_in_the_standard() -> None:
    images, mask = noise(), np.ones((97, 131), np.float32)
    mask[:, 100:] = 0
    images[:, :, 100:] += 1e4
    values = ready(images, mask).values
    assert float(values[:, :, 100:].abs().max()) == 0
    np.testing.assert_allclose(values[:, :, :100], ready(noise()[:, :, :100]).values, atol=1e-3)


def test_images_are_left_out_by_what_is_known_and_by_darkness_unless_kept() -> None:
    images = noise()
    images[0] = images[4] = 3.0
    found = AlignmentImages(images, TILT, 2.5, 256)
    found.exclude({1: "broken", 3: "left out by hand"}, (4, 1), DarkTiltOptions())
    assert list(found.excluded) == [0, 3]
    assert found.excluded[0].startswith("without detail")
    assert found.excluded[3] == "left out by hand"
    np.testing.assert_array_equal(found.kept, [1, 2, 4])
    np.testing.assert_array_equal(found.tilt, TILT[[1, 2, 4]])
    assert len(found.values) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tilt": TILT[:4]}, "5 images, 4 angles"),
        ({"tilt": np.array([-20, -10, np.nan, 10, 20])}, "between −90"),
        ({"tilt": np.array([-20, -10, 0, 10, 95.0])}, "between −90"),
        ({"pixel_size": 0.0}, "pixel size must be positive"),
        ({"pixel_size": float("nan")}, "pixel size must be positive"),
        ({"source": noise((60, 200))}, "too small"),
        ({"mask": np.ones((97, 130))}, "mask and images differ"),
        ({"mask": np.ones((2, 97, 131))}, "mask and images differ"),
    ],
)
def test_numbers_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"source": noise(), "tilt": TILT, "pixel_size": 2.5, "max_size": 256}
    with pytest.raises(InputError) as raised:
        AlignmentImages(**(given | change))  # pyright: ignore[reportArgumentType]
    assert message in str(raised.value)


def test_too_few_images_or_unknown_ones_are_refused() -> None:
    images = AlignmentImages(noise(), TILT, 2.5, 256)
    with pytest.raises(InputError, match="no such image"):
        images.exclude({5: "broken"}, (), DarkTiltOptions())
    with pytest.raises(InputError, match="no such image"):
        images.exclude({}, (-1,), DarkTiltOptions())
    with pytest.raises(InputError, match="too few usable images") as raised:
        images.exclude(dict.fromkeys((0, 1, 2), "broken"), (), DarkTiltOptions())
    assert raised.value.got == 2


def test_a_series_without_any_signal_is_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        ready(np.full((5, 97, 131), 7.0, np.float32))
