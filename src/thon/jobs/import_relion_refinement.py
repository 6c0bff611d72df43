"""Import a refinement of RELION's: particles with poses and half sets, the map and its halves.

Named by any of its stars (run_data.star, run_model.star, …), which lie together in the job's folder; nothing is copied.
"""

from __future__ import annotations

from pathlib import Path

from thon.base.options import Options
from thon.data.maps import RefinedParticles
from thon.formats.relion_read_results import read_refinement
from thon.job.context import Context
from thon.job.spec import each


class ImportRelionRefinementOptions(Options):
    need_images: bool = True
    """Refuse particles whose stacks are not there."""


def expand_refinement(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """One refinement, named after its file."""
    return {path.stem: {"file": (path,)}}


@each(title="Import refinement of RELION", stage="import", expand=expand_refinement)
def import_relion_refinement(file: Path, options: ImportRelionRefinementOptions, context: Context) -> RefinedParticles:
    found = read_refinement(file, need_images=options.need_images)
    context.log(
        f"{len(found):,} particles, a map of {found.volume.shape[0]} voxels of {found.volume.voxel_size:g} Å at "
        f"{found.resolution:.2f} Å, symmetry {found.symmetry}."
    )
    return found
