"""Read samples, one per file, or all in a folder.

Stands for the import of movies: a `.smp` holds its group, a number and the word END; a `.list` weighs samples by name.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import FormatError, InputError
from thon.base.options import Options
from thon.job.context import Context
from thon.job.spec import each


@dataclass(frozen=True)
class Sample:
    """A number that may belong to a group."""

    name: str
    path: str
    value: float
    series: str | None = None


class ReadSamplesOptions(Options):
    upper: bool = False
    """Write the group in capitals."""


def expand_samples(path: Path, options: ReadSamplesOptions) -> dict[str, dict[str, tuple[Path, ...]]]:
    files = [path] if path.is_file() else sorted(path.rglob("*.smp"))
    lists = [path] if path.suffix == ".list" else sorted(files[0].parent.glob("*.list")) if files else []
    words = [(file, line.split()) for file in lists for line in file.read_text().splitlines()]
    if any(len(line) != 2 for _, line in words):
        raise InputError("does not say what each sample weighs", path=words[0][0])
    named = {line[0]: file for file, line in words}
    count = Counter(file.stem for file in files)
    return {
        (file.stem if count[file.stem] == 1 else f"{file.parent.name}_{file.stem}"): {"sample": (file,)}
        | ({"listing": (named[file.stem],)} if file.stem in named else {})
        for file in files
    }


@each(title="Read samples", stage="import", expand=expand_samples)
def read_samples(sample: Path, options: ReadSamplesOptions, context: Context, listing: Path | None = None) -> Sample:
    words = sample.read_text().split()
    if words[-1:] != ["END"]:
        raise FormatError("is cut short", path=sample, got=words)
    try:
        value = float(words[1])
    except ValueError as error:
        raise InputError("holds no number", path=sample) from error
    if listing is not None:
        weights = dict(line.split() for line in listing.read_text().splitlines())
        value *= float(weights[sample.stem])
    if value < 0:
        context.warn("negative")
    series = None if words[0] == "-" else words[0].upper() if options.upper else words[0]
    return Sample(context.item, str(sample), value, series)
