"""Write picks as RELION lists them: autopick.star with a file for each micrograph, and the micrographs with their CTFs.

Names count from --relion, the folder in which RELION will run; from the folder of the files unless it is given.
"""

from __future__ import annotations

from pathlib import Path

from thon.base.options import Options
from thon.data.maps import Picks
from thon.formats.relion_coordinate_list import write_coordinate_list
from thon.formats.relion_micrographs import write_micrographs
from thon.job.context import Context
from thon.job.spec import whole


class ExportPicksOptions(Options):
    folder: str | None = None
    """Where the files go; the job's own folder unless given."""

    relion: str | None = None
    """Folder of the RELION project; the one where the files go unless given."""


@whole(title="Export picks", stage="particles")
def export_picks(picks: tuple[Picks, ...], options: ExportPicksOptions, context: Context) -> Path:
    own = context.output("export", title=None if options.folder else "Exported picks")
    folder = Path(options.folder).absolute() if options.folder else own
    folder.mkdir(parents=True, exist_ok=True)
    project = options.relion or folder
    write_coordinate_list(folder / "autopick.star", picks, relative_to=project)
    micrographs = [one.micrograph for one in picks]
    for note in write_micrographs(folder / "micrographs_ctf.star", micrographs, relative_to=project):
        context.warn(note)
    context.log(f"{sum(map(len, picks)):,} picks of {len(picks)} micrographs.")
    return folder
