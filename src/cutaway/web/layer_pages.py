"""A layer: all its channels by one lens, as one sprite."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from cutaway.errors import InputError
from cutaway.pictures.colours import Scale
from cutaway.runs.atlas import Atlas, has_part
from cutaway.views.channels import SORTS, ChannelsView, view_channels
from cutaway.views.grids import Grid, sheet
from cutaway.views.layer import exemplar_sprite, imagined_sprite, view_layer
from cutaway.views.sprite import Tile, map_sprite
from cutaway.web import seeing
from cutaway.web.here import Here, endpoint
from cutaway.web.images import Chosen, chosen_image
from cutaway.web.subject import Subject

SCALES = ("epochs", "layer", "each")
AHEAD = {"exemplars": exemplar_sprite, "imagined": imagined_sprite}  # lenses whose pictures an atlas holds
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def layer(here: Here) -> Response:
    """The page of a layer."""
    subject, name = Subject.of(here), here.request.path_params["layer"]
    row, image = subject.layer(name), chosen_image(here, subject)
    lenses: tuple[str, ...] = seeing.LENSES if seeing.has_kernels(subject, name) else ("maps",)
    if image is None:
        lenses = tuple(one for one in lenses if one == "kernels")
    atlas = subject.atlas()
    ahead = {lens: atlas for lens in AHEAD if atlas is not None and has_part(atlas.path, lens, name)}
    lens = here.chosen("lens", (*lenses, *ahead)) if lenses or ahead else ""
    scales = SCALES if subject.run and len(subject.run.epochs) > 1 else SCALES[1:]
    scaling, sort = here.chosen("scale", scales), here.chosen("sort", SORTS)
    chosen = image.name if image else ""
    if lens in ahead:
        found: ChannelsView | Grid | None = _grid(here, subject, ahead[lens], name, lens, sort, chosen)
    else:
        found = _channels(here, subject, image, name, lens, scaling, sort) if lens else None
    before, after = subject.neighbours(name)
    query = {"image": chosen, "lens": "" if lens == "maps" else lens}
    return here.page(
        "layer.html.j2",
        f"{name} · {subject.name}",
        subject.crumbs(here, (name, ("layers", name))),
        subject.slider(here, "layers", name),
        subject=subject,
        row=row,
        image=image,
        lens=lens,
        lenses=(*lenses, *ahead),
        ahead=tuple(ahead),
        channels=found,
        sprite=_sprite_address(here, subject, image, name, lens, scaling),
        scaling=scaling,
        scales=scales,
        sort=sort,
        sorts=SORTS,
        scale_epochs=subject.scale_epochs,
        before=here.below(subject.parts, "layers", before, **query) if before else "",
        after=here.below(subject.parts, "layers", after, **query) if after else "",
    )


def _grid(here: Here, subject: Subject, atlas: Atlas, layer: str, lens: str, sort: str, image: str) -> Grid:
    """All units by a lens of the atlas, in the order of the page."""

    def address(name: str, channel: int) -> str:
        return here.below(subject.parts, "layers", name, f"c{channel}", image=image)

    drawn = AHEAD[lens](atlas, layer)
    if drawn is None:
        raise InputError(f"the {lens} of layer '{layer}' are not made yet")
    found = sheet(drawn, view_layer(atlas, layer), address, here.words)
    orders: dict[str, Callable[[Tile], tuple[object, ...]]] = {
        "response": lambda tile: (-tile.value, int(tile.name)),
        "number": lambda tile: (int(tile.name),),
        "dead": lambda tile: (not tile.dead, -tile.value, int(tile.name)),
    }
    return replace(found, tiles=tuple(sorted(found.tiles, key=orders[sort])))


def _channels(
    here: Here, subject: Subject, image: Chosen | None, layer: str, lens: str, scaling: str, sort: str
) -> ChannelsView:
    values = seeing.values(subject, lens, image, layer)
    scale = scale_for(subject, lens, image, layer, scaling)
    sources = None if lens == "maps" else seeing.strongest(subject, lens, image, layer).tolist()
    chosen = image.name if image else ""

    def address(channel: int) -> str:
        return here.below(subject.parts, "layers", layer, f"c{channel}", image=chosen)

    return view_channels(values, lens, scale, here.words, address, sort=sort, sources=sources)


def scale_for(subject: Subject, lens: str, image: Chosen | None, layer: str, scaling: str) -> Scale:
    """The colours: one scale for all epochs, for this layer now, or each channel its own."""
    if scaling == "epochs":
        return seeing.epochs_scale(subject, lens, image, layer)
    return replace(Scale.of(seeing.values(subject, lens, image, layer)), shared=scaling == "layer")


def some_channels(
    here: Here,
    subject: Subject,
    image: Chosen,
    layer: str,
    values: NDArray[np.float32],
    chosen: NDArray[np.int64],
    scale: Scale,
) -> ChannelsView:
    """Only the maps of `chosen` channels out of `values` (channels, h, w), each leading to its unit."""

    def address(place: int) -> str:
        return here.below(subject.parts, "layers", layer, f"c{chosen[place]}", image=image.name)

    numbers = chosen.tolist()
    return view_channels(values[chosen], "maps", scale, here.words, address, sort="number", numbers=numbers)


def _sprite_address(here: Here, subject: Subject, image: Chosen | None, layer: str, lens: str, scaling: str) -> str:
    """The sprite's address; `v` changes with whatever it shows, so a browser may keep it for ever."""
    atlas = subject.atlas() if lens in AHEAD else None
    about = (
        subject.key,
        image.key if image else "",
        layer,
        lens,
        scaling,
        subject.scale_epochs,
        str(atlas.path) if atlas else "",
    )
    version = hashlib.sha256(repr(about).encode()).hexdigest()[:12]
    name = image.name if image else ""
    return here.below(subject.parts, "layers", layer, f"{lens}.png", image=name, scale=scaling, v=version)


