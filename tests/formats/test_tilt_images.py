"""The images of a series as one array-like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import ImageRef, TiltSeries
from thon.formats.images import write_images
from thon.formats.tilt_images import TiltImages

SHAPE = (9, 13)


def series(references: list[ImageRef], shape: tuple[int, int] = SHAPE) -> TiltSeries:
    n = len(references)
    geometry, nothing = TiltGeometry.nominal(np.arange(float(n))), np.zeros(n)
    return TiltSeries("a", tuple(references), shape, 2.0, geometry, np.arange(n), nothing, nothing)


@pytest.fixture
def stacks(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A stack of three int16 images and a file with one of float16."""
    values = np.arange(4 * 9 * 13).reshape(4, *SHAPE).astype(np.int16)
    write_images(tmp_path / "a.st", values[:3], 2.0)
    write_images(tmp_path / "b.mrc", values[3:].astype(np.float16), 2.0)
    return tmp_path / "a.st", tmp_path / "b.mrc", values


def test_images_come_from_wherever_they_are_in_the_series_order(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, b, values = stacks
    with TiltImages(series([ImageRef(str(a), 2), ImageRef(str(b)), ImageRef(str(a), 0)])) as images:
        assert len(images) == 3
        assert images.shape == (3, *SHAPE)
        assert images.dtype == np.float32
        for k, source in ((0, 2), (1, 3), (2, 0), (0, 2)):
            np.testing.assert_array_equal(images[k], values[source])
            assert images[k].dtype == np.float32


def test_some_of_the_images_in_any_order(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, b, values = stacks
    whole = series([ImageRef(str(a), 0), ImageRef(str(a), 1), ImageRef(str(b))])
    with TiltImages(whole, np.array([2, 0])) as images:
        assert images.shape == (2, *SHAPE)
        np.testing.assert_array_equal(images[0], values[3])
        np.testing.assert_array_equal(images[1], values[0])


def test_what_was_read_may_be_changed(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, _, values = stacks
    with TiltImages(series([ImageRef(str(a), 1)])) as images:
        image = images[0]
        image += 5
        np.testing.assert_array_equal(images[0], values[1])
        np.testing.assert_array_equal(image, values[1] + 5)


def test_it_can_be_read_again_after_it_was_closed(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, _, values = stacks
    images = TiltImages(series([ImageRef(str(a), 1)]))
    images.close()
    np.testing.assert_array_equal(images[0], values[1])
    images.close()
    images.close()


def test_an_image_of_another_size_is_refused(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, _, _ = stacks
    with TiltImages(series([ImageRef(str(a), 1)], (9, 14))) as images, pytest.raises(FormatError) as raised:
        images[0]
    assert (raised.value.got, raised.value.expected) == ((9, 13), (9, 14))
    assert str(a) in str(raised.value)


def test_a_section_or_file_that_is_not_there_is_an_error(stacks: tuple[Path, Path, np.ndarray]) -> None:
    a, _, _ = stacks
    with TiltImages(series([ImageRef(str(a), 7)])) as images, pytest.raises((IndexError, ValueError)):
        images[0]
    with TiltImages(series([ImageRef(str(a.parent / "no.mrc"))])) as images, pytest.raises((OSError, ValueError)):
        images[0]
