"""Write micrographs as RELION lists them: corrected_micrographs.star and, once CTFs are fitted, micrographs_ctf.star.

File names count from --relion, the folder in which RELION will run.
"""

from __future__ import annotations

from pathlib import Path

from thon.base.options import Options
from thon.data.micrograph import CtfMicrograph, Micrograph
from thon.formats.relion_micrographs import write_micrographs
from thon.job.context import Context
from thon.job.spec import whole


class ExportMicrographsOptions(Options):
    relion: str | None = None
    """Folder of the RELION project; file names are absolute unless it is given."""


@whole(title="Export micrographs", stage="preprocess")
def export_micrographs(
    micrographs: tuple[Micrograph, ...], options: ExportMicrographsOptions, context: Context
) -> Path:
    fitted = all(isinstance(one, CtfMicrograph) and one.fit is not None for one in micrographs)
    path = context.output("micrographs_ctf.star" if fitted else "corrected_micrographs.star", title="Micrographs")
    for note in write_micrographs(path, micrographs, relative_to=options.relion or path.parent):
        context.log(note)
    context.log(f"{len(micrographs)} micrographs, {'with' if fitted else 'without'} CTFs.")
    return path
