"""Bounds on what is sent to the server."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thon.job.plan import size_text
from thon.web.faults import TooLargeError, fault_of, tell

LARGEST_BODY = 2_000_000
"""Bytes of a request."""

LARGEST_UPLOAD = 20_000_000_000
"""Bytes of a file that is sent."""


def too_large(most: int) -> TooLargeError:
    """The error for more than so many bytes."""
    return TooLargeError("more was sent than is taken", expected=f"at most {size_text(most)}")


class Bounds:
    """Stands before the application and refuses bodies that are too large, whatever their headers say.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count what it sends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = LARGEST_UPLOAD if "/uploads/" in scope["path"] and scope["method"] == "PUT" else LARGEST_BODY
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            await tell(Request(scope), 413, fault_of(too_large(most)))(scope, receive, send)
            return
        taken, refused = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise too_large(most)
            return message

        async def answered(message: Message) -> None:
            nonlocal refused
            if taken <= most:
                await send(message)
            elif not refused:
                # Whoever read the body may have told the error in words of its own.
                refused = True
                await tell(Request(scope), 413, fault_of(too_large(most)))(scope, receive, send)

        await self.app(scope, counted, answered)
