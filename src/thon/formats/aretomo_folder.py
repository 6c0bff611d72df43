"""A folder as AreTomo 3 leaves it: names of its files, the text files of each series, and the `_Imod` folders.

Stacks and volumes are written by who has the images; here are their names. What AreTomo itself gets wrong is not
repeated: THICKNESS is the volume's real one, the x-tilt is written, no LOCALFILE is named, transforms keep their
decimals, `_CTF_Imod.txt` is what IMOD means by it, and only files of its own are replaced in an `_Imod` folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int

from thon.base.errors import InputError
from thon.data.geometry import TiltGeometry
from thon.data.tilt_series import TiltSeries
from thon.formats.aretomo import geometry_to_aln, write_aln
from thon.formats.aretomo_ctf import ctf_to_table, write_ctf_imod
from thon.formats.aretomo_tables import AreTomoTilts, write_ctf_table, write_tilt_table
from thon.formats.atomic import atomic_path
from thon.formats.ctf_values import select_ctf
from thon.formats.imod import write_imod
from thon.formats.text import PathLike


@dataclass(frozen=True)
class AreTomoNames:
    """Names of the files of one series.

    Args:
        folder: Folder of the session's results.
        series: Name of the series.
    """

    folder: Path
    series: str

    def _file(self, ending: str) -> Path:
        return self.folder / f"{self.series}{ending}"

    @property
    def stack(self) -> Path:
        """Motion-corrected images in ascending tilt order, dark ones included."""
        return self._file(".mrc")

    @property
    def even(self) -> Path:
        """The same from the even frames."""
        return self._file("_EVN.mrc")

    @property
    def odd(self) -> Path:
        """The same from the odd frames."""
        return self._file("_ODD.mrc")

    @property
    def volume(self) -> Path:
        """Tomogram."""
        return self._file("_Vol.mrc")

    @property
    def even_volume(self) -> Path:
        """Tomogram of the even frames."""
        return self._file("_EVN_Vol.mrc")

    @property
    def odd_volume(self) -> Path:
        """Tomogram of the odd frames."""
        return self._file("_ODD_Vol.mrc")

    @property
    def second_volume(self) -> Path:
        """Tomogram of the second binning, without CTF correction."""
        return self._file("_2ND_Vol.mrc")

    @property
    def third_volume(self) -> Path:
        """Tomogram of the third binning, without CTF correction."""
        return self._file("_3RD_Vol.mrc")

    @property
    def alignment(self) -> Path:
        """Alignment."""
        return self._file(".aln")

    @property
    def tilts(self) -> Path:
        """Tilt angles, acquisition order and dose."""
        return self._file("_TLT.txt")

    @property
    def ctf(self) -> Path:
        """CTF of each image."""
        return self._file("_CTF.txt")

    @property
    def spectra(self) -> Path:
        """Spectrum of each image, half measured and half fitted."""
        return self._file("_CTF.mrc")

    @property
    def imod_ctf(self) -> Path:
        """CTF of each image as IMOD's defocus file."""
        return self._file("_CTF_Imod.txt")

    @property
    def imod(self) -> Path:
        """Folder for IMOD, RELION 4 or Warp."""
        return self._file("_Imod")

    @property
    def logs(self) -> Path:
        """Folder of the series' logs."""
        return self._file("_Log")


def write_aretomo_tables(
    folder: PathLike, series: TiltSeries, *, thickness: float | None = None, precise: bool = True
) -> list[str]:
    """Write `.aln`, `_TLT.txt` and, where the CTFs are known, `_CTF.txt` and `_CTF_Imod.txt` of a series.

    Args:
        folder: Existing folder.
        series: Aligned; its excluded images stand as dark in the `.aln`, and in the other tables like all.
        thickness: Of the sample, Å.
        precise: More decimals in the `.aln` than AreTomo writes, which it reads as well.

    Returns:
        Sentences about what AreTomo's files cannot say.
    """
    names = AreTomoNames(Path(folder), series.name)
    geometry = series.geometry
    aln = geometry_to_aln(
        geometry, series.image_shape, series.pixel_size, excluded=series.excluded, thickness=thickness
    )
    write_aln(names.alignment, aln, precise=precise)
    write_tilt_table(names.tilts, AreTomoTilts(geometry.tilt, series.order, series.exposure))
    if series.ctf is not None:
        write_ctf_table(names.ctf, ctf_to_table(series.ctf, series.hand))
        write_ctf_imod(names.imod_ctf, series.ctf, geometry.tilt)
    return list(aln.notes)


