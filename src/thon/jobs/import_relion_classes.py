"""Import a classification of RELION's, in two or three dimensions: particles in classes, with averages or maps.

Named by any of the stars of an iteration (run_it025_data.star, run_it025_model.star, …); nothing is copied.
"""

from __future__ import annotations

from pathlib import Path

from thon.base.options import Options
from thon.data.maps import ClassifiedParticles
from thon.formats.relion_read_results import read_classification
from thon.job.context import Context
from thon.job.spec import each


class ImportRelionClassesOptions(Options):
    need_images: bool = True
    """Refuse particles whose stacks are not there."""


def expand_classes(path: Path, options: Options) -> dict[str, dict[str, tuple[Path, ...]]]:
    """One classification, named after its file."""
    return {path.stem: {"file": (path,)}}


@each(title="Import classes of RELION", stage="import", expand=expand_classes)
def import_relion_classes(file: Path, options: ImportRelionClassesOptions, context: Context) -> ClassifiedParticles:
    found = read_classification(file, need_images=options.need_images)
    dimensions = "three" if found.averages is None else "two"
    context.log(f"{len(found):,} particles in {len(found.classes)} classes of {dimensions} dimensions.")
    return found
