"""One door to all formats."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thon.base.errors import FormatError, InputError
from thon.formats.image_stack import convert_values, expand_index
from thon.formats.images import ImageStack, open_images, write_images

SHARED = Path(os.environ.get("THON_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
NAMES = ["a.mrc", "a.mrcs", "a.st", "a.rec", "a.map", "a.hdf", "a.h5", "a.tif", "A.TIFF"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint16", "uint8"])
def test_every_format_gives_the_same(tmp_path: Path, name: str, dtype: str) -> None:
    truth = np.arange(3 * 5 * 7).reshape(3, 5, 7).astype(dtype)
    write_images(tmp_path / name, truth, 1.7, labels=["from a test"])
    with open_images(tmp_path / name) as stack:
        assert isinstance(stack, ImageStack)
        assert stack.path == tmp_path / name
        assert stack.shape == (3, 5, 7)
        assert len(stack) == 3
        assert stack.pixel_size == pytest.approx(1.7, rel=1e-6)
        np.testing.assert_array_equal(stack.asarray(), truth)
        np.testing.assert_array_equal(stack.image(1), truth[1])
        np.testing.assert_array_equal(np.stack(list(stack)), truth)
        assert stack.image(1).dtype == stack.dtype
        for index in (2, -1, slice(1, 3), (slice(None), 4), (..., 2), (1, ..., slice(None, None, 2)), (0, 1, 2)):
            np.testing.assert_array_equal(stack[index], truth[index])
            assert stack[index].dtype == stack.dtype
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["b.mrc", "b.hdf", "b.tif"])
def test_conversion_from_an_open_file(tmp_path: Path, name: str) -> None:
    truth = np.random.default_rng(6).normal(0, 900, (3, 5, 7)).astype(np.float32)
    for source in ("a.mrc", "a.hdf", "a.tif"):
        write_images(tmp_path / source, truth, 1.7)
        with open_images(tmp_path / source) as stack:
            write_images(tmp_path / name, stack, 1.7, dtype=np.int16)
        with open_images(tmp_path / name) as stack:
            assert stack.dtype == np.int16
            np.testing.assert_array_equal(stack.asarray(), np.rint(truth))


def test_content_decides_before_the_name(tmp_path: Path) -> None:
    truth = np.ones((2, 3, 4), np.float32)
    for name, other in (("a.mrc", "b.data"), ("a.hdf", "b.mrc"), ("a.tif", "b.hdf")):
        write_images(tmp_path / name, truth, 1.7)
        (tmp_path / name).rename(tmp_path / other)
        with open_images(tmp_path / other) as stack:
            assert stack.shape == (2, 3, 4)
    write_images(tmp_path / "a.mrc", truth, 1.7)
    (tmp_path / "a.mrc.gz").write_bytes(gzip.compress((tmp_path / "a.mrc").read_bytes()))
    with open_images(tmp_path / "a.mrc.gz") as stack:
        np.testing.assert_array_equal(stack.asarray(), truth)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.tif").write_text("text")
    with pytest.raises(InputError, match="not an image format that thon reads"):
        open_images(tmp_path / "a.txt")
    with pytest.raises(FormatError, match="not of the format that its name says"):
        open_images(tmp_path / "a.tif")
    for path in (tmp_path, tmp_path / "missing.mrc"):
        with pytest.raises(InputError, match="cannot be read"):
            open_images(path)
    with pytest.raises(InputError, match=r"not an image format that thon writes(.|\n)*\.mrc"):
        write_images(tmp_path / "a.png", np.ones((2, 3)), 1.0)


def test_an_index_of_too_many_axes() -> None:
    assert expand_index(...) == (slice(None),) * 3
    with pytest.raises(IndexError):
        expand_index((0, 0, 0, 0))
    with pytest.raises(IndexError):
        expand_index((..., 0, ...))


def test_conversion_never_wraps() -> None:
    path = "a.mrc"
    for values, dtype, fits in (
        ([-128.4, 127.4], "int8", True),
        ([127.6], "int8", False),
        ([256], "uint8", False),
        ([-1], "uint16", False),
        ([1e5], "float16", False),
        ([100_000], "float16", False),
        ([np.inf, np.nan], "float16", True),
        ([np.nan], "int16", False),
        ([1e39], "float32", False),
        ([True], "int16", True),
        ([1j], "float32", False),
    ):
        array = np.array(values)
        if fits:
            expected = np.rint(array) if np.dtype(dtype).kind == "i" else array
            np.testing.assert_array_equal(convert_values(array, np.dtype(dtype), path), expected)
        else:
            with pytest.raises(InputError):
                convert_values(array, np.dtype(dtype), path)


def test_readers_are_imported_when_they_are_needed() -> None:
    code = (
        "import sys, thon.formats.images as i; assert not {'h5py', 'tifffile', 'zarr', 'torch.nn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_real_tilt_series() -> None:
    path = SHARED / "tiltseries_empiar10499/00254.stack.mrc"
    if not path.exists():
        pytest.skip("needs 00254.stack.mrc")
    with open_images(path) as stack:
        assert stack.shape == (41, 630, 652)
        assert stack.pixel_size == pytest.approx(10.0)
        assert stack.image(20).mean() == pytest.approx(39.836, abs=1e-2)
