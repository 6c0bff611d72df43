"""How the jobs of a project stand, in the form in which it is told to those who look."""

from __future__ import annotations

from typing import Any

from thon.web.api.models import job_out
from thon.web.cards import cards_of
from thon.web.served import Served


def picture(served: Served) -> dict[str, Any]:
    """Every job by number, as `GET jobs` tells it."""
    return {card.job: job_out(card).model_dump(mode="json") for card in cards_of(served)}
