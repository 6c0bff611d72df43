"""MRC against mrcfile, against real files, and against damage."""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import sys
import warnings
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError, StoreError
from thon.formats.mrc import (
    ByteScale,
    MrcExtended,
    MrcWriter,
    open_mrc,
    open_mrc_by_size,
    read_mrc,
    write_mrc,
)

SHARED = Path(os.environ.get("THON_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
TYPES = ["int8", "int16", "uint16", "float16", "float32", "complex64"]
MODES = {"int8": 0, "int16": 1, "uint16": 6, "float16": 12, "float32": 2, "complex64": 4}


def values(dtype: str, shape: tuple[int, ...] = (3, 5, 7)) -> np.ndarray:
    """Numbers that are all different, of both signs where the type has them."""
    count = np.arange(int(np.prod(shape))).reshape(shape)
    if dtype.startswith("complex"):
        return (count - 50 + 1j * (count + 0.5)).astype(dtype)
    return (count + 300).astype(dtype) if dtype == "uint16" else (count - 50).astype(dtype)


def raw_mrc(
    data: np.ndarray,
    order: str = "<",
    *,
    mode: int | None = None,
    stamp: bytes | None = None,
    cell: tuple[float, float, float] = (14.0, 15.0, 12.0),
    axes: tuple[int, int, int] = (1, 2, 3),
    shape: tuple[int, int, int] | None = None,
    extended: bytes = b"",
    patches: dict[int, bytes] | None = None,
) -> bytes:
    """A file put together by hand: nz, ny, nx from the data; patches go into the header at their offsets."""
    nz, ny, nx = shape or data.shape
    header = bytearray(1024)
    number = MODES[data.dtype.name] if mode is None else mode
    struct.pack_into(order + "10i", header, 0, nx, ny, nz, number, 0, 0, 0, nx, ny, nz)
    struct.pack_into(order + "6f3i", header, 40, *cell, 90, 90, 90, *axes)
    struct.pack_into(order + "3f2i", header, 76, 0, -1, -2, 1, len(extended))
    header[208:216] = b"MAP " + (stamp or (b"DD\0\0" if order == "<" else b"\x11\x11\0\0"))
    for offset, patch in (patches or {}).items():
        header[offset : offset + len(patch)] = patch
    return bytes(header) + extended + data.astype(data.dtype.newbyteorder(order)).tobytes()


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", TYPES)
def test_reads_what_mrcfile_writes(tmp_path: Path, dtype: str, order: str) -> None:
    truth = values(dtype)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path) as file:
        file.set_data(truth.astype(np.dtype(dtype).newbyteorder(order)))
        file.voxel_size = (1.5, 2.5, 3.5)
        file.header.origin = (10, 20, 30)
        file.header.nxstart, file.header.nystart, file.header.nzstart = 1, 2, 3
        file.add_label("made by hand")
    with open_mrc(path) as read:
        assert read.dtype == truth.dtype
        assert read.header.byte_order == order or dtype == "int8"
        np.testing.assert_array_equal(read.asarray(), truth)
        np.testing.assert_array_equal(read.image(1), truth[1])
        np.testing.assert_array_equal(read[1:, 2:4, -3:], truth[1:, 2:4, -3:])
        assert read.image(1).dtype.isnative
        assert read.image(1).flags.writeable
        assert read.pixel_size == pytest.approx(1.5)
        assert read.header.voxel_size == pytest.approx((3.5, 2.5, 1.5))
        assert read.header.origin == read.header.first_voxel == (30, 20, 10)
        assert read.header.start == (3, 2, 1)
        assert read.header.is_volume
        assert read.header.labels[1] == "made by hand"


@pytest.mark.parametrize("dtype", [t for t in TYPES if t != "complex64"] + ["uint8", "bool", "float64"])
@pytest.mark.parametrize("suffix", [".mrc", ".mrcs"])
def test_mrcfile_reads_what_we_write(tmp_path: Path, dtype: str, suffix: str) -> None:
    truth = values("uint8" if dtype == "uint8" else "int16").astype(dtype)
    path = tmp_path / f"a{suffix}"
    write_mrc(path, truth, (3.5, 2.5, 1.5), origin=(30, 20, 10), labels=["one", "two"])
    # Its validator sums squares of float16 in float16 and overflows.
    assert dtype == "float16" or mrcfile.validate(path, print_file=sys.stdout)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(file.data, truth)
        assert file.is_volume() == (suffix == ".mrc")
        assert file.voxel_size.tolist() == pytest.approx((1.5, 2.5, 3.5))
        assert file.header.origin.tolist() == (10, 20, 30)
        assert file.header.dmin == truth.min()
        assert file.header.dmax == truth.max()
        assert file.header.dmean == pytest.approx(truth.astype(float).mean())
        assert file.header.rms == pytest.approx(truth.astype(float).std())
        assert [label.rstrip() for label in file.get_labels()] == ["Written by thon", "one", "two"]
    assert os.listdir(tmp_path) == [path.name]


def test_a_single_image(tmp_path: Path) -> None:
    truth = values("float32")[0]
    write_mrc(tmp_path / "a.mrc", truth, 1.1)
    with open_mrc(tmp_path / "a.mrc") as file:
        assert file.shape == (1, 5, 7)
        assert not file.header.is_volume
        np.testing.assert_array_equal(file.image(0), truth)
        for k in (1, -1):
            with pytest.raises(InputError, match="no such image"):
                file.image(k)


@pytest.mark.parametrize("columns", [6, 7])
def test_four_bit_pixels(tmp_path: Path, columns: int) -> None:
    truth = (np.arange(3 * 5 * columns).reshape(3, 5, columns) * 7 % 16).astype(np.uint8)
    padded = np.pad(truth, ((0, 0), (0, 0), (0, columns % 2)))
    packed = padded[..., 0::2] | padded[..., 1::2] << 4
    (tmp_path / "a.mrc").write_bytes(raw_mrc(packed, mode=101, shape=truth.shape))
    with open_mrc(tmp_path / "a.mrc") as file:
        assert file.dtype == np.uint8
        np.testing.assert_array_equal(file.asarray(), truth)
        np.testing.assert_array_equal(file.image(2), truth[2])
        np.testing.assert_array_equal(file[1, 1:4, 2:5], truth[1, 1:4, 2:5])
    (tmp_path / "a.mrc").write_bytes(raw_mrc(packed, mode=101, shape=truth.shape, axes=(3, 2, 1)))
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), truth.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("patches", "dtype"),
    [
        ({}, np.int8),
        ({152: struct.pack("<2i", 1146047817, 0)}, np.uint8),
        ({152: struct.pack("<2i", 1146047817, 1)}, np.int8),
        ({76: struct.pack("<2f", 0, 255)}, np.uint8),
        ({76: struct.pack("<2f", -128, 127)}, np.int8),
    ],
)
def test_bytes_are_signed_unless_the_file_says_otherwise(tmp_path: Path, patches: dict, dtype: type) -> None:
    truth = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    (tmp_path / "a.mrc").write_bytes(raw_mrc(truth.view(np.int8), patches=patches))
    read = read_mrc(tmp_path / "a.mrc")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, truth.view(dtype))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"DD\0\0", b"\x11\x11\0\0", b"\0\0\0\0"])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_wrong_or_missing_machine_stamp_does_not_matter(tmp_path: Path, order: str, stamp: bytes, dtype: str) -> None:
    # 256 columns of mode 0 are plausible in both byte orders; the axes and the size decide.
    truth = np.resize(values(dtype), (2, 3, 256))
    for axes in ((1, 2, 3), (0, 0, 0)):
        (tmp_path / "a.mrc").write_bytes(raw_mrc(truth, order, stamp=stamp or None, axes=axes, patches={212: stamp}))
        np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), truth)


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 2, 1), (2, 1, 3), (3, 1, 2), (2, 3, 1), (1, 3, 2)])
def test_axes_in_any_order(tmp_path: Path, axes: tuple[int, int, int]) -> None:
    truth = values("float32", (3, 5, 7))
    # Columns run along axis axes[0] (1 = x), sections along axes[2]; numpy's axis of x is 2.
    stored = truth.transpose(3 - axes[2], 3 - axes[1], 3 - axes[0])
    starts = dict(zip((1, 2, 3), (10, 20, 30), strict=True))
    patches = {
        16: struct.pack("<3i", *(starts[axis] for axis in axes)),
        28: struct.pack("<3i", 7, 5, 3),
        40: struct.pack("<3f", 14, 15, 12),
    }
    (tmp_path / "a.map").write_bytes(raw_mrc(np.ascontiguousarray(stored), axes=axes, patches=patches))
    with open_mrc(tmp_path / "a.map") as file:
        assert file.shape == truth.shape
        assert file.header.voxel_size == (4, 3, 2)
        assert file.header.start == (30, 20, 10)
        assert file.header.first_voxel == (120, 60, 20)
        np.testing.assert_array_equal(file.asarray(), truth)
        np.testing.assert_array_equal(file.image(1), truth[1])
        np.testing.assert_array_equal(file[..., 2], truth[..., 2])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files(tmp_path: Path, compress) -> None:
    truth = values("int16")
    packed = compress(raw_mrc(truth, ">", extended=b"x" * 80))
    (tmp_path / "a.mrc.gz").write_bytes(packed)
    with open_mrc(tmp_path / "a.mrc.gz") as file:
        np.testing.assert_array_equal(file.asarray(), truth)
        np.testing.assert_array_equal(file.image(2), truth[2])
        assert file.extended.data == b"x" * 80
    for damaged in (packed[:-9], compress(raw_mrc(truth)[:-6]), compress(b"short"), packed[:15]):
        (tmp_path / "b.mrc.gz").write_bytes(damaged)
        with pytest.raises(FormatError):
            open_mrc(tmp_path / "b.mrc.gz")


