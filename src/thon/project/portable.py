"""Rewrites the records of an exported copy so that no absolute path is in them.

A folder outside, such as `/data/session`, becomes `outside/1` wherever it is named; `places.json` tells where it is on
the new machine. The records that items yielded change by that, and with them the hashes by which later jobs know their
inputs; so jobs are rewritten in their order, and those hashes are written anew where the input was what it had been.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thon.data.record import is_path
from thon.job.fingerprint import fingerprint

OUTSIDE = "outside"

_TEXTS = ("*.star", "*.json", "*.html", "*.txt", "*.com", "*.csv", "*.aln", "*.xml", "*.mdoc", "*.log")
_LONGEST = 20_000_000
"""Text files among the outputs that are looked through, bytes."""


class Rewriter:
    """Rewrites the job folders of one export.

    Args:
        root: Where the project lies.
        copy: The folder of its copy, with all files of its jobs.
    """

    def __init__(self, root: Path, copy: Path):
        self._copy = copy
        self._prints: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        folders = sorted(_outermost(set(self._outside(root))), key=lambda path: (len(path), path))
        self.tokens = {folder: f"{OUTSIDE}/{number}" for number, folder in enumerate(folders, 1)}
        beside = os.path.dirname(root)
        known = self.tokens | {str(root): "."} | ({beside: ".."} if beside != "/" else {})
        self._known = dict(sorted(known.items(), key=lambda pair: -len(pair[0])))
        # A name ends where a path does: /data/run1 is not in /data/run12.
        self._pattern = re.compile("(" + "|".join(map(re.escape, self._known)) + r")(?=[/\s\"',:;)\]]|$)")

    def rewrite(self, job: Path) -> None:
        """Rewrite the records of one job, whose inputs' jobs were rewritten before."""
        for file in sorted(job.glob("outputs/*/record.json")) + sorted(job.glob("interim/*/record.json")):
            before = fingerprint(file).model_dump()
            self._rewrite_json(file)
            inside = "" if file.parts[-3] == "outputs" else "interim/"
            key = f"{job.name.split('-')[0]}/{inside}{file.parent.name}"
            self._prints[key] = before, fingerprint(file).model_dump()
        for file in (job / "job.json", *job.glob("*/*/item.json")):
            self._rewrite_json(file)
        for file in job.glob("*.jsonl"):
            self._rewrite_lines(file)

    def still_absolute(self, job: Path) -> list[Path]:
        """Outputs of a job that name such folders themselves; they are left as the job made them."""
        names = [folder.encode() for folder in self._known if folder.count("/") > 1]
        files = (file for pattern in _TEXTS for file in job.glob(f"outputs/**/{pattern}") if file.is_file())
        ours = {"record.json", "item.json"}
        short = (file for file in files if file.name not in ours and file.stat().st_size <= _LONGEST)
        return sorted({file for file in short if any(name in file.read_bytes() for name in names)})

    def text(self, text: str) -> str:
        """A text with the folders that it names made portable."""
        plain = self._pattern.sub(lambda match: self._known[match[1]], text)
        return plain.removeprefix("./") if plain.startswith("./") and not text.startswith("./") else plain

    def _outside(self, root: Path) -> Iterator[str]:
        """Folders that lie neither in the project nor beside it, of all absolute paths in the records."""
        beside = os.path.dirname(root)
        files = [*self._copy.glob("*/job.json"), *self._copy.glob("*/outputs/*/record.json")]
        lines = [line for file in self._copy.glob("*/items.jsonl") for line in file.read_bytes().splitlines()]
        for data in (*(file.read_bytes() for file in files), *lines):
            try:
                texts = list(_texts(json.loads(data)))
            except ValueError:
                continue
            for text in texts:
                if text != "/" and not (beside != "/" and f"{text}/".startswith(f"{beside}/")):
                    yield os.path.dirname(text) if os.path.dirname(text) != "/" else text

    def _rewrite_json(self, file: Path) -> None:
        data = file.read_bytes()
        value = json.loads(data)
        new = self._value(value)
        if new != value:
            text = (
                json.dumps(new, ensure_ascii=False, indent=1) if b"\n " in data else json.dumps(new, ensure_ascii=False)
            )
            _replace(file, text.encode() + (b"\n" if data.endswith(b"\n") else b""))

    def _rewrite_lines(self, file: Path) -> None:
        old = file.read_bytes().decode(errors="surrogateescape").split("\n")
        _replace(file, "\n".join(self._line(line) for line in old).encode(errors="surrogateescape"))

    def _line(self, line: str) -> str:
        try:
            value = json.loads(line)
        except ValueError:
            return self.text(line)
        new = self._value(value)
        return line if new == value else json.dumps(new, ensure_ascii=False)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(inner) for inner in value]
        if isinstance(value, dict):
            return {self.text(key): self._print(key, inner) for key, inner in value.items()}
        return value

    def _print(self, key: str, value: Any) -> Any:
        """The hash of an input by which it is known now, where it was what it had been; any other value as it is."""
        before, now = self._prints.get(key, (None, None))
        if before is None or now is None or not isinstance(value, dict) or "sha256" not in value:
            return self._value(value)
        same = (value["sha256"], value["bytes"]) == (before["sha256"], before["bytes"])
        return now if same else value


def _texts(value: Any) -> Iterator[str]:
    """All absolute paths in a record, those in a command among them."""
    if isinstance(value, str):
        if is_path(value):
            yield value
        elif value.startswith("thon ") and "/" in value:
            yield from (word for word in shlex.split(value) if is_path(word))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)


def _outermost(folders: set[str]) -> set[str]:
    """Those that lie in no other."""
    return {one for one in folders if not any(one.startswith(f"{other}/") for other in folders)}


def _replace(file: Path, data: bytes) -> None:
    if data == file.read_bytes():
        return
    mode = file.stat().st_mode
    part = file.with_name(f".tmp-{file.name}")
    part.write_bytes(data)
    part.chmod(mode)
    part.replace(file)
