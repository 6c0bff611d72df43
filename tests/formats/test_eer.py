"""EER, against events placed by hand, an encoder in plain Python, imagecodecs and tifffile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError, StoreError, ThonError
from thon.formats.eer import FALCON_4, PROTOTYPE, EerLayout, EerMovie, is_eer
from thon.formats.eer_decode import add_events
from thon.formats.eer_write import events_of_counts, write_eer
from thon.formats.movie_file import open_movie

SHAPE = (23, 41)
LAYOUTS = [PROTOTYPE, FALCON_4, EerLayout(8), EerLayout(6), EerLayout(5, 1, 1), EerLayout(9, 1, 2), EerLayout(12, 2, 1)]


def random_events(counts: Iterable[int], shape: tuple[int, int] = SHAPE, seed: int = 0) -> list[np.ndarray]:
    """Events of each frame, no two in one pixel."""
    random = np.random.default_rng(seed)
    frames = []
    for count in counts:
        pixels = random.choice(shape[0] * shape[1], count, replace=False)
        places = np.stack(np.unravel_index(pixels, shape), axis=1)
        frames.append(places * 4 + random.integers(0, 4, (count, 2)))
    return frames


def images(frames: list[np.ndarray], shape: tuple[int, int], sampling: int) -> np.ndarray:
    found = np.zeros((len(frames), shape[0] * sampling, shape[1] * sampling), np.float32)
    for image, events in zip(found, frames, strict=True):
        np.add.at(image, tuple((events * sampling // 4).T), 1)
    return found


def stream(symbols: Iterable[tuple[int, int]], padding: int = 0) -> bytes:
    """Bits of (value, number of bits), least significant first."""
    word, bits = 0, 0
    for value, count in symbols:
        word |= value << bits
        bits += count
    return word.to_bytes((bits + 7) // 8, "little") + bytes(padding)


def decode(data: bytes, shape: tuple[int, int], layout=(7, 2, 2, 7), sampling: int = 1) -> np.ndarray:
    out = np.zeros((shape[0] * sampling, shape[1] * sampling), np.float32)
    array = np.frombuffer(data, np.uint8)
    add_events(array, np.array([0]), np.array([len(data)]), layout, shape, sampling, out)
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sampling", [1, 2, 4])
def test_events_come_back_where_they_were(tmp_path: Path, layout: EerLayout, sampling) -> None:
    events = random_events([0, 1, 40, 500, 23 * 41, 7])
    assert write_eer(tmp_path / "a.eer", events, SHAPE, layout=layout) == 0
    if sampling > layout.finest:
        with pytest.raises(InputError, match="does not tell so finely"):
            open_movie(tmp_path / "a.eer", sampling=sampling)
        return
    truth = images(events, SHAPE, sampling)
    with open_movie(tmp_path / "a.eer", sampling=sampling) as movie:
        assert isinstance(movie, EerMovie)
        assert (movie.frames, movie.physical_shape, movie.dtype) == (6, SHAPE, np.uint8)
        assert movie.image_shape == truth.shape[1:]
        assert movie.is_counting
        assert movie.layout == layout
        for k in range(6):
            frame = movie.read_frame(k)
            assert frame.dtype == np.uint8
            np.testing.assert_array_equal(frame, truth[k])
        total = np.full(movie.image_shape, 0.5, np.float32)
        movie.add_frames(1, 5, total)
        np.testing.assert_array_equal(total, truth[1:5].sum(axis=0) + 0.5)


@pytest.mark.parametrize("layout", [FALCON_4, EerLayout(8), EerLayout(6), EerLayout(9, 1, 1), PROTOTYPE])
def test_bit_by_bit_what_imagecodecs_and_tifffile_see(tmp_path: Path, layout: EerLayout) -> None:
    # imagecodecs wants sides that are multiples of four.
    shape = (24, 44)
    # Of compression 65000 they do not know that symbols which only skip have all bits: there must be none.
    counts = [300, 1056, 500, 400] if layout.padded else [300, 1056, 0, 11]
    write_eer(tmp_path / "a.eer", random_events(counts, shape), shape, layout=layout)
    for level, sampling in enumerate([1, 2, 4]):
        if sampling > layout.finest:
            continue
        with open_movie(tmp_path / "a.eer", sampling=sampling) as movie:
            ours = np.stack([movie.read_frame(k) for k in range(movie.frames)])
        with tifffile.TiffFile(tmp_path / "a.eer", superres=level) as file:
            assert file.is_eer
            assert int(file.pages[0].compression) == {FALCON_4: 65001, PROTOTYPE: 65000}.get(layout, 65002)
            # Rows are not turned over as those of other TIFF files are.
            np.testing.assert_array_equal(file.series[0].asarray(), ours)
            for k, page in enumerate(file.pages):
                data = (tmp_path / "a.eer").read_bytes()[page.dataoffsets[0] :][: page.databytecounts[0]]
                theirs = imagecodecs.eer_decode(data, ours.shape[1:], *layout.bits[:3], superres=level)
                np.testing.assert_array_equal(theirs, ours[k])


def test_symbols_written_by_hand() -> None:
    # Positions in a pixel are signed: 0 is just right of or below its centre, 2 (that is, -2) its edge.
    symbols = [(5, 7), (0, 2), (2, 2), (0, 7), (3, 2), (1, 2), (127, 7), (4, 7), (1, 2), (0, 2), (127, 7)]
    at = [5, 6, 6 + 1 + 127 + 4]
    found = decode(stream(symbols), (20, 8), sampling=4)
    rows, columns = [4 * (p // 8) + y for p, y in zip(at, (0, 3, 2), strict=True)], []
    columns = [4 * (p % 8) + x for p, x in zip(at, (2, 1, 3), strict=True)]
    assert sorted(map(tuple, np.argwhere(found))) == sorted(zip(rows, columns, strict=True))
    assert found.sum() == 3
    np.testing.assert_array_equal(np.flatnonzero(decode(stream(symbols), (20, 8))), at)


def test_symbols_of_the_prototype_are_all_of_twelve_bits() -> None:
    """What RELION 3.1.3 makes of such a stream: it skips four bits after each skip of 255, which here are not zero."""
    symbols = [(255, 8), (15, 4), (5, 8), (0, 2), (2, 2), (255, 8), (9, 4), (255, 8), (6, 4), (0, 8), (3, 2), (1, 2)]
    at = [260, 261 + 510]
    found = decode(stream(symbols), (40, 30), (8, 2, 2, 12), sampling=4)
    rows = [4 * (p // 30) + y for p, y in zip(at, (0, 3), strict=True)]
    columns = [4 * (p % 30) + x for p, x in zip(at, (2, 1), strict=True)]
    assert sorted(map(tuple, np.argwhere(found))) == sorted(zip(rows, columns, strict=True))
    assert found.sum() == 2


@pytest.mark.parametrize(
    ("symbols", "padding", "expected"),
    [
        ([(3, 7), (0, 4), (28, 7), (0, 4)], 0, [3]),  # an event one pixel beyond the last one
        ([(3, 7), (0, 4), (99, 7), (0, 4), (1, 7), (0, 4)], 0, [3]),  # far beyond, and one more after it
        ([(3, 7), (0, 4), (127, 7), (127, 7)], 0, [3]),  # skips beyond the end
        ([(3, 7), (0, 4), (28, 7)], 0, [3]),  # the skip to the end, without the bits of an event
        ([(3, 7), (0, 4), (28, 7), (0, 4)], 9, [3]),  # padding
        ([(3, 7), (0, 4), (27, 7), (0, 4), (0, 7), (0, 4)], 5, [3, 31]),  # the last pixel hit, then a skip of none
        ([(3, 7), (0, 4), (27, 7), (5, 4)], 0, [3, 31]),  # the stream ends with the last event
        ([(3, 7), (0, 4)], 0, [3]),  # nothing says how it goes on
        ([(31, 7), (15, 4)], 0, [31]),
        ([(3, 7), (0, 4)] * 8, 0, [3, 7, 11, 15, 19, 23, 27, 31]),  # 88 bits: whole bytes
        ([], 0, []),
    ],
)
def test_a_stream_may_end_as_it_likes(symbols, padding: int, expected: list[int]) -> None:
    for sampling in (1, 4):
        found = decode(stream(symbols, padding), (4, 8), sampling=sampling)
        assert found.sum() == len(expected)
        pixels = found.reshape(4, sampling, 8, sampling).sum(axis=(1, 3))
        np.testing.assert_array_equal(np.flatnonzero(pixels), expected)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    data=st.binary(min_size=0, max_size=400),
    layout=st.builds(EerLayout, st.integers(1, 16), st.integers(0, 2), st.integers(0, 2), st.booleans()),
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    level=st.integers(0, 2),
    cut=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_any_bits_stay_inside(data: bytes, layout, shape, level: int, cut) -> None:
    level, bits = min(level, layout.horizontal, layout.vertical), layout.bits
    rows, columns = shape[0] << level, shape[1] << level
    start, stop = min(cut[0], len(data)), max(min(cut[0], len(data)), len(data) - cut[1])
    guarded = np.full((rows + 4, columns), -7, np.float32)
    guarded[2:-2] = 0
    # Two frames from one stream, whose neighbours in memory differ.
    count = add_events(
        np.frombuffer(b"\xff" * 9 + data + b"\x00" * 9, np.uint8),
        np.array([9 + start] * 2),
        np.array([9 + stop] * 2),
        bits,
        shape,
        1 << level,
        guarded[2:-2],
    )
    alone = np.zeros((rows, columns), np.float32)
    half = add_events(
        np.frombuffer(data[start:stop], np.uint8),
        np.array([0]),
        np.array([stop - start]),
        bits,
        shape,
        1 << level,
        alone,
    )
    np.testing.assert_array_equal(guarded[2:-2], 2 * alone)
    assert (guarded[[0, 1, -2, -1]] == -7).all()
    assert alone.sum() == half
    assert count == 2 * half


def test_many_frames_and_several_blocks_of_rows(tmp_path: Path) -> None:
    # More frames than are decoded together, and more rows than one block.
    shape = (301, 417)
    events = random_events([2000 + k for k in range(40)], shape)
    write_eer(tmp_path / "a.eer", iter(events), shape)
    for sampling in (1, 2, 4):
        with open_movie(tmp_path / "a.eer", sampling=sampling) as movie:
            total = movie.sum_frames(3, 40)
        np.testing.assert_array_equal(total, images(events[3:], shape, sampling).sum(axis=0))


def test_several_threads_read_one_movie(tmp_path: Path) -> None:
    events = random_events([700] * 12, (64, 80))
    write_eer(tmp_path / "a.eer", events, (64, 80))
    truth = images(events, (64, 80), 1)
    totals = np.zeros((4, 64, 80), np.float32)
    with open_movie(tmp_path / "a.eer") as movie:
        threads = [threading.Thread(target=movie.add_frames, args=(3 * k, 3 * k + 3, totals[k])) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_array_equal(totals, truth.reshape(4, 3, 64, 80).sum(axis=1))


def test_metadata_and_the_final_image(tmp_path: Path) -> None:
    events = random_events([9, 80])
    final = np.arange(23 * 41).reshape(SHAPE)
    said = {"exposureTime": 2.5, "totalDose": 31.25, "serialNumber": "P123", "sensorPixelSize.width": 0.73e-10}
    write_eer(tmp_path / "a.eer", events, SHAPE, final_image=final, metadata=said)
    with tifffile.TiffFile(tmp_path / "a.eer") as file:
        assert file.eer_metadata["totalDose"] == 31.25
        assert file.eer_metadata["exposureTime.unit"] == "s"
        np.testing.assert_array_equal(file.series[1].asarray(), final)
    with open_movie(tmp_path / "a.eer", sampling=2) as movie:
        hint = movie.exposure_hint
        assert hint is not None
        assert (hint.dose, hint.time, hint.camera, hint.frames) == (31.25, 2.5, "P123", 2)
        assert movie.pixel_size == pytest.approx(0.365)
        np.testing.assert_array_equal(movie.sum_frames(0, 2), images(events, SHAPE, 2).sum(axis=0))
    # The pixel of the sensor itself says nothing of the specimen.
    write_eer(tmp_path / "a.eer", events, SHAPE, metadata={"sensorPixelSize.width": 14e-6, "totalDose": "unknown"})
    with open_movie(tmp_path / "a.eer") as movie:
        assert movie.pixel_size is None
        assert movie.exposure_hint is not None
        assert movie.exposure_hint.dose is None


def test_frames_in_several_strips(tmp_path: Path) -> None:
    events = random_events([200, 300])
    write_eer(tmp_path / "a.eer", events, SHAPE)
    content = (tmp_path / "a.eer").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.eer") as file:
        strips = [content[page.dataoffsets[0] :][: page.databytecounts[0]] for page in file.pages]
    (tmp_path / "b.eer").write_bytes(little_eer([[s[:33], s[33:34], s[34:]] for s in strips]))
    assert is_eer(tmp_path / "b.eer")
    with open_movie(tmp_path / "b.eer", sampling=4) as movie:
        got = np.stack([movie.read_frame(k) for k in range(2)])
        assert movie.exposure_hint is not None
        assert movie.pixel_size is None
    np.testing.assert_array_equal(got, images(events, SHAPE, 4))


def little_eer(frames: list[list[bytes]], order: str = ">") -> bytes:
    """A classic TIFF in the other byte order, with as many strips a frame as are given."""
    end = {">": "big", "<": "little"}[order]

    def number(value: int, size: int) -> bytes:
        return value.to_bytes(size, end)

    content = bytearray(b"MM\0*" if order == ">" else b"II*\0") + bytes(4)
    link = 4
    for strips in frames:
        offsets = []
        for strip in strips:
            offsets.append(len(content))
            content += strip
        tables = [len(content), len(content) + 4 * len(strips)]
        content += b"".join(number(at, 4) for at in offsets) + b"".join(number(len(s), 4) for s in strips)
        content[link : link + 4] = number(len(content), 4)
        entries = [(256, 41), (257, 23), (259, 65001)]
        content += number(5, 2)
        for tag, value in entries:
            content += number(tag, 2) + number(4, 2) + number(1, 4) + number(value, 4)
        for tag, at in zip((273, 279), tables, strict=True):
            # A single value stands in the entry itself.
            value = bytes(content[at : at + 4]) if len(strips) == 1 else number(at, 4)
            content += number(tag, 2) + number(4, 2) + number(len(strips), 4) + value
        link = len(content)
        content += bytes(4)
    return bytes(content)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    write_eer(tmp_path / "a.eer", random_events([60, 90, 70]), SHAPE, metadata={"exposureTime": 1.0})
    content = (tmp_path / "a.eer").read_bytes()
    for size in (*range(0, len(content), 3), len(content) - 1):
        (tmp_path / "b.eer").write_bytes(content[:size])
        with pytest.raises(FormatError) as error:
            open_movie(tmp_path / "b.eer")
        assert error.value.path == tmp_path / "b.eer"
        assert error.value.mend or size < 4


def test_messages_name_the_frame_and_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.eer"
    write_eer(path, random_events([60, 90, 70]), SHAPE)
    with tifffile.TiffFile(path) as file:
        inside = file.pages[2].dataoffsets[0] + 10
    with open_movie(path) as movie:
        os.truncate(path, inside)
        with pytest.raises(FormatError, match="frame 2 of 3") as error:
            movie.add_frames(0, 3, np.zeros(SHAPE, np.float32))
        assert f"{inside:,} bytes" in str(error.value)
        assert "mend: copy the file again" in str(error.value)
        assert movie.read_frame(1).sum() == 90
    with pytest.raises(FormatError, match="truncated in the directory of page 2"):
        open_movie(path)
    path.write_bytes(little_eer([[b"\x00" * 40], [b""]]))
    with pytest.raises(FormatError, match="frame 1 of 2 has no bytes"):
        open_movie(path)
    path.write_bytes(little_eer([[b"\x00" * 2]]))
    with pytest.raises(FormatError, match="do not reach their last pixel"):
        open_movie(path)


def test_a_chain_that_runs_in_a_circle(tmp_path: Path) -> None:
    content = bytearray(little_eer([[b"\x00" * 80]]))
    content[-4:] = content[4:8]
    (tmp_path / "a.eer").write_bytes(content)
    with pytest.raises(FormatError, match="leads back"):
        open_movie(tmp_path / "a.eer")


def test_frames_that_are_not_there(tmp_path: Path, unchecked: None) -> None:
    write_eer(tmp_path / "a.eer", random_events([5, 5]), SHAPE)
    with open_movie(tmp_path / "a.eer") as movie:
        for start, stop in ((-1, 1), (0, 3), (1, 1)):
            with pytest.raises(InputError, match="no such frames"):
                movie.add_frames(start, stop, np.zeros(SHAPE, np.float32))
        with pytest.raises(InputError, match="no such frames"):
            movie.read_frame(2)
        for out in (np.zeros((41, 23), np.float32), np.zeros((46, 41), np.float32)[::2]):
            with pytest.raises(InputError, match="do not fit"):
                movie.add_frames(0, 1, out)


@pytest.mark.parametrize("sampling", [1, 2, 4])
def test_events_from_counts(tmp_path: Path, sampling) -> None:
    random = np.random.default_rng(3)
    counts = random.integers(0, 2, (2, SHAPE[0] * sampling, SHAPE[1] * sampling)) * (
        random.random((2, SHAPE[0] * sampling, SHAPE[1] * sampling)) < 0.02
    )
    lost = write_eer(tmp_path / "a.eer", (events_of_counts(c, sampling=sampling) for c in counts), SHAPE)
    pixels = counts.reshape(2, SHAPE[0], sampling, SHAPE[1], sampling).sum(axis=(2, 4))
    assert lost == np.maximum(pixels - 1, 0).sum()
    with open_movie(tmp_path / "a.eer", sampling=sampling) as movie:
        got = np.stack([movie.read_frame(k) for k in range(2)])
    assert got.sum() == counts.sum() - lost
    assert (got <= counts).all()


def test_of_events_that_coincide_one_is_kept_whichever(tmp_path: Path) -> None:
    # All places of every pixel are hit: what is kept has no favourite place.
    shape = (32, 64)
    every = np.argwhere(np.ones((128, 256), bool))
    assert write_eer(tmp_path / "a.eer", [every], shape) == 15 * 32 * 64
    with open_movie(tmp_path / "a.eer", sampling=4) as movie:
        frame = movie.read_frame(0).reshape(32, 4, 64, 4)
    np.testing.assert_array_equal(frame.sum(axis=(1, 3)), 1)
    kept = frame.sum(axis=(0, 2))
    assert kept.min() > 80
    assert kept.max() < 180


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    inside = random_events([3])
    for events in (np.array([[92, 0]]), np.array([[0, 164]]), np.array([[-1, 0]])):
        with pytest.raises(InputError, match="outside the sensor"):
            write_eer(tmp_path / "a.eer", [*inside, events], SHAPE)
    with pytest.raises(InputError, match="no frame"):
        write_eer(tmp_path / "a.eer", [], SHAPE)
    with pytest.raises(InputError, match="no symbols"):
        write_eer(tmp_path / "a.eer", inside, SHAPE, layout=EerLayout(7, 3, 3))
    with pytest.raises(InputError, match="no symbols"):
        write_eer(tmp_path / "a.eer", inside, SHAPE, layout=EerLayout(7, padded=True))
    with pytest.raises(StoreError, match="no such folder"):
        write_eer(tmp_path / "missing" / "a.eer", inside, SHAPE)
    assert os.listdir(tmp_path) == []


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_is_an_error_of_ours_or_a_plausible_movie(tmp_path: Path, data: st.DataObject) -> None:
    good = tmp_path / "good.eer"
    if not good.exists():
        write_eer(good, random_events([60, 90, 70]), SHAPE, layout=EerLayout(6), metadata={"totalDose": 3.0})
    content = bytearray(good.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["byte", "cut", "splice", "repeat"]))
        if change == "byte":
            content[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del content[at : at + data.draw(st.integers(1, 50))]
        elif change == "splice":
            other = data.draw(st.integers(0, len(content) - 1))
            content[at : at + 16] = content[other : other + 16]
        else:
            content[at:at] = content[at : at + data.draw(st.integers(1, 50))]
        if not content:
            content = bytearray(1)
    (tmp_path / "bad.eer").write_bytes(content)
    try:
        with open_movie(tmp_path / "bad.eer") as movie:
            # Whatever the damage says, a movie of some kilobytes is no gigapixel.
            assert np.prod(movie.image_shape) < 1 << 27
            for k in range(min(movie.frames, 5)):
                assert movie.read_frame(k).shape == movie.image_shape
    except ThonError:
        pass