@pytest.mark.parametrize(
    ("cell", "pixel"), [((0, 0, 0), None), ((7, 5, 3), 1.0), ((np.nan, 1, 1), None), ((-7, 5, 3), None)]
)
def test_pixel_sizes_that_nobody_set(tmp_path: Path, cell, pixel: float | None) -> None:
    (tmp_path / "a.mrc").write_bytes(raw_mrc(values("int16"), cell=cell))
    with open_mrc(tmp_path / "a.mrc") as file:
        assert file.pixel_size == pixel


def test_the_sign_of_imods_origin(tmp_path: Path) -> None:
    origin = struct.pack("<3f", 10, 20, 30)
    for flags, sign in ((0, -1), (4, 1)):
        patches = {196: origin, 152: struct.pack("<2i", 1146047817, flags)}
        (tmp_path / "a.mrc").write_bytes(raw_mrc(values("int16"), patches=patches))
        assert open_mrc(tmp_path / "a.mrc").header.origin == (30 * sign, 20 * sign, 10 * sign)


def serialem_record(tilt: float, dose: float) -> bytes:
    """Tilt, piece, stage, magnification, intensity and dose (flags 63), dose as mantissa · 2^exponent."""
    mantissa, exponent = int(dose * 2**20), -20
    while mantissa >= 1 << 23:
        mantissa, exponent = mantissa >> 1, exponent + 1
    first, low = divmod(mantissa, 256)
    second = (abs(exponent) * 256 + low) * (1 if exponent >= 0 else -1)
    return struct.pack("<h3h2hhhhh", round(tilt * 100), 0, 0, 0, 5, 6, 530, 100, first, second)


