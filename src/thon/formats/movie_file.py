"""One door to movies, whatever their format: EER, TIFF, MRC (also gzip and bzip2).

Row 0 is the bottom of the picture in all of them: MRC and EER as the file has it, TIFF turned over
(docs/decisions/0005-tiff-rows.md, 0006-eer.md). So movie, gain reference and sum agree, as they do in RELION.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, cast

import numpy as np
from jaxtyping import Float32

from thon.base.errors import FormatError, InputError
from thon.formats.image_stack import ImageStack, no_such_file
from thon.formats.tiff_directory import MAGIC

Sampling = Literal[1, 2, 4]


@dataclass(frozen=True)
class ExposureHint:
    """What a movie file itself says about its exposure; None where it does not.

    Args:
        dose: Electrons in the whole movie, per pixel of the sensor.
        time: Length of the exposure, s.
        camera: Name or serial number of the camera.
        frames: Frames that the camera says it took; some files hold fewer.
    """

    dose: float | None = None
    time: float | None = None
    camera: str | None = None
    frames: int | None = None


class MovieFile(ABC):
    """An open movie; use `open_movie`. Frames may be read from several threads at once."""

    path: Path
    frames: int
    """Raw frames in the file."""
    image_shape: tuple[int, int]
    """(rows, columns) of what is read."""
    physical_shape: tuple[int, int]
    """(rows, columns) of the sensor for EER; of the stored frames for other formats."""
    dtype: np.dtype
    """Type of the numbers that `read_frame` gives."""
    pixel_size: float | None
    """Of what is read, Å; None where the file does not say. Programs that do not know it often write 1."""
    is_counting: bool
    """Whether pixels hold numbers of electrons."""
    exposure_hint: ExposureHint | None = None

    @abstractmethod
    def read_frame(self, k: int) -> np.ndarray:
        """Raw frame ``k``, counted from 0, as stored: (rows, columns).

        Raises:
            InputError: If there is no such frame.
            FormatError: If its bytes cannot be decoded.
        """

    @abstractmethod
    def add_frames(self, start: int, stop: int, out: Float32[np.ndarray, "rows columns"]) -> None:
        """Add the raw frames ``start`` to ``stop``, the last not included, to ``out`` in place.

        Raises:
            InputError: If there are no such frames, or ``out`` has another shape than `image_shape`.
            FormatError: If their bytes cannot be decoded; ``out`` is then of no use.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def sum_frames(self, start: int, stop: int) -> Float32[np.ndarray, "rows columns"]:
        """Sum of the raw frames ``start`` to ``stop``, the last not included; `add_frames` says what is raised."""
        total = np.zeros(self.image_shape, np.float32)
        self.add_frames(start, stop, total)
        return total

    def require(self, start: int, stop: int, out: np.ndarray | None = None) -> None:
        """Refuse frames that are not there, and an array that they do not fit."""
        if not 0 <= start < stop <= self.frames:
            raise InputError(
                "there are no such frames", path=self.path, got=f"{start} to {stop}", expected=f"0 to {self.frames}"
            )
        if out is not None and (out.shape != self.image_shape or not out.flags.c_contiguous):
            raise InputError(
                "frames do not fit the array", path=self.path, got=out.shape, expected=f"{self.image_shape}, contiguous"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StackMovie(MovieFile):
    """A movie that is a stack of images."""

    def __init__(self, stack: ImageStack) -> None:
        if stack.dtype.kind not in "iuf":
            raise FormatError("no type that frames have", path=stack.path, got=stack.dtype)
        self._stack = stack
        self.path, self.dtype, self.pixel_size = stack.path, stack.dtype, stack.pixel_size
        self.frames = len(stack)
        self.image_shape = self.physical_shape = stack.shape[1:]
        self.is_counting = holds_counts(stack.dtype)

    def read_frame(self, k: int) -> np.ndarray:
        self.require(k, k + 1)
        return self._stack.image(k)

    def add_frames(self, start: int, stop: int, out: Float32[np.ndarray, "rows columns"]) -> None:
        self.require(start, stop, out)
        for k in range(start, stop):
            np.add(out, self._stack.image(k), out=out, casting="unsafe")

    def close(self) -> None:
        self._stack.close()


def holds_counts(dtype: np.dtype) -> bool:
    """Whether frames of a type are counted electrons: cameras write those as bytes or half bytes."""
    return dtype.kind in "iu" and dtype.itemsize == 1


def open_movie(path: str | os.PathLike[str], *, sampling: Sampling = 1) -> MovieFile:
    """Open a movie, told by its first bytes; its directory, its size and where its frames are have been checked then.

    Args:
        path: EER, TIFF or MRC; MRC also compressed with gzip or bzip2.
        sampling: Samples across a pixel of the sensor, for EER: 2 and 4 use where in a pixel electrons hit.

    Raises:
        InputError: If the file cannot be opened, or another sampling than 1 is asked for and it is no EER.
        FormatError: If it is not a movie, truncated or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise no_such_file(path, error) from error
    if not start:
        raise FormatError("is empty", path=path, expected="a movie", mend="wait until it is written, or copy it again")
    if start in MAGIC:
        return _open_tiff(path, sampling)
    _refuse_sampling(path, sampling)
    return StackMovie(importlib.import_module("thon.formats.mrc").open_mrc(path))


def _open_tiff(path: Path, sampling: Sampling) -> MovieFile:
    # Imported when needed: the decoders of TIFF and EER take a noticeable part of a second.
    eer = importlib.import_module("thon.formats.eer")
    if eer.is_eer(path):
        return cast(MovieFile, eer.EerMovie(path, sampling))
    _refuse_sampling(path, sampling)
    plain = importlib.import_module("thon.formats.movie_tiff").open_plain_tiff(path)
    if plain is not None:
        return cast(MovieFile, plain)
    return StackMovie(importlib.import_module("thon.formats.tiff").open_tiff(path))


def _refuse_sampling(path: Path, sampling: int) -> None:
    if sampling != 1:
        raise InputError("only EER movies can be sampled finer than the sensor", path=path, got=f"sampling {sampling}")


def plan_groups(
    frames: int,
    *,
    group: int | None = None,
    exposure_per_frame: float | None = None,
    target_exposure: float | None = None,
) -> list[tuple[int, int]]:
    """Which raw frames are summed to one rendered frame each, as (start, stop) with stop not included.

    Either `group` raw frames each, or the whole number of them that is nearest to `target_exposure`. Without either,
    each raw frame is a group. All groups are of one size: RELION's record of a movie has one number (`rlnEERGrouping`),
    and all frames have one exposure. Frames left over that do not fill a last group are dropped, as RELION and AreTomo
    do.

    Args:
        frames: Number of raw frames.
        group: Raw frames in each group.
        exposure_per_frame: Of a raw frame, e/Å².
        target_exposure: Of a group, e/Å².

    Raises:
        InputError: If both or only half of one way are given, or not one group can be filled.
    """
    size = _group_size(group, exposure_per_frame, target_exposure)
    groups = [(start, start + size) for start in range(0, frames - size + 1, size)]
    if not groups:
        raise InputError(
            "not one group of frames can be filled",
            got=f"{frames} raw frames, {size} in a group",
            mend="choose a smaller group or target exposure",
        )
    return groups


def _group_size(group: int | None, exposure_per_frame: float | None, target_exposure: float | None) -> int:
    """Raw frames in a group, at least one."""
    if exposure_per_frame is None and target_exposure is None and (group is None or group >= 1):
        return group or 1
    if group is None and exposure_per_frame and target_exposure and min(exposure_per_frame, target_exposure) > 0:
        return max(int(target_exposure / exposure_per_frame + 0.5), 1)
    raise InputError(
        "frames are grouped either by number or by exposure",
        got=f"group {group}, {exposure_per_frame} e/Å² a frame, target {target_exposure} e/Å²",
        expected="a number of frames from 1, or the exposures of a raw frame and of a group",
    )
