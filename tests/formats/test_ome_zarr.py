"""Multiscale OME-Zarr, read back with zarr alone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr

from thon.base.errors import InputError, StoreError
from thon.formats import ome_zarr
from thon.formats.mrc import open_mrc, write_mrc
from thon.formats.ome_zarr import write_ome_zarr


def coarse(volume: np.ndarray, step: tuple[int, int, int]) -> np.ndarray:
    """Mean over blocks, the last ones smaller: one voxel at a time."""
    shape = tuple(-(-n // s) for n, s in zip(volume.shape, step, strict=True))
    result = np.empty(shape)
    for index in np.ndindex(shape):
        result[index] = volume[tuple(slice(k * s, k * s + s) for k, s in zip(index, step, strict=True))].mean()
    return result


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int8", "uint8", "int16", "uint16"])
def test_levels_are_means_of_the_one_before(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # So little memory that every level is written in several blocks of rows.
    monkeypatch.setattr(ome_zarr, "_MEMORY", 1 << 14)
    volume = np.random.default_rng(4).integers(0, 100, (7, 37, 50)).astype(dtype)
    write_ome_zarr(tmp_path / "a.zarr", volume, 2.5, chunk=8, origin=(100.0, 0.0, -50.0))
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert [group[name].shape for name in sorted(group.array_keys())] == [
        (7, 37, 50),
        (7, 19, 25),
        (7, 10, 13),
        (7, 5, 7),
    ]
    stored = np.dtype("float32" if dtype.startswith("float") else dtype)
    np.testing.assert_array_equal(group["0"][:], volume.astype(stored))
    for level, step in ((1, (1, 2, 2)), (2, (1, 2, 2)), (3, (1, 2, 2))):
        found = group[str(level)]
        assert found.dtype == stored
        np.testing.assert_allclose(
            found[:], coarse(group[str(level - 1)][:], step), atol=1e-4 if stored.kind == "f" else 0.501
        )
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_the_description_follows_version_0_4(tmp_path: Path) -> None:
    volume = np.zeros((20, 9, 33), np.float32)
    write_ome_zarr(tmp_path / "volume.zarr", volume, 2.0, chunk=10, origin=(100.0, 0.0, -50.0))
    [multiscale] = json.loads((tmp_path / "volume.zarr" / ".zattrs").read_text())["multiscales"]
    assert multiscale["version"] == "0.4"
    assert multiscale["name"] == "volume"
    assert multiscale["axes"] == [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
    transformations = {entry["path"]: entry["coordinateTransformations"] for entry in multiscale["datasets"]}
    assert transformations["0"] == [
        {"type": "scale", "scale": [2, 2, 2]},
        {"type": "translation", "translation": [100, 0, -50]},
    ]
    # z and x were halved, y is shorter than a chunk; the first coarse voxel lies between the first two fine ones.
    assert transformations["1"] == [
        {"type": "scale", "scale": [4, 2, 4]},
        {"type": "translation", "translation": [101, 0, -49]},
    ]
    assert transformations["2"] == [
        {"type": "scale", "scale": [4, 2, 8]},
        {"type": "translation", "translation": [101, 0, -47]},
    ]
    array = json.loads((tmp_path / "volume.zarr" / "0" / ".zarray").read_text())
    assert array["zarr_format"] == 2
    assert array["dimension_separator"] == "/"
    assert array["chunks"] == [10, 9, 10]


def test_from_a_file_that_is_read_in_blocks(tmp_path: Path) -> None:
    volume = np.random.default_rng(5).normal(size=(9, 12, 15)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", volume, 2.0)
    with open_mrc(tmp_path / "a.mrc") as file:
        write_ome_zarr(tmp_path / "a.zarr", file, 2.0, chunk=4)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a.zarr/0", mode="r")[:], volume)


class Failing:
    """A volume whose second half cannot be read."""

    shape = (8, 8, 8)
    dtype = np.dtype(np.float32)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> np.ndarray:
        if index[0].start:
            raise InterruptedError("unplugged")
        return np.ones((4, 8, 8), np.float32)


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        write_ome_zarr(tmp_path / "a.zarr", Failing(), 2.0, chunk=4)
    with pytest.raises(InputError, match="viewers do not draw complex64"):
        write_ome_zarr(tmp_path / "a.zarr", np.zeros((2, 2, 2), np.complex64), 2.0)
    with pytest.raises(InputError, match="not a volume"):
        write_ome_zarr(tmp_path / "a.zarr", np.zeros((2, 2), np.float32), 2.0)
    with pytest.raises(StoreError, match="no such folder"):
        write_ome_zarr(tmp_path / "missing" / "a.zarr", np.zeros((2, 2, 2), np.float32), 2.0)
    assert os.listdir(tmp_path) == []


def test_an_old_one_is_replaced(tmp_path: Path) -> None:
    for value, size in ((1, 12), (2, 3)):
        write_ome_zarr(tmp_path / "a.zarr", np.full((size,) * 3, value, np.float32), 2.0, chunk=4)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert list(group.array_keys()) == ["0"]
    assert (group["0"][:] == 2).all()
