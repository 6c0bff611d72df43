"""Images of particles out of their stacks: any particles in any order, few files open, from several threads."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float, Int

from thon.base.errors import FormatError, InputError
from thon.data.particles import ParticleOptics, Particles
from thon.formats.image_stack import ImageStack
from thon.formats.images import open_images
from thon.formats.mrc import open_mrc

_OPEN_FILES = 64


class Cutter(Protocol):
    """Makes images of parts of micrographs."""

    def __call__(
        self, particles: Particles, indices: Int[np.ndarray, "k"], micrographs: ParticleMicrographs, /
    ) -> Float[np.ndarray, "k box box"]:
        """The images of some particles of one optics group."""
        ...


class ParticleImages:
    """Reads the images of a set of particles.

    ```python
    with ParticleImages(particles) as images:
        batch = images.read(np.arange(100))
    ```

    Images are float32 whatever the stack holds, rows in the file's order, and matter is bright in them. Several threads
    may read at once.

    Args:
        particles: Whose images.
        cutter: Makes the images of particles that no stack holds.
    """

    def __init__(self, particles: Particles, cutter: Cutter | None = None) -> None:
        self.particles, self.cutter = particles, cutter
        self._open: OrderedDict[int, ImageStack] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def read(self, indices: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k box box"]:
        """The images of some particles of one optics group, in the order asked for.

        Raises:
            InputError: They are of several optics groups, a stack cannot be opened, or images have to be cut out of
                micrographs and there is no cutter.
            FormatError: A stack is truncated or has another box than the optics group; or an image is beyond its end,
                holds NaN or infinity, or is the same grey all over. The message names particle and file.
        """
        chosen = np.asarray(indices, np.int64)
        group = self._group(chosen)
        images = np.empty((len(chosen), group.box, group.box), np.float32)
        # Along the files, and within each from front to back, disks read fastest.
        order = np.lexsort((self.particles.section[chosen], self.particles.file[chosen]))
        if group.cut is None:
            for place in order.tolist():
                images[place] = self._image(int(chosen[place]), group.box)
        else:
            images[order] = self._cut(chosen[order])
        for image, particle in zip(images, chosen.tolist(), strict=True):
            self._check_values(image, particle)
        if group.dark:
            np.negative(images, out=images)
        return images

    def _group(self, chosen: Int[np.ndarray, "k"]) -> ParticleOptics:
        groups = np.unique(self.particles.group[chosen])
        if len(groups) != 1:
            names = [self.particles.optics[k].name for k in groups.tolist()]
            raise InputError("images are read from one optics group at a time", got=", ".join(names) or "none")
        return self.particles.optics[groups[0]]

    def _cut(self, chosen: Int[np.ndarray, "k"]) -> Float[np.ndarray, "k box box"]:
        if self.cutter is None:
            raise InputError(
                "the particles' images are still in their micrographs",
                got=self.particles.image_name(int(chosen[0])),
                mend="extract them without --on-the-fly",
            )
        return self.cutter(self.particles, chosen, ParticleMicrographs(self, chosen))

    def _image(self, particle: int, box: int) -> np.ndarray:
        stack, section = self.stack(particle), int(self.particles.section[particle])
        if section >= len(stack):
            raise self._error(particle, "is beyond the end of its stack", f"{len(stack)} images in the file")
        if stack.shape[1:] != (box, box):
            size = f"{stack.shape[2]} × {stack.shape[1]} px"
            raise self._error(particle, "has not its optics group's size", size, f"{box} × {box} px")
        return stack.image(section)

    def stack(self, particle: int) -> ImageStack:
        """The open file that a particle's image is in.

        Raises:
            InputError: It cannot be opened.
        """
        file = int(self.particles.file[particle])
        with self._lock:
            stack = self._open.pop(file, None)
            if stack is None:
                stack = self._open_stack(file, particle)
            self._open[file] = stack
            if len(self._open) > _OPEN_FILES:
                # Not closed here, where another thread may be reading it: the last who holds it closes it.
                self._open.popitem(last=False)
        return stack

    def _open_stack(self, file: int, particle: int) -> ImageStack:
        try:
            # Stacks are MRC whatever their names; micrographs may be of any format.
            cut = self.particles.optics[self.particles.group[particle]].cut
            return (open_mrc if cut is None else open_images)(self.particles.files[file])
        except InputError as error:
            error.what = f"{error.what} (needed for the particle {self.particles.image_name(particle)})"
            raise

    def _check_values(self, image: Float[np.ndarray, "box box"], particle: int) -> None:
        """Extremes tell all: they are NaN where a pixel is, infinite where one is, and equal for a constant image."""
        low, high = float(image.min()), float(image.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise self._error(particle, "holds NaN or infinity", f"{low} to {high}", "numbers")
        if low == high:
            raise self._error(particle, "has no contrast", f"{low} in every pixel")

    def _error(self, particle: int, what: str, got: str, expected: str | None = None) -> FormatError:
        found = self.particles
        micrograph = found.micrographs[found.micrograph[particle]] if found.micrograph[particle] >= 0 else None
        where = "" if micrograph is None else f" from {Path(micrograph).name}"
        return FormatError(
            f"the image of particle {particle} ({found.image_name(particle)}{where}) {what}",
            path=found.files[found.file[particle]],
            got=got,
            expected=expected,
            mend="remove the particle, or extract it again",
        )


class ParticleMicrographs:
    """Parts of the micrographs that some particles are in.

    Args:
        images: Keeps the files open.
        chosen: The particles.
    """

    def __init__(self, images: ParticleImages, chosen: Int[np.ndarray, "k"]) -> None:
        self._images = images
        self._particle = dict(zip(images.particles.file[chosen].tolist(), chosen.tolist(), strict=True))

    def shape(self, file: int) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._images.stack(self._particle[file]).shape[1:]
        return rows, columns

    def read(self, file: int, rows: slice, columns: slice) -> Float[np.ndarray, "part_rows part_columns"]:
        """A part, as recorded."""
        return self._images.stack(self._particle[file])[0, rows, columns].astype(np.float32)
