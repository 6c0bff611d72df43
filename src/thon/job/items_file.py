"""`items.jsonl` of a live job: a line for each item each time that it has ended; the last line of an item counts.

The same line lies in the item's own folder as `item.json`, put there in the same step as its outputs, so that the
folder alone tells what an item was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from thon.job.fingerprint import Fingerprint
from thon.job.record import ItemResult, JobRecord, Reference

ITEM_FILE = "item.json"


class ItemLine(BaseModel):
    """How an item ended, and what it was made from."""

    item: str
    basis: str = ""
    """Hash of all that it was made from; what is made from the same again is the same."""
    version: str = ""
    """Hash of what items made from this one depend on."""
    inputs: dict[str, list[Reference]]
    """References by port."""
    fingerprints: dict[str, Fingerprint] = Field(default_factory=dict)
    """Fingerprints of the inputs, by reference."""
    used: dict[str, Fingerprint] = Field(default_factory=dict)
    """Fingerprints of further files that the job said it had read."""
    attributes: dict[str, str | None] = Field(default_factory=dict)
    """Attributes of the yielded record that tell its group."""
    result: ItemResult

    @property
    def done(self) -> bool:
        """Whether its outputs are there."""
        return self.result.state == "done"


def hash_texts(texts: Iterable[str]) -> str:
    """One short hash of texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def hash_inputs(inputs: Mapping[str, Sequence[Reference]], contents: Mapping[str, str]) -> str:
    """Hash of what goes into each port, given what stands for the content of each reference; a warm start is left out.

    Where an item begins from changes how soon it gets there, not what it is made from.
    """
    return hash_texts(
        text
        for port in sorted(inputs)
        for reference in inputs[port]
        if not reference.interim
        for text in (port, reference.key, contents[reference.key])
    )


def read_items(path: Path) -> Iterator[ItemLine]:
    """All lines so far, oldest first; one that a kill cut short is skipped."""
    if not path.exists():
        return
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield ItemLine.model_validate_json(line)
            except ValidationError:
                continue


def with_results(record: JobRecord, lines: Iterable[ItemLine]) -> JobRecord:
    """The record of a job whose run has not ended, with how items have ended so far."""
    for line in lines:
        record.results[line.item] = line.result
        record.used |= line.used
    return record


def with_items(record: JobRecord, lines: Iterable[ItemLine]) -> JobRecord:
    """The record of a live job with its items."""
    record = record.model_copy(deep=True)
    for line in lines:
        record.items[line.item] = line.inputs
        record.results[line.item] = line.result
        record.inputs |= line.fingerprints
        record.used |= line.used
    return record
