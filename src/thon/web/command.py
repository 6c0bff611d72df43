"""`thon serve`: projects for browsers."""

from __future__ import annotations

import os
import platform
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click
import uvicorn

from thon.base.errors import InputError
from thon.job.hardware import user_name
from thon.project.lock import BEAT, STALE
from thon.web.app import create_app
from thon.web.auth import Doorkeeper
from thon.web.hub import LOGIN, hub_of
from thon.web.memory import give_back, share_heaps
from thon.web.picture import picture
from thon.web.site import Site

TOKEN = "THON_TOKEN"
"""Environment variable with the token, which other users cannot read as they can the command."""

ANY = "*"
LOCAL = ("127.0.0.1", "localhost", "::1")
SECONDS_TO_END = 2
"""Time that open connections get when the server ends, s."""


@click.command("serve", short_help="Serve projects to browsers")
@click.argument("folder", type=click.Path(), default=".", metavar="[FOLDER]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8080, show_default=True, help="Port to listen at; 0 takes a free one.")
@click.option("--base-path", default="", metavar="PATH", help="Path under which a proxy puts the server.")
@click.option("--token", envvar=TOKEN, metavar="TEXT", help="What lets in.  [default: a new one, printed]")
@click.option(
    "--allow-host", "hosts", multiple=True, metavar="NAME", help="A further name that the server has; * for any."
)
@click.option("--browse", multiple=True, metavar="FOLDER", help="A further folder to choose input files from.")
@click.option("--no-run", is_flag=True, help="Run no jobs; only show them.")
@click.option("--traceback", is_flag=True, help="Show where an error came from.")
def command_serve(
    folder: str,
    *,
    host: str,
    port: int,
    base_path: str,
    token: str | None,
    hosts: tuple[str, ...],
    browse: tuple[str, ...],
    no_run: bool,
    traceback: bool,
) -> None:
    """Serve a project, or all projects in FOLDER, to a browser, and run the jobs that are asked for there.

    The URL that is printed has a token in it, which lets in whoever has it. Nobody else may see anything.
    """
    share_heaps()
    path = Path(folder)
    if not path.is_dir():
        raise InputError("no such folder", path=path, expected="a project, or a folder of projects")
    hub, is_known = hub_of(), token is not None and token == os.environ.get(TOKEN)
    if hub is not None:
        (host, port), base_path, hosts = hub.listen, hub.prefix, (ANY,)
    base = f"/{base_path.strip('/')}" if base_path.strip("/") else ""
    token = token or secrets.token_urlsafe(32)
    os.environ.pop(TOKEN, None)  # the jobs need not know it
    doorkeeper = Doorkeeper(token, base, _names(host, hosts), LOGIN if hub is not None else None)
    listener = _listen(host, port)
    site = Site(path, run=not no_run, browse=[Path(one) for one in browse], picture=picture, say=click.echo)
    try:
        site.start(wait=STALE + 2 * BEAT)
        app = create_app(site, token=token, base_path=base, doorkeeper=doorkeeper, hub=hub)
        give_back()
        query = "" if is_known or hub is not None else f"?token={token}"
        _tell(path, host, listener.getsockname()[1], f"{base}/{query}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_END,
            lifespan="on",
            ws="none",
        )
        _Server(config, site).run([listener])
    finally:
        site.close()


class _Server(uvicorn.Server):
    """A server that lets streams end at once when it is told to."""

    def __init__(self, config: uvicorn.Config, site: Site):
        super().__init__(config)
        self._site = site

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C."""
        self._site.end()
        super().handle_exit(sig, frame)


def _names(host: str, more: Sequence[str]) -> frozenset[str]:
    """Names by which browsers may call the server; none where any will do, because a proxy stands before it."""
    if ANY in more:
        return frozenset()
    own = (platform.node(), socket.getfqdn()) if host not in LOCAL else ()
    return frozenset(name.lower() for name in (*LOCAL, host, *own, *more))


def _tell(path: Path, host: str, port: int, place: str) -> None:
    name = platform.node()
    shown = host if host not in ("0.0.0.0", "::") else name
    click.echo(f"thon serves {path.absolute()}\n\n  http://{shown}:{port}{place}\n")
    if host in LOCAL:
        click.echo(f"From elsewhere: ssh -N -L {port}:127.0.0.1:{port} {user_name()}@{name}")
    click.echo("Ctrl-C ends it.")


def _listen(host: str, port: int) -> socket.socket:
    """A socket at this address.

    Raises:
        InputError: Another process listens there, or the address is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Otherwise small answers wait for 40 ms, until the browser has confirmed their first half.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)  # whoever calls before all is ready waits
    except OSError as error:
        listener.close()
        mend = "--port 0 takes a free one"
        raise InputError("cannot listen there", got=f"{host}:{port}: {error.strerror}", mend=mend) from error
    return listener
