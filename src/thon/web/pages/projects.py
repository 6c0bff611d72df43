"""The list of the projects of a server."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from thon.web.api.projects import list_projects
from thon.web.pages.render import base_of, page
from thon.web.site import ServedSite

router = APIRouter()


@router.get("/", response_class=HTMLResponse)
def projects(request: Request, site: ServedSite) -> Response:
    """The projects; a server of one project shows that one."""
    if site.single:
        return RedirectResponse(f"{base_of(request)}/p/{site.names()[0]}/", 303)
    return page(request, "projects.html", projects=list_projects(site), site=site)
