"""HDF5 images and volumes as EMAN2 lays them out.

`/MDF/images/N/image` is a dataset, (y, x) or (z, y, x), and the attributes of the group `N` describe it, by names
like `EMAN.apix_x`. A stack of images is either many groups of one image each, or one group with a volume; several
volumes follow each other. EMAN2 may store integers of a few bits that stand for real values between two limits
(`EMAN.stored_renderbits`, `…rendermin`, `…rendermax`); they are given as the real values.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import h5py
import numpy as np

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path, check_space
from thon.formats.image_stack import (
    ImageStack,
    convert_values,
    no_such_file,
    require_pixel_size,
    require_sections,
)

# No compression in HDF5 does better than deflate's limit; a claim beyond it is a damaged header, not a large image.
_MAX_COMPRESSION = 1100
_HEADROOM = 1 << 16
_WRITABLE = ("float32", "uint8", "int8", "int16", "uint16")


class Hdf5Stack(ImageStack):
    """An open EMAN2 HDF5 file; use `open_hdf5`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path, self._file = path, file
        names = _image_names(file, path)
        first = self._dataset(names[0])
        self.shape = (0, *first.shape[-2:])
        self._places = [(name, section) for name in names for section in self._sections(name)]
        self.shape = (len(self._places), *first.shape[-2:])
        self._scaled = any(_scale(self._group(name)) is not None for name in names)
        self.dtype = np.dtype(np.float32) if self._scaled else first.dtype.newbyteorder("=")
        self.pixel_size = _pixel_size(self._group(names[0]))
        self.volumes = len(names) if first.ndim == 3 else 0
        """How many volumes the sections belong to; 0 for images."""

    def image(self, k: int) -> np.ndarray:
        name, section = self._places[self.require(k)]
        with _decoding(self.path):
            dataset = self._dataset(name)
            stored = np.asarray(dataset[()] if dataset.ndim == 2 else dataset[section])
            scale = _scale(self._group(name))
            return stored.astype(self.dtype) if scale is None else (stored * scale[0] + scale[1]).astype(self.dtype)

    def close(self) -> None:
        self._file.close()

    def _group(self, name: str) -> h5py.Group:
        return cast(h5py.Group, self._file["MDF/images"][name])  # pyright: ignore[reportIndexIssue]

    def _dataset(self, name: str) -> h5py.Dataset:
        dataset = self._group(name)["image"]
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim not in (2, 3) or dataset.dtype.kind not in "iuf":
            raise FormatError("not an image", path=self.path, got=f"MDF/images/{name}/image: {dataset}")
        return dataset

    def _sections(self, name: str) -> range:
        """Sections of a dataset, once it is seen to be like the others and to have the bytes it claims."""
        dataset = self._dataset(name)
        if dataset.shape[-2:] != self.shape[1:]:
            raise FormatError(
                f"image {name} has another size than the first",
                path=self.path,
                got=dataset.shape,
                expected=self.shape[1:],
            )
        stored = dataset.id.get_storage_size()
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        limit = stored if dataset.chunks is None else stored * _MAX_COMPRESSION + _HEADROOM
        if size > limit or stored > self.path.stat().st_size:
            raise FormatError(
                f"image {name} is truncated, or its size is wrong",
                path=self.path,
                got=f"{stored:,} bytes stored",
                expected=f"{size:,} bytes for {dataset.shape} of {dataset.dtype}",
                mend="copy the file again",
            )
        return range(1 if dataset.ndim == 2 else dataset.shape[0])


def open_hdf5(path: str | os.PathLike[str]) -> Hdf5Stack:
    """Open images or volumes in EMAN2's HDF5 layout.

    Raises:
        InputError: If the file cannot be opened.
        FormatError: If it is not HDF5, has no images where EMAN2 has them, or is truncated.
    """
    path = Path(path)
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise no_such_file(path, error) from error
    with _decoding(path):
        file = h5py.File(path, "r")
        try:
            return Hdf5Stack(path, file)
        except BaseException:
            file.close()
            raise


