"""What job types take, kept so that the job builder need not wait for them to be loaded.

Kept in memory and in the user's cache folder, under the version and the newest change of thon's own source.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from thon.engine import forms
from thon.engine.desk import Desk
from thon.job.folder import write_whole
from thon.job.machine import software
from thon.job.registry import Listing

ROOMS = ("algorithms", "base", "data", "engine", "job", "jobs")
"""Where what a job type takes is written."""


class Forms:
    """What job types take, by name."""

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def describe(self, desk: Desk, listing: Listing) -> dict[str, Any]:
        """Ports and options of a job type; see `thon.engine.forms.describe`."""
        return self._keep(f"form {listing.name}", listing, lambda: desk.call(forms.describe, listing.name))

    def fitting(self, desk: Desk, listing: Listing, types: Collection[str]) -> dict[str, list[str]]:
        """For each port of a job type, which of some types yield what it takes."""
        names = sorted(types)
        key = f"fits {listing.name} {' '.join(names)}"
        return self._keep(key, listing, lambda: desk.call(forms.fitting, listing.name, names))

    def _keep(self, what: str, listing: Listing, ask: Callable[[], Any]) -> Any:
        """What is kept under a key, or is asked for and then kept."""
        key = hashlib.sha256(f"{what} {_age(listing.file)} {_source()}".encode()).hexdigest()[:32]
        if key not in self._kept:
            file = _folder() / f"{key}.json"
            self._kept[key] = _read(file) or _written(file, ask())
        return self._kept[key]


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "thon" / "forms"


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _written(file: Path, content: Any) -> Any:
    # Where nothing can be kept, the next server asks again.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(content).encode())
    return content


@lru_cache(maxsize=1)
def _source() -> str:
    """Version and newest change of thon's source, as it was when the server was started."""
    here = Path(__file__).parent.parent
    ages = [_age(file) for room in ROOMS for file in (here / room).glob("*.py")]
    return f"{software().version} {max(ages)}"


def _age(file: Path | None) -> int:
    try:
        return file.stat().st_mtime_ns if file is not None else 0
    except OSError:
        return 0
