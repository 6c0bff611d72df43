"""What the machine of a lane is like: ``python -m thon.engine.lanes.probe FOLDER`` there writes `probe-RANK.json`."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from thon.job.hardware import describe_machine, user_name
from thon.job.machine import cpus, free_memory, software
from thon.job.nvml import open_gpus
from thon.job.ranks import take_rank

_TOGETHER = """
import os, torch, torch.distributed as group
group.init_process_group("gloo", rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]))
total = torch.tensor([float(os.environ["RANK"])])
group.all_reduce(total)
print(int(total))
"""
"""Several processes add up their numbers, as those that share a refinement do."""

PATIENCE = 120.0
"""How long processes may take to find each other, s."""


def main() -> int:
    """Write what this machine is like; returns the exit code."""
    folder, rank = Path(sys.argv[1]), take_rank()
    (folder / f"probe-{rank}.json").write_text(json.dumps(report()))
    return 0


def report() -> dict[str, Any]:
    """What there is here, for a process of a job."""
    machine, gpus = describe_machine(64), open_gpus()
    told: dict[str, Any] = {
        "host": machine.host,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "user": user_name(),
        "cpu": machine.cpu,
        "cpus": cpus(),
        "memory": free_memory(),
        "gpus": [gpu.name for gpu in gpus] or os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "python": platform.python_version(),
        "thon": software().version,
        "instance": machine.instance,
        "price": machine.price,
    }
    count = int(os.environ.get("WORLD_SIZE", "1"))
    return told if count == 1 else told | {"together": _together(count)}


def _together(count: int) -> str:
    """Why several processes cannot work together; empty where they can."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TOGETHER], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"they have not found each other in {PATIENCE:.0f} s"
    total = count * (count - 1) // 2
    if done.returncode == 0 and done.stdout.strip() == str(total):
        return ""
    return "\n".join(done.stderr.strip().splitlines()[-3:]) or f"found {done.stdout.strip()}, expected {total}"


if __name__ == "__main__":
    sys.exit(main())
