"""Movies of every format through one door, with tifffile, mrcfile and plain bytes as independent writers."""

from __future__ import annotations

import bz2
import gzip
import os
import tracemalloc
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError, ThonError
from thon.formats.eer_write import events_of_counts, write_eer
from thon.formats.movie_file import StackMovie, open_movie, plan_groups
from thon.formats.movie_tiff import HALF_WIDTH, TiffMovie

SHAPE = (3, 10, 13)
TYPES = ["uint8", "int8", "uint16", "int16", "float16", "float32", "uint32"]


def counts(dtype: str = "uint8", shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Frames, bottom row first, no two pixels alike in a row or a column."""
    values = np.random.default_rng(5).integers(0, 100, shape)
    return values.astype(dtype)


def write(path: Path, frames: np.ndarray, **options: object) -> None:
    tifffile.imwrite(path, frames[:, ::-1], photometric="minisblack", metadata=None, **options)


def check(path: Path, truth: np.ndarray, kind: type = TiffMovie) -> None:
    """Every frame alone, and a sum on top of something."""
    with open_movie(path) as movie:
        assert isinstance(movie, kind)
        assert movie.frames == len(truth)
        assert movie.image_shape == movie.physical_shape == truth.shape[1:]
        assert movie.dtype == truth.dtype
        for k, frame in enumerate(truth):
            found = movie.read_frame(k)
            assert found.dtype == truth.dtype
            assert found.dtype.isnative
            np.testing.assert_array_equal(found, frame)
        total = np.full(truth.shape[1:], 3.0, np.float32)
        movie.add_frames(1, len(truth), total)
        np.testing.assert_array_equal(total, truth[1:].sum(axis=0, dtype=np.float32) + 3)
        with pytest.raises(InputError, match="no such frames"):
            movie.read_frame(len(truth))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("rows", [None, 4, 1])
def test_strips(tmp_path: Path, dtype: str, compression, rows: int | None) -> None:
    truth = counts(dtype)
    write(tmp_path / "a.tif", truth, compression=compression, rowsperstrip=rows)
    check(tmp_path / "a.tif", truth)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("big", [False, True])
def test_tiles_in_the_other_byte_order(tmp_path: Path, dtype: str, compression, big: bool) -> None:
    truth = counts(dtype, (2, 35, 50))
    write(tmp_path / "a.tif", truth, compression=compression, tile=(16, 32), byteorder=">", bigtiff=big)
    check(tmp_path / "a.tif", truth)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_the_same_picture(tmp_path: Path, orientation: int) -> None:
    picture = counts()[0]
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
    stack = np.ascontiguousarray(np.stack([stored, 2 * stored]))
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack,
        photometric="minisblack",
        compression="lzw",
        metadata=None,
        extratags=[(274, 3, 1, orientation, False)],
    )
    check(tmp_path / "a.tif", np.stack([picture[::-1], 2 * picture[::-1]]))


@pytest.mark.parametrize("columns", [12, 13])
def test_four_bits_as_tiff_packs_them(tmp_path: Path, columns: int) -> None:
    truth = counts(shape=(2, 10, columns)) % 16
    top_first = np.pad(truth[:, ::-1], ((0, 0), (0, 0), (0, columns % 2)))
    packed = (top_first[..., 0::2] << 4 | top_first[..., 1::2]).astype(np.uint8)
    # tifffile writes no 4-bit images: its bytes are given another width and depth.
    write(tmp_path / "a.tif", packed[:, ::-1], rowsperstrip=4, compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        for page in file.pages:
            page.tags["ImageWidth"].overwrite(columns)
            page.tags["BitsPerSample"].overwrite(4)
    check(tmp_path / "a.tif", truth)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.pages[1].asarray(), truth[1, ::-1])
    with open_movie(tmp_path / "a.tif") as movie:
        assert movie.is_counting


def test_bytes_of_two_pixels_as_serialem_packs_them(tmp_path: Path) -> None:
    rows, columns = min(HALF_WIDTH, key=lambda shape: shape[0] * shape[1])
    packed = np.random.default_rng(0).integers(0, 256, (1, rows, columns), np.uint8)
    write(tmp_path / "a.tif", packed, compression="zstd")
    with open_movie(tmp_path / "a.tif") as movie:
        assert movie.image_shape == (rows, 2 * columns)
        frame = movie.read_frame(0)
        np.testing.assert_array_equal(frame[:, 0::2], packed[0] & 15)
        np.testing.assert_array_equal(frame[:, 1::2], packed[0] >> 4)


def test_unusual_codings_go_through_tifffile(tmp_path: Path) -> None:
    truth = counts("uint16")
    write(tmp_path / "a.tif", truth, compression="lzw", predictor=True)
    check(tmp_path / "a.tif", truth, StackMovie)
    write(tmp_path / "a.tif", truth, compression="packbits")
    check(tmp_path / "a.tif", truth, StackMovie)
    tifffile.imwrite(tmp_path / "a.tif", truth[:, ::-1], imagej=True)
    check(tmp_path / "a.tif", truth)
    # Beyond 4 GB ImageJ writes one page, and then the numbers of the other images.
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        end = page.offset + 2 + 12 * len(page.tags)
    content[end : end + 4] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    check(tmp_path / "a.tif", truth, StackMovie)


def test_pixel_size_and_counting(tmp_path: Path) -> None:
    for resolution, unit, expected in (
        (1e8 / 0.83, "CENTIMETER", 0.83),
        (2.54e8 / 0.83, "INCH", 0.83),
        (72, "INCH", None),
    ):
        write(tmp_path / "a.tif", counts(), resolution=(resolution, resolution), resolutionunit=unit)
        with open_movie(tmp_path / "a.tif") as movie:
            assert movie.pixel_size == (expected and pytest.approx(expected, rel=1e-6))
            assert movie.is_counting
            assert movie.exposure_hint is None
    write(tmp_path / "a.tif", counts("float32"))
    with open_movie(tmp_path / "a.tif") as movie:
        assert not movie.is_counting


@pytest.mark.parametrize(("mode", "dtype"), [(0, "int8"), (1, "int16"), (2, "float32"), (6, "uint16"), (12, "float16")])
@pytest.mark.parametrize("packer", [None, gzip.compress, bz2.compress])
def test_mrc(tmp_path: Path, mode: int, dtype: str, packer) -> None:
    truth = counts(dtype)
    with mrcfile.new(tmp_path / "a.mrcs", truth) as file:
        file.voxel_size = 1.7
        assert file.header.mode == mode
    path = tmp_path / "a.mrcs"
    if packer is not None:
        path = tmp_path / f"a.mrcs.{packer.__module__}"
        path.write_bytes(packer((tmp_path / "a.mrcs").read_bytes()))
    check(path, truth, StackMovie)
    with open_movie(path) as movie:
        assert movie.pixel_size == pytest.approx(1.7)
        assert movie.is_counting == (mode == 0)


def test_mrc_of_four_bits(tmp_path: Path) -> None:
    truth = counts() % 16
    with mrcfile.new(tmp_path / "a.mrc", truth.astype(np.int8)) as file:
        header = bytearray(file.header.tobytes())
    header[12:16] = (101).to_bytes(4, "little")
    padded = np.pad(truth, ((0, 0), (0, 0), (0, 1)))
    packed = (padded[..., 0::2] | padded[..., 1::2] << 4).astype(np.uint8)
    (tmp_path / "a.mrc").write_bytes(bytes(header) + packed.tobytes())
    check(tmp_path / "a.mrc", truth, StackMovie)


def test_one_exposure_as_eer_tiff_and_mrc(tmp_path: Path) -> None:
    truth = (np.random.default_rng(2).random((4, 12, 16)) < 0.1).astype(np.uint8)
    write_eer(tmp_path / "a.eer", [events_of_counts(frame) for frame in truth], (12, 16))
    write(tmp_path / "a.tif", truth)
    with mrcfile.new(tmp_path / "a.mrc", truth.astype(np.int8)):
        pass
    sums = []
    for name in ("a.eer", "a.tif", "a.mrc"):
        with open_movie(tmp_path / name) as movie:
            sums.append(movie.sum_frames(0, 4))
    np.testing.assert_array_equal(sums, np.stack([truth.sum(axis=0)] * 3))
    with pytest.raises(InputError, match="only EER"):
        open_movie(tmp_path / "a.tif", sampling=2)
    with pytest.raises(InputError, match="only EER"):
        open_movie(tmp_path / "a.mrc", sampling=4)


def test_one_frame_at_a_time_in_memory(tmp_path: Path) -> None:
    truth = counts(shape=(40, 256, 300))
    write(tmp_path / "a.tif", truth, compression="zstd", rowsperstrip=64)
    total = np.zeros(truth.shape[1:], np.float32)
    with open_movie(tmp_path / "a.tif") as movie:
        movie.add_frames(0, 1, total)
        tracemalloc.start()
        movie.add_frames(0, 40, total)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A frame, its bytes as stored, and buffers of NumPy: not three frames.
    assert peak < 2.5 * truth[0].nbytes


def test_files_that_cannot_be_right(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(InputError, match="cannot be read"):
        open_movie(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="is empty"):
        open_movie(path)
    path.write_bytes(b"no movie at all" * 100)
    with pytest.raises(FormatError, match="not an MRC file"):
        open_movie(path)
    tifffile.imwrite(path, np.zeros((5, 7, 3), np.uint8), photometric="rgb")
    with pytest.raises(FormatError, match="not a stack of grey images"):
        open_movie(path)
    with mrcfile.new(tmp_path / "c.mrc", np.zeros((5, 7), np.complex64)):
        pass
    with pytest.raises(FormatError, match="no type that frames have"):
        open_movie(tmp_path / "c.mrc")


@pytest.mark.parametrize(
    "options",
    [{"compression": name} for name in (None, "lzw", "zlib", "zstd", "packbits")]
    + [{"compression": "lzw", "predictor": True}],
)
def test_a_tiff_cut_anywhere(tmp_path: Path, options) -> None:
    truth = counts()
    write(tmp_path / "a.tif", truth, rowsperstrip=5, **options)
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        end = max(page.offset + 2 + 12 * len(page.tags) + 4 for page in file.pages)
        for page in file.pages:
            end = max(end, page.dataoffsets[-1] + page.databytecounts[-1])
    for size in (*range(1, end, 7), end - 1):
        (tmp_path / "b.tif").write_bytes(content[:size])
        with pytest.raises(FormatError):
            open_movie(tmp_path / "b.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd"])
@pytest.mark.parametrize("side", ["ImageLength", "ImageWidth"])
def test_a_size_that_the_bytes_cannot_hold_is_refused_when_opened(tmp_path: Path, compression, side: str) -> None:
    """Also where a page is one strip: nothing is made room for before it is known that pixels may be there."""
    write(tmp_path / "a.tif", np.zeros((1, 3, 4), np.uint8), compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[side].overwrite(100_000_000)
        file.pages[0].tags["RowsPerStrip"].overwrite(2**32 - 1)
    with pytest.raises(FormatError, match="too few bytes for its size"):
        open_movie(tmp_path / "a.tif")


def test_one_bad_strip(tmp_path: Path) -> None:
    truth = counts()
    for compression in ("zlib", "zstd", "lzw"):
        write(tmp_path / "a.tif", truth, compression=compression, rowsperstrip=5)
        with tifffile.TiffFile(tmp_path / "a.tif") as file:
            at, size = file.pages[1].dataoffsets[1], file.pages[1].databytecounts[1]
        content = bytearray((tmp_path / "a.tif").read_bytes())
        content[at : at + size] = b"\xff" * size
        (tmp_path / "a.tif").write_bytes(content)
        with open_movie(tmp_path / "a.tif") as movie:
            np.testing.assert_array_equal(movie.read_frame(0), truth[0])
            with pytest.raises(FormatError, match="page 1, strip or tile 1"):
                movie.read_frame(1)
            np.testing.assert_array_equal(movie.read_frame(2), truth[2])


def test_pages_that_differ(tmp_path: Path) -> None:
    for odd in (np.zeros((11, 13), np.uint8), np.zeros((10, 13), np.uint16)):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for page in (counts()[0], odd):
                file.write(page, photometric="minisblack", metadata=None)
        with pytest.raises(FormatError, match="page 1 is stored in another way"):
            open_movie(tmp_path / "a.tif")


def test_a_movie_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", counts(), compression="zlib")
    with open_movie(tmp_path / "a.tif") as movie:
        os.truncate(tmp_path / "a.tif", 20)
        with pytest.raises(FormatError, match="truncated in page 0"):
            movie.read_frame(0)


def test_groups_of_a_number() -> None:
    assert plan_groups(4) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert plan_groups(6, group=3) == [(0, 3), (3, 6)]
    # What does not fill a group is dropped.
    assert plan_groups(11, group=4) == [(0, 4), (4, 8)]
    assert plan_groups(4, group=4) == [(0, 4)]


def test_groups_of_an_exposure() -> None:
    """Of one size, the nearest to the target: RELION's star file of a movie has one number for all of them."""
    assert plan_groups(10, exposure_per_frame=0.2, target_exposure=0.5) == [(0, 3), (3, 6), (6, 9)]
    for frames, target in ((1000, 0.77), (999, 0.123), (41, 0.3)):
        groups = plan_groups(frames, exposure_per_frame=0.05, target_exposure=target)
        starts, stops = np.array(groups).T
        np.testing.assert_array_equal(starts[1:], stops[:-1])
        size = stops[0]
        np.testing.assert_array_equal(stops - starts, size)
        assert abs(size * 0.05 - target) <= 0.025 + 1e-9
        assert starts[0] == 0
        assert frames - size < stops[-1] <= frames
    # A raw frame that has more than the target stays whole.
    assert plan_groups(3, exposure_per_frame=1.0, target_exposure=0.3) == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    "options",
    [
        {"group": 0},
        {"group": -1},
        {"group": 5, "exposure_per_frame": 1.0, "target_exposure": 2.0},
        {"exposure_per_frame": 1.0},
        {"target_exposure": 1.0},
        {"exposure_per_frame": 0.0, "target_exposure": 1.0},
        {"exposure_per_frame": 1.0, "target_exposure": -1.0},
        {"group": 11},
        {"exposure_per_frame": 1.0, "target_exposure": 10.5},
    ],
)
def test_groups_that_cannot_be(options) -> None:
    with pytest.raises(InputError):
        plan_groups(10, **options)


