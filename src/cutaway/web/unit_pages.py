"""The page of one unit: what an atlas knows of it, and what it does with the image at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.responses import Response
from starlette.routing import Route

from cutaway.errors import InputError
from cutaway.pictures.stills import Still, small_still
from cutaway.views.history import HistoryView, view_history
from cutaway.views.unit import MapView, UnitView, map_view, strongest_inputs, view_unit
from cutaway.web import seeing
from cutaway.web.here import Here, endpoint
from cutaway.web.images import Chosen, chosen_image
from cutaway.web.layer_pages import scale_for
from cutaway.web.subject import Subject
from cutaway.web.tasks import about_subject


@dataclass(frozen=True, eq=False)
class OnImage:
    """A unit's map of one image, beside the image."""

    image: Still
    label: str
    view: MapView


def unit(here: Here) -> Response:
    """The page of a unit."""
    subject, path = Subject.of(here), here.request.path_params
    name, channel = path["layer"], path["channel"]
    row, image = subject.layer(name), chosen_image(here, subject)
    channels = int(row.output_shape[1]) if row.output_shape else 0
    if channel >= channels:
        raise InputError(f"layer '{name}' has no channel {channel}; they are numbered 0 to {channels - 1}")
    chosen = image.name if image else ""

    def address(layer: str, number: int) -> str:
        return here.below(subject.parts, "layers", layer, f"c{number}", image=chosen) if layer in known else ""

    known = {one.name for one in subject.rows()}
    near = [one if 0 <= one < channels else None for one in (channel - 1, channel + 1)]
    return here.page(
        "unit.html.j2",
        f"{name} c{channel} · {subject.name}",
        subject.crumbs(here, (name, ("layers", name)), (f"c{channel}", ("layers", name, f"c{channel}"))),
        subject.slider(here, "layers", name, f"c{channel}"),
        subject=subject,
        unit=_unit(subject, name, channel),
        image=image,
        maps=[_on_image(subject, image, name, channel)] if image else [],
        history=_history(subject, image, name, channel) if image else None,
        address=address,
        before="" if near[0] is None else address(name, near[0]),
        after="" if near[1] is None else address(name, near[1]),
        job=here.job("atlas", _about(subject, name)),
        data=subject.run.info["data"]["source"] if subject.run else subject.named.data if subject.named else "",
    )


def _about(subject: Subject, layer: str) -> dict[str, Any]:
    return {**about_subject(subject), "layer": layer}


def make(here: Here) -> Response:
    """Ask for the pages of all units of the layer."""
    subject = Subject.of(here)
    return here.begin("atlas", _about(subject, subject.layer(here.request.path_params["layer"]).name))


def _unit(subject: Subject, layer: str, channel: int) -> UnitView:
    atlas = subject.atlas()
    if atlas is not None and layer in atlas.layers:
        return view_unit(atlas, layer, channel)
    row = subject.layer(layer)
    kernel = seeing.kernels(subject, layer)[channel] if seeing.has_kernels(subject, layer) else None
    assert row.output_shape is not None
    height, width = row.receptive_field
    return UnitView(
        layer=layer,
        channel=channel,
        kind=row.kind,
        channels=row.output_shape[1],
        map_size=(row.output_shape[2], row.output_shape[3]),
        field=None if height is None or width is None else (height, width),
        field_exact=True,
        kernel=strongest_inputs(kernel) if kernel is not None else None,
    )


def _on_image(subject: Subject, image: Chosen, layer: str, channel: int) -> OnImage:
    values = seeing.maps(subject, image, layer)[channel]
    view = map_view(values, scale_for(subject, "maps", image, layer, "layer"), image.pixels)
    return OnImage(small_still(image.pixels), f"{image.name} {image.label}".strip(), view)


def _history(subject: Subject, image: Chosen, layer: str, channel: int) -> HistoryView | None:
    """Its map at some epochs, evenly spread: the same at every position of the slider."""
    epochs = seeing.epochs_of_scale(subject)
    if subject.run is None or len(epochs) < 2:
        return None
    others = [Subject.of_run(subject.site, subject.run, epoch) for epoch in epochs]
    values = np.stack([seeing.maps(other, image, layer)[channel] for other in others])
    norms: tuple[Any, ...] = ()
    if seeing.has_kernels(subject, layer):
        norms = tuple(float(np.linalg.norm(seeing.kernels(other, layer)[channel])) for other in others)
    return view_history(epochs, values, norms, small_still(image.pixels), image.name)


def routes(prefix: str) -> list[Route]:
    """The addresses below a run's epoch or a model."""
    address = f"{prefix}/layers/{{layer}}/c{{channel:number}}"
    return [Route(address, endpoint(unit), methods=["GET"]), Route(address, endpoint(make), methods=["POST"])]
