"""Images: those of a split by cell of the confusion matrix, one image and why, and its walk through the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cutaway.pictures.colours import Scale
from cutaway.pictures.stills import Still, small_still
from cutaway.views.channels import ChannelsView, responses
from cutaway.views.checks import own_check
from cutaway.views.images import Answers, ClassScore, Explained, ImageView, prepared, view_explained
from cutaway.web import kept, seeing
from cutaway.web.here import Here, endpoint, sentence_page
from cutaway.web.images import SPLITS, Chosen, chosen_image, find_image, keep_upload
from cutaway.web.layer_pages import some_channels
from cutaway.web.subject import Subject
from cutaway.web.tasks import about_subject, explained

PAGE = 120  # images on one page
QUICK = ("grad-cam", "saliency")  # made while the page is asked for, where nothing is kept yet
SHOWN = 10  # channels of a layer on the walk, as in the figure that the walk stands for


@dataclass(frozen=True, eq=False)
class Answered:
    """One image of a grid: what it is, what it was taken for, how surely; None for a picture that is not here."""

    name: str
    index: str
    still: Still | None
    true: str
    scores: tuple[ClassScore, ...]


def images(here: Here) -> Response:
    """The images of a split, the surest mistakes first; of one cell of the confusion matrix if it is named."""
    subject = Subject.of(here)
    splits = [one for one in SPLITS if one in subject.splits()]
    title = here.words("tabs.images")
    if not splits:
        return sentence_page(here, 404, here.words("images.no_data", name=subject.name))
    classes, split = subject.labels(), here.chosen("split", splits)
    arrays = kept.read_answers(subject, split)
    cell = [here.number(key, len(classes) - 1) for key in ("true", "given")]
    rows = _rows(Answers(arrays["labels"], arrays["predicted"], arrays["probability"]), *cell) if arrays else []
    first = min(here.number("from") or 0, max(0, len(rows) - 1)) // PAGE * PAGE
    return here.page(
        "images.html.j2",
        f"{title} · {subject.name}",
        subject.crumbs(here, (title, ("images",))),
        subject.slider(here, "images"),
        subject=subject,
        split=split,
        splits=splits,
        classes=classes,
        cell=cell,
        known=arrays is not None,
        total=len(rows),
        first=first,
        step=PAGE,
        images=_answered(subject, split, rows[first : first + PAGE], arrays) if arrays else [],
        address=lambda name: here.below(subject.parts, "images", name),
        job=here.job("predict", {**about_subject(subject), "split": split}),
    )


def _rows(answers: Answers, true: int | None, given: int | None) -> list[int]:
    if true is not None and true == given:
        rows = np.flatnonzero((answers.labels == true) & (answers.predicted == true))
        return [int(row) for row in rows[np.argsort(answers.probability[rows], kind="stable")]]
    return answers.mistakes(true, given)


def _answered(subject: Subject, split: str, rows: Sequence[int], arrays: dict[str, Any]) -> list[Answered]:
    labels, names = subject.labels(), subject.classes or subject.labels()
    return [
        Answered(
            f"{split}:{row}",
            f"{split}:{row}",
            still,
            labels[int(arrays["labels"][row])],
            (ClassScore(names[int(arrays["predicted"][row])], float(arrays["probability"][row]), None),),
        )
        for row, still in zip(rows, _stills(subject, split, rows), strict=True)
    ]


def _stills(subject: Subject, split: str, rows: Sequence[int]) -> Sequence[Still | None]:
    data = None if subject.unseen else subject.dataset()
    if data is None:
        return [None] * len(rows)
    return [small_still(pixels) for pixels in np.asarray(data.splits[split].images[np.asarray(rows, np.int64)])]


def image(here: Here) -> Response:
    """One image: its scores, why, and what was done to it."""
    subject = Subject.of(here)
    chosen = find_image(subject, here.request.path_params["image"])
    heats = kept.read_heats(subject, chosen)
    if not heats and not subject.closed:
        with subject.scope().lock:  # who comes second finds what the first has made
            heats = kept.read_heats(subject, chosen) or [explained(subject, chosen, name) for name in QUICK]
            for heat in heats:
                kept.write_heat(kept.heat_folder(subject, chosen), heat)
    whole = bool(subject.closed) or len(heats) == len(kept.method_names())
    return here.page(
        "image.html.j2",
        f"{chosen.name} · {subject.name}",
        subject.crumbs(here, (here.words("tabs.images"), ("images",)), (chosen.name, ("images", chosen.name))),
        subject.slider(here, "images", chosen.name),
        subject=subject,
        chosen=chosen,
        image=_view(here, subject, chosen, heats),
        whole=whole,
        walk=here.below(subject.parts, "walk", image=chosen.name),
        job=None if whole else here.job("explain", {**about_subject(subject), "image": chosen.name}),
    )


def _view(here: Here, subject: Subject, chosen: Chosen, heats: Sequence[kept.Heat]) -> ImageView:
    scores = _kept_score(subject, chosen) if subject.closed else _scores(subject, chosen)
    return ImageView(
        name=chosen.name,
        index=0,
        still=small_still(chosen.pixels),
        true=chosen.label if chosen.target is not None else "",  # a class that the network does not know is none
        scores=scores,
        explained=tuple(_explained(chosen, heat) for heat in heats if heat.maps is not None),
        left_out=tuple(f"{heat.method}: {heat.error}" for heat in heats if heat.error),
        input={} if subject.closed else _prepared(here, subject, chosen),
    )


def _scores(subject: Subject, chosen: Chosen) -> tuple[ClassScore, ...]:
    found = seeing.scores(subject, chosen)[:SHOWN]
    return tuple(ClassScore(one["class"], one["probability"], one["logit"]) for one in found)


def _kept_score(subject: Subject, chosen: Chosen) -> tuple[ClassScore, ...]:
    """The answer that was kept with those of the whole split, if it was."""
    split, _, row = chosen.name.partition(":")
    arrays = kept.read_answers(subject, split) if split in SPLITS else None
    return _answered(subject, split, [int(row)], arrays)[0].scores if arrays else ()


def _prepared(here: Here, subject: Subject, chosen: Chosen) -> dict[str, str]:
    return prepared(chosen.pixels.shape, chosen.original, subject.scope().preprocessing, here.words)


def _explained(chosen: Chosen, heat: kept.Heat) -> Explained:
    assert heat.maps is not None
    check = own_check(heat.certificates[0]["check"], 0, 1)
    return view_explained(heat.method, heat.layer, chosen.pixels, heat.targets, heat.scores, heat.maps, check)


@dataclass(frozen=True, eq=False)
class Step:
    """A layer on the walk: some of its channels."""

    layer: str
    size: str
    channels: ChannelsView
    address: str


def walk(here: Here) -> Response:
    """One image through all convolutions, ten channels of each, and the scores at the end."""
    subject = Subject.of(here)
    chosen = chosen_image(here, subject)
    title = here.words("walk.title")
    return here.page(
        "walk.html.j2",
        f"{title} · {subject.name}",
        subject.crumbs(here, (title, ("walk",))),
        subject.slider(here, "walk"),
        subject=subject,
        image=chosen,
        steps=list(_steps(here, subject, chosen)) if chosen else [],
        scores=seeing.scores(subject, chosen)[:SHOWN] if chosen else [],
        prepared=_prepared(here, subject, chosen) if chosen else {},
    )


def _steps(here: Here, subject: Subject, chosen: Chosen) -> Iterator[Step]:
    layers = tuple(row.name for row in subject.rows() if seeing.has_kernels(subject, row.name))
    for layer, values in seeing.walk(subject, chosen, layers).items():
        top = np.sort(np.argsort(-responses(values, "maps"), kind="stable")[:SHOWN])
        channels = some_channels(here, subject, chosen, layer, values, top, Scale.of(values[top]))
        size = "×".join(map(str, values.shape))
        address = here.below(subject.parts, "layers", layer, image=chosen.name)
        yield Step(layer, size, channels, address)


def measure(here: Here) -> Response:
    """Ask for what the network says of every image of a split."""
    subject, split = Subject.of(here), here.chosen("split", SPLITS)
    return here.begin("predict", {**about_subject(subject), "split": split})


def explain(here: Here) -> Response:
    """Ask for every method on one image."""
    subject = Subject.of(here)
    name = find_image(subject, here.request.path_params["image"]).name
    return here.begin("explain", {**about_subject(subject), "image": name})


async def upload(request: Request) -> Response:
    """Keep an image that somebody brought, and show the page again with it."""
    here = Here.of(request)
    async with request.form(max_files=1) as form:
        file, back = form.get("file"), str(form.get("back", "/"))
        if not isinstance(file, UploadFile):
            raise HTTPException(400, here.words("upload.none"))
        content = await file.read()
    if not back.startswith("/") or back.startswith("//"):
        raise HTTPException(400)
    name = await run_in_threadpool(keep_upload, here.site, content)
    path, _, query = back.partition("?")
    if "/images/" in path:
        return RedirectResponse(f"{path[: path.rindex('/')]}/{name}" + (f"?{query}" if query else ""), 303)
    rest = "&".join(part for part in query.split("&") if part and not part.startswith("image="))
    return RedirectResponse(f"{path}?image={name}" + (f"&{rest}" if rest else ""), 303)


def routes(prefix: str) -> list[Route]:
    """The addresses below a run's epoch or a model."""
    return [
        Route(f"{prefix}/images", endpoint(images), methods=["GET"]),
        Route(f"{prefix}/images", endpoint(measure), methods=["POST"]),
        Route(f"{prefix}/images/{{image}}", endpoint(image), methods=["GET"]),
        Route(f"{prefix}/images/{{image}}", endpoint(explain), methods=["POST"]),
        Route(f"{prefix}/walk", endpoint(walk)),
    ]


ROUTES = [Route("/upload", upload, methods=["POST"])]
