"""Errors as the web tells them: one shape, {what, got, expected, mend, path}, and the status that fits the kind."""

from __future__ import annotations

import errno
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from thon.base.errors import InputError, StoreError, ThonError
from thon.engine.desk import BusyError

log = logging.getLogger("thon.web")


HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Go with every answer: nothing from elsewhere is loaded, and nobody else may show or read what is here."""


class Fault(BaseModel):
    """What is wrong, what was found, what would have been right, and how to mend it."""

    what: str
    got: str | None = None
    expected: str | None = None
    mend: str | None = None
    path: str | None = None


class AbsentError(InputError):
    """What a URL names is not there."""


class RefusedError(ThonError):
    """What was asked for is not for this person, this place or this project."""


class ConflictError(InputError):
    """What was asked for does not go with the state that things are in."""


class TooLargeError(InputError):
    """More was sent than is taken."""


STATUSES: dict[type[ThonError], int] = {
    AbsentError: 404,
    RefusedError: 403,
    ConflictError: 409,
    TooLargeError: 413,
    InputError: 422,
    BusyError: 503,
}
"""The HTTP status of each kind of error, the narrower kinds first."""


RESPONSES: dict[int | str, dict[str, Any]] = {
    403: {"model": Fault, "description": "Not for whoever asks, or a project that is only read"},
    404: {"model": Fault, "description": "What the URL names is not there"},
    409: {"model": Fault, "description": "The state that things are in forbids it"},
    413: {"model": Fault, "description": "More was sent than is taken"},
    422: {"model": Fault, "description": "Something that was given cannot be right"},
    503: {"model": Fault, "description": "Too much is asked at one time"},
    507: {"model": Fault, "description": "The disk takes no more"},
}
"""What every route may answer besides, for the API's document."""


def fault_of(error: ThonError) -> Fault:
    """An error in the shape in which all are told."""
    texts = {name: getattr(error, name) for name in ("got", "expected", "path")}
    told = {name: None if value is None else str(value) for name, value in texts.items()}
    return Fault(what=error.what, mend=error.mend, **told)


def status_of(error: BaseException) -> int:
    """The HTTP status for an error."""
    if isinstance(error, StoreError):
        return _store_status(error)
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def install(app: FastAPI) -> None:
    """Let the application tell all errors in that shape."""
    app.exception_handler(ThonError)(_thon_error)
    app.exception_handler(RequestValidationError)(_not_valid)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(Exception)(_unexpected)


def _store_status(error: StoreError) -> int:
    """409 for what the state of the project forbids, 507 for a full disk, 403 for one that may not be written."""
    cause = error.__cause__
    if not isinstance(cause, OSError) or isinstance(cause, BlockingIOError):
        return 409
    if cause.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return 403
    return 404 if cause.errno == errno.ENOENT else 507


def tell(request: Request, status: int, fault: Fault) -> Response:
    """A fault as a page for people, or as JSON for programs; what is no text is told with question marks."""
    texts = {name: text and text.encode(errors="replace").decode() for name, text in fault.model_dump().items()}
    fault = Fault(**texts)
    pages = getattr(request.app.state, "fault_page", None)
    if pages is not None and wants_page(request):
        return pages(request, status, fault)
    return JSONResponse(fault.model_dump(), status)


def wants_page(request: Request) -> bool:
    """Whether a browser asks for a page rather than a program for data."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    return "text/html" in request.headers.get("accept", "") and not path.startswith("/api/")


async def _thon_error(request: Request, error: ThonError) -> Response:
    return tell(request, status_of(error), fault_of(error))


async def _not_valid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    what = str(first["msg"]).removeprefix("Value error, ")
    return tell(request, 422, Fault(what=f"{where}: {what}", got=_short(first.get("input"))))


async def _http_error(request: Request, error: HTTPException) -> Response:
    what = "there is no such page" if error.status_code == 404 else str(error.detail)
    # A body that is no text cannot be right either.
    status = 422 if error.status_code == 400 else error.status_code
    response = tell(request, status, Fault(what=what, got=request.url.path))
    response.headers.update(error.headers or {})
    return response


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("something unexpected happened at %s", request.url.path, exc_info=error)
    mend = "the traceback is in the server's output"
    response = tell(request, 500, Fault(what=f"something unexpected happened: {type(error).__name__}", mend=mend))
    response.headers.update(HEADERS)  # this answer passes by whoever adds them to the others
    return response


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
