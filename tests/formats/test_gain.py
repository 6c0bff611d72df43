"""Gain and dark references from MRC, TIFF, `.gain` and DM4."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from thon.base.errors import FormatError, InputError
from thon.formats.gain import gain_divides, read_dark, read_gain

CODES = {"int16": 2, "int32": 3, "uint16": 4, "float32": 6, "float64": 7, "uint8": 10}


@pytest.fixture
def gain() -> np.ndarray:
    gain = (1 + 0.05 * np.random.default_rng(0).normal(size=(11, 14))).astype(np.float32)
    gain[2, 5] = 0
    return gain


def write_tiff(path: Path, picture: np.ndarray) -> Path:
    """`picture` with its top row first, as TIFF has it."""
    tifffile.imwrite(path, picture, photometric="minisblack")
    return path


def write_old_mrc(path: Path, values: np.ndarray) -> Path:
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
    return path


def dm4_tag(name: str, value: int | np.ndarray) -> bytes:
    """A number (4-byte unsigned) or an array, by Chris Boothroyd's description of the format."""
    if isinstance(value, int):
        info, data = struct.pack(">QQ", 1, 5), struct.pack("<I", value)
    else:
        info, data = struct.pack(">4Q", 3, 20, CODES[value.dtype.name], value.size), value.tobytes()
    body = b"%%%%" + info + data
    return struct.pack(">BH", 21, len(name)) + name.encode() + struct.pack(">Q", len(body)) + body


def dm4_folder(name: str, *parts: bytes) -> bytes:
    body = struct.pack(">BBQ", 1, 0, len(parts)) + b"".join(parts)
    return struct.pack(">BH", 20, len(name)) + name.encode() + struct.pack(">Q", len(body)) + body


def dm4_image(values: np.ndarray) -> bytes:
    sides = dm4_folder("Dimensions", *(dm4_tag("", n) for n in values.shape[::-1]))
    return dm4_folder("", dm4_folder("ImageData", dm4_tag("Data", values), sides, dm4_tag("PixelDepth", 4)))


def write_dm4(path: Path, *images: np.ndarray, version: int = 4) -> Path:
    parts = dm4_tag("InImageMode", 1), dm4_folder("ImageList", *(dm4_image(image) for image in images))
    body = struct.pack(">BBQ", 1, 0, len(parts)) + b"".join(parts) + bytes(8)
    path.write_bytes(struct.pack(">IQI", version, len(body) - 4, 1) + body)
    return path


@pytest.mark.parametrize("name", ["gain.mrc", "movie.gain"])
def test_mrc_comes_as_it_is_stored(tmp_path: Path, gain: np.ndarray, name: str) -> None:
    found = read_gain(write_old_mrc(tmp_path / name, gain))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, gain)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_tiff_rows_are_turned_over_but_those_of_epu_are_not(tmp_path: Path, gain: np.ndarray, dtype: str) -> None:
    """Read off RELION 3.1.3: `relion_run_motioncorr --gainref` of an EER movie with either."""
    stored = (gain * 1000).astype(dtype)
    np.testing.assert_array_equal(read_gain(write_tiff(tmp_path / "a.tif", stored)), stored[::-1].astype(np.float32))
    np.testing.assert_array_equal(read_gain(write_tiff(tmp_path / "a.gain", stored)), stored.astype(np.float32))


def test_which_gains_divide() -> None:
    """As in RELION 3.1.3, which was run on each of these."""
    assert [gain_divides(gain, "m.eer") for gain in ("g.gain", "g.mrc", "g.tiff")] == [False, True, True]
    assert not any(gain_divides(gain, movie) for gain in ("g.mrc", "g.gain") for movie in ("m.tif", "m.mrc"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint16", "int32", "uint8"])
def test_the_large_image_of_dm4_rows_turned_over(tmp_path: Path, gain: np.ndarray, dtype: str) -> None:
    stored, thumbnail = (gain * 100).astype(dtype), np.arange(24, dtype=np.int32).reshape(4, 6)
    path = write_dm4(tmp_path / "gain.dm4", thumbnail, stored)
    np.testing.assert_array_equal(read_gain(path), stored[::-1].astype(np.float32))


def test_dm4_without_its_end(tmp_path: Path, gain: np.ndarray) -> None:
    whole = write_dm4(tmp_path / "whole.dm4", gain).read_bytes()
    for length in (6, 40, 150, len(whole) // 2, len(whole) - 100):
        path = tmp_path / f"{length}.dm4"
        path.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            read_gain(path)


def test_dm4_with_any_damaged_byte_gives_numbers_or_an_error(tmp_path: Path, gain: np.ndarray) -> None:
    whole = write_dm4(tmp_path / "whole.dm4", gain).read_bytes()
    path, random = tmp_path / "damaged.dm4", np.random.default_rng(1)
    for at in random.choice(400, 200, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_gain(path)
        except InputError:
            continue
        assert found.ndim == 2


def test_dm4_makes_no_room_for_a_damaged_count(tmp_path: Path, gain: np.ndarray) -> None:
    whole = write_dm4(tmp_path / "whole.dm4", gain).read_bytes()
    # The count of numbers that describe the first tag, after its mark.
    at = whole.index(b"%%%%") + 4
    (tmp_path / "damaged.dm4").write_bytes(whole[:at] + struct.pack(">Q", 1 << 31) + whole[at + 8 :])
    tracemalloc.start()
    with pytest.raises(FormatError, match="damaged DM4 file"):
        read_gain(tmp_path / "damaged.dm4")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_dm3_and_dm4_without_an_image(tmp_path: Path, gain: np.ndarray) -> None:
    with pytest.raises(InputError, match="DM3 is not read"):
        read_gain(write_dm4(tmp_path / "old.dm3", gain, version=3))
    with pytest.raises(FormatError, match="no image of rows and columns"):
        read_gain(write_dm4(tmp_path / "line.dm4", gain[:1]))


def test_what_cannot_be_a_gain_is_refused(tmp_path: Path, gain: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_gain(tmp_path / "missing.mrc")
    (tmp_path / "gain.txt").write_text("1 2 3 4\n" * 40)
    (tmp_path / "empty.mrc").touch()
    with pytest.raises(InputError, match="not an image format"):
        read_gain(tmp_path / "gain.txt")
    with pytest.raises(FormatError, match="is empty"):
        read_gain(tmp_path / "empty.mrc")
    with pytest.raises(InputError, match="2 images"):
        read_gain(write_old_mrc(tmp_path / "two.mrc", np.stack([gain, gain])))
    for value, message in ((0.0, "no gain reference"), (1.0, "no gain reference")):
        with pytest.raises(InputError, match=message):
            read_gain(write_tiff(tmp_path / "same.tif", np.full_like(gain, value)))
    for value, message in ((np.nan, "2 NaN"), (np.inf, "2 NaN or inf"), (-1, "negative")):
        bad = gain.copy()
        bad[3, 4:6] = value
        with pytest.raises(InputError, match=message):
            read_gain(write_tiff(tmp_path / "bad.tif", bad))


def test_a_dark_may_be_zero_everywhere_and_negative(tmp_path: Path, gain: np.ndarray) -> None:
    np.testing.assert_array_equal(read_dark(write_tiff(tmp_path / "0.tif", gain * 0)), gain * 0)
    np.testing.assert_array_equal(read_dark(write_tiff(tmp_path / "1.tif", gain - 1)), (gain - 1)[::-1])
    with pytest.raises(InputError, match="a dark reference has finite"):
        read_dark(write_tiff(tmp_path / "2.tif", np.full_like(gain, np.inf)))