def test_serialem_sections(tmp_path: Path) -> None:
    tilts, doses = [-60.02, 0.0, 59.99], [3.0, 2.75, 123.4]
    extended = b"".join(map(serialem_record, tilts, doses)) + b"\0" * 100
    for kind in (b"SERI", b"\0\0\0\0"):
        patches = {104: kind, 128: struct.pack("<2h", 20, 63)}
        (tmp_path / "a.st").write_bytes(raw_mrc(values("int16"), extended=extended, patches=patches))
        file = open_mrc(tmp_path / "a.st")
        assert file.sections.tilt is not None
        np.testing.assert_allclose(file.sections.tilt, tilts, atol=1e-9)
        assert file.sections.dose is not None
        np.testing.assert_allclose(file.sections.dose, doses, rtol=1e-6)
        assert file.sections.pixel_size is None
        # A copy keeps the extended header byte by byte, and what it says.
        write_mrc(tmp_path / "b.st", file, 2.0, extended=file.extended)
        copy = open_mrc(tmp_path / "b.st")
        assert copy.extended == file.extended
        assert copy.extended.data == extended
        np.testing.assert_array_equal(copy.sections.tilt, file.sections.tilt)
        np.testing.assert_array_equal(copy.asarray(), values("int16"))


@pytest.mark.parametrize(("kind", "size"), [(b"FEI1", 768), (b"FEI2", 888)])
def test_fei_sections(tmp_path: Path, kind: bytes, size: int) -> None:
    records = bytearray(size * 3)
    for k in range(3):
        mask = 1 << 7 | 1 << 14 | (1 << 6 if k else 0)
        struct.pack_into("<iiI", records, size * k, size, 0, mask)
        struct.pack_into("<5d", records, size * k + 84, 2e5, (k + 2) * 1e20, -3.0 * k, 0, 0)
        struct.pack_into("<3d", records, size * k + 140, 85.0, 0, 1.7e-10)
    (tmp_path / "a.mrc").write_bytes(raw_mrc(values("int16"), extended=bytes(records), patches={104: kind}))
    sections = open_mrc(tmp_path / "a.mrc").sections
    np.testing.assert_allclose(sections.tilt, [0, -3, -6])
    np.testing.assert_allclose(sections.pixel_size, [1.7] * 3)
    np.testing.assert_allclose(sections.dose, [np.nan, 3, 4])
    assert sections.tilt_axis is None, "its bit is not set"
    assert sections.voltage is None


