"""Lets in whose server it is, and nobody else: a token once, a session's cookie after that.

Whoever has the token may read and change everything that the server's owner may. Without it every page and every route
answers 403; only the files in `static/`, which everybody has who has thon, are open. Requests that change something
must come from the server's own pages, or from a program that gives the token itself.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request, cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thon.base.errors import InputError
from thon.web.faults import HEADERS, Fault, tell

SHORTEST = 16
"""Characters that a token must have, so that nobody can guess it."""

WRONG, PERIOD = 10, 60.0
"""How many wrong tokens one address may give in how many seconds before it is told to wait."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass
class Doorkeeper:
    """Knows the token, and who gave wrong ones.

    Args:
        token: What lets in.
        base_path: Path of the server behind a proxy, such as `/node/n3/8080`; empty for none.
        hosts: Names under which browsers may call the server; empty where a proxy that checks who calls stands before
            it.
        login: Where a browser that may not in is sent instead of being refused; none unless given.

    Raises:
        InputError: The token is so short that it could be guessed.
    """

    token: str
    base_path: str = ""
    hosts: frozenset[str] = frozenset()
    login: str | None = None
    _wrong: dict[str, deque[float]] = field(default_factory=dict[str, deque[float]])

    def __post_init__(self) -> None:
        if len(self.token) < SHORTEST:
            raise InputError("the token is too short", got=f"{len(self.token)} characters", expected=f"{SHORTEST}")

    @property
    def cookie(self) -> str:
        """Name of the cookie; servers on other ports of the same machine have others."""
        return f"thon-{self._sign('name')[:12]}"

    @property
    def session(self) -> str:
        """Value of the cookie, which does not tell the token."""
        return self._sign("session")

    def knows(self, token: str, address: str) -> bool:
        """Whether a token is right; a wrong one is counted, and after many of them none is looked at for a while."""
        if self.is_weary_of(address):
            return False
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return True
        now = time.monotonic()
        tries = self._wrong.setdefault(address, deque(maxlen=WRONG))
        tries.append(now)
        self._wrong = {one: times for one, times in self._wrong.items() if now - times[-1] < PERIOD}
        return False

    def is_weary_of(self, address: str) -> bool:
        """Whether an address gave many wrong tokens just now."""
        tries = self._wrong.get(address, deque())
        return len(tries) == WRONG and time.monotonic() - tries[0] < PERIOD

    def admits(self, scope: Scope, headers: Headers) -> bool:
        """Whether a request bears the session's cookie, or the token in its header."""
        cookies = cookie_parser(headers.get("cookie", ""))
        if hmac.compare_digest(cookies.get(self.cookie, "").encode(), self.session.encode()):
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() in ("bearer", "token") and self.knows(token.strip(), address_of(scope))

    def admit(self, response: Response, *, secure: bool) -> Response:
        """Give the session's cookie to whoever gets this answer."""
        response.set_cookie(
            self.cookie, self.session, path=f"{self.base_path}/", httponly=True, samesite="strict", secure=secure
        )
        return response

    def welcomes_host(self, headers: Headers) -> bool:
        """Whether the server is called by a name that it has; a page elsewhere may have bent its own name to it."""
        return not self.hosts or _split(f"//{headers.get('host', '')}").hostname in self.hosts

    def _sign(self, what: str) -> str:
        return hmac.new(self.token.encode(), f"thon {what}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """Stands before the application: lets in, keeps out, and adds the headers that go with every answer.

    Args:
        app: The application.
        doorkeeper: Who knows the token.
    """

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper):
        self.app, self.doorkeeper = app, doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        answer = self._refusal(scope)
        if answer is None:
            await self.app(scope, receive, send_with_headers)
        else:
            await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What to answer instead of passing the request on; None to pass it on."""
        headers, request = Headers(scope=scope), Request(scope)
        path = scope["path"].removeprefix(self.doorkeeper.base_path)
        if not self.doorkeeper.welcomes_host(headers):
            mend = "call it as the server printed it, or name it with --allow-host"
            return tell(request, 403, Fault(what="this server is not called so", got=headers.get("host"), mend=mend))
        if scope["method"] not in SAFE and not is_own(headers):
            return tell(request, 403, Fault(what="another site asked for this", got=headers.get("origin")))
        if path.startswith("/static/") or path in OPEN:
            return None
        if self.doorkeeper.admits(scope, headers):
            return _without_token(self.doorkeeper, request)
        return self._keep_out(request)

    def _keep_out(self, request: Request) -> Response:
        given = request.query_params.get("token")
        address = address_of(request.scope)
        if given is not None and self.doorkeeper.knows(given, address):
            answer = RedirectResponse(_clean(request), 303)
            if request.headers.get("sec-fetch-site") == "cross-site":
                # A browser that follows a link from elsewhere would not send the cookie along to where it is sent.
                answer = Response(headers={"refresh": f"0; url={_clean(request)}"})
            return self.doorkeeper.admit(answer, secure=is_secure(request))
        if (given is not None or "authorization" in request.headers) and self.doorkeeper.is_weary_of(address):
            return tell(request, 429, Fault(what="too many wrong tokens", mend="wait a minute"))
        if self.doorkeeper.login is not None and _wants_page(request):
            query = urlencode({"next": _clean(request)})
            return RedirectResponse(f"{self.doorkeeper.base_path}{self.doorkeeper.login}?{query}", 303)
        request.state.stranger = True
        mend = "open the URL that `thon serve` printed, with its token"
        return tell(request, 403, Fault(what="whoever asks this must log in", mend=mend))


OPEN = frozenset({"/login", "/oauth_login", "/oauth_callback"})
"""Routes by which people log in."""


def is_own(headers: Headers) -> bool:
    """Whether a request comes from a page of this server, or from no page at all."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is None:
        return True
    return _split(origin).netloc in (headers.get("host"), headers.get("x-forwarded-host"))


def _split(url: str) -> SplitResult:
    """The parts of a URL; none of one that is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


def address_of(scope: Scope) -> str:
    """Where a request comes from."""
    client = scope.get("client")
    return client[0] if client else ""


def _without_token(doorkeeper: Doorkeeper, request: Request) -> Response | None:
    """Take the token out of the URL of who is in already."""
    if request.method == "GET" and "token" in request.query_params and _wants_page(request):
        return RedirectResponse(_clean(request), 303)
    return None


def _wants_page(request: Request) -> bool:
    return request.method in SAFE and "text/html" in request.headers.get("accept", "")


def _clean(request: Request) -> str:
    """Path and query of a request without the token."""
    pairs = [(name, value) for name, value in parse_qsl(request.url.query, keep_blank_values=True) if name != "token"]
    # Two slashes in front would name another server.
    path = f"/{request.url.path.lstrip('/')}"
    return f"{path}?{urlencode(pairs)}" if pairs else path
