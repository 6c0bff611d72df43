"""Pieces of HTML with everything that comes from outside escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element around content that is HTML already; attribute values are escaped, `class_` is spelled class."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{listed}>{content}</{name}>"


def section(identity: str, title: str, content: str) -> str:
    """A headed section of the page; nothing where there is no content."""
    if not content:
        return ""
    heading = tag("h2", escape(title), id=f"{identity}-title")
    return tag("section", heading + content, id=identity, aria_labelledby=f"{identity}-title")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, *, numeric: bool = False) -> str:
    """A table of plain text that scrolls by itself on narrow screens; the first column names the row."""
    top = tag("thead", tag("tr", "".join(tag("th", escape(text), scope="col") for text in head)))
    body = "".join(
        tag("tr", tag("th", escape(row[0]), scope="row") + "".join(tag("td", escape(text)) for text in row[1:]))
        for row in rows
    )
    inside = tag("caption", escape(caption)) + top + tag("tbody", body)
    whole = tag("table", inside, class_="numeric") if numeric else tag("table", inside)
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def definitions(entries: dict[str, str], class_: str) -> str:
    """Names with their values."""
    pairs = "".join(tag("div", tag("dt", escape(name)) + tag("dd", escape(text))) for name, text in entries.items())
    return tag("dl", pairs, class_=class_) if entries else ""


def data_uri(content: bytes, kind: str = "image/webp") -> str:
    """Bytes as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
