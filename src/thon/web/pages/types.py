"""Job types as pages need them: which there are, and the form of each."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Collection
from typing import Any

from thon.job.registry import Listing, listings
from thon.web.faults import AbsentError
from thon.web.forms import Forms
from thon.web.served import Served

Json = dict[str, Any]

STAGES = ("import", "preprocess", "particles", "classify", "refine", "tomography", "post-process", "simulate", "tools")

FRESH = 5.0
"""For how long the list of types is believed, s; to look for them takes 20 ms."""

_forms = Forms()
_known: dict[str, Json] = {}
_asked: set[str] = set()


def known_types() -> dict[str, Listing]:
    """All job types and chains by name."""
    return _listed(int(time.monotonic() / FRESH))


@functools.lru_cache(maxsize=1)
def _listed(slot: int) -> dict[str, Listing]:
    return listings()


def by_stage() -> dict[str, list[Listing]]:
    """The job types under the headings where people look for them; what runs live has a page of its own."""
    every = [listing for listing in known_types().values() if listing.stage != "live"]
    stages = sorted({listing.stage for listing in every}, key=lambda stage: (_place(stage), stage))
    return {stage: [listing for listing in every if listing.stage == stage] for stage in stages}


def form_of(served: Served, name: str) -> Json:
    """Ports and options of a job type, as `thon.engine.forms.describe` has them.

    Raises:
        AbsentError: There is no such type.
    """
    found = _known[name] = _forms.describe(served.desk, _listing(name))
    return found


def fitting(served: Served, name: str, types: Collection[str]) -> dict[str, list[str]]:
    """For each port of a job type, which of some types yield what it takes."""
    return _forms.fitting(served.desk, _listing(name), types)


def schema_of(served: Served, name: str) -> Json | None:
    """The JSON Schema of a type's options where it is known; else it is looked up, for the next time."""
    if name in _known:
        return _known[name].get("options")
    if name not in _asked and name in known_types():
        _asked.add(name)
        threading.Thread(target=form_of, args=(served, name), daemon=True).start()
    return None


def _listing(name: str) -> Listing:
    found = known_types().get(name)
    if found is None:
        raise AbsentError(f"no job type '{name}'", expected="one of those on the page of new jobs")
    return found


def _place(stage: str) -> int:
    return STAGES.index(stage) if stage in STAGES else len(STAGES)
