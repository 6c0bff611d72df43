"""Half maps, maps and particles in files for the jobs that work on maps."""

from __future__ import annotations

from pathlib import Path

from tests.algorithms.map_phantom import blobs, noisy_halves
from thon.formats.mrc import write_mrc

VOXEL_SIZE = 4.0


def write_halves(folder: Path, level: float = 3.0) -> Path:
    """Two noisy halves of blobs in a box of 40 voxels of 4 Å; the first."""
    for number, half in enumerate(noisy_halves(blobs(), level), 1):
        write_mrc(folder / f"run_half{number}_class001_unfil.mrc", half.numpy(), VOXEL_SIZE)
    return folder / "run_half1_class001_unfil.mrc"


def write_symmetric_map(folder: Path) -> Path:
    """Blobs with a 3-fold and 2-folds where RELION has them."""
    write_mrc(folder / "d3.mrc", blobs(symmetry="D3", count=12).numpy(), VOXEL_SIZE)
    return folder / "d3.mrc"
