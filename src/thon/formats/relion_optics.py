"""RELION's table of optics groups, shared by its movies and micrographs stars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thon.base.errors import FormatError
from thon.data.optics import Optics
from thon.formats.relion_table import OPTICS_LABELS, number_text, row_number
from thon.formats.star import StarBlock

_PIXEL_SIZES = ("rlnMicrographOriginalPixelSize", "rlnMicrographPixelSize")


@dataclass(frozen=True)
class OpticsGroup:
    """One optics group.

    Args:
        optics: Microscope.
        frame_pixel_size: Of the movies' frames as they were rendered, Å; None where not given.
        pixel_size: Of the micrographs, Å; None in a table of movies.
        name: Of the group; empty for RELION's own way of naming them.
    """

    optics: Optics
    frame_pixel_size: float | None = None
    pixel_size: float | None = None
    name: str = ""


def read_optics(path: Path, block: StarBlock) -> dict[str, OpticsGroup]:
    """Groups by their number as text; a single group also by "", for tables that do not name one.

    Raises:
        FormatError: If a value is no number.
    """
    groups: dict[str, OpticsGroup] = {}
    for number, row in enumerate(block.rows(), 1):
        optics = Optics(*(row_number(path, row, label) for label in OPTICS_LABELS))
        sizes = [row_number(path, row, label) for label in _PIXEL_SIZES]
        name = row.get("rlnOpticsGroupName", "")
        groups[row.get("rlnOpticsGroup", str(number))] = OpticsGroup(optics, sizes[0], sizes[1], name)
    if len(groups) == 1:
        groups[""] = next(iter(groups.values()))
    return groups


def find_group(path: Path, groups: dict[str, OpticsGroup], row: dict[str, str]) -> OpticsGroup:
    """The group that a row belongs to.

    Raises:
        FormatError: If the table of optics has none of that number.
    """
    wanted = row.get("rlnOpticsGroup", "")
    if wanted not in groups:
        expected = ", ".join(number for number in groups if number) or "a table data_optics"
        raise FormatError("names an optics group that is not there", path=path, got=wanted or "none", expected=expected)
    return groups[wanted]


def optics_table(groups: Sequence[OpticsGroup], old: StarBlock | None = None) -> tuple[StarBlock, list[str]]:
    """The table of the different ones among these groups, and each one's number in it.

    Args:
        groups: One per movie or micrograph.
        old: The table as it was read: groups of the same name keep its other columns and its texts.
    """
    different = list(dict.fromkeys(groups))
    before = {row.get("rlnOpticsGroupName", ""): row for row in (old or StarBlock()).rows()}
    rows = [_row(number, group, before.get(group.name, {})) for number, group in enumerate(different, 1)]
    labels = list(dict.fromkeys(label for row in rows for label in row))
    columns = {label: [row.get(label, "None") for row in rows] for label in labels}
    place = {group: str(number) for number, group in enumerate(different, 1)}
    return StarBlock({}, columns), [place[group] for group in groups]


def _row(number: int, group: OpticsGroup, old: dict[str, str]) -> dict[str, str]:
    row = {"rlnOpticsGroupName": group.name or f"opticsGroup{number}", "rlnOpticsGroup": str(number)}
    row |= {label: text for label, text in old.items() if label not in row}
    optics = group.optics
    values = (group.frame_pixel_size, optics.voltage, optics.cs, optics.amplitude_contrast, group.pixel_size)
    for label, value in zip((_PIXEL_SIZES[0], *OPTICS_LABELS, _PIXEL_SIZES[1]), values, strict=True):
        if value is not None:
            row[label] = number_text(value, old.get(label))
    return row
