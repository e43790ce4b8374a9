"""Two networks side by side: one image, a layer of each, one scale; how alike all layers are; where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cutaway.pages import EPOCH, Crumb, Slider
from cutaway.pictures.colours import Scale
from cutaway.views.channels import ChannelsView, responses
from cutaway.web import kept, seeing
from cutaway.web.here import Here, endpoint
from cutaway.web.images import SPLITS, Chosen, chosen_image, find_image
from cutaway.web.layer_pages import some_channels
from cutaway.web.subject import Subject
from cutaway.web.tasks import about_subject

if TYPE_CHECKING:
    from cutaway.lenses.architecture import Row

SHOWN = 48  # channels of each side
CLASSES = 5  # whose scores are shown


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two.

    Attributes:
        subject: the network.
        epochs: its saved ones, as they stand in an address; () for a model without a run.
        layers: those whose maps can be shown.
        layer: the one that is; "" if there is none.
        image: what it looks at; None if there is nothing.
        channels: its maps.
        total: how many channels the layer has.
        scores: the surest classes for the image.
    """

    subject: Subject
    epochs: tuple[str, ...]
    layers: tuple[str, ...]
    layer: str
    image: Chosen | None
    channels: ChannelsView | None
    total: int
    scores: Sequence[dict[str, object]]


def choose(here: Here) -> Response:
    """From the ticked runs to their comparison; one alone is compared with its own beginning."""
    names = here.request.query_params.getlist("run")
    if len(names) not in (1, 2):
        raise HTTPException(400, here.words("compare.tick"))
    if len(names) == 2:
        first, second = (Subject.of_name(here.site, name) for name in names)
        same = None if "@" in "".join(names) else _last_common(first, second)
        if same is not None and first.run and second.run:
            first, second = (Subject.of_run(here.site, one, same) for one in (first.run, second.run))
    else:
        second = Subject.of_name(here.site, names[0])
        if second.run is None or len(second.run.epochs) < 2:
            raise HTTPException(400, here.words("compare.tick"))
        first = Subject.of_run(here.site, second.run, second.run.epochs[0])
    query = {key: here.request.query_params.get(key) for key in ("image", "layer", "other")}
    return RedirectResponse(here.link("compare", first.short, second.short, **query), 303)


def _common(a: Subject, b: Subject) -> list[int]:
    """The epochs that both have saved; none for two epochs of one run."""
    if a.run is None or b.run is None or a.name == b.name:
        return []
    return sorted(set(a.run.epochs) & set(b.run.epochs))


def _last_common(a: Subject, b: Subject) -> int | None:
    return max(_common(a, b), default=None)


def comparison(here: Here) -> Response:
    """The page about two networks."""
    a, b = _both(here)
    image = chosen_image(here, a)
    images = image, find_image(b, image.name, a) if image else None
    rows = [[row for row in one.rows() if seeing.has_kernels(one, row.name)] for one in (a, b)]
    layers = _layers(here, a, b, rows)
    sides = _sides(here, (a, b), rows, layers, images)
    split = _split(a)
    found = kept.read_comparison(a, b, split) if split else None
    title = here.words("compare.title")
    return here.page(
        "compare.html.j2",
        f"{a.short} · {b.short}",
        (Crumb(title), Crumb(f"{a.short} · {b.short}")),
        _slider(here, a, b),
        sides=sides,
        same=_last_common(a, b),
        scale=next((side.channels.sprite.scale for side in sides if side.channels), None),
        image=images[0],
        found=found,
        split=split,
        opens=lambda layer, other: here.again(layer=layer, other=other),
        shows=lambda number: here.again(image=f"{split}:{number}"),
        job=here.job("compare", _about(a, b, split)),
    )


def _both(here: Here) -> tuple[Subject, Subject]:
    path = here.request.path_params
    return Subject.of_name(here.site, path["a"]), Subject.of_name(here.site, path["b"])


def _split(subject: Subject) -> str:
    return next((split for split in SPLITS if split in subject.splits()), "")


