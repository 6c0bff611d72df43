"""Let all tilt series of a session vote on the hand, the sign of the defocus gradient, that they share.

Each series counts by how clearly its own CTFs tell. Give the result to `tilt-ctf --hand` where a series alone does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from thon.algorithms.tilt_ctf import vote_hand as count_votes
from thon.base.errors import InputError
from thon.data.tilt_series import TiltSeries
from thon.job.context import Context
from thon.job.spec import whole


@dataclass(frozen=True)
class HandVote:
    """The hand of a session.

    Args:
        hand: +1 or −1, as RELION's rlnTomoHand.
        confidence: 0 to 1.
        votes: What the images of each series tell by themselves, as hand × confidence, by name.
    """

    hand: int
    confidence: float
    votes: dict[str, float]


@whole(title="Vote on the hand", stage="tomography")
def vote_hand(series: tuple[TiltSeries, ...], context: Context) -> HandVote:
    votes = {
        one.name: one.ctf.hand_confidence
        for one in series
        if one.ctf is not None and math.isfinite(one.ctf.hand_confidence)
    }
    hand, confidence = count_votes([2 * math.atanh(max(-0.9999, min(0.9999, vote))) for vote in votes.values()])
    if hand is None:
        raise InputError("no series tells the hand", got=f"{len(series)} series", mend="run tilt-ctf on them first")
    context.log(f"Hand {hand:+d} with a confidence of {confidence:.3f}, from {len(votes)} series.")
    for name, vote in votes.items():
        if vote * hand < 0:
            context.warn(f"{name} by itself says {-hand:+d}, with a confidence of {abs(vote):.2f}.")
    return HandVote(hand, confidence, votes)
