"""How far long work is, and stopping it."""

from __future__ import annotations

from dataclasses import asdict

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from cutaway.web.here import Here, endpoint
from cutaway.web.jobs import Job, Jobs


def progress(here: Here) -> Response:
    """How far a job is, as JSON."""
    return JSONResponse(asdict(_job(here).progress), headers={"Cache-Control": "no-store"})


def cancel(here: Here) -> Response:
    """Stop a job; what it has kept stays."""
    job = _job(here)
    _jobs(here).cancel(job.id)
    back = here.request.query_params.get("back", "/")
    return RedirectResponse(back if back.startswith("/") and not back.startswith("//") else "/", 303)


def _jobs(here: Here) -> Jobs:
    jobs: Jobs = here.request.app.state.jobs
    return jobs


def _job(here: Here) -> Job:
    found = _jobs(here).find(here.request.path_params["job"])
    if found is None:
        raise HTTPException(404)
    return found


ROUTES = [
    Route("/jobs/{job}", endpoint(progress), methods=["GET"]),
    Route("/jobs/{job}/cancel", endpoint(cancel), methods=["POST"]),
]
