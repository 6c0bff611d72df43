"""Several processes share the counting of a set, each its part."""

from __future__ import annotations

import os

from thon_own_jobs.count_up_to import Count

from thon.base.options import Options
from thon.job.context import Context
from thon.job.spec import whole
from thon.ops.processes import in_parts


class ShareCountOptions(Options):
    """None."""


@whole(title="Share", stage="test", spreads=True)
def share_count(counts: tuple[Count, ...], options: ShareCountOptions, context: Context) -> Count:
    found = in_parts([one.total for one in counts], lambda part: [(2 * value, _node()) for value in part])
    path = context.output("shared.txt", title="Shared")
    path.write_text(" ".join(sorted({node for _, node in found})) + "\n")
    return Count(str(path), sum(value for value, _ in found))


def _node() -> str:
    return f"{os.environ.get('RANK', '0')}/{os.environ.get('WORLD_SIZE', '1')}"
