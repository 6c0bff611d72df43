"""TIFF stacks, with tifffile and pillow as independent readers and writers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from thon.base.errors import FormatError, InputError, StoreError
from thon.formats.tiff import open_tiff, write_tiff

SHARED = Path(os.environ.get("THON_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
TYPES = ["uint8", "uint16", "int16", "float32", "float16"]


def values(dtype: str) -> np.ndarray:
    return (np.arange(3 * 5 * 7).reshape(3, 5, 7) * 2).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
def test_round_trip_and_what_tifffile_sees(tmp_path: Path, dtype: str, compression) -> None:
    truth = values(dtype)
    write_tiff(tmp_path / "a.tif", truth, 1.7, compression=compression)
    with open_tiff(tmp_path / "a.tif") as file:
        assert file.shape == truth.shape
        assert file.dtype == dtype
        assert file.pixel_size == pytest.approx(1.7, rel=1e-6)
        assert file.orientation == 1
        np.testing.assert_array_equal(file.asarray(), truth)
        np.testing.assert_array_equal(file.image(1), truth[1])
        np.testing.assert_array_equal(file[1:, 2, 1:-1], truth[1:, 2, 1:-1])
        with pytest.raises(InputError, match="no such image"):
            file.image(3)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == 3
        assert file.pages[0].compression.name == {None: "NONE", "deflate": "ADOBE_DEFLATE"}.get(
            compression, str(compression).upper()
        )
        # The picture's top row is our last.
        np.testing.assert_array_equal(file.asarray(), truth[:, ::-1])
    assert os.listdir(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_what_tifffile_writes(tmp_path: Path, dtype: str, byteorder, bigtiff: bool) -> None:
    truth = values(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        truth[:, ::-1],
        byteorder=byteorder,
        bigtiff=bigtiff,
        photometric="minisblack",
        rowsperstrip=2,
    )
    with open_tiff(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.asarray(), truth)
        assert file.image(0).dtype.isnative
        assert file.pixel_size is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_the_same_picture(tmp_path: Path, orientation: int) -> None:
    picture = values("uint8")[0]
    # By the TIFF specification: what the stored first row and first column are, given the picture from its top left.
    stored = {
        1: picture,
        2: picture[:, ::-1],
        3: picture[::-1, ::-1],
        4: picture[::-1],
        5: picture.T,
        6: picture[:, ::-1].T,
        7: picture[::-1, ::-1].T,
        8: picture[::-1].T,
    }[orientation]
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.ascontiguousarray(stored),
        photometric="minisblack",
        compression="lzw",
        extratags=[(274, 3, 1, orientation, True)],
    )
    with open_tiff(tmp_path / "a.tif") as file:
        assert file.shape == (1, 5, 7)
        np.testing.assert_array_equal(file.image(0), picture[::-1])
    # libtiff, through pillow, brings the picture's top left to the front.
    with Image.open(tmp_path / "a.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize(
    ("resolution", "unit", "imagej", "pixel"),
    [
        (1e8 / 3.4, "CENTIMETER", None, 3.4),
        (2.54e8 / 3.4, "INCH", None, 3.4),
        (72, "INCH", None, None),
        (1 / 0.34, None, "nm", 3.4),
        (1e4 / 3.4, None, "\\u00B5m", 3.4),
        (1 / 3.4, None, "angstrom", 3.4),
        (1 / 3.4, None, "pixel", None),
        (0, "CENTIMETER", None, None),
    ],
)
def test_pixel_sizes(tmp_path: Path, resolution: float, unit, imagej: str | None, pixel: float | None) -> None:
    options = {"imagej": True, "metadata": {"unit": imagej}} if imagej else {"resolutionunit": unit}
    data = values("uint8")
    tifffile.imwrite(tmp_path / "a.tif", data, resolution=(resolution, resolution), photometric="minisblack", **options)
    with open_tiff(tmp_path / "a.tif") as file:
        assert file.pixel_size == (pixel if pixel is None else pytest.approx(pixel, rel=1e-6))
        np.testing.assert_array_equal(file.asarray(), data[:, ::-1])


def test_ome_tiff(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.34, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", values("uint16"), metadata=metadata, photometric="minisblack")
    with open_tiff(tmp_path / "a.ome.tif") as file:
        assert file.pixel_size == pytest.approx(3.4)
        assert file.shape == (3, 5, 7)


def test_an_imagej_stack_with_one_page(tmp_path: Path) -> None:
    # Beyond 4 GB ImageJ writes one page and then the numbers of the other images.
    data = values("uint16")
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, byteorder=">")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        # The offset of the second page stands after the entries of the first; zero ends the chain.
        page = file.pages[0]
        end = page.offset + 2 + 12 * len(page.tags)
    content[end : end + 4] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    with open_tiff(tmp_path / "a.tif") as file:
        assert file.shape == (3, 5, 7)
        np.testing.assert_array_equal(file.asarray(), data[:, ::-1])


def test_files_that_cannot_be_right(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(InputError, match="cannot be read"):
        open_tiff(path)
    path.write_bytes(b"no TIFF at all")
    with pytest.raises(FormatError, match="not a TIFF file"):
        open_tiff(path)
    tifffile.imwrite(path, np.zeros((5, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="not a stack of grey images"):
        open_tiff(path)
    tifffile.imwrite(path, np.zeros((5, 7), np.complex64))
    with pytest.raises(FormatError, match="no type that images have"):
        open_tiff(path)
    tifffile.imwrite(path, values("float32"), photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError), open_tiff(path) as file:
        file.asarray()


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit uint8"):
        write_tiff(tmp_path / "a.tif", values("float32") * 100, 2.0, dtype="uint8")
    with pytest.raises(InputError, match="TIFF has no int32"):
        write_tiff(tmp_path / "a.tif", values("float32").astype(np.int32), 2.0)
    with pytest.raises(StoreError, match="no such folder"):
        write_tiff(tmp_path / "missing" / "a.tif", values("float32"), 2.0)
    assert os.listdir(tmp_path) == []


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_a_plausible_array(tmp_path: Path, data: st.DataObject) -> None:
    write_tiff(
        tmp_path / "good.tif", values("uint16"), 2.0, compression=data.draw(st.sampled_from([None, "lzw", "zstd"]))
    )
    good = bytearray((tmp_path / "good.tif").read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.tif").write_bytes(good[: data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))])
    try:
        with open_tiff(tmp_path / "a.tif") as file:
            assert file.asarray().shape == file.shape
    except InputError:
        pass


def test_a_real_tomogram() -> None:
    path = SHARED / "tomogram_microtubule" / "13pf_MT.tif"
    if not path.exists():
        pytest.skip("needs 13pf_MT.tif")
    with open_tiff(path) as file:
        assert file.shape == (36, 206, 94)
        assert file.pixel_size == pytest.approx(10.52)
        np.testing.assert_array_equal(file.asarray(), tifffile.imread(path)[:, ::-1])
