"""Write tomograms and their tilt series as other programs want them, series by series, into one folder.

relion: tomograms.star with a star file of each tilt series. aretomo: what AreTomo3 leaves in its output folder. warp: a
.tomostar of each series. With --folder the files go there; a series that comes again takes its old place, but in
AreTomo's tables it gets another row, of which the last counts.
"""

from __future__ import annotations

import datetime
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from thon.algorithms.tilt_ctf_geometry import ctf_at_origin
from thon.base.errors import InputError
from thon.base.options import Options, Unit
from thon.data.tilt_series import TiltSeries
from thon.data.volume import Tomogram, Volume
from thon.formats.aretomo_session import AreTomoSession, write_session
from thon.formats.relion_tomo import RelionTomogram, read_tomograms, write_tomograms
from thon.formats.tomostar import write_tomostar
from thon.job.context import Context
from thon.job.spec import each
from thon.jobs.aretomo_export import AreTomoParts, write_aretomo

Layout = Literal["relion", "aretomo", "warp"]


class ExportTomogramsOptions(Options):
    write: tuple[Layout, ...] = ()
    """For whom: relion, aretomo, warp; several are separated by commas. Nothing is written unless said."""

    folder: str | None = None
    """Where the files go, a new folder or one from before; the job's own folder unless given."""

    stacks: bool = True
    """For AreTomo: also the stacks of the images."""

    second_bin: Annotated[int, Ge(1), Unit("1")] = 1
    """For AreTomo: a second volume, NAME_2ND_Vol.mrc, this many times coarser than the first; 1 writes none."""

    imod: Literal[0, 1, 2, 3] = 0
    """For AreTomo: the _Imod folder for RELION 4 (1), Warp (2) or with the aligned stack (3)."""


@each(title="Export tomograms", stage="tomography")
def export_tomograms(tomogram: Tomogram, options: ExportTomogramsOptions, context: Context) -> Path:
    listing = context.output("exported.txt")
    series = None if tomogram.tilts is None else _about_volume(tomogram.tilts, tomogram.volume)
    if options.write and series is None:
        raise InputError("the tilt series of this tomogram is not known", got=tomogram.series)
    folder = Path(options.folder).absolute() if options.folder else context.output("export")
    notes: list[str] = []
    if series is not None and options.write:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder):
            for layout in options.write:
                notes += _write(layout, folder, tomogram, series, options)
    for note in notes:
        context.log(note)
    listing.write_text("".join(f"{layout}: {folder}\n" for layout in options.write))
    return listing


def _write(
    layout: Layout, folder: Path, tomogram: Tomogram, series: TiltSeries, options: ExportTomogramsOptions
) -> list[str]:
    match layout:
        case "relion":
            return _write_relion(folder, tomogram, series)
        case "warp":
            return write_tomostar(folder / f"{series.name}.tomostar", series)
        case "aretomo":
            return _write_aretomo(folder, tomogram, series, options)


def _about_volume(series: TiltSeries, volume: Volume) -> TiltSeries:
    """The series with its geometry about the volume's centre, which others take for the specimen's."""
    return series.with_geometry(series.geometry.about(volume.origin))


def _write_relion(folder: Path, tomogram: Tomogram, series: TiltSeries) -> list[str]:
    """Put the series into `tomograms.star` among those that are there."""
    path = folder / "tomograms.star"
    others = read_tomograms(path, series.image_shape) if path.exists() else []
    binning = tomogram.volume.voxel_size / series.pixel_size
    z, y, x = (round(n * binning) for n in tomogram.volume.shape)
    columns = {"rlnTomoReconstructedTomogram": os.path.relpath(tomogram.volume.path, folder)}
    halves = {"rlnTomoReconstructedTomogramHalf1": tomogram.even, "rlnTomoReconstructedTomogramHalf2": tomogram.odd}
    columns |= {name: os.path.relpath(half.path, folder) for name, half in halves.items() if half is not None}
    own = RelionTomogram(_with_defocus_at_centre(series), volume_shape=(z, y, x), binning=binning, columns=columns)
    kept = [one for one in others if one.series.name != series.name]
    return write_tomograms(path, [*kept, own], relative_to=folder)


def _with_defocus_at_centre(series: TiltSeries) -> TiltSeries:
    """The series with the defocus that RELION means: at the tomogram's centre, not at each image's."""
    ctf, hand = series.ctf, series.hand
    if ctf is None or hand is None:
        return series
    return replace(series, ctf=ctf_at_origin(ctf, series.geometry, hand=hand))


def _write_aretomo(folder: Path, tomogram: Tomogram, series: TiltSeries, options: ExportTomogramsOptions) -> list[str]:
    session = folder / "AreTomo3_Session.json"
    if not session.exists():
        optics, volume = series.optics, tomogram.volume
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        parameters = {
            "kV": optics.voltage or 0.0,
            "Cs": optics.cs or 2.7,
            "AmpContrast": optics.amplitude_contrast or 0.07,
            "PixSize": series.pixel_size,
            "McBin": 1.0,
            "VolZ": round(volume.shape[0] * volume.voxel_size / series.pixel_size),
            "AtBin": [volume.voxel_size / series.pixel_size, 0.0, 0.0],
        }
        write_session(
            folder, AreTomoSession(parameters, {}, {"OutDir": str(folder)}, version=version("thon"), time=now)
        )
    return write_aretomo(folder, tomogram, series, AreTomoParts(options.stacks, options.imod, options.second_bin))


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold the folder: several series may be done at once."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
