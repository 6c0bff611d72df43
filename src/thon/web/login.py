"""Lets people log in by a form: those who have no URL with the token, and the dashboard of Open OnDemand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from thon.web.auth import Doorkeeper, address_of, is_secure
from thon.web.faults import Fault, RefusedError, tell

router = APIRouter(include_in_schema=False)


@router.post("/login")
def login(
    request: Request,
    token: Annotated[str, Form(max_length=500)] = "",
    password: Annotated[str, Form(max_length=500)] = "",
    next: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Exchange the token for a session's cookie, and go on to a page of this server."""
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    address = address_of(request.scope)
    if not doorkeeper.knows(token or password, address):
        if doorkeeper.is_weary_of(address):
            return tell(request, 429, Fault(what="too many wrong tokens", mend="wait a minute"))
        raise RefusedError("this is not the token", mend="`thon serve` printed it")
    return doorkeeper.admit(RedirectResponse(local(next, doorkeeper), 303), secure=is_secure(request))


def local(target: str, doorkeeper: Doorkeeper) -> str:
    """A path of this server, whatever was asked for."""
    own = target.startswith(f"{doorkeeper.base_path}/") and not target.startswith(("//", "/\\"))
    return target if own else f"{doorkeeper.base_path}/"
