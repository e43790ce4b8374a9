"""Real patches as pages show them: what a place sees, and the image around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cutaway.pictures.exemplars import Shot, patch
from cutaway.pictures.stills import Still
from cutaway.runs.atlas import Arrays, Atlas, Box, Kept, LayerRecord

KINDS = ("best", "least", "quantiles")


@dataclass(frozen=True, eq=False)
class PatchView:
    """A real patch.

    Attributes:
        score: the unit's answer at this place.
        image: the image's position in the split.
        name: the image's file, or `train:412`.
        label: its class; "" where it has no name.
        place: row and column in the layer's map.
        box: top, left, bottom, right (the last two exclusive) of what the place sees, in pixels of the network's
            input; it may reach beyond the image.
        crop: what the place sees, flat where it lies beyond the image's border.
        context: the whole image.
        context_box: `box` in parts of the image's height and width, 0..1 and beyond.
    """

    score: float
    image: int
    name: str
    label: str
    place: tuple[int, int]
    box: Box
    crop: Still | None
    context: Still | None
    context_box: tuple[float, float, float, float]


def view_patches(atlas: Atlas, layer: LayerRecord, channel: int, row: Arrays) -> dict[str, tuple[PatchView, ...]]:
    """The patches of every kind; the images are read once for all."""
    images = atlas.images(np.concatenate([row[f"{kind}.images"] for kind in KINDS]).tolist())
    stored = iter(atlas.crops(layer.name, channel))
    view = partial(_patch, atlas, layer, images)
    return {
        kind: tuple(
            view(score, image, (place // layer.size[1], place % layer.size[1]), next(stored, None))
            for score, image, place in zip(
                *(row[f"{kind}.{name}"].tolist() for name in ("scores", "images", "places")), strict=True
            )
        )
        for kind in KINDS
    }


def _patch(
    atlas: Atlas,
    layer: LayerRecord,
    images: Mapping[int, Kept],
    score: float,
    image: int,
    place: tuple[int, int],
    stored: bytes | None,
) -> PatchView:
    kept, box = images.get(image), layer.box(*place)
    height, width = atlas.info["shape"][1:]
    context = Still.read(kept.data) if kept else None
    return PatchView(
        score=score,
        image=image,
        name=kept.name if kept else f"{atlas.info['data']['split']}:{image}",
        label=atlas.label(kept.label) if kept else "",
        place=place,
        box=box,
        crop=_seen(atlas, layer, context, place, stored),
        context=context,
        context_box=(box[0] / height, box[1] / width, box[2] / height, box[3] / width),
    )


def _crop(context: Still | None, box: Box, size: tuple[int, int]) -> Still | None:
    """What a box holds, cut from the whole image, where that is kept in full; a box around all of it is the image."""
    if context is None or (max(box[:2]) <= 0 and box[2] >= size[0] and box[3] >= size[1]):
        return context
    if (context.height, context.width) != size:
        return None
    return Still.png(patch(Shot(context.pixels.transpose(2, 0, 1), box, 0.0, "")).transpose(1, 2, 0))


def best_crops(atlas: Atlas, layer: LayerRecord) -> dict[int, NDArray[np.uint8]]:
    """What the best patch of every unit of a layer holds, uint8 (h, w, 3), by channel; empty if not made yet."""
    arrays = atlas.arrays("exemplars", layer.name, ["best.images", "best.places"])
    if arrays is None:
        return {}
    first, places = arrays["best.images"][:, 0].tolist(), arrays["best.places"][:, 0].tolist()
    images = {image: Still.read(kept.data) for image, kept in atlas.images(first).items()}
    stored = atlas.first_crops(layer.name) or [b""] * len(first)
    found = {}
    for channel, (image, place, data) in enumerate(zip(first, places, stored, strict=True)):
        crop = _seen(atlas, layer, images.get(image), divmod(place, layer.size[1]), data)
        if crop is not None:
            found[channel] = crop.pixels
    return found


def _seen(
    atlas: Atlas, layer: LayerRecord, context: Still | None, place: tuple[int, int], stored: bytes | None
) -> Still | None:
    """What a place sees, as it was stored, or else cut from the whole image."""
    size = (atlas.info["shape"][1], atlas.info["shape"][2])
    return Still.read(stored) if stored else _crop(context, layer.box(*place), size)
