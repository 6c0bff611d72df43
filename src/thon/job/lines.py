"""Lines appended to a file that several processes share and that a kill may cut short."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def append_line(path: Path, line: str) -> None:
    """Append a line as one write; a line that was cut short before is ended first.

    Raises:
        OSError: The disk refuses.
    """
    data = line.encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)
