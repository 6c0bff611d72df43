"""Frames of a movie for motion correction: grouped, gain-corrected, bad pixels filled, read when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float32

from thon.algorithms.bad_pixels import BadPixelOptions, fill_bad_pixels, find_bad_pixels, find_donors
from thon.algorithms.detector import DetectorCorrection, correct_frame
from thon.formats.movie_file import MovieFile


class RenderedFrames:
    """(frames, rows, columns): `frames[k]` decodes, corrects and fills frame k.

    The movie is decoded once for the sum in which bad pixels show. What was decoded then stays in memory, as far as
    `memory` allows; the other frames are decoded again when they are asked for. A frame is the same each time.

    `filled` is the number of bad pixels, `found` has (row, column) of those that no reference named.

    Args:
        file: The movie.
        groups: First raw frame and the one after the last of each rendered frame.
        correction: Gain, dark and known defects.
        bad_pixels: What counts as bad.
        sampling: Samples across a pixel of the detector.
        memory: For decoded frames, bytes.
        seed: Of what bad pixels are filled with.
        progress: Called with the share of the movie that is decoded.
    """

    def __init__(
        self,
        file: MovieFile,
        groups: list[tuple[int, int]],
        correction: DetectorCorrection,
        bad_pixels: BadPixelOptions,
        *,
        sampling: int,
        memory: int,
        seed: int,
        progress: Callable[[float], None],
    ) -> None:
        self.shape = (len(groups), *file.image_shape)
        self._file, self._groups, self._seed = file, groups, seed
        self._decoded: dict[int, np.ndarray] = {}
        raw = self._decode_all(memory, progress)
        total = torch.from_numpy(raw)
        if correction.gain is not None or correction.offset is not None:
            total = total / len(groups)
            total = correct_frame(total, correction, out=total).mul_(len(groups))
        bad = find_bad_pixels(total, known=correction.defects, sampling=sampling, options=bad_pixels)
        self._donors = find_donors(bad, sampling=sampling, options=bad_pixels)
        self.filled = int(bad.sum())
        self.found = (bad & ~correction.defects).nonzero()
        self._seen: tuple[np.ndarray, np.ndarray] | None = (raw, bad.numpy())
        # Filling knows the bad pixels from here on: a map of them would take a quarter of a frame.
        self._correction = replace(correction, defects=torch.zeros(1, 1, dtype=torch.bool).expand(self.shape[1:]))

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, k: int) -> Float32[torch.Tensor, "rows columns"]:
        decoded = self._decoded.get(k)
        if decoded is None:
            frame = torch.from_numpy(self._file.sum_frames(*self._groups[k]))
            frame = correct_frame(frame, self._correction, out=frame)
        else:
            frame = correct_frame(torch.from_numpy(decoded), self._correction)
        generator = torch.Generator().manual_seed((self._seed + k) % 2**63)
        return fill_bad_pixels(frame, self._donors, generator, out=frame)

    def take_sum(self) -> tuple[Float32[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
        """Sum of the frames as decoded, and which pixels are bad; given once and then forgotten, for they are large."""
        if self._seen is None:
            raise ValueError("the sum was taken before")
        taken, self._seen = self._seen, None
        return taken

    def _decode_all(self, memory: int, progress: Callable[[float], None]) -> Float32[np.ndarray, "rows columns"]:
        total = np.zeros(self.shape[1:], np.float32)
        left = memory
        for k, (start, stop) in enumerate(self._groups):
            frame = self._file.sum_frames(start, stop)
            total += frame
            small = _as_counts(frame) if self._file.is_counting else frame
            if small.nbytes <= left:
                self._decoded[k] = small
                left -= small.nbytes
            progress((k + 1) / len(self._groups))
        return total


def _as_counts(frame: Float32[np.ndarray, "rows columns"]) -> np.ndarray:
    """Counted electrons in as few bytes as they need."""
    highest = float(frame.max())
    if float(frame.min()) < 0 or highest >= 65536:
        return frame
    return frame.astype(np.uint8 if highest < 256 else np.uint16)
