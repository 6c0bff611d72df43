"""Slurm's commands: each is run with a limit on its time, and what it says is read with distrust.

Two kinds of trouble are told apart: the cluster does not answer, now, and is asked again later; or it refuses, and
somebody must mend something.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thon.base.errors import InputError, JobError

TIMEOUT = 60.0
"""Longest time to wait for a command, s."""

PASSING = re.compile(
    r"contact slurm controller|timed out|connection refused|temporarily|zero bytes were transmitted|try again|"
    r"transport endpoint|connect failure|unexpected message|unable to establish|SubmitJobLimit|MaxJobCount|"
    r"not responding|unable to connect|slurmdbd.*(down|unavailable)|io error|protocol authentication",
    re.IGNORECASE,
)
"""What Slurm says of trouble that passes."""


class SilentError(JobError):
    """The cluster does not answer, or with nonsense; it may later."""


class RefusedError(InputError):
    """The cluster will not have it, or is not there at all."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue.

    Args:
        batch: Its number.
        name: Its name.
        state: Slurm's word for it, such as PENDING.
        nodes: Where it runs.
        start: When Slurm expects it to start; "N/A" where it does not know.
        reason: Slurm's word for why it does not run.
    """

    batch: str
    name: str
    state: str
    nodes: str = ""
    start: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Account:
    """What Slurm knows of a job that has ended.

    Args:
        state: Slurm's word, such as COMPLETED.
        code: Exit code of the script.
        signal: Signal that ended it; 0 where none did.
        by: Who cancelled it.
        told: Of the accounting, what goes into the record of the run.
    """

    state: str
    code: int = 0
    signal: int = 0
    by: str = ""
    told: Mapping[str, Any] = field(default_factory=dict[str, Any])


def sbatch(script: Path) -> str:
    """Submit a script; returns the number of the job.

    Raises:
        RefusedError: Slurm is not installed here, or will not have the job as it is.
        SilentError: It does not answer, or with nonsense: the job may be in the queue, or not.
    """
    said = run("sbatch", "--parsable", str(script)).strip()
    number = said.split(";")[0].splitlines()[-1:] or [""]
    if not number[0].isdigit():
        raise SilentError("sbatch said something that is no job number", got=said[:200])
    return number[0]


def squeue(*arguments: str) -> dict[str, Queued]:
    """The jobs of this user that wait or run, by number.

    Raises:
        SilentError: Slurm does not answer, or with nonsense.
        RefusedError: Slurm is not installed here.
    """
    lines = run("squeue", "--me", "--noheader", "--format=%i|%T|%N|%S|%r|%j", *arguments).splitlines()
    found: dict[str, Queued] = {}
    for line in lines:
        parts = line.strip().split("|", 5)
        if len(parts) != 6 or not parts[0]:
            raise SilentError("squeue said something that is no list of jobs", got=line[:200])
        found[parts[0]] = Queued(parts[0], parts[5], *parts[1:5])
    return found


def numbers_of(name: str) -> list[str]:
    """The numbers of the jobs of a name, those that have ended included as far as there is accounting.

    Raises:
        SilentError: Slurm does not answer.
    """
    found = list(squeue(f"--name={name}"))
    try:
        span = ("--starttime=now-30days", "--endtime=now+1days")  # without an end, what ended just now is left out
        lines = run("sacct", "-n", "-P", "-X", f"--name={name}", *span, "--format=JobID").splitlines()
    except RefusedError:  # no accounting
        lines = []
    return sorted({*found, *(line for line in lines if line.isdigit())}, key=int)


def scancel(batch: str, *arguments: str) -> None:
    """Cancel a job, if it is what the arguments say, such as its name; one that has ended already is no trouble.

    Raises:
        SilentError: Slurm does not answer.
    """
    run("scancel", *arguments, batch, allowed=("Invalid job id", "already completing", "already completed"))


def scancel_named(name: str) -> None:
    """Cancel all jobs of a name.

    Raises:
        SilentError: Slurm does not answer.
    """
    run("scancel", f"--name={name}", allowed=("already completing", "already completed"))


def start_now(batch: str) -> None:
    """Let a job that was requeued start as soon as there is room, and not after Slurm's pause of two minutes.

    Raises:
        SilentError: Slurm does not answer.
        RefusedError: The job has begun, or has ended.
    """
    run("scontrol", "update", f"jobid={batch}", "StartTime=now")


def accounting(batch: str, name: str) -> Account | None:
    """What `sacct` says of a job of that number and name that has ended; None where it does not know of its end yet.

    Raises:
        SilentError: Slurm does not answer, or with nonsense.
        RefusedError: There is no accounting.
    """
    said = run("sacct", "--json", "-j", batch)
    try:
        jobs = [job for job in json.loads(said)["jobs"] if (str(job["job_id"]), job["name"]) == (batch, name)]
        return None if not jobs or not _is_over(_state(jobs[-1])) else _account(jobs[-1])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SilentError("sacct said something that is no accounting", got=said[:200]) from error


def shown(batch: str, name: str) -> Account | None:
    """What `scontrol` says of a job that has ended; None where it has not. It forgets a job after some minutes.

    Raises:
        SilentError: Slurm does not answer.
        RefusedError: Slurm does not know the job any more.
    """
    fields = dict(re.findall(r"(\w+)=(\S*)", run("scontrol", "show", "job", "-o", batch)))
    if fields.get("JobName") != name:
        raise RefusedError("this number is another job's", got=fields.get("JobName"), expected=name)
    state = fields.get("JobState", "")
    if not _is_over(state):
        return None
    code, _, number = fields.get("ExitCode", "0:0").partition(":")
    told = {"batch": batch, "state": state, "nodes": fields.get("NodeList", ""), "exit_code": int(code or 0)}
    return Account(state, int(code or 0), int(number or 0), told=told)


def run(program: str, *arguments: str, allowed: Sequence[str] = ()) -> str:
    """Run one of Slurm's commands and return what it says.

    Raises:
        SilentError: It does not answer in time, or tells of trouble that passes.
        RefusedError: It is not there, or refuses; not where it says something that is `allowed`.
    """
    if shutil.which(program) is None:
        mend = "run this where Slurm's commands are, or mend the lane's `kind`"
        raise RefusedError(f"there is no {program} on this machine", mend=mend)
    environment = os.environ | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%Y-%m-%dT%H:%M:%S"}
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=TIMEOUT,
            check=False,
            start_new_session=True,  # Ctrl-C is ours, and sbatch must not be cut short by it
        )
    except subprocess.TimeoutExpired as error:
        raise SilentError(f"{program} has not answered for {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise SilentError(f"{program} cannot be run", got=error) from error
    said, complaint = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace").strip()
    if done.returncode == 0 or any(text in complaint for text in allowed):
        return said
    lines = (re.sub(rf"^{program}: (error|fatal): ", "", line) for line in complaint.splitlines())
    told = "\n  ".join(dict.fromkeys(lines))
    if PASSING.search(complaint) or done.returncode < 0 or not complaint:
        raise SilentError(f"{program} does not get through", got=told or f"exit code {done.returncode}")
    raise RefusedError(f"Slurm refuses: {told or f'{program} ended with {done.returncode}'}")


def _is_over(state: str) -> bool:
    going_on = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "RESIZING", "STAGE_OUT", "")
    return state not in going_on


def _state(job: Mapping[str, Any]) -> str:
    """The state of a job, which newer versions give as a list."""
    current = job["state"]["current"]
    words = current if isinstance(current, list) else [current]
    return str(words[0]).split()[0] if words else ""


def _account(job: Mapping[str, Any]) -> Account:
    steps: list[Mapping[str, Any]] = job.get("steps") or []
    exit_, times = job.get("exit_code") or {}, job["time"]
    code, signal = (
        _number(exit_.get("return_code")),
        _number((exit_.get("signal") or {}).get("signal_id") or (exit_.get("signal") or {}).get("id")),
    )
    totals = [_seconds(step["time"]["total"]) for step in steps] or [_seconds(times["total"])]
    energies = [_number(step["statistics"]["energy"]["consumed"]) for step in steps if "statistics" in step]
    told = {
        "batch": str(job["job_id"]),
        "state": _state(job),
        "exit_code": code,
        "partition": job.get("partition", ""),
        "nodes": job.get("nodes", ""),
        "elapsed": _number(times["elapsed"]),
        "waited": max(0, _number(times["start"]) - _number(times["submission"])),
        "cpu_seconds": round(sum(totals), 3),
        "peak_memory": max((_memory(step) for step in steps), default=0),
        "energy": max(energies, default=0) or None,
        "tres": _tres(job, steps),
    }
    return Account(_state(job), code, signal, str(job.get("kill_request_user") or ""), told)


def _number(value: Any) -> int:
    """A number, which newer versions wrap."""
    inner = value.get("number", 0) if isinstance(value, dict) else value
    return int(inner or 0)


def _seconds(time: Mapping[str, Any]) -> float:
    return _number(time["seconds"]) + _number(time["microseconds"]) / 1e6


def _memory(step: Mapping[str, Any]) -> int:
    """Largest memory of a step's tasks, bytes."""
    most = step["tres"]["requested"]["max"]
    return max((_number(one.get("count")) for one in most if one.get("type") == "mem"), default=0)


def _tres(job: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What was allocated: CPUs, memory in MB, nodes, GPUs."""
    given: Sequence[Mapping[str, Any]] = (job.get("tres") or {}).get("allocated") or (
        steps[0]["tres"]["allocated"] if steps else []
    )
    return {str(one.get("name") or one["type"]): _number(one.get("count")) for one in given}
