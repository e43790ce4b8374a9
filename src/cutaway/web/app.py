"""The application: its addresses, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cutaway.errors import InputError
from cutaway.pages import asset
from cutaway.plain import is_name
from cutaway.runs.links import check_links
from cutaway.web import (
    compare_pages,
    image_pages,
    job_pages,
    layer_pages,
    model_pages,
    run_pages,
    train_pages,
    unit_pages,
)
from cutaway.web.here import Here, endpoint, sentence_page
from cutaway.web.jobs import Jobs
from cutaway.web.security import Guard
from cutaway.web.site import HIDDEN, Site

_TYPES = {"css": "text/css", "js": "text/javascript"}


def create_app(site: Site, port: int) -> Starlette:
    """The microscope over `site`, for a server on `port`."""
    app = Starlette(
        routes=list(_routes()),
        middleware=[Middleware(Guard, port=port)],
        exception_handlers={InputError: _wrong, HTTPException: _refused},
    )
    hidden = site.folder / HIDDEN
    if hidden.is_symlink():
        raise InputError(
            f"{hidden} is a link, and what the microscope keeps would be written where it leads; remove it"
        )
    if hidden.is_dir():
        check_links(hidden)
    app.state.site = site
    app.state.jobs = Jobs(hidden / "jobs", site.folder, site.trust)
    return app


def _routes() -> Iterable[BaseRoute]:
    yield Route("/static/{name}", static)
    yield from run_pages.ROUTES
    yield from image_pages.ROUTES
    yield from job_pages.ROUTES
    yield from model_pages.ROUTES
    yield from compare_pages.ROUTES
    yield from train_pages.ROUTES
    for prefix in ("/runs/{run}/e{epoch:number}", "/models/{model}"):
        yield from layer_pages.routes(prefix)
        yield from unit_pages.routes(prefix)
        yield from image_pages.routes(prefix)
    # Last: an address without an epoch means the best one.
    yield Route("/runs/{run}/{rest:path}", endpoint(run_pages.at_best))


def static(request: Request) -> Response:
    """A script or the style of this package; there are no folders below."""
    name = request.path_params["name"]
    kind = _TYPES.get(name.rpartition(".")[2])
    if kind is None or not is_name(name) or "\\" in name:
        raise HTTPException(404)
    if name in ("style.css", "theme.js"):
        return Response(asset(name), media_type=kind, headers={"Cache-Control": "no-cache"})
    file = files("cutaway.web").joinpath("static", name)
    if not file.is_file():
        raise HTTPException(404)
    return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})


async def _wrong(request: Request, error: Exception) -> Response:
    """Something that is not there, damaged, or does not fit: the sentence that says so."""
    return await run_in_threadpool(sentence_page, Here.of(request), 404, str(error))


async def _refused(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an address that leads nowhere, a method, a body too large."""
    assert isinstance(error, HTTPException)
    here, told = Here.of(request), error.detail
    if told == HTTPStatus(error.status_code).phrase:  # Starlette's own, or no word at all
        told = here.words("error.no_page") if error.status_code in (404, 405) else ""
    return await run_in_threadpool(sentence_page, here, error.status_code, told)
