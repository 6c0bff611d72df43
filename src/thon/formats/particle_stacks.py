"""What the headers of particle stacks say, held against what is known of the particles in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError
from thon.data.particles import Particles
from thon.formats.mrc import open_mrc

_TOLERANCE = 0.01


@dataclass(frozen=True)
class StackHeaders:
    """Sizes of stacks as their headers have them.

    Args:
        shape: (stacks, 3), images, rows and columns of each; zeros where nobody looked.
        spacing: Pixel size of each, Å; NaN where the header has none, or the 1.0 of those that do not know.
    """

    shape: Int[np.ndarray, "stacks 3"]
    spacing: Float[np.ndarray, "stacks"]

    def box(self, file: int) -> int:
        """Side of the images in a stack, px."""
        return int(self.shape[file, 2])

    def pixel_size(self, file: int) -> float | None:
        """Pixel size of a stack, Å; None where it does not say."""
        return float(self.spacing[file]) if np.isfinite(self.spacing[file]) else None

    def check(self, particles: Particles, path: Path, *, check_pixel_size: bool = True) -> None:
        """Hold the particles of a file against the stacks that they name.

        Raises:
            FormatError: A particle lies beyond the end of its stack, or its stack has another box or, by more than 1 %,
                another pixel size than its optics group.
        """
        if not self.shape.any():
            return
        count, rows, columns = self.shape[particles.file].T
        box = np.array([one.box for one in particles.optics])[particles.group]
        size = np.array([one.pixel_size for one in particles.optics])[particles.group]
        for k in np.flatnonzero(particles.section >= count)[:1].tolist():
            name = particles.image_name(k)
            raise FormatError(f"{name} is beyond the end of its stack", path=path, got=f"{count[k]} images in the file")
        for k in np.flatnonzero((rows != box) | (columns != box))[:1].tolist():
            raise FormatError(
                f"the image {particles.image_name(k)} has not its optics group's size",
                path=path,
                got=f"{columns[k]} × {rows[k]} px",
                expected=f"{box[k]} × {box[k]} px",
            )
        if check_pixel_size:
            self._check_pixel_size(particles, path, size)

    def _check_pixel_size(self, particles: Particles, path: Path, size: Float[np.ndarray, "n"]) -> None:
        spacing = self.spacing[particles.file]
        # Comparisons with NaN, which stands for a header that does not say, are false.
        for k in np.flatnonzero(np.abs(spacing / size - 1) > _TOLERANCE)[:1].tolist():
            raise FormatError(
                f"the pixel size of {particles.image_name(k)} contradicts its optics group",
                path=path,
                got=f"{spacing[k]:.4f} Å in the stack's header",
                expected=f"{size[k]:.4f} Å",
                mend="correct the one that is wrong, or say that headers do not count",
            )


def read_stack_headers(files: Sequence[str]) -> StackHeaders:
    """Headers of stacks; `open_mrc` says what is raised."""
    shape = np.zeros((len(files), 3), np.int64)
    spacing = np.full(len(files), np.nan)
    for k, name in enumerate(files):
        with open_mrc(name) as stack:
            shape[k] = stack.shape
            if stack.pixel_size is not None and stack.pixel_size != 1.0:
                spacing[k] = stack.pixel_size
    return StackHeaders(shape, spacing)


def no_stack_headers(count: int) -> StackHeaders:
    """What is known of stacks that nobody looked at."""
    return StackHeaders(np.zeros((count, 3), np.int64), np.full(count, np.nan))
