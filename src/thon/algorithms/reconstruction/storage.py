"""Arrays in memory, or in scratch files that vanish with the process."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from dataclasses import dataclass

import numpy as np
import torch

from thon.base.errors import InputError


@dataclass(frozen=True)
class Storage:
    """Where large arrays go.

    Args:
        like: Gives dtype, and for arrays in memory the device.
        on_disk: Whether to use scratch files.
        folder: For scratch files; the system's temporary folder if not given.
    """

    like: torch.Tensor
    on_disk: bool = False
    folder: str | None = None

    def allocate(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A tensor with nothing in it yet.

        Raises:
            InputError: The disk has no room for it.
        """
        if not self.on_disk:
            return self.like.new_empty(shape)
        size = math.prod(shape) * self.like.element_size()
        folder = self.folder or tempfile.gettempdir()
        # The file has no name: whatever happens to the process, its room is free again afterwards.
        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk must be an error here, not a crash later
            except OSError as error:
                raise InputError(
                    "no room for scratch files",
                    path=folder,
                    got=f"{shutil.disk_usage(folder).free / 1e9:.1f} GB free",
                    expected=f"{size / 1e9:.1f} GB more",
                    mend="name another scratch folder, allow more memory, or use a larger bin",
                ) from error
            array = np.memmap(file, self.like.cpu().numpy().dtype, "r+", shape=shape)
        return torch.from_numpy(array)
