"""Files appear whole or not at all: written under a temporary name in the same folder, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from thon.base.errors import StoreError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Generator[Path]:
    """Give a temporary path to write to, and rename it to ``path`` when the block ends well.

    ```python
    with atomic_path("particles.star") as temporary:
        temporary.write_text(text)
    ```

    The temporary path is a hidden sibling that does not exist yet, so the caller may create a file or a folder there;
    it keeps the suffixes of ``path``, since libraries choose a format by them. An existing file is replaced; an
    existing folder only by a folder. When the block raises, whatever was written is removed and ``path`` is as it was.
    A killed process leaves at most the hidden sibling, never a half-written ``path``.

    Args:
        path: Final name; its folder must exist.

    Raises:
        StoreError: If the folder is missing or cannot be written to, the disk is full, or nothing was written.
    """
    final = Path(path)
    temporary = _sibling(final)
    try:
        with store_errors(final):
            yield temporary
            _sync(temporary)
            _replace(temporary, final)
    finally:
        _remove(temporary)


@contextmanager
def store_errors(path: Path) -> Generator[None]:
    """Turn the operating system's refusals to write (full, read-only, forbidden) into a `StoreError`."""
    try:
        yield
    except OSError as error:
        # h5py, tifffile and imagecodecs also raise bare OSErrors for bad data: only the disk's own refusals are ours.
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StoreError(
                "no space left on the disk",
                path=path,
                got=f"{_free(path.parent):,} bytes free",
                mend="free some space, or write to another disk; nothing was kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise StoreError(
                "cannot be written here",
                path=path,
                got=error.strerror,
                expected="a folder with write permission",
                mend="choose another folder, or change its permissions",
            ) from error
        raise


def check_space(folder: str | os.PathLike[str], size: int) -> None:
    """Refuse to start a file that the disk cannot hold.

    Args:
        folder: Folder that the file will be written to.
        size: Bytes needed.

    Raises:
        StoreError: If the folder is missing or fewer than ``size`` bytes are free for this user.
    """
    _require_folder(Path(folder))
    free = _free(Path(folder))
    if size > free:
        raise StoreError(
            "not enough space on the disk",
            path=folder,
            got=f"{free:,} bytes free",
            expected=f"{size:,} bytes",
            mend="free some space, or write to another disk",
        )


def _sibling(final: Path) -> Path:
    """A name beside ``final`` that nobody else has: same folder, hidden, same suffixes."""
    _require_folder(final.parent)
    # A file name may have 255 bytes; the temporary one must not be refused where the final one would be taken.
    stem, suffix = final.name[:40], "".join(final.suffixes)[-40:]
    return final.with_name(f".{stem}.{secrets.token_hex(4)}.partial{suffix}")


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise StoreError("there is no such folder", path=folder, mend="create it, or correct the path")


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _sync(temporary: Path) -> None:
    """Bring a file to the disk before it gets its name: a rename may survive a power cut that the bytes do not."""
    if temporary.is_file():
        with temporary.open("rb") as file:
            os.fsync(file.fileno())


def _replace(temporary: Path, final: Path) -> None:
    if not temporary.exists():
        raise StoreError("nothing was written", path=final)
    if temporary.is_dir() and final.is_dir():
        # A folder cannot be renamed over one with entries: the old one steps aside first.
        old = _sibling(final)
        os.replace(final, old)
        os.replace(temporary, final)
        _remove(old)
    else:
        os.replace(temporary, final)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
