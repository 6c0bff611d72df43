"""The images of a tilt series as one array-like, wherever their files are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thon.base.errors import FormatError
from thon.data.tilt_series import TiltSeries
from thon.formats.image_stack import ImageStack
from thon.formats.images import open_images


class TiltImages:
    """(tilts, rows, columns): `images[k]` reads image k as float32; a file stays open while its images are read.

    Args:
        series: Names the images.
        index: Which of them, in this order; all if not given.
    """

    def __init__(self, series: TiltSeries, index: Sequence[int] | np.ndarray | None = None) -> None:
        chosen = range(len(series)) if index is None else index
        self._images = [series.images[int(k)] for k in chosen]
        self.shape = (len(self._images), *series.image_shape)
        self.dtype = np.dtype(np.float32)
        self._path, self._stack = "", None

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, k: int) -> np.ndarray:
        reference = self._images[k]
        image = self._open(reference.path).image(reference.section).astype(np.float32)
        if image.shape != self.shape[1:]:
            raise FormatError(
                f"section {reference.section} has another size than the series",
                path=reference.path,
                got=image.shape,
                expected=self.shape[1:],
            )
        return image

    def _open(self, path: str) -> ImageStack:
        if self._stack is None or path != self._path:
            self.close()
            self._path, self._stack = path, open_images(path)
        return self._stack

    def close(self) -> None:
        """Close the file that is open."""
        if self._stack is not None:
            self._stack.close()
        self._stack = None

    def __enter__(self) -> TiltImages:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
