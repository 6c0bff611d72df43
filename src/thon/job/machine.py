"""What runs a job: the versions, and the resources that it may use."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from thon.job.plan import Resources
from thon.job.record import JobRecord, RunSettings, Software
from thon.job.registry import load_job

PACKAGES = ("torch", "numba", "numpy", "scipy")


def now() -> str:
    """The present time, ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def software() -> Software:
    """Versions of thon and of what it computes with, and thon's commit where it runs from a checkout."""
    packages: dict[str, str] = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return Software(version=_version(), commit=_commit(), python=platform.python_version(), packages=packages)


def job_resources(record: JobRecord) -> Resources:
    """Resources of the whole job as its settings ask for them, on this machine."""
    return resources(record.settings, load_job(record.type).gpus)


def resources(settings: RunSettings, gpus: int) -> Resources:
    """Resources of a whole job of a type that can use so many GPUs, on this machine."""
    memory = int(settings.memory * 1e9) if settings.memory is not None else int(0.8 * free_memory())
    device = settings.device
    if device == "auto":
        device = "cuda" if gpus and Path("/dev/nvidiactl").exists() else "cpu"
    return Resources(threads=settings.threads or cpus(), memory=memory, device=device)


def devices(device: str) -> list[str]:
    """The devices that a general name stands for: each GPU that this process may see, or the CPU."""
    if device != "cuda":
        return [device]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = len(list(Path("/dev").glob("nvidia[0-9]*"))) if visible is None else len(visible.split(","))
    return [f"cuda:{k}" for k in range(max(count, 1))]


def held_gpus(device: str, gpus: int) -> int:
    """Number of GPUs that a job of a type that can use so many holds: those that it was given, else what it uses."""
    if not gpus or not device.startswith("cuda"):
        return 0
    count = len(devices("cuda"))
    return count if "CUDA_VISIBLE_DEVICES" in os.environ else min(count, gpus)


def process_count(record: JobRecord) -> int:
    """Number of processes that do the job: one for each item at most, or several for its one item."""
    most = record.settings.workers
    return most if load_job(record.type).spreads else min(most, max(len(record.items), 1))


def share(whole: Resources, workers: int) -> Resources:
    """What one of several workers may use."""
    return Resources(max(1, whole.threads // workers), whole.memory // workers, whole.device)


def limit_threads(threads: int) -> None:
    """Tell numerical libraries, which this process has not loaded yet, how many threads they may start."""
    os.environ.update(thread_variables(threads))


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that tell numerical libraries how many threads they may start."""
    return {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)),
        # NumPy's products here are small: its threads would wait for each other longer than they work.
        "OPENBLAS_NUM_THREADS": "1",
        # Threads that wait leave their core to other programs.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
    }


def cpus() -> int:
    """CPUs that this process may use; what Slurm allotted counts, where it does not bind processes to it."""
    there = len(os.sched_getaffinity(0))
    return min(there, int(os.environ.get("SLURM_CPUS_ON_NODE", there)))


def free_memory() -> int:
    """Memory that can be used without swapping, bytes; a container's limit, and what Slurm allotted, count."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    if "SLURM_MEM_PER_NODE" in os.environ:
        free = min(free, int(os.environ["SLURM_MEM_PER_NODE"]) << 20)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        return free


def _version() -> str:
    try:
        return importlib.metadata.version("thon")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _commit() -> str | None:
    """Commit of the checkout that thon runs from, with "+" where it was changed since; None for an installed thon."""
    folder = Path(__file__).parent
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", str(folder.parent))
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}{'+' if changed else ''}" if tracked else None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
