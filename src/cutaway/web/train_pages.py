"""Training started from a page: it runs in its own process and outlives the server."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cutaway.pages import Crumb
from cutaway.plain import is_name, short, visible, whole
from cutaway.runs import claim_run_path
from cutaway.web.here import Here, endpoint
from cutaway.web.jobs import Job

MAX_EPOCHS = 10_000
_MOST = 4096  # letters of a path
_SHORT = 30  # letters of the data and of the model in a name that is made of them
SHOWN = 8  # trainings that were started here
_NAME = re.compile(r"[\w][\w.-]{0,80}")


@dataclass(frozen=True)
class Started:
    """A training that was started here, and its run's name once there is one."""

    job: Job
    name: str
    exists: bool


def form(here: Here) -> Response:
    """What to train on what, and what was started."""
    from cutaway.data.sources import BUILT_IN
    from cutaway.models import model_names

    title = here.words("train.title")
    jobs = [job for job in here.request.app.state.jobs.all() if job.kind == "train"]
    jobs.sort(key=lambda job: job.progress.state == "foreign")  # whatever date they claim
    return here.page(
        "train.html.j2",
        title,
        (Crumb(title),),
        sources=BUILT_IN,
        models=[*model_names(), *here.site.models],
        started=[_begun(here, job) for job in jobs[:SHOWN]],
    )


def _begun(here: Here, job: Job) -> Started:
    name = str(job.about.get("name", job.id))
    return Started(job, short(name), job.progress.state != "foreign" and here.site.has_run(name))


async def start(request: Request) -> Response:
    """Begin, and go to the page that shows it."""
    here = Here.of(request)
    async with request.form() as sent:
        given = {key: str(sent.get(key, "")).strip() for key in ("data", "model", "epochs", "name")}
    return await run_in_threadpool(_started, here, given)


def _started(here: Here, given: dict[str, str]) -> Response:
    data, model, epochs = given["data"], given["model"], given["epochs"]
    if not data or not model:
        raise HTTPException(400, here.words("train.missing"))
    count = whole(epochs, 1, MAX_EPOCHS)
    if epochs and count is None:
        raise HTTPException(400, here.words("train.epochs_wrong", epochs=short(epochs), most=MAX_EPOCHS))
    if bad := next((text for text in (data, model) if len(text) > _MOST or visible(text) != text), ""):
        raise HTTPException(400, here.words("train.no_path", text=visible(short(bad))))
    if _is_code(model) and model not in here.site.models:
        raise HTTPException(400, here.words("train.code", model=model))
    spec = here.site.models[model].spec if model in here.site.models else model
    name = given["name"] or claim_run_path(here.site.folder, f"{_short(data)}-{_short(model)}").name
    if not _NAME.fullmatch(name) or not is_name(name) or here.site.has_run(name):
        raise HTTPException(400, here.words("train.name_wrong", name=short(name)))
    recipe = {"epochs": count} if count is not None else {}
    about = {"data": data, "model": spec, "name": name, "recipe": recipe}
    here.request.app.state.jobs.want("train", about, again=True)
    return RedirectResponse(here.link("train"), 303)


def _is_code(model: str) -> bool:
    return ":" in model and not model.startswith(("torchvision:", "timm:"))


def _short(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", Path(text).name.rpartition(":")[2])[:_SHORT].strip("-.") or "run"


ROUTES = [Route("/train", endpoint(form), methods=["GET"]), Route("/train", start, methods=["POST"])]
