"""What every reader of images gives, and what every writer of images asks for."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import EllipsisType
from typing import Any, Self, cast

import numpy as np

from thon.base.errors import InputError

Index = int | slice | EllipsisType | tuple[int | slice | EllipsisType, ...]


class ImageStack(ABC):
    """Images of one size in a file, read one at a time; a volume is the stack of its sections.

    Slices like an array (integers and slices over z, y, x), always giving a new array in the machine's byte order.
    """

    path: Path
    shape: tuple[int, int, int]
    """(images, rows, columns)."""
    dtype: np.dtype
    pixel_size: float | None
    """Å; None where the file does not say. Programs that do not know it often write 1."""

    @abstractmethod
    def image(self, k: int) -> np.ndarray:
        """Image ``k``, counted from 0.

        Raises:
            InputError: If there is no such image.
            FormatError: If its bytes cannot be decoded.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> Any:
        sections, *rest = expand_index(index)
        if isinstance(sections, int):
            return self.image(range(len(self))[sections])[tuple(rest)]
        chosen = range(len(self))[sections]
        plane = np.broadcast_to(np.uint8(0), self.shape[1:])[tuple(rest)].shape
        stack = np.empty((len(chosen), *plane), self.dtype)
        for row, k in enumerate(chosen):
            stack[row] = self.image(k)[tuple(rest)]
        return stack

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.image(k) for k in range(len(self)))

    def asarray(self) -> np.ndarray:
        """All images, in memory."""
        return self[:]

    def require(self, k: int) -> int:
        """The index itself, if there is such an image."""
        if not 0 <= k < len(self):
            raise InputError("there is no such image", path=self.path, got=k, expected=f"0 to {len(self) - 1}")
        return k

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def expand_index(index: Index) -> tuple[int | slice, int | slice, int | slice]:
    """An index of three axes from one with an ellipsis or fewer axes."""
    given = list(index) if isinstance(index, tuple) else [index]
    if len(given) - given.count(...) > 3 or given.count(...) > 1:
        raise IndexError(f"too many indices for (z, y, x): {index}")
    at = given.index(...) if ... in given else len(given)
    fill = [slice(None)] * (3 - len(given) + given.count(...))
    full = [*given[:at], *fill, *given[at + 1 :]]
    return cast("tuple[int | slice, int | slice, int | slice]", tuple(full))


def require_sections(images: object, path: str | os.PathLike[str]) -> np.ndarray | ImageStack:
    """Images that can be written: (z, y, x), not empty; one image (y, x) becomes a stack of one."""
    if not isinstance(images, ImageStack):
        images = np.asarray(images)
        if images.ndim == 2:
            images = images[None]
    if len(images.shape) != 3 or 0 in images.shape:
        raise InputError("not a stack or a volume", path=path, got=images.shape, expected="(z, y, x), none of them 0")
    return images


def require_pixel_size(size: float, path: str | os.PathLike[str]) -> float:
    """A pixel size that can be written: finite and positive, Å."""
    if not (np.isfinite(size) and size > 0):
        raise InputError("not a pixel size", path=path, got=size, expected="a positive number of Å")
    return float(size)


def convert_values(values: np.ndarray, dtype: np.dtype, path: str | os.PathLike[str]) -> np.ndarray:
    """Values in another type, rounded to integers where it is one; refused where they would wrap or overflow."""
    if values.dtype == dtype or np.can_cast(values.dtype, dtype):
        return values.astype(dtype, copy=False)
    if values.dtype.kind not in "biuf":
        raise InputError(f"{values.dtype} cannot be written as {dtype}", path=path)
    # NaN fails every comparison, so it is refused for integers; floating types hold it and infinities.
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        rounded = np.rint(values) if values.dtype.kind == "f" else values
        fits = bool(rounded.min() >= limits.min and rounded.max() <= limits.max)
        converted = rounded.astype(dtype) if fits else rounded
    else:
        with np.errstate(over="ignore"):
            converted = values.astype(dtype)
        fits = bool(np.array_equal(np.isinf(converted), np.isinf(values)))
    if not fits:
        raise InputError(
            f"values do not fit {dtype}",
            path=path,
            got=f"{values.min()} to {values.max()}",
            expected=f"within the range of {dtype}, no NaN for integers",
            mend="choose a wider type, or scale the values",
        )
    return converted


def no_such_file(path: Path, error: OSError) -> InputError:
    """What to raise when a file cannot be opened."""
    return InputError("cannot be read", path=path, got=error.strerror or str(error), expected="a file")
