"""The chapters of a report beside the run itself: its layers and units, its images, its comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from cutaway.pages import render
from cutaway.report.book import Book
from cutaway.runs.atlas import Atlas
from cutaway.views.comparison import ComparisonView
from cutaway.views.grids import Grid, sheet
from cutaway.views.images import ImageView
from cutaway.views.layer import LayerView, exemplar_sprite, imagined_sprite, view_layer
from cutaway.views.unit import view_unit
from cutaway.words import Words

# Of a report's bytes, so many may go to the grids of the layers; the rest is for the units.
_GRIDS = 0.5


def address(layer: str, channel: int | None = None) -> str:
    """Where a layer or one of its units stands in a report.

    >>> address("layer1.0.relu#1", 37), address("input", 0)
    ('#layers/layer1.0.relu%231/c37', '#layers/input/c0')
    """
    return f"#layers/{quote(layer, safe='')}" + ("" if channel is None else f"/c{channel}")


def add_comparison(book: Book, found: ComparisonView, say: Words) -> None:
    """The page about two networks or epochs."""
    book.add("comparison", say("report.comparison"), render("report_comparison.html.j2", say, found=found), {})


def add_images(book: Book, images: Sequence[ImageView], note: str, say: Words) -> None:
    """The grid of images and a page for each."""
    title = say("report.images_title")
    book.add(
        "images", title, render("report_images.html.j2", say, title=title, images=images, note=note, address=_image), {}
    )
    for place, image in enumerate(images):
        near = [_image(images[other].index) if 0 <= other < len(images) else "" for other in (place - 1, place + 1)]
        html = render("report_image.html.j2", say, image=image, before=near[0], behind=near[1])
        book.add(f"images/{image.index}", image.name, html, {title: "images"})


def _image(index: int) -> str:
    return f"#images/{index}"


def add_layers(book: Book, atlas: Atlas, limit: int, say: Words) -> list[str]:
    """The list of layers, a page for each, and as many units as `limit` bytes of the book allow; what was left out.

    Units are taken round by round, one of every layer a round, evenly spread over the layer's numbers.
    """
    views = [view_layer(atlas, name) for name in atlas.layers]
    title, notes = say("report.layers"), []
    bare = [view.layer for view in views if not _add_layer(book, atlas, view, round(limit * _GRIDS), say)]
    if bare:
        notes.append(say("report.no_grids", layers=", ".join(bare)))
    counts = _add_units(book, atlas, views, limit, say)
    total = sum(view.channels for view in views)
    if sum(counts.values()) < total:
        notes.append(say("report.units_some", shown=f"{sum(counts.values()):,}", total=f"{total:,}"))
    html = render("report_layers.html.j2", say, title=title, layers=views, counts=counts, address=address, notes=notes)
    book.add("layers", title, html, {})
    return notes


def _add_layer(book: Book, atlas: Atlas, view: LayerView, limit: int, say: Words) -> bool:
    """Whether the page got its grids: without them it is small."""
    grids = _grids(atlas, view, say)
    wanted = sum(len(grid.sprite.png) for grid in grids)
    fits = not grids or book.size + wanted // 3 <= limit
    html = render("report_layer.html.j2", say, layer=view, grids=grids if fits else (), address=address)
    book.add(address(view.layer)[1:], view.layer, html, {say("report.layers"): "layers"})
    return fits


def _grids(atlas: Atlas, view: LayerView, say: Words) -> list[Grid]:
    found = (exemplar_sprite(atlas, view.layer), imagined_sprite(atlas, view.layer))
    return [sheet(sprite, view, address, say) for sprite in found if sprite is not None]


def _add_units(book: Book, atlas: Atlas, views: Sequence[LayerView], limit: int, say: Words) -> dict[str, int]:
    """How many units of each layer found room."""
    counts = dict.fromkeys((view.layer for view in views), 0)
    beside = {view.layer: (view.previous, view.following) for view in views}
    for layer, channel in rounds({view.layer: view.channels for view in views}):
        if book.size > limit:
            break
        unit, near = view_unit(atlas, layer, channel), beside[layer]
        html = render("report_unit.html.j2", say, unit=unit, near=near, address=address, history=None)
        above = {say("report.layers"): "layers", layer: address(layer)[1:]}
        book.add(address(layer, channel)[1:], f"c{channel}", html, above)
        counts[layer] += 1
    return counts


def rounds(channels: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Every unit once: one of every layer a round, so that the first ones of a layer are spread over its numbers.

    >>> list(rounds({"a": 4, "b": 1}))
    [('a', 0), ('b', 0), ('a', 2), ('a', 1), ('a', 3)]
    """
    orders = {layer: iter(_spread(count)) for layer, count in channels.items()}
    while orders:
        for layer, order in list(orders.items()):
            channel = next(order, None)
            if channel is None:
                del orders[layer]
            else:
                yield layer, channel


def _spread(count: int) -> list[int]:
    """0 .. count - 1, each of which halves the widest gap that those before it leave (van der Corput's order)."""
    bits = max(1, (count - 1).bit_length())
    return [place for key in range(2**bits) if (place := int(f"{key:0{bits}b}"[::-1], 2)) < count]