DAMAGE = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Bytes changed, left out, repeated or copied from elsewhere, at one to three places."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        # Headers and directories are hit more often than pixels.
        at = data.draw(st.one_of(st.integers(0, len(changed) - 1), st.integers(0, min(400, len(changed) - 1))))
        kind = data.draw(st.sampled_from(["byte", "byte", "cut", "splice", "repeat"]))
        length = data.draw(st.integers(1, 60))
        if kind == "byte":
            changed[at] = data.draw(st.integers(0, 255))
        elif kind == "cut" and len(changed) > length:
            del changed[at : at + length]
        elif kind == "splice":
            other = data.draw(st.integers(0, len(changed) - 1))
            changed[at : at + length] = changed[other : other + length]
        else:
            changed[at:at] = changed[at : at + length]
        changed = changed or bytearray(1)
    return bytes(changed)


def read_all(path: Path) -> None:
    """Either an error of ours or frames of the shape that was promised."""
    try:
        with open_movie(path) as movie:
            assert np.prod(movie.image_shape, dtype=float) < 1 << 30
            if np.prod(movie.image_shape) < 1 << 22:
                for k in range(min(movie.frames, 4)):
                    frame = movie.read_frame(k)
                    assert (frame.shape, frame.dtype) == (movie.image_shape, movie.dtype)
                movie.add_frames(0, 1, np.zeros(movie.image_shape, np.float32))
    except ThonError:
        pass


@DAMAGE
@given(data=st.data())
def test_a_damaged_tiff(tmp_path: Path, data: st.DataObject) -> None:
    compression = data.draw(st.sampled_from([None, "lzw", "zlib", "zstd"]))
    good = tmp_path / f"{compression}.tif"
    if not good.exists():
        write(good, counts("uint16"), compression=compression, rowsperstrip=4)
    (tmp_path / "bad.tif").write_bytes(damaged(good.read_bytes(), data))
    read_all(tmp_path / "bad.tif")


@DAMAGE
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_mrc(tmp_path: Path, data: st.DataObject) -> None:
    packed = data.draw(st.booleans())
    good = tmp_path / f"{packed}.mrc"
    if not good.exists():
        with mrcfile.new(good, counts("int16")):
            pass
        if packed:
            good.write_bytes(gzip.compress(good.read_bytes()))
    (tmp_path / "bad.mrc").write_bytes(damaged(good.read_bytes(), data))
    read_all(tmp_path / "bad.mrc")
