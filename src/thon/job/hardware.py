"""What a job runs on: host, processor, memory, GPUs, and which machine of a cloud it is at what price."""

from __future__ import annotations

import getpass
import os
import platform
from functools import cache
from pathlib import Path

from thon.job.instance import Word, word
from thon.job.nvml import open_gpus
from thon.job.record import Machine


def describe_machine(gpus: int = 0) -> Machine:
    """The machine, with the first so many of the GPUs that this process may see."""
    host, instance = platform.node(), _word()
    return Machine(
        host=host,
        cpu=processor(),
        cores=len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        gpus=tuple(gpu.name for gpu in open_gpus()[:gpus]),
        provider=instance.provider,
        instance=instance.instance,
        region=instance.region,
        spot=instance.spot,
        lane=instance.lane,
        price=instance.price if instance.price is not None else instance.prices.get(host),
        currency=instance.currency,
    )


def user_name() -> str:
    """Who runs this process: the login name, or the number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@cache
def _word() -> Word:
    return word()


@cache
def processor() -> str:
    """Model of the processor, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
