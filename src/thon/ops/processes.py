"""Share work between processes: each does its part of a list, and all of them get all results.

A process is one of several where RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set, as torchrun sets them;
otherwise it is alone, and nothing is exchanged. All processes must come here in the same order with the same lists.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")

_PATIENCE = timedelta(days=7)
"""A process that died is noticed at once; one that has more to do may take its time."""


def process_count() -> int:
    """Number of processes that share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_part(items: Sequence[Item]) -> Sequence[Item]:
    """What this process is to do of a list: every n-th item, so that parts are alike."""
    count = process_count()
    return items if count == 1 else items[int(os.environ["RANK"]) :: count]


def all_results(own: Sequence[Item]) -> list[Item]:
    """Results of all processes, each of which did its `own_part`, in the order of the whole list.

    Raises:
        ConnectionError: Another process is gone.
    """
    count = process_count()
    if count == 1:
        return list(own)
    data = torch.frombuffer(bytearray(pickle.dumps(list(own))), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count)]
    _wait(_group().all_gather(sizes, torch.tensor([len(data)]), async_op=True))
    longest = int(max(sizes))
    padded = torch.cat([data, data.new_zeros(longest - len(data))])
    gathered = [torch.empty_like(padded) for _ in range(count)]
    _wait(_group().all_gather(gathered, padded, async_op=True))
    parts = [pickle.loads(one[: int(size)].numpy().tobytes()) for one, size in zip(gathered, sizes, strict=True)]
    return [parts[k % count][k // count] for k in range(sum(map(len, parts)))]


def sum_over_processes(values: torch.Tensor) -> None:
    """Add up what the processes have, in place; exact, and the same however many they are, for whole numbers.

    Raises:
        ConnectionError: Another process is gone.
    """
    if process_count() > 1:
        _wait(_group().all_reduce(values, async_op=True))


def _group() -> Any:
    """PyTorch's collective functions, once the processes have found each other."""
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
    return torch.distributed


def _wait(work: torch.distributed.Work) -> None:
    """Wait so that Ctrl-C is heard."""
    try:
        while not work.is_completed():
            time.sleep(0.002)
        work.wait()
    except RuntimeError as error:
        raise ConnectionError("a process that shared the work is gone") from error