def test_the_old_fei_record(tmp_path: Path) -> None:
    records = np.zeros((1024, 32), ">f4")
    records[:3, 0], records[:3, 10], records[:3, 11], records[:3, 13] = [-60, 0, 60], -90.5, 3.4e-10, 3e5
    data = raw_mrc(values("int16"), ">", extended=records.tobytes(), patches={128: struct.pack(">2h", 0, 32)})
    (tmp_path / "a.mrc").write_bytes(data)
    sections = open_mrc(tmp_path / "a.mrc").sections
    np.testing.assert_allclose(sections.tilt, [-60, 0, 60])
    np.testing.assert_allclose(sections.pixel_size, 3.4, rtol=1e-6)
    np.testing.assert_allclose(sections.voltage, 300)
    np.testing.assert_allclose(sections.tilt_axis, -90.5)


@pytest.mark.parametrize(
    ("patches", "message"),
    [
        (
            {8: struct.pack("<i", 3000)},
            r"truncated, or its header lies\n  found: 1,234 bytes\n  expected: 211,024 bytes",
        ),
        ({8: struct.pack("<i", 0)}, "size is not positive"),
        ({0: struct.pack("<i", -7)}, "size is not positive"),
        ({12: struct.pack("<i", 77)}, "unknown mode"),
        ({92: struct.pack("<i", 999_999)}, "extended header does not fit"),
        ({92: struct.pack("<i", -8)}, "extended header does not fit"),
        ({64: struct.pack("<3i", 1, 1, 3)}, "order of axes"),
        ({0: struct.pack("<3i", 2**31 - 1, 2**31 - 1, 2**31 - 1)}, "truncated, or its header lies"),
        ({8: struct.pack("<i", 2)}, r"goes on after its last image(.|\n)*open_mrc_by_size takes the 3"),
    ],
)
def test_headers_that_cannot_be_right(tmp_path: Path, patches: dict, message: str) -> None:
    (tmp_path / "a.mrc").write_bytes(raw_mrc(values("int16"), patches=patches))
    with pytest.raises(FormatError, match=message) as caught:
        open_mrc(tmp_path / "a.mrc")
    assert "a.mrc" in str(caught.value)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.mrc", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            open_mrc(path)
    (tmp_path / "empty.mrc").write_bytes(b"")
    with pytest.raises(FormatError, match="too short"):
        open_mrc(tmp_path / "empty.mrc")


