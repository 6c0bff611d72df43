"""As a user's server in JupyterHub: the Hub says who asks, and only the user whose server it is may in.

The Hub starts `thon serve` with all that is needed in the environment, and sends browsers here under the user's own
path. Who comes without a session is sent to the Hub to log in (OAuth), and comes back with a code, for which the Hub
tells who it is.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from thon.base.errors import InputError
from thon.web.auth import Doorkeeper, is_secure
from thon.web.faults import RefusedError
from thon.web.login import local

LOGIN, CALLBACK = "/oauth_login", "/oauth_callback"
PATIENCE = 10.0
"""How long the Hub may take to answer, s."""

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Query(max_length=2000)]


@dataclass(frozen=True)
class Hub:
    """What the Hub said when it started this server.

    Args:
        api: URL of the Hub's API, as this server reaches it.
        authorize: URL at which people log in, as browsers reach it.
        client: The server's name for OAuth.
        secret: The server's own token.
        user: Whose server it is.
        prefix: Path under which the Hub's proxy puts it.
        listen: Host and port at which the proxy expects it.
    """

    api: str
    authorize: str
    client: str
    secret: str
    user: str
    prefix: str
    listen: tuple[str, int]

    def ask(self, path: str, form: Mapping[str, str] | None = None, token: str = "") -> dict[str, Any]:
        """What the Hub answers.

        Raises:
            RefusedError: It cannot be reached, or refuses.
        """
        data = urlencode(form).encode() if form is not None else None
        headers = {"authorization": f"token {token}"} if token else {}
        asked = urllib.request.Request(f"{self.api}{path}", data, headers)
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            mend = "log in again, or tell who runs the Hub"
            raise RefusedError("the Hub does not say who asks", got=error, mend=mend) from error


def hub_of(environment: Mapping[str, str] = os.environ) -> Hub | None:
    """The Hub that started this server; None where none did.

    Raises:
        InputError: The environment does not say all that is needed.
    """
    if not environment.get("JUPYTERHUB_API_TOKEN"):
        return None
    try:
        listen = urlsplit(environment.get("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:0"))
        base = environment.get("JUPYTERHUB_HOST", "") + environment.get("JUPYTERHUB_BASE_URL", "/")
        return Hub(
            api=environment["JUPYTERHUB_API_URL"].rstrip("/"),
            authorize=f"{base.rstrip('/')}/hub/api/oauth2/authorize",
            client=environment["JUPYTERHUB_CLIENT_ID"],
            secret=environment["JUPYTERHUB_API_TOKEN"],
            user=environment["JUPYTERHUB_USER"],
            prefix=environment["JUPYTERHUB_SERVICE_PREFIX"].rstrip("/"),
            listen=(listen.hostname or "127.0.0.1", listen.port or 0),
        )
    except (KeyError, ValueError) as error:
        raise InputError("the environment of JupyterHub is not whole", got=error) from error


@router.get(LOGIN)
def begin(request: Request, next: Text = "") -> Response:
    """Send a browser to the Hub, and remember where it wanted to go."""
    hub, doorkeeper = _hub(request), _doorkeeper(request)
    state = secrets.token_urlsafe(24)
    asked = {
        "client_id": hub.client,
        "redirect_uri": f"{hub.prefix}{CALLBACK}",
        "response_type": "code",
        "state": state,
    }
    answer = RedirectResponse(f"{hub.authorize}?{urlencode(asked)}", 302)
    kept = f"{state} {local(next, doorkeeper)}"
    # Lax, for the browser comes back from the Hub, which may be another site.
    answer.set_cookie(
        _cookie(doorkeeper),
        kept,
        max_age=600,
        path=f"{hub.prefix}/",
        httponly=True,
        samesite="lax",
        secure=is_secure(request),
    )
    return answer


@router.get(CALLBACK)
def come_back(request: Request, code: Text = "", state: Text = "") -> Response:
    """Learn from the Hub who came back, and let in whose server it is."""
    hub, doorkeeper = _hub(request), _doorkeeper(request)
    kept, _, target = request.cookies.get(_cookie(doorkeeper), "").partition(" ")
    if not kept or not secrets.compare_digest(kept.encode(), state.encode()):
        raise RefusedError("this did not begin here", mend="open the server's page again")
    form = {
        "client_id": hub.client,
        "client_secret": hub.secret,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": f"{hub.prefix}{CALLBACK}",
    }
    token = str(hub.ask("/oauth2/token", form).get("access_token", ""))
    name = hub.ask("/user", token=token).get("name")
    if name != hub.user:
        raise RefusedError("this is another user's server", got=name, expected=hub.user)
    answer = doorkeeper.admit(RedirectResponse(local(target, doorkeeper), 303), secure=is_secure(request))
    answer.delete_cookie(_cookie(doorkeeper), path=f"{hub.prefix}/")
    return answer


def _hub(request: Request) -> Hub:
    hub = request.app.state.hub
    if hub is None:
        raise RefusedError("no JupyterHub started this server", mend="open the URL that `thon serve` printed")
    return hub


def _doorkeeper(request: Request) -> Doorkeeper:
    return request.app.state.doorkeeper


def _cookie(doorkeeper: Doorkeeper) -> str:
    return f"{doorkeeper.cookie}-login"