def write_imod_folder(
    folder: PathLike, series: TiltSeries, variant: int, *, thickness: float, precise: bool = True
) -> tuple[Path, Int[np.ndarray, "images"], list[str]]:
    """Write an `_Imod` folder but for its stack.

    Args:
        folder: Existing folder of the session's results, with the series' stack `NAME.mrc`.
        series: Aligned.
        variant: 1 for RELION 4: all images, dark ones in EXCLUDELIST, the raw stack beside the folder. 2 for Warp:
            the raw images that take part. 3: those images aligned, their transforms the identity, their CTFs turned.
        thickness: Of the reconstruction, Å.
        precise: More decimals than IMOD writes.

    Returns:
        The stack that the com files name; the images of the series that it holds, in its order (for variants 2 and 3
        the caller writes it, for 3 in the frame of `aligned_geometry`); and sentences about what was left out.

    Raises:
        InputError: If there is no such variant.
    """
    if variant not in (1, 2, 3):
        raise InputError("there is no such variant of AreTomo's folder for IMOD", got=variant, expected="1, 2 or 3")
    names = AreTomoNames(Path(folder), series.name)
    names.imod.mkdir(exist_ok=True)
    at = np.arange(len(series)) if variant == 1 else series.kept
    geometry, shape = series.geometry.select(at), series.image_shape
    if variant == 3:
        geometry, shape = aligned_geometry(geometry, shape)
    stack = names.stack if variant == 1 else names.imod / f"{series.name}_st.mrc"
    notes = write_imod(
        names.imod,
        f"{series.name}_st",
        geometry,
        shape,
        series.pixel_size,
        thickness=thickness,
        excluded=series.excluded if variant == 1 else {},
        stack=f"../{stack.name}" if variant == 1 else stack.name,
        precise=precise,
    )
    if variant == 1:
        _write_order(names.imod / f"{series.name}_order_list.csv", series, at)
    else:
        _write_order(names.imod / f"{series.name}_st_order_list.csv", series, at)
        notes += _write_imod_ctf(names.imod / f"{series.name}_ctf.txt", series, at, turned=variant == 3)
    return stack, at, notes


def aligned_geometry(geometry: TiltGeometry, image_shape: tuple[int, int]) -> tuple[TiltGeometry, tuple[int, int]]:
    """Geometry and shape of the images once aligned: axis upright, no shift, no local motion, sides swapped with it."""
    count = len(geometry)
    aligned = TiltGeometry(geometry.tilt, np.zeros((count, 2)), np.zeros(count), geometry.x_tilt)
    lying = abs(np.sin(np.deg2rad(np.median(geometry.rotation)))) > np.sqrt(0.5)
    return aligned, (image_shape[1], image_shape[0]) if lying else image_shape


def _write_order(path: Path, series: TiltSeries, at: Int[np.ndarray, "images"]) -> None:
    """Acquisition order with its angles, first taken first; RELION wants a line's end after the last one as well."""
    chosen = at[np.argsort(series.order[at], kind="stable")]
    lines = [f"{series.order[k] + 1:4d},{series.geometry.tilt[k] + 0.0:.2f}" for k in chosen]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(["ImageNumber, TiltAngle", *lines]) + "\n")


def _write_imod_ctf(path: Path, series: TiltSeries, at: Int[np.ndarray, "images"], *, turned: bool) -> list[str]:
    """CTFs of the stack's images; turned with the images where these were aligned."""
    if series.ctf is None:
        return []
    ctf = select_ctf(series.ctf, at)
    if not np.isfinite(ctf.defocus).any():
        return [f"No image of {series.name} has a CTF: {path.name} is not written."]
    if turned:
        # The image is turned by minus the axis, and the spectrum with it.
        ctf = replace(ctf, angle=(ctf.angle - series.geometry.rotation[at]) % 180)
    write_ctf_imod(path, ctf, series.geometry.tilt[at])
    return []
