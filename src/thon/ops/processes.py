"""Share work between processes: each does its part of a list, and all of them get all results.

A process is one of several where RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are set, as torchrun sets them;
otherwise it is alone, and nothing is exchanged. All processes must come here in the same order with the same lists.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_MEETING = 300.0
"""How long processes that were started together may take to find each other, s."""

_PATIENCE = timedelta(days=7)
"""A process that died is noticed at once; one that has more to do may take its time."""


def process_count() -> int:
    """Number of processes that share the work."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that writes what is found."""
    return int(os.environ.get("RANK", "0")) == 0


def in_parts(items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]) -> list[Result]:
    """Results of a list in its order, of which each process does every n-th item.

    Args:
        items: The same in all processes.
        work: Does some of them.

    Raises:
        Exception: Whatever any of the processes met, in all of them.
        ConnectionError: Another process is gone.
    """
    count = process_count()
    if count == 1:
        return list(work(items))
    parts = _gathered(_attempt(lambda: list(work(items[int(os.environ["RANK"]) :: count]))))
    return [parts[k % count][k // count] for k in range(len(items))]


def from_first(make: Callable[[], Result]) -> Result:
    """What the first process makes, in all of them.

    Raises:
        Exception: Whatever the first process met, in all of them.
        ConnectionError: Another process is gone.
    """
    if process_count() == 1:
        return make()
    _meet()
    return _gathered(_attempt(make) if is_first() else None)[0]


def sum_over_processes(values: torch.Tensor) -> None:
    """Add up what the processes have, in place; exact, and the same however many they are, for whole numbers.

    Raises:
        ConnectionError: Another process is gone.
    """
    if process_count() > 1:
        _wait(_meet().all_reduce(values, async_op=True))


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    """What work finds, or the error that it meets, which the other processes must hear of."""
    try:
        return work()
    except Exception as error:
        return error


def _gathered(own: Any) -> list[Any]:
    """What each process has, in their order; the first error among it is raised."""
    group, count = _meet(), process_count()
    data = torch.frombuffer(bytearray(pickle.dumps(own)), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count)]
    _wait(group.all_gather(sizes, torch.tensor([len(data)]), async_op=True))
    padded = torch.cat([data, data.new_zeros(int(max(sizes)) - len(data))])
    received = [torch.empty_like(padded) for _ in range(count)]
    _wait(group.all_gather(received, padded, async_op=True))
    parts = [pickle.loads(one[: int(size)].numpy().tobytes()) for one, size in zip(received, sizes, strict=True)]
    for part in parts:
        if isinstance(part, Exception):
            raise part
    return parts


def _meet() -> Any:
    """PyTorch's collective functions, once the processes have found each other."""
    if torch.distributed.is_initialized():
        return torch.distributed
    failed: list[Exception] = []

    def join() -> None:
        try:
            torch.distributed.init_process_group("gloo", timeout=_PATIENCE)
        except Exception as error:
            failed.append(error)

    # In a thread of its own, because it hears no signal while it waits.
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    deadline = time.monotonic() + _MEETING
    while thread.is_alive():
        thread.join(0.05)
        if time.monotonic() > deadline or _is_lost():
            raise ConnectionError("the processes that are to share the work did not all come")
    if failed:
        raise ConnectionError("the processes that are to share the work cannot reach each other") from failed[0]
    return torch.distributed


def _wait(work: torch.distributed.Work) -> None:
    """Wait so that Ctrl-C is heard."""
    try:
        while not work.is_completed():
            if _is_lost():
                raise RuntimeError("its end was seen")
            time.sleep(0.002)
        work.wait()
    except RuntimeError as error:
        raise ConnectionError("a process that shared the work is gone") from error


def _is_lost() -> bool:
    """Whether whoever started the other processes has seen one end."""
    return "WORLD_LOST" in os.environ
