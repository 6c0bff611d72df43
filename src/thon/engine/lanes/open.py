"""From what a lane's options say to the lane."""

from __future__ import annotations

from thon.engine.lanes.contract import Lane
from thon.engine.lanes.local import LocalLane
from thon.engine.lanes.options import LaneOptions


def open_lane(name: str, options: LaneOptions) -> Lane:
    """A lane of the kind that its options name."""
    if options.kind == "local":
        return LocalLane(options, name)
    from thon.engine.slurm.lane import SlurmLane  # noqa: PLC0415

    return SlurmLane(options, name)
