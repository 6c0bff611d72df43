"""What a job function is given besides its records and options: places to write, a voice, and limits to keep."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from thon.base.errors import JobError
from thon.job.iterations import keep_iteration
from thon.job.plan import Resources

if TYPE_CHECKING:
    from thon.job.events import Event

PREVIEW_SIDE = 1024
"""Previews are reduced until their longer side is no longer than this, px."""


class Context:
    """One item's surroundings.

    Args:
        item: Name of the item.
        folder: Where the outputs go: a temporary folder that becomes the item's once it is done.
        previews: Where pictures go; they are there at once.
        scratch: Path of a folder that is made when it is asked for and removed afterwards.
        checkpoints: A folder that outlives the process until the item is done: what a killed run left there, the next
            one finds.
        iterations: Where `keep_iteration` keeps what is in `checkpoints`; nowhere unless given.
        resources: Threads, memory and device to use.
        seed: Seed for everything random in this item: the job's seed mixed with the item's name.
        emit: Takes the events.
    """

    def __init__(
        self,
        *,
        item: str,
        folder: Path,
        previews: Path,
        scratch: Path,
        checkpoints: Path,
        resources: Resources,
        seed: int,
        emit: Callable[[Event], None],
        iterations: Path | None = None,
    ):
        self.item, self.seed, self.resources = item, seed, resources
        self.checkpoints = checkpoints
        self.results: dict[str, Path] = {}
        self.used: list[Path] = []
        self._folder, self._previews, self._emit, self._iterations = folder, previews, emit, iterations
        self._scratch = scratch
        self._last_progress = 0.0

    @classmethod
    def local(
        cls,
        folder: Path,
        *,
        item: str = "item",
        seed: int = 0,
        resources: Resources | None = None,
        emit: Callable[[Event], None] | None = None,
    ) -> Context:
        """A context outside any job, for a test, a notebook or a dry run; events go to `emit`, if given."""
        places = [folder / name for name in ("outputs", "previews", "scratch", "checkpoints")]
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
        resources = resources or Resources(threads=1, memory=2 * 1024**3)
        outputs, previews, scratch, checkpoints = places
        return cls(
            item=item,
            folder=outputs,
            previews=previews,
            scratch=scratch,
            checkpoints=checkpoints,
            resources=resources,
            seed=seed,
            emit=emit or (lambda event: None),
        )

    @property
    def scratch(self) -> Path:
        """A folder for what nobody needs afterwards."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch

    def discard_scratch(self) -> None:
        """Remove that folder, if anybody asked for it."""
        if self._scratch.exists():
            shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def threads(self) -> int:
        """Number of threads to use."""
        return self.resources.threads

    @property
    def memory(self) -> int:
        """Working memory to keep within, bytes."""
        return self.resources.memory

    @property
    def device(self) -> str:
        """Device to compute on: "cpu", "cuda" or "cuda:N"."""
        return self.resources.device

    def output(self, name: str, *, title: str | None = None) -> Path:
        """Path of an output file called `name`; write it there and put `str(path)` into the record.

        The file gets its final place, and the record with it, when the whole item is done. With a `title`, such as
        "Tomogram", it is a main output, whose final path is told to the user at the end.
        """
        path = self._folder / name
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise JobError("an output must lie inside the item's folder", got=name, expected="a plain file name")
        path.parent.mkdir(parents=True, exist_ok=True)
        if title is not None:
            self.results[title] = path
        return path

    def report(self, name: str = "report.html") -> Path:
        """Path of the item's report, told to the user at the end."""
        return self.output(name, title="Report")

    def uses(self, path: str | Path) -> None:
        """Declare a file that was read besides the inputs, so that the job's record holds its hash."""
        self.used.append(Path(path))

    def keep_iteration(self, number: int) -> None:
        """Keep the files in `checkpoints` as those of an iteration, at which another job can begin.

        They cost no time, but disk; the last two are kept, and every fifth. A file there must be replaced, not changed.
        """
        if self._iterations is not None:
            keep_iteration(self.checkpoints, self._iterations, number)

    def preview(self, name: str, image: np.ndarray | bytes, caption: str = "") -> Path:
        """Show a picture while the job runs.

        Args:
            name: Name of the picture, without ending.
            image: PNG bytes; or (rows, columns) or (rows, columns, 3), drawn with row 0 at the bottom, as the rows
                of an image lie in the house. Floats are stretched from their 1st to their 99th percentile.
            caption: A sentence under it.

        Returns:
            The PNG file.
        """
        from thon.job.events import PreviewDrawn  # noqa: PLC0415

        data = image if isinstance(image, bytes) else _png(image)
        self._previews.mkdir(parents=True, exist_ok=True)
        path = self._previews / f"{name}.png"
        part = self._previews / f".{name}.part"
        part.write_bytes(data)
        part.replace(path)
        shown = f"previews/{self.item}/{path.name}"
        self._emit(PreviewDrawn(item=self.item, name=name, path=shown, caption=caption))
        return path

    def progress(self, done: float, total: float, text: str = "") -> None:
        """Say how far the item is; called as often as you like, told at most five times a second."""
        from thon.job.events import Progress  # noqa: PLC0415

        now = time.monotonic()
        if done >= total or now - self._last_progress >= 0.2:
            self._last_progress = now
            self._emit(Progress(item=self.item, done=done, total=total, text=text))

    def log(self, text: str) -> None:
        """Say a sentence."""
        from thon.job.events import Log  # noqa: PLC0415

        self._emit(Log(item=self.item, text=text))

    def warn(self, text: str) -> None:
        """Say a sentence about something that may be wrong and that the job went on with."""
        from thon.job.events import Warned  # noqa: PLC0415

        self._emit(Warned(item=self.item, text=text))


def _png(image: np.ndarray) -> bytes:
    from PIL import Image  # noqa: PLC0415

    step = max(1, -(-max(image.shape[:2]) // PREVIEW_SIDE))
    reduced = _reduce(image, step) if step > 1 else image
    if reduced.dtype != np.uint8:
        reduced = _stretch(reduced)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(reduced[::-1])).save(buffer, "PNG")
    return buffer.getvalue()


def _reduce(image: np.ndarray, step: int) -> np.ndarray:
    y, x = (min(step, side) for side in image.shape[:2])
    rows, columns = image.shape[0] // y, image.shape[1] // x
    blocks = image[: rows * y, : columns * x].reshape(rows, y, columns, x, *image.shape[2:])
    return blocks.mean(axis=(1, 3)).astype(image.dtype)


def _stretch(image: np.ndarray) -> np.ndarray:
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-30)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