def test_images_counted_by_the_size(tmp_path: Path) -> None:
    truth = values("float32")
    (tmp_path / "a.mrc").write_bytes(raw_mrc(truth, patches={8: struct.pack("<i", 3000)}) + b"partial")
    with open_mrc_by_size(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(file.asarray(), truth)
    (tmp_path / "a.mrc").write_bytes(raw_mrc(truth)[: 1024 + 100])
    with pytest.raises(FormatError, match="truncated"):
        open_mrc_by_size(tmp_path / "a.mrc")


def test_slabs_in_any_order(tmp_path: Path) -> None:
    truth = np.random.default_rng(1).normal(5, 3, (6, 9, 11)).astype(np.float32)
    with MrcWriter(tmp_path / "a.mrc", truth.shape, 2.0) as writer:
        writer[3:, 4:] = truth[3:, 4:]
        writer[:3, 4:] = truth[:3, 4:]
        writer[:, :4, 5:] = truth[:, :4, 5:] * 0
        writer[:, :4, :5] = truth[:, :4, :5]
        writer[:, :4, 5:] = truth[:, :4, 5:]
        assert not (tmp_path / "a.mrc").exists()
    with mrcfile.open(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(file.data, truth)
        assert file.header.dmin == truth.min()
        assert file.header.dmean == pytest.approx(truth.mean(dtype=float), rel=1e-6)
        assert file.header.rms == pytest.approx(truth.std(dtype=float), rel=1e-6)


def test_statistics_of_slabs_that_overlap(tmp_path: Path) -> None:
    truth = values("float32")
    with MrcWriter(tmp_path / "a.mrc", truth.shape, 2.0) as writer:
        writer[:2] = truth[:2] + 1000
        writer[1:] = truth[1:]
        writer[0] = truth[0]
    assert open_mrc(tmp_path / "a.mrc").header.statistics == pytest.approx(
        (truth.min(), truth.max(), truth.mean(), truth.std())
    )


def test_nothing_appears_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mrc"
    with pytest.raises(InputError, match="not every voxel"), MrcWriter(path, (3, 5, 7), 2.0) as writer:
        writer[0] = values("float32")[0]
    with pytest.raises(InputError, match="another shape"), MrcWriter(path, (3, 5, 7), 2.0) as writer:
        writer[0] = np.zeros((7, 5), np.float32)
    with pytest.raises(InputError, match="do not fit int16"):
        write_mrc(path, np.full((2, 2, 2), 40000.0), 2.0, dtype=np.int16)
    with pytest.raises(InputError, match="do not fit float16"):
        write_mrc(path, np.full((2, 2, 2), 1e6), 2.0, dtype=np.float16)
    with pytest.raises(InputError, match="do not fit uint16"):
        write_mrc(path, np.full((2, 2, 2), np.nan), 2.0, dtype=np.uint16)
    with pytest.raises(InputError, match="MRC has no int64"):
        write_mrc(path, np.zeros((2, 2, 2), np.int64), 2.0)
    with pytest.raises(InputError, match="not a stack"):
        write_mrc(path, np.zeros((0, 2, 2)), 2.0)
    with pytest.raises(InputError, match="not a pixel size"):
        write_mrc(path, np.zeros((2, 2, 2)), 0.0)
    with (
        pytest.raises(StoreError, match=r"not enough space(.|\n)*expected: 4,000,000,000,001,024"),
        MrcWriter(path, (1_000_000, 100_000, 10_000), 1.0),
    ):
        pytest.fail("the block must not run")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match="no space left on the disk"):
        write_mrc(path, values("float32"), 2.0)
    assert os.listdir(tmp_path) == []


def test_real_values_as_bytes(tmp_path: Path) -> None:
    truth = np.random.default_rng(2).normal(10, 3, (4, 30, 20)).astype(np.float32)
    truth[0, 0, 0] = 1e6
    write_mrc(tmp_path / "a.mrc", truth, 2.0, dtype=np.int8)
    with open_mrc(tmp_path / "a.mrc") as file:
        assert file.dtype == np.int8
        scale = next(filter(None, map(ByteScale.from_label, file.header.labels)))
        restored = file.asarray() * scale.slope + scale.offset
    # The outlier takes the nearest byte; all others are within half a step.
    assert np.abs(restored - truth).ravel()[1:].max() <= scale.slope / 2 * 1.001
    assert restored[0, 0, 0] < 1e6
    values_ = truth.ravel()[1:].reshape(1, 1, -1)
    write_mrc(tmp_path / "b.mrc", values_, 2.0, dtype=np.int8)
    stored = read_mrc(tmp_path / "b.mrc")
    assert (stored.min(), stored.max()) == (-128, 127)


def test_nan_is_kept_and_leaves_the_statistics_undetermined(tmp_path: Path) -> None:
    truth = values("float32")
    truth[1, 1, 1] = np.nan
    write_mrc(tmp_path / "a.mrc", truth, 2.0)
    with open_mrc(tmp_path / "a.mrc") as file:
        np.testing.assert_array_equal(file.asarray(), truth)
        assert file.header.statistics == (0, -1, -2, -1)


def test_inputs_are_not_modified_and_bytes_repeat(tmp_path: Path) -> None:
    truth = values("float32")
    before = truth.copy()
    for name in ("a.mrc", "b.mrc"):
        write_mrc(tmp_path / name, truth[:, ::-1], 2.0, extended=MrcExtended("CCP4", b"12345678"))
    np.testing.assert_array_equal(truth, before)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()
    np.testing.assert_array_equal(read_mrc(tmp_path / "a.mrc"), truth[:, ::-1])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_a_plausible_array(tmp_path: Path, data: st.DataObject) -> None:
    good = bytearray(raw_mrc(values("int16"), data.draw(st.sampled_from("<>")), extended=serialem_record(1, 2) * 3))
    good[104:108] = data.draw(st.sampled_from([b"SERI", b"FEI1", b"FEI2", b"\0\0\0\0"]))
    good[128:132] = data.draw(st.sampled_from([struct.pack("<2h", 20, 63), struct.pack("<2h", 0, 32)]))
    for _ in range(data.draw(st.integers(0, 4))):
        good[data.draw(st.integers(0, 223))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))
    content = bytes(good[:kept])
    path = tmp_path / "a.mrc"
    path.write_bytes(data.draw(st.sampled_from([bytes, gzip.compress]))(content))
    for opener in (open_mrc, open_mrc_by_size):
        try:
            file = opener(path)
        except InputError:
            continue
        array = file.asarray()
        assert array.shape == file.shape
        assert 0 < array.size <= 2 * len(content)
        assert array[-1].tobytes() == file.image(len(file) - 1).tobytes()
        header, sections = file.header, file.sections
        assert header.voxel_size is None or min(header.voxel_size) > 0
        assert len(header.first_voxel) == len(header.labels[:0]) + 3
        assert sections.tilt is None or sections.tilt.shape == (header.stored_shape[0],)


