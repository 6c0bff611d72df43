"""Make this folder's tilt series from the 10 Å stack and Warp metadata in warpylib's test data; see README.md.

python examples/empiar-10499/make_example.py FOLDER_WITH_00254_FILES OUTPUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch

from thon.formats.images import open_images
from thon.formats.mdoc import Mdoc, MdocSection, write_mdoc
from thon.formats.mrc_writer import MrcWriter
from thon.formats.tlt import read_angles, write_angles
from thon.ops.fourier import fourier_crop

SHAPE = (420, 434)
"""Two thirds of 630 × 651: exactly 15 Å in place of 10 Å."""


def main(source: Path, target: Path) -> None:
    """Write the stack, its angles and an mdoc with what is known of the acquisition."""
    with (
        open_images(source / "00254.stack.mrc") as stack,
        MrcWriter(target / "TS_00254.st", (len(stack), *SHAPE), 15.0, dtype="float16") as writer,
    ):
        for k in range(len(stack)):
            # Without the first column, the centre pixel 652 // 2 = 326 becomes 651 // 2 = 325: the same pixel.
            writer[k] = fourier_crop(torch.from_numpy(stack.image(k)[:, 1:].copy()), SHAPE).numpy()
    tilt = read_angles(source / "00254.tlt")
    write_angles(target / "TS_00254.tlt", tilt)
    warp = ElementTree.parse(source / "00254.xml").getroot()
    dose = np.array(warp.findtext("Dose", "").split(), float)
    movies = warp.findtext("MoviePath", "").split()
    write_mdoc(target / "TS_00254.mdoc", describe(tilt, dose, movies))


def describe(tilt: np.ndarray, dose: np.ndarray, movies: list[str]) -> Mdoc:
    """The mdoc. Nothing stands in it that the source does not say: no times, no tilt axis."""
    step = float(np.diff(np.sort(dose)).mean())
    header = {
        "PixelSpacing": "15",
        "Voltage": "300",
        "ImageFile": "TS_00254.st",
        "ImageSize": f"{SHAPE[1]} {SHAPE[0]}",
        "DataMode": "12",
    }
    sections = tuple(
        MdocSection(
            "ZValue",
            str(k),
            {
                "TiltAngle": f"{tilt[k]:.2f}",
                "ExposureDose": f"{step:g}",
                "PriorRecordDose": f"{dose[k]:g}",
                "SubFramePath": movies[k].rpartition("/")[2],
            },
        )
        for k in range(len(tilt))
    )
    return Mdoc(
        header, ("thon: written from Warp's metadata of EMPIAR-10499 series 00254, not by a microscope",), sections
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
