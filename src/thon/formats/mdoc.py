"""SerialEM's `.mdoc` and its dialects (PACEtomo, Tomography 5): read tolerantly, written back with every entry kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from thon.base.errors import FormatError, InputError
from thon.formats.atomic import atomic_path
from thon.formats.text import PathLike, filled_lines, read_text, to_number

_SECTION = re.compile(r"\[\s*(\w+)\s*=\s*(.*?)\s*(\]?)")
_ENTRY = re.compile(r"(\w[\w .-]*?)\s*=\s*(.*)")

# First three letters of month names as English, German, French, Spanish and Italian Windows write them.
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen",
            "feb fév fev",
            "mar mär mrz",
            "apr avr abr",
            "may mai mag",
            "jun jui giu",
            "jul lug",
            "aug aoû aou ago",
            "sep set",
            "oct okt ott",
            "nov",
            "dec dez déc dic",
        ),
        1,
    )
    for name in names.split()
}
_NAMED_DATE = re.compile(r"(\d{1,2})[-. /]+([^\W\d_]{3,})\.?,?[-. /]+(\d{4}|\d{2})\b")
_NAME_FIRST_DATE = re.compile(r"([^\W\d_]{3,})\.?[-. /]+(\d{1,2}),?[-. /]+(\d{4})\b")
_YEAR_FIRST_DATE = re.compile(r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})(?!\d)")
_NUMERIC_DATE = re.compile(r"(\d{1,2})([-./])(\d{1,2})[-./](\d{4}|\d{2})\b")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6}))?)?\s*([AaPp][Mm])?")


@dataclass(frozen=True)
class MdocSection:
    """One bracketed section, such as ``[ZValue = 3]``.

    Args:
        kind: ZValue, FrameSet, MontSection or what else stands there.
        value: What follows the equals sign.
        entries: Values by key, as written.
        line: Where it begins.
    """

    kind: str
    value: str
    entries: Mapping[str, str] = field(default_factory=dict[str, str])
    line: int = 0

    def number(self, key: str, path: PathLike = "") -> float | None:
        """First number of an entry, None if there is no such entry or it is empty.

        Raises:
            FormatError: If the entry is no number.
        """
        words = self.entries.get(key, "").split()
        return to_number(words[0], path, self.line) if words else None


@dataclass(frozen=True)
class Mdoc:
    """An `.mdoc` as it stands in the file.

    Args:
        header: Entries before the first section.
        titles: Texts of the ``[T = …]`` lines.
        sections: In the file's order.
        notes: Sentences about lines that were not understood or occur twice.
    """

    header: Mapping[str, str]
    titles: tuple[str, ...]
    sections: tuple[MdocSection, ...]
    notes: tuple[str, ...] = ()

    def of_kind(self, kind: str) -> list[MdocSection]:
        """Sections of one kind."""
        return [section for section in self.sections if section.kind == kind]


def read_mdoc(path: PathLike) -> Mdoc:
    """Read an `.mdoc`; order of entries, spaces, line ends and BOM do not matter.

    Raises:
        InputError: If there is no such file.
        FormatError: If there is no section in it.
    """
    header: dict[str, str] = {}
    titles: list[str] = []
    sections: list[MdocSection] = []
    notes: list[str] = []
    entries = header
    for number, line in filled_lines(read_text(path)):
        if match := _SECTION.fullmatch(line):
            kind, value, closed = match.groups()
            if not closed:
                notes.append(f"Line {number}: the bracket is not closed.")
            if kind == "T":
                titles.append(value)
                continue
            entries = {}
            sections.append(MdocSection(kind, value, entries, number))
        elif match := _ENTRY.fullmatch(line):
            key, value = match.groups()
            if key == "T":
                titles.append(value)
                continue
            if key in entries and entries[key] != value:
                notes.append(f"Line {number}: {key} occurs twice; the later value counts.")
            entries[key] = value
        else:
            notes.append(f"Line {number} is not understood: {line[:60]}")
    if not sections:
        first = notes[0] if notes else f"{len(header)} entries"
        raise FormatError("holds no section of an mdoc", path=path, got=first, expected="such as [ZValue = 0]")
    return Mdoc(header, tuple(titles), tuple(sections), tuple(notes))


def write_mdoc(path: PathLike, mdoc: Mdoc) -> None:
    """Write an `.mdoc` as SerialEM lays it out.

    Raises:
        InputError: If a value holds a line break.
    """
    lines = [f"{key} = {value}" for key, value in mdoc.header.items()] + [""]
    for title in mdoc.titles:
        lines += [f"[T = {title}]", ""]
    for section in mdoc.sections:
        lines.append(f"[{section.kind} = {section.value}]")
        lines += [f"{key} = {value}" for key, value in section.entries.items()] + [""]
    if any("\n" in line or "\r" in line for line in lines):
        raise InputError("an mdoc's values cannot hold line breaks", path=path)
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def base_name(path: str) -> str:
    """Last part of a Windows or POSIX path."""
    return re.split(r"[\\/]", path.strip())[-1]


def parse_date(text: str) -> datetime | None:
    """Time of an mdoc's DateTime in any of the usual spellings; None if it is none.

    Two-digit years are 1980 to 2079. In ``3/4/2024`` the month comes first, unless it cannot or dots separate.
    """
    date, time = _date(text), _TIME.search(text)
    if date is None or time is None:
        return None
    hour, minute, second = int(time[1]), int(time[2]), int(time[3] or 0)
    if time[5]:
        hour = hour % 12 + 12 * (time[5].lower() == "pm")
    year, month, day = date
    if year < 100:
        year += 2000 if year < 80 else 1900
    try:
        return datetime(year, month, day, hour, minute, second, int((time[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _date(text: str) -> tuple[int, int, int] | None:
    """Year, month and day."""
    if match := _YEAR_FIRST_DATE.search(text):
        return int(match[1]), int(match[2]), int(match[3])
    if (match := _NAMED_DATE.search(text)) and match[2].lower()[:3] in _MONTHS:
        return int(match[3]), _MONTHS[match[2].lower()[:3]], int(match[1])
    if (match := _NAME_FIRST_DATE.search(text)) and match[1].lower()[:3] in _MONTHS:
        return int(match[3]), _MONTHS[match[1].lower()[:3]], int(match[2])
    if match := _NUMERIC_DATE.search(text):
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        day_first = first > 12 or (match[2] == "." and second <= 12)
        return (year, second, first) if day_first else (year, first, second)
    return None
