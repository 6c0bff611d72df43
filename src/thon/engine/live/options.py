"""How a live session behaves, as against what its jobs compute."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from thon.base.options import Advanced, Options, Unit

MOST_WORKERS = 4096
"""More than any session has use for."""


class LiveOptions(Options):
    """Watching a folder that fills."""

    idle: Annotated[float, Ge(0), Unit("s")] = 1800.0
    """End when nothing has arrived for so long; 0 does what is there and ends."""

    settle: Annotated[float, Ge(0), Unit("s")] = 5.0
    """A file is taken up when its size and its time of change have stayed the same for so long."""

    tilts: Annotated[int | None, Ge(1), Unit("1")] = None
    """Images of a tilt series: it is complete at once when it has so many."""

    series_idle: Annotated[float, Ge(0), Unit("s")] = 300.0
    """A tilt series, whose number of images is not known, is complete when none was added for so long."""

    order: Literal["in-order", "newest-first"] = "in-order"
    """What to do first of what waits for the same step; later steps always go first."""

    workers: Annotated[int | None, Ge(1), Le(MOST_WORKERS), Unit("1")] = None
    """Worker processes of one thread each, as many as CPUs unless given; on a lane its workers, as many as it says."""

    interim: bool = True
    """Align a tilt series with the images that are there so far while workers have nothing else to do."""

    include: tuple[str, ...] = ()
    """Patterns of file names to take, such as *.eer,*.mdoc; all unless given. A pattern with a / is for the path."""

    exclude: tuple[str, ...] = ()
    """Patterns of file names, or of paths, to leave alone."""

    skip: Annotated[tuple[str, ...], Advanced()] = (".*", "*.part", "*.tmp", "*~", "*.filepart", "Thumbs.db")
    """Names of files and folders that are never looked at."""

    attempts: Annotated[int, Ge(1), Unit("1"), Advanced()] = 3
    """How often an item is tried where something of ours or of the machine fails; a bad file is not tried again."""

    backoff: Annotated[float, Ge(0), Unit("s"), Advanced()] = 10.0
    """Time before the second attempt; it doubles with each further one."""

    poll: Annotated[float, Gt(0), Unit("s"), Advanced()] = 2.0
    """Time between two looks at the folder."""

    keep_fetched: Annotated[bool, Advanced()] = True
    """Keep the copies of what was fetched from an object store; without it they go once an item is done."""
