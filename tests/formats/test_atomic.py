"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from thon.base.errors import StoreError
from thon.formats.atomic import atomic_path, check_space

_KILLED_WRITER = """
import sys, time
import numpy as np
from thon.formats.mrc import MrcWriter
with MrcWriter(sys.argv[1], (40, 30, 20), 2.0) as writer:
    writer[0:20] = np.ones((20, 30, 20), np.float32)
    print("half", flush=True)
    time.sleep(60)
"""
_UNPRIVILEGED_WRITER = """
import os, sys
import numpy as np
from thon.base.errors import StoreError
from thon.formats.images import write_images
from thon.formats.ome_zarr import write_ome_zarr
import thon.formats.mrc, thon.formats.hdf5, thon.formats.tiff
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
volume = np.ones((3, 4, 5), np.float32)
for name in ("a.mrc", "a.hdf", "a.tif", "a.zarr"):
    write = write_ome_zarr if name.endswith("zarr") else write_images
    try:
        write(os.path.join(sys.argv[1], name), volume, 2.0)
    except StoreError as error:
        print(error.what, error.mend)
"""


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    final = tmp_path / "a.star"
    with atomic_path(final) as temporary:
        temporary.write_text("data_")
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".star"
        assert not final.exists()
    assert final.read_text() == "data_"
    assert os.listdir(tmp_path) == ["a.star"]


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    final = tmp_path / "a.star"
    final.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(final) as temporary:  # noqa: PT012
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert final.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.star"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    final = tmp_path / "a.zarr"
    for content in ("old", "new"):
        with atomic_path(final) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(final) == ["new"]
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_long_name_is_possible(tmp_path: Path) -> None:
    final = tmp_path / ("n" * 251 + ".mrc")
    with atomic_path(final) as temporary:
        temporary.write_text("x")
    assert final.exists()


def test_refusals_name_the_path_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such folder"), atomic_path(tmp_path / "missing" / "a.star"):
        pytest.fail("the block must not run")
    with pytest.raises(StoreError, match="nothing was written"), atomic_path(tmp_path / "a.star"):
        pass
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StoreError, match=r"a\.star: no space left(.|\n)*bytes free"), atomic_path(tmp_path / "a.star"):
        raise full
    with pytest.raises(OSError, match="other"), atomic_path(tmp_path / "a.star"):
        raise OSError("other")
    assert os.listdir(tmp_path) == []


def test_space_is_checked_before_writing(tmp_path: Path) -> None:
    check_space(tmp_path, 1)
    with pytest.raises(StoreError, match=r"bytes free\n  expected: 1,152,921,504,606,846,976 bytes"):
        check_space(tmp_path, 1 << 60)


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "volume.mrc"
    command = [sys.executable, "-c", _KILLED_WRITER, str(final)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not final.exists()
    assert all(name.startswith(".volume.mrc") for name in os.listdir(tmp_path))


def test_every_writer_says_that_a_folder_is_read_only() -> None:
    # Its own folder below the root of temporary files, which another user can look into.
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o555)
        done = subprocess.run(
            [sys.executable, "-c", _UNPRIVILEGED_WRITER, name], capture_output=True, text=True, check=True
        )
        assert os.listdir(name) == []
        os.chmod(name, 0o755)
    assert done.stdout.count("cannot be written here choose another folder") == 4, done.stdout