def _layers(here: Here, a: Subject, b: Subject, rows: Sequence[Sequence[Row]]) -> tuple[str, str]:
    """The layers of the address; else the first of A, and of B the one of the same name or at the same depth."""
    names = [[row.name for row in side] for side in rows]
    if not names[0] or not names[1]:
        return "", ""
    layer = here.request.query_params.get("layer") or names[0][0]
    a.layer(layer)
    depth = names[0].index(layer) / max(1, len(names[0]) - 1) if layer in names[0] else 0.0
    alike = layer if layer in names[1] else names[1][round(depth * (len(names[1]) - 1))]
    other = here.request.query_params.get("other") or alike
    b.layer(other)
    return layer, other


def _sides(
    here: Here,
    subjects: tuple[Subject, Subject],
    rows: Sequence[Sequence[Row]],
    layers: tuple[str, str],
    images: tuple[Chosen | None, Chosen | None],
) -> tuple[Side, Side]:
    values = [
        seeing.maps(subject, image, layer) if image and layer else None
        for subject, image, layer in zip(subjects, images, layers, strict=True)
    ]
    scale = _scale(subjects, images, layers)
    chosen = _channels(values, layers)
    first, second = (
        Side(
            subject=subjects[side],
            epochs=tuple(f"{subjects[side].name}@{epoch}" for epoch in _epochs(subjects[side])),
            layers=tuple(row.name for row in rows[side]),
            layer=layers[side],
            image=images[side],
            channels=_side_channels(
                here, subjects[side], images[side], layers[side], values[side], chosen[side], scale
            ),
            total=len(found) if (found := values[side]) is not None else 0,
            scores=seeing.scores(subjects[side], image)[:CLASSES] if (image := images[side]) else [],
        )
        for side in (0, 1)
    )
    return first, second


def _epochs(subject: Subject) -> Sequence[int]:
    return subject.run.epochs if subject.run else ()


def _scale(
    subjects: tuple[Subject, Subject], images: tuple[Chosen | None, Chosen | None], layers: tuple[str, str]
) -> Scale | None:
    """One scale that holds both sides, at all epochs of the slider."""
    found = [
        seeing.epochs_scale(subject, "maps", image, layer)
        for subject, image, layer in zip(subjects, images, layers, strict=True)
        if image and layer
    ]
    if not found:
        return None
    return Scale.of(np.array([min(one.low for one in found), max(one.high for one in found)], dtype=np.float32))


def _channels(
    values: Sequence[NDArray[np.float32] | None], layers: tuple[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which channels are shown: A's strongest, the same ones of B where the layers match, else B's own strongest."""
    first, second = (
        np.sort(np.argsort(-responses(one, "maps"), kind="stable")[:SHOWN])
        if one is not None
        else np.zeros(0, np.int64)
        for one in values
    )
    a, b = values
    same = a is not None and b is not None and layers[0] == layers[1] and len(a) == len(b)
    return first, first if same else second


def _side_channels(
    here: Here,
    subject: Subject,
    image: Chosen | None,
    layer: str,
    values: NDArray[np.float32] | None,
    chosen: NDArray[np.int64],
    scale: Scale | None,
) -> ChannelsView | None:
    if values is None or image is None or scale is None:
        return None
    return some_channels(here, subject, image, layer, values, chosen, scale)


def _slider(here: Here, a: Subject, b: Subject) -> Slider | None:
    """One slider for both, while both stand at the same epoch."""
    common = _common(a, b)
    if a.epoch is None or a.epoch != b.epoch or len(common) < 2:
        return None
    query = {key: here.request.query_params.get(key) for key in ("image", "layer", "other")}
    address = here.link("compare", f"{a.name}@{EPOCH}", f"{b.name}@{EPOCH}", **query)
    return Slider(tuple(common), a.epoch, address)


def _about(a: Subject, b: Subject, split: str) -> dict[str, object]:
    return {"a": about_subject(a), "b": about_subject(b), "split": split}


def measure(here: Here) -> Response:
    """Ask for the similarity of all layers and the images on which the two disagree."""
    a, b = _both(here)
    return here.begin("compare", _about(a, b, _split(a)))


ROUTES = [
    Route("/compare", endpoint(choose)),
    Route("/compare/{a}/{b}", endpoint(comparison), methods=["GET"]),
    Route("/compare/{a}/{b}", endpoint(measure), methods=["POST"]),
]
