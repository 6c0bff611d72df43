"""Pages for people, drawn on the server: they can be read without scripts, which only make them quicker to use."""

from __future__ import annotations

from fastapi import APIRouter

from thon.web.pages import files, flows, job, jobs, ledger, live, new, projects

router = APIRouter(include_in_schema=False)
for module in (projects, jobs, job, new, live, ledger, files, flows):
    router.include_router(module.router)
