"""What Slurm's words mean: states and reasons in plain sentences, and what follows from how a job ended."""

from __future__ import annotations

import re

from thon.engine.lanes.contract import Ending
from thon.engine.slurm.commands import Account, Queued
from thon.job.worker import INTERRUPTED

TRIES = 20
"""Submissions of one job, each where the one before was cut short, until a person must look at it."""

AGAIN = {
    "TIMEOUT": "reached the lane's time limit",
    "NODE_FAIL": "lost its node",
    "PREEMPTED": "had to make room for another job",
    "BOOT_FAIL": "got a node that did not start",
    "REQUEUE_HOLD": "was requeued and held",
    "SPECIAL_EXIT": "was requeued and held",
}
"""States after which a job goes on where it stopped."""

LAST = {
    "OUT_OF_MEMORY": "took more memory than its lane gives: give the lane more `memory`, or the job a lower --memory "
    "or fewer --workers; `thon resume` goes on where it stopped",
    "DEADLINE": "could not end before the deadline that was set for it in Slurm",
    "REVOKED": "was taken back by the cluster that it was submitted to",
}
"""States after which a person must look, in words."""

REASONS = {
    "None": "Slurm has not looked at it yet",
    "Resources": "no free node has what it asks for",
    "Priority": "others are before it in the queue",
    "BeginTime": "it was requeued, and starts again within two minutes",
    "Dependency": "it waits for another job of Slurm",
    "JobHeldUser": "it is held; `scontrol release` frees it",
    "JobHeldAdmin": "an administrator holds it",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "PartitionNodeLimit": "the partition has not so many nodes",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "ReqNodeNotAvail": "the nodes that it could run on are down, or reserved",
    "Reservation": "it waits for its reservation",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it asks for",
    "Licenses": "it waits for a licence",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its quality of service is not valid",
    "Cleaning": "Slurm clears up after its last run",
    "launch failed requeued held": "Slurm could not start it, and holds it",
}
"""Slurm's reasons in plain words."""

LIMITS = re.compile(r"(QOS|Assoc|Max|Grp)\w*(Cpu|GRES|Gres|Mem|Node|Job|Submit|Wall|TRES|Billing|Minutes|Run)\w*")
"""Reasons that name a limit of an account or a quality of service."""

STATES = {
    "CONFIGURING": "its nodes are being started",
    "COMPLETING": "Slurm clears up after it",
    "SUSPENDED": "it is suspended",
    "STOPPED": "it is stopped",
    "REQUEUED": "it was requeued",
    "STAGE_OUT": "its files are fetched",
}


def words_of(job: Queued) -> str:
    """Where a job in the queue stands, in plain words with Slurm's own behind them."""
    if job.state == "RUNNING":
        return f"running on {job.nodes}"
    if job.state != "PENDING":
        return f"{STATES.get(job.state, 'in the queue')} ({job.state})"
    start = "" if job.start in ("", "N/A") else f", expected to start {job.start.replace('T', ' ')}"
    return f"queued: {plain_reason(job.reason)} ({job.reason}){start}"


def plain_reason(reason: str) -> str:
    """Slurm's reason in plain words."""
    word = reason.split(",", maxsplit=1)[0].strip("()")
    if word not in REASONS and LIMITS.search(word):
        return "a limit of your account or quality of service is reached"
    return REASONS.get(word, "Slurm's reason is")


def ending_of(account: Account, *, told: int | None, stopped: bool, left: bool, tries: int, log: str) -> Ending:
    """What follows from how a job of Slurm ended.

    Args:
        account: How it ended.
        told: Exit code that its worker told; None where it told no end of the job.
        stopped: Whether we cancelled it because nobody wants it run any more.
        left: Whether we cancelled it to go to the next lane.
        tries: How many times it was submitted.
        log: The last lines that it said.
    """
    state = account.state
    if stopped or state == "CANCELLED":
        by = account.by or "somebody"
        following = "fall" if left and not stopped else "end"
        return Ending(INTERRUPTED, following, "" if stopped or left else f"was cancelled in Slurm by {by}")
    if state in AGAIN or INTERRUPTED in (account.code, told):
        return _after_cut(AGAIN.get(state, "was told to stop, as before a time limit or to make room,"), tries)
    if state in LAST:
        return Ending(1, words=LAST[state])
    if told is not None:
        return Ending(told)
    how = f"signal {account.signal}" if account.signal else f"exit code {account.code}"
    return Ending(account.code or 1, words=f"the worker could not run: Slurm tells {state}, {how}\n  {log}".rstrip())


def _after_cut(why: str, tries: int) -> Ending:
    """A job that was cut short by no fault of its own goes on, unless that has happened too often."""
    if tries < TRIES:
        return Ending(INTERRUPTED, "again", f"{why} and goes on where it stopped")
    return Ending(1, words=f"{why}, for the {tries}th time; `thon resume` tries again")
