"""The report that a job has written, with what every one of them must have."""

from __future__ import annotations

import re
from pathlib import Path

from tests.formats.report_page import Page, decode


def read_report(folder: Path) -> Page:
    """The page among a job's outputs; it needs nothing else, and each of its figures is a PNG beside it."""
    page = Page((folder / "report.html").read_text("utf-8"))
    figures = [tag["id"].removeprefix("figure-") for name, tag in page.tags if name == "figure"]
    assert figures
    assert not [tag for _, tag in page.tags if re.match(r"\w+://", tag.get("src", tag.get("href", "")))]
    for name, image in zip(figures, page.all("img"), strict=True):
        assert any(file.stem == name or file.stem.endswith(f"_{name}") for file in folder.glob("*.png"))
        assert decode(image["src"]).std() > 3
        assert len(image["alt"]) > 15
    return page


def sections(page: Page) -> list[str]:
    """Names of its figures' sections, from top to bottom."""
    found = [tag["id"] for name, tag in page.tags if name == "section"]
    assert found[-2:] == ["options", "versions"]
    return found[:-2]
