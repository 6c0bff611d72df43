"""Any table, sorted and filtered here, so that a browser shows a page of a hundred thousand rows at once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from jaxtyping import Int

from thon.web.views.records import BINARY, ITEM, FoundItem, Source, plain
from thon.web.views.table_rows import AskedRows, Table, chosen_rows, table_of

router = APIRouter()

Block = Annotated[str, Query(description="Of a star file; its largest unless said", max_length=100)]
POINTS = 200_000
"""Most points of a plot."""


@router.get(f"{ITEM}/table")
def table(
    found: FoundItem,
    asked: AskedRows,
    source: Source = "",
    block: Block = "",
    offset: Annotated[int, Ge(0)] = 0,
    limit: Annotated[int, Ge(1), Le(1000)] = 100,
) -> dict[str, Any]:
    """Some rows of a table, with the names and kinds of its columns."""
    known = table_of(found, source, block)
    rows = chosen_rows(known, asked)
    shown = rows[offset : offset + limit]
    return {
        "columns": [{"name": name, "number": column.dtype.kind in "iuf"} for name, column in known.columns.items()],
        "total": len(known),
        "count": len(rows),
        "offset": offset,
        "rows": plain([[column[k] for column in known.columns.values()] for k in shown.tolist()], digits=9),
        "numbers": plain(shown),
        "blocks": known.blocks,
    }


@router.get(f"{ITEM}/table/plot", response_class=Response, responses=BINARY)
def plot(found: FoundItem, asked: AskedRows, x: str, y: str, source: Source = "", block: Block = "") -> Response:
    """Two columns of numbers for a plot, thinned out evenly where there are very many rows.

    The answer is binary, little-endian, one after another: x and y of all points (float32), and their rows (uint32).
    """
    known = table_of(found, source, block)
    rows = chosen_rows(known, asked)
    rows = rows[:: -(-len(rows) // POINTS) or 1]
    parts = (known.numbers(x)[rows].astype("<f4"), known.numbers(y)[rows].astype("<f4"), rows.astype("<u4"))
    return Response(b"".join(part.tobytes() for part in parts), media_type="application/octet-stream")


@router.get(f"{ITEM}/table.csv", response_class=StreamingResponse, responses={200: {"content": {"text/csv": {}}}})
def download(found: FoundItem, asked: AskedRows, source: Source = "", block: Block = "") -> Response:
    """All rows that are asked for, as comma-separated values."""
    known = table_of(found, source, block)
    name = f"{found.folder.path.name}-{found.name}.csv".replace('"', "")
    head = {"content-disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}"'}
    return StreamingResponse(_lines(known, chosen_rows(known, asked)), media_type="text/csv", headers=head)


def _lines(known: Table, rows: Int[np.ndarray, "k"]) -> Iterator[str]:
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(known.columns)
    for start in range(0, len(rows), 1000):
        part = rows[start : start + 1000]
        writer.writerows(zip(*(column[part].tolist() for column in known.columns.values()), strict=True))
        yield stream.getvalue()
        stream.seek(0)
        stream.truncate()
    if not len(rows):
        yield stream.getvalue()