def write_hdf5(
    path: str | os.PathLike[str],
    images: np.ndarray | ImageStack,
    pixel_size: float,
    *,
    dtype: np.dtype | type | str | None = None,
    kind: Literal["images", "volume"] | None = None,
) -> None:
    """Write images or a volume as EMAN2 does, whole or not at all.

    Args:
        path: File to write; replaced if it exists.
        images: (z, y, x), or (y, x) for one image.
        pixel_size: Å.
        dtype: float32, uint8, int8, int16 or uint16; unless said, that of the images, or float32 for other real types.
        kind: A volume is one dataset, images are one dataset each; unless said, one section is an image and more a
            volume.

    Raises:
        InputError: If the images cannot be written as this.
        StoreError: If the folder or the disk refuses.
    """
    sections = require_sections(images, path)
    pixel_size = require_pixel_size(pixel_size, path)
    stored = np.dtype(dtype or ("float32" if sections.dtype.kind == "f" else sections.dtype))
    if stored.name not in _WRITABLE:
        raise InputError(f"EMAN2 has no {stored}", path=path, expected=", ".join(_WRITABLE), mend="say which (dtype)")
    check_space(Path(path).parent, math.prod(sections.shape) * stored.itemsize)
    as_volume = kind == "volume" or (kind is None and sections.shape[0] > 1)
    # h5py keeps writing when a file is closed, so the errors of the disk surface inside atomic_path.
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        folder = file.create_group("MDF/images")
        folder.attrs["imageid_max"] = np.int32(0 if as_volume else sections.shape[0] - 1)
        if as_volume:
            group = folder.create_group("0")
            volume = group.create_dataset("image", sections.shape, stored)
            for k, section in enumerate(sections):
                volume[k] = convert_values(np.asarray(section), stored, path)
            _describe(group, sections.shape, pixel_size)
        else:
            for k, section in enumerate(sections):
                group = folder.create_group(str(k))
                group["image"] = convert_values(np.asarray(section), stored, path)
                _describe(group, (1, *sections.shape[1:]), pixel_size)


def _describe(group: h5py.Group, shape: tuple[int, ...], pixel_size: float) -> None:
    for axis, size in zip("zyx", shape, strict=True):
        group.attrs[f"EMAN.n{axis}"] = np.int32(size)
        group.attrs[f"EMAN.apix_{axis}"] = np.float32(pixel_size)
    group.attrs["EMAN.is_complex"] = np.int32(0)


def _image_names(file: h5py.File, path: Path) -> list[str]:
    folder: Any = file.get("MDF/images")
    names = [str(name) for name in folder] if isinstance(folder, h5py.Group) else []
    names = [name for name in names if name.isdecimal()]
    if not names:
        raise FormatError(
            "no images where EMAN2 has them", path=path, got=", ".join(file) or "an empty file", expected="MDF/images/0"
        )
    return sorted(names, key=int)


def _pixel_size(group: h5py.Group) -> float | None:
    size = _number(group, "EMAN.apix_x")
    return size if size is not None and math.isfinite(size) and size > 0 else None


def _scale(group: h5py.Group) -> tuple[float, float] | None:
    """Slope and offset of integers that stand for real values, if they do."""
    bits, low, high = (_number(group, f"EMAN.stored_render{name}") for name in ("bits", "min", "max"))
    if not bits or low is None or high is None or not 0 < bits <= 32 or high <= low:
        return None
    return (high - low) / (2 ** int(bits) - 1), low


def _number(group: h5py.Group, name: str) -> float | None:
    value = np.asarray(group.attrs.get(name, np.nan))
    return float(value.reshape(-1)[0]) if value.size and value.dtype.kind in "iuf" else None


@contextmanager
def _decoding(path: Path) -> Generator[None]:
    """HDF5's library has an exception of any kind for damaged bytes: all of them mean that the file is not right."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise FormatError("not an HDF5 file, or damaged", path=path, got=error, mend="copy the file again") from error
