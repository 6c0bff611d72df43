"""Files of images, kept open while they are looked at, so that slices in all directions are quick."""

from __future__ import annotations

from pathlib import Path

from thon.formats.image_stack import ImageStack
from thon.formats.images import open_images
from thon.web.views.cache import Cache

OPEN = 12
"""Files at most."""

_open: Cache[ImageStack] = Cache(OPEN, lambda file: 1)


def opened(path: Path) -> ImageStack:
    """A file's images; whoever asks keeps no hold of it beyond the answer.

    Raises:
        InputError: It cannot be read, or is no file of images.
    """
    return _open.get(stamp_of(path), lambda: open_images(path))


def stamp_of(path: Path) -> tuple[str, int, int]:
    """What tells a file from what it was before somebody wrote it anew."""
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size
