"""URLs of the application's own routes, under whatever base path it is served."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import Request


def link(request: Request, route: str, /, query: dict[str, Any] | None = None, **parts: Any) -> str:
    """The path of a route by its name, with the base path in front and a query behind.

    Without scheme and host, which a proxy may have changed: `link(request, "job", project="p", job="J002")`.
    """
    path = request.url_for(route, **parts).path
    return f"{path}?{urlencode(query)}" if query else path
