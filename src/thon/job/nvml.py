"""NVIDIA's GPUs as their driver describes them: names and the energy that they took (NVML, by its C interface)."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
NAME = 96
"""Longest name of a GPU, bytes (nvml.h)."""


@dataclass(frozen=True)
class Gpu:
    """One GPU that this process may see.

    Args:
        name: Its model.
        library: NVML; None where only the name is known.
        handle: NVML's handle of it.
    """

    name: str
    library: Any = None
    handle: Any = None

    def energy(self) -> float | None:
        """Joules that it took since its driver was loaded; None where it does not count them (before Volta)."""
        if self.library is None:
            return None
        count = ctypes.c_ulonglong()
        if self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle, ctypes.byref(count)):
            return None
        return count.value / 1000


@cache
def open_gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may see."""
    if not Path("/dev/nvidiactl").exists():
        return ()
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return _named()
    return gpus_of(library, os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpus_of(library: Any, visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs that NVML finds, those alone that `visible` lists by number or UUID; none where it does not answer."""
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return ()
    wanted = [str(k) for k in range(count.value)] if visible is None else visible.split(",")
    found = (_find(library, name.strip()) for name in wanted if name.strip())
    return tuple(gpu for gpu in found if gpu is not None)


def _find(library: Any, name: str) -> Gpu | None:
    handle, text = ctypes.c_void_p(), ctypes.create_string_buffer(NAME)
    if name.isdigit():
        failed = library.nvmlDeviceGetHandleByIndex_v2(int(name), ctypes.byref(handle))
    else:
        failed = library.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle))
    if failed or library.nvmlDeviceGetName(handle, text, NAME):
        return None
    return Gpu(text.value.decode(), library, handle)


def _named() -> tuple[Gpu, ...]:
    """The GPUs by the driver's own files, for a container without NVML."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for file in files for line in file.read_text().splitlines())
    return tuple(Gpu(line.split(":", 1)[1].strip()) for line in lines if line.startswith("Model:"))
