"""The list of runs, and the page of one, with its curves while it trains."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from cutaway.errors import InputError
from cutaway.pages import Crumb, render
from cutaway.runs import Run
from cutaway.views.architecture import Stage, view_stages
from cutaway.views.runs import STATUSES, list_lines, view_record
from cutaway.web.here import Here, endpoint
from cutaway.web.subject import Subject

_POLL = 1.0  # seconds between two looks at a run that is being written


def runs(here: Here) -> Response:
    """The start page."""
    lines = list_lines(here.site.runs())
    return here.page(
        "runs.html.j2",
        here.words("runs.title"),
        lines=lines,
        statuses=STATUSES,
        folder=str(here.site.folder),
        models=list(here.site.models),
    )


def run(here: Here) -> Response:
    """One run, at an epoch or at its best."""
    name, epoch = here.request.path_params["run"], here.request.path_params.get("epoch")
    found = here.site.run(name)
    record = view_record(found, here.words)
    subject, stages, reason = _network(here, found, epoch) if record.saved else (None, (), "")
    crumbs = [Crumb(name, here.link("runs", name))]
    if epoch is not None:
        crumbs.append(Crumb(here.words("epoch.at", epoch=epoch)))
    return here.page(
        "run.html.j2",
        name,
        tuple(crumbs),
        subject.slider(here) if subject else None,
        record=record,
        subject=subject,
        stages=stages,
        reason=reason,
        statuses=STATUSES,
    )


def _network(here: Here, found: Run, epoch: int | None) -> tuple[Subject | None, tuple[Stage, ...], str]:
    """The network, the map of its architecture, and why there is no more; damaged weights take no more with them."""
    try:
        subject = Subject.of_run(here.site, found, epoch)
    except InputError as error:
        if epoch is not None and epoch not in found.epochs:
            raise
        return None, (), str(error)
    return subject, *_stages(subject)


def _stages(subject: Subject) -> tuple[tuple[Stage, ...], str]:
    """The map of the architecture, of a closed network as far as its atlas knows it; and why there is no more."""
    try:
        rows = subject.rows() if subject.closed else subject.summary().rows
    except InputError as error:
        return (), str(error)
    lines = subject.run.vitals() if subject.run else []
    return view_stages(rows, [line for line in lines if line["epoch"] == subject.epoch]), subject.closed


async def events(request: Request) -> Response:
    """The curves of a run whenever its record grows, as server-sent events."""
    here = Here.of(request)
    await run_in_threadpool(here.site.run, request.path_params["run"])
    return StreamingResponse(_changes(here), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _changes(here: Here) -> AsyncIterator[str]:
    name, last = here.request.path_params["run"], None
    while not await here.request.is_disconnected():
        now = await run_in_threadpool(_mark, here, name)
        if now is None:
            yield _event("gone", here.words("run.gone"))
            return
        if now != last:
            last = now
            status, html = await run_in_threadpool(_live, here, name)
            yield _event("change", html)
            if status not in ("training", "damaged"):  # a folder that is being deleted looks damaged on its way
                yield _event("end", status)
                return
        await asyncio.sleep(_POLL)


def _event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _mark(here: Here, name: str) -> tuple[object, ...] | None:
    """Changes when the run's record does; None when the run is gone."""
    try:
        folder = here.site.run(name).folder
    except InputError:
        return None
    return tuple(_stat(path) for path in (folder.run_json, folder.metrics))


def _stat(path: Path) -> tuple[int, int]:
    found = path.stat() if path.exists() else None
    return (found.st_mtime_ns, found.st_size) if found else (0, 0)


def _live(here: Here, name: str) -> tuple[str, str]:
    """The status, and the part of the page that changes while a run trains."""
    try:
        record = view_record(here.site.run(name), here.words)
    except InputError as error:
        return "damaged", render("live_error.html.j2", here.words, sentence=str(error))
    return record.line.status, render("live.html.j2", here.words, record=record, statuses=STATUSES)


def at_best(here: Here) -> Response:
    """From an address without an epoch to the same at the best one."""
    path = here.request.path_params
    if path["rest"].split("/")[0] not in ("layers", "images", "walk"):
        raise HTTPException(404)
    subject = Subject.of_run(here.site, here.site.run(path["run"]))
    query = {key: value for key, value in here.request.query_params.items() if key != "lang"}
    return RedirectResponse(here.link(*subject.parts, *path["rest"].split("/"), **query))


def _routes() -> Iterator[Route]:
    yield Route("/", endpoint(runs))
    yield Route("/runs/{run}", endpoint(run))
    yield Route("/runs/{run}/events", events)
    yield Route("/runs/{run}/e{epoch:number}", endpoint(run))


ROUTES = list(_routes())