@pytest.mark.parametrize(
    "name",
    [
        "tiltseries_empiar10499/00254.stack.mrc",
        "micrographs_epu/epu2.9_example.mrc",
        "tiltseries_small/cryocat_hiv_vlp_4tilts_bin16.mrc",
        "particles_aspire/rln_proj_65.mrcs",
        "particles_cryodrgn/relion31.mrcs",
        "particles_cryodrgn/empiar_10076_7.mrc",
        "maps/EMD-3197.map",
        "maps/emd_5625.map",
        "maps/ngl_betaGal.mrc",
        "maps/polnet_4v4r_10A.mrc",
        "micrographs_empiar10017/images/Falcon_2012_06_12-14_33_35_0.mrc",
    ],
)
def test_real_files_are_read_as_mrcfile_reads_them(name: str) -> None:
    path = shared(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.mmap(path, permissive=True) as file, open_mrc(path) as ours:
            theirs = np.atleast_3d(file.data) if file.data.ndim == 3 else file.data[None]
            assert ours.shape == theirs.shape
            for k in {0, len(ours) // 2, len(ours) - 1}:
                np.testing.assert_array_equal(ours.image(k), theirs[k])
            assert (ours.pixel_size or 0.0) == pytest.approx(float(file.voxel_size.x), rel=1e-6)
            assert ours.header.start == tuple(file.nstart.tolist()[::-1])
            assert ours.extended.data == file.extended_header.tobytes()


def test_the_real_epu_metadata() -> None:
    with open_mrc(shared("micrographs_epu/epu2.9_example.mrc")) as file:
        sections = file.sections
        assert file.dtype == np.uint16
        assert file.extended.kind == "FEI2"
    np.testing.assert_allclose(sections.pixel_size, [0.666551328])
    np.testing.assert_allclose(sections.voltage, [300])
    np.testing.assert_allclose(sections.tilt, [-0.0118561552])
    np.testing.assert_allclose(sections.dose, [41.171286962])
    assert sections.tilt_axis is None


def test_a_real_header_that_counts_wrongly() -> None:
    folder = shared("particles_empiar10499_tilts/tilts")
    path = sorted(folder.glob("*.mrcs"))[0]
    with pytest.raises(FormatError, match=r"11029 × 128 × 128(.|\n)*open_mrc_by_size takes the 1 "):
        open_mrc(path)
    with open_mrc_by_size(path) as file:
        assert file.shape == (1, 128, 128)
        assert file.image(0).std() > 0
