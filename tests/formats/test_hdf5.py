"""EMAN2's HDF5 layout, with plain h5py as the independent reader and writer."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thon.base.errors import FormatError, InputError, StoreError
from thon.formats.hdf5 import open_hdf5, write_hdf5

VOLUME = np.random.default_rng(3).normal(5, 2, (4, 5, 7)).astype(np.float32)


def eman_file(path: Path, images: list[np.ndarray], attributes: dict | None = None, **options) -> Path:
    """What EMAN2 writes, as far as a reader looks at it."""
    with h5py.File(path, "w") as file:
        file.create_group("MDF").attrs["version"] = 1
        folder = file.create_group("MDF/images")
        folder.attrs["imageid_max"] = np.array([len(images) - 1])
        for k, image in enumerate(images):
            group = folder.create_group(str(k))
            group.create_dataset("image", data=image, **options)
            for name, value in ({"EMAN.apix_x": np.float32(3.4)} | (attributes or {})).items():
                group.attrs[name] = value
    return path


def test_a_volume_and_a_stack_of_images(tmp_path: Path) -> None:
    many = [VOLUME[k % 4] + k for k in range(12)]
    for images, truth, volumes in (
        ([VOLUME], VOLUME, 1),
        (many, np.stack(many), 0),
        ([VOLUME, VOLUME * 2], np.concatenate([VOLUME, VOLUME * 2]), 2),
    ):
        with open_hdf5(eman_file(tmp_path / "a.hdf", images)) as file:
            assert file.shape == truth.shape
            assert file.dtype == np.float32
            assert file.volumes == volumes
            assert file.pixel_size == pytest.approx(3.4)
            np.testing.assert_array_equal(file.asarray(), truth)
            np.testing.assert_array_equal(file.image(2), truth[2])
            np.testing.assert_array_equal(file[1:3, ::2, -2], truth[1:3, ::2, -2])
            with pytest.raises(InputError, match="no such image"):
                file.image(len(truth))


def test_integers_of_a_few_bits_stand_for_real_values(tmp_path: Path) -> None:
    stored = (np.arange(140).reshape(4, 5, 7) % 32).astype(np.uint8)
    render = {"EMAN.stored_renderbits": np.array([5]), "EMAN.stored_rendermin": -2.0, "EMAN.stored_rendermax": 6.0}
    with open_hdf5(eman_file(tmp_path / "a.hdf", [stored], render, compression="gzip")) as file:
        assert file.dtype == np.float32
        np.testing.assert_allclose(file.asarray(), stored / 31 * 8 - 2, rtol=1e-6)
    with open_hdf5(eman_file(tmp_path / "a.hdf", [stored], {"EMAN.stored_renderbits": 0})) as file:
        np.testing.assert_array_equal(file.asarray(), stored)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16", "uint16", "float16", "float64"])
@pytest.mark.parametrize("kind", ["volume", "images"])
def test_round_trip_and_layout(tmp_path: Path, dtype: str, kind) -> None:
    truth = np.arange(140).reshape(4, 5, 7).astype(dtype) % 120
    write_hdf5(tmp_path / "a.hdf", truth, 1.7, kind=kind)
    with open_hdf5(tmp_path / "a.hdf") as file:
        assert file.dtype == ("float32" if dtype.startswith("float") else dtype)
        assert file.pixel_size == pytest.approx(1.7)
        assert file.volumes == (1 if kind == "volume" else 0)
        np.testing.assert_array_equal(file.asarray(), truth)
    with h5py.File(tmp_path / "a.hdf") as file:
        images = file["MDF/images"]
        assert len(images) == (1 if kind == "volume" else 4)
        assert images.attrs["imageid_max"] == len(images) - 1
        expected = truth if kind == "volume" else truth[0]
        np.testing.assert_array_equal(images["0/image"], expected)
        described = [int(images["0"].attrs[f"EMAN.n{axis}"]) for axis in "zyx"]
        assert described == [4 if kind == "volume" else 1, 5, 7]
        assert images["0"].attrs["EMAN.apix_z"] == pytest.approx(1.7)
    assert os.listdir(tmp_path) == ["a.hdf"]


@pytest.mark.parametrize("apix", [0.0, -1.0, np.nan, "text", None])
def test_pixel_sizes_that_make_no_sense(tmp_path: Path, apix) -> None:
    path = eman_file(tmp_path / "a.hdf", [VOLUME], {} if apix is None else {"EMAN.apix_x": apix})
    if apix is None:
        with h5py.File(path, "a") as file:
            del file["MDF/images/0"].attrs["EMAN.apix_x"]
    with open_hdf5(path) as file:
        assert file.pixel_size is None


def test_files_that_cannot_be_right(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    with pytest.raises(InputError, match="cannot be read"):
        open_hdf5(path)
    path.write_bytes(b"no HDF5 at all")
    with pytest.raises(FormatError, match="not an HDF5 file"):
        open_hdf5(path)
    with h5py.File(path, "w") as file:
        file["exchange/data"] = VOLUME
    with pytest.raises(FormatError, match=r"found: exchange\n  expected: MDF/images/0"):
        open_hdf5(path)
    with pytest.raises(FormatError, match="another size than the first"):
        open_hdf5(eman_file(path, [VOLUME[0], VOLUME[0, 1:]]))
    with pytest.raises(FormatError, match="not an image"):
        open_hdf5(eman_file(path, [VOLUME[0, 0]]))
    with h5py.File(path, "w") as file:
        file.create_dataset("MDF/images/0/image", (100_000, 100_000, 100_000), "f4", chunks=(1, 100, 100))
    with pytest.raises(FormatError, match="truncated, or its size is wrong"):
        open_hdf5(path)


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not fit int16"):
        write_hdf5(tmp_path / "a.hdf", VOLUME * 1e5, 2.0, dtype="int16")
    with pytest.raises(InputError, match="EMAN2 has no int64"):
        write_hdf5(tmp_path / "a.hdf", np.zeros((2, 2, 2), np.int64), 2.0)
    with pytest.raises(StoreError, match="no such folder"):
        write_hdf5(tmp_path / "missing" / "a.hdf", VOLUME, 2.0)
    assert os.listdir(tmp_path) == []


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_an_error_of_ours_or_a_plausible_array(tmp_path: Path, data: st.DataObject) -> None:
    good = bytearray(eman_file(tmp_path / "good.hdf", [VOLUME[0], VOLUME[1]]).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.hdf").write_bytes(good[: data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))])
    try:
        with open_hdf5(tmp_path / "a.hdf") as file:
            assert file.asarray().shape == file.shape
    except InputError:
        pass
