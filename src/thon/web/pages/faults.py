"""Errors as pages: what is wrong, what was found, what would have been right, what to do."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from thon.web.faults import Fault
from thon.web.pages.render import page

ADVICE = {
    403: "log in with the URL that `thon serve` printed",
    404: "check the address, or begin at the list of projects",
    409: "see how the job stands, then try again",
    507: "free some space on the disk, then try again",
}


def fault_page(request: Request, status: int, fault: Fault) -> Response:
    """The page that tells of a fault."""
    context: dict[str, Any] = {"code": status, "fault": fault, "advice": ADVICE.get(status, "")}
    # Who is not logged in can do so here, and goes on to what was wanted.
    context |= {"stranger": getattr(request.state, "stranger", False), "wanted": request.url.path}
    return page(request, "error.html", http_status=status, **context)
