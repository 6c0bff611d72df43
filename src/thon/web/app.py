"""The web application: who may in, the API, the pages, the viewers, and files that never change.

Everything that a route needs it takes from `thon.web.site`; every URL is made by `thon.web.links.link`, which knows the
base path.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from thon.job.machine import software
from thon.web import faults, login
from thon.web.api import (
    actions,
    browse,
    events,
    files,
    flows,
    history,
    items,
    jobs,
    lanes,
    live,
    projects,
    types,
)
from thon.web.auth import Doorkeeper, Guard
from thon.web.hub import Hub
from thon.web.hub import router as hub_login
from thon.web.limits import Bounds
from thon.web.pages import router as pages
from thon.web.pages.faults import fault_page
from thon.web.site import Site
from thon.web.views import router as views

API = "/api/v1"
ROUTES = (
    projects,
    jobs,
    actions,
    types,
    items,
    files,
    events,
    history,
    flows,
    browse,
    lanes,
    live,
)
"""Modules of the API; the order is that of its document."""

STATIC = Path(__file__).parent / "static"


def create_app(
    site: Site, *, token: str, base_path: str = "", doorkeeper: Doorkeeper | None = None, hub: Hub | None = None
) -> FastAPI:
    """The application for some projects.

    Args:
        site: The projects; closed when the application ends.
        token: What lets in.
        base_path: Path under which a proxy puts the server, such as `/node/n3/8080`.
        doorkeeper: Knows the token, and by which names the server is called; any name unless given.
        hub: The JupyterHub that started the server.
    """

    @contextlib.asynccontextmanager
    async def living(app: FastAPI) -> AsyncGenerator[None]:
        yield
        await run_in_threadpool(site.close)

    app = FastAPI(
        title="thon",
        version=software().version,
        description="What the pages of thon use, for programs. Give the token as `Authorization: Bearer TOKEN`.",
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=living,
    )
    app.root_path = base_path
    app.state.site, app.state.hub, app.state.fault_page = site, hub, fault_page
    app.state.doorkeeper = doorkeeper or Doorkeeper(token, base_path)
    faults.install(app)
    app.include_router(login.router)
    app.include_router(hub_login)
    # The guard looks at the token; this lets the API's document say that one is needed.
    bearer = Security(HTTPBearer(auto_error=False))
    documented: dict[str, Any] = {"responses": faults.RESPONSES, "dependencies": [bearer]}
    for module in ROUTES:
        app.include_router(module.router, prefix=API, **documented)
    app.include_router(views, **documented)
    app.include_router(pages)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Bounds)
    app.add_middleware(Guard, doorkeeper=app.state.doorkeeper)
    return app
