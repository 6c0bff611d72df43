"""Checkpoints: the state of a long computation in one file, whole or not at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from thon.base.errors import FormatError
from thon.data.record import from_json, to_json
from thon.formats.atomic import atomic_path

_RECORD = "record"


def write_checkpoint(path: Path, state: Any) -> None:
    """Write a record with its arrays, bit for bit, in the place of what was there.

    Args:
        path: The file.
        state: A frozen dataclass; see `thon.data.record`.
    """
    arrays: dict[str, np.ndarray] = {}
    record = json.dumps(to_json(state, arrays=arrays), allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{_RECORD: np.frombuffer(record.encode(), np.uint8)})


def read_checkpoint(path: Path) -> Any:
    """The record that was written last.

    Raises:
        FormatError: The file is no checkpoint.
    """
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        return from_json(json.loads(arrays.pop(_RECORD).tobytes()), arrays=arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FormatError("is no checkpoint", path=path, got=repr(error), mend="remove it to begin anew") from error