def sprite(here: Here) -> Response:
    """All channels of a layer as one PNG, a value a pixel."""
    subject, path = Subject.of(here), here.request.path_params
    if path["lens"] in AHEAD:
        return _drawn_ahead(here, subject, path["layer"], path["lens"])
    image, lens = chosen_image(here, subject), _known_lens(here)
    scaling = here.chosen("scale", SCALES)

    def draw() -> bytes:
        scale = scale_for(subject, lens, image, path["layer"], scaling)
        return map_sprite(seeing.values(subject, lens, image, path["layer"]), scale, shared=scale.shared).png

    key = ("sprite", *subject.key, image.key if image else "", path["layer"], lens, scaling)
    png: bytes = subject.site.values.get(key, draw)
    return Response(png, media_type="image/png", headers=_kept(here))


def _drawn_ahead(here: Here, subject: Subject, layer: str, lens: str) -> Response:
    atlas = subject.atlas()
    drawn = AHEAD[lens](atlas, layer) if atlas is not None else None
    if drawn is None:
        raise HTTPException(404)
    return Response(drawn.still.data, media_type=drawn.still.media, headers=_kept(here))


def _kept(here: Here) -> dict[str, str]:
    return FOREVER if "v" in here.request.query_params else {}


def values(here: Here) -> Response:
    """The numbers behind a layer's tiles, as a NumPy array file."""
    subject, path = Subject.of(here), here.request.path_params
    found = seeing.values(subject, _known_lens(here), chosen_image(here, subject), path["layer"])
    buffer = io.BytesIO()
    np.save(buffer, found, allow_pickle=False)
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in path["layer"])
    headers = {"Content-Disposition": f'attachment; filename="{name}-{path["lens"]}.npy"'}
    return Response(buffer.getvalue(), media_type="application/octet-stream", headers=headers)


def _known_lens(here: Here) -> str:
    lens: str = here.request.path_params["lens"]
    if lens not in seeing.LENSES:
        raise HTTPException(404)
    return lens


def routes(prefix: str) -> list[Route]:
    """The addresses below a run's epoch or a model."""
    return [
        Route(f"{prefix}/layers/{{layer}}", endpoint(layer)),
        Route(f"{prefix}/layers/{{layer}}/{{lens}}.png", endpoint(sprite)),
        Route(f"{prefix}/layers/{{layer}}/{{lens}}.npy", endpoint(values)),
    ]
