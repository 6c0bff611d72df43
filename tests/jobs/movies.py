"""Small movies of blobs that drift, single or of a tilt series with its mdoc, for the tests of jobs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from thon.formats.images import write_images
from thon.formats.mdoc import Mdoc, MdocSection, write_mdoc

PIXEL_SIZE = 2.0
DRIFT = (1.5, -2.5)
"""How far the specimen moves over a movie, (y, x), px."""


def frames(seed: int, shape: tuple[int, int] = (176, 160), count: int = 6) -> Float[np.ndarray, "frames rows columns"]:
    """Counted electrons of a specimen of blobs that moves evenly by `DRIFT`."""
    random = np.random.default_rng(seed)
    rows, columns = (np.arange(n)[:, None] for n in shape)
    blobs = random.uniform((0, 0), shape, (250, 2))
    movie = np.empty((count, *shape), np.float32)
    for k in range(count):
        row, column = (blobs + np.array(DRIFT) * (k / (count - 1) - 0.5)).T
        density = np.exp(-((rows - row) ** 2) / 5) @ np.exp(-((columns - column) ** 2) / 5).T
        movie[k] = random.poisson(40 * np.exp(-0.3 * density))
    return movie


def write_movie(path: Path, seed: int = 0) -> Path:
    """One movie."""
    write_images(path, frames(seed), PIXEL_SIZE)
    return path


def write_tilt_movies(
    folder: Path, name: str = "TS_01", tilts: tuple[float, ...] = (0.0, 3.0, -3.0, 6.0, -6.0)
) -> Path:
    """Movies of a tilt series in the order in which they were taken, and the mdoc that names them."""
    sections = []
    for order, tilt in enumerate(tilts):
        movie = write_movie(folder / f"{name}_{order:03d}_{tilt:.1f}.mrc", seed=order)
        entries = {
            "TiltAngle": f"{tilt:g}",
            "ExposureDose": "3.0",
            "PixelSpacing": f"{PIXEL_SIZE:g}",
            "SubFramePath": f"X:\\frames\\{movie.name}",
            "DateTime": f"20-Nov-2026  12:{order:02d}:00",
        }
        sections.append(MdocSection("ZValue", str(order), entries))
    mdoc = folder / f"{name}.mrc.mdoc"
    header = {"PixelSpacing": f"{PIXEL_SIZE:g}", "Voltage": "300", "ImageFile": f"{name}.mrc"}
    write_mdoc(mdoc, Mdoc(header, ("SerialEM: Tilt axis angle = 85.0, binning = 1",), tuple(sections)))
    return mdoc


def write_model(folder: Path) -> Path:
    """A helix-like string of carbon and oxygen atoms."""
    turn = np.arange(120) * 0.5
    place = np.stack([9 * np.cos(turn), 9 * np.sin(turn), turn * 0.5 - 15], -1)
    atom = "ATOM  {:5d}  C   GLY A{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00 20.00           {}  \n"
    lines = [atom.format(k + 1, k % 999 + 1, x, y, z, "CO"[k % 2]) for k, (x, y, z) in enumerate(place)]
    path = folder / "string.pdb"
    path.write_text("".join(lines) + "END\n")
    return path
