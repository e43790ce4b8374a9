"""A run's snapshots as film strips: the same layers, images and colours at every epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from cutaway.errors import InputError
from cutaway.files import parse_json
from cutaway.pictures.colours import Scale, finite_range
from cutaway.pictures.grids import choose, kernel_groups
from cutaway.pictures.mosaic import Layout, Mosaic, mosaic, place, whole_zoom
from cutaway.pictures.snapshot import snapshot_scales
from cutaway.pictures.stills import picture_of, png
from cutaway.runs import Run, RunFolder
from cutaway.runs.checked import check
from cutaway.runs.sealed import unbroken
from cutaway.words import Words, words

# What one page can hold: each picture is kept for every epoch, so these bound its size to a few megabytes.
MAX_EPOCHS, MAX_PROBES, MAX_CHANNELS, MAX_KERNELS = 30, 6, 24, 64
# Pixels before the page doubles them: a strip of maps and one of kernels, a tile, the room for a number.
_WIDTH, _KERNEL_WIDTH, _TILE, _NUMBER = 420, 256, 32, 6


@dataclass(frozen=True)
class Mark:
    """A channel's number and where it stands, in pixels of the strip: its middle and its top."""

    left: int
    top: int
    text: str


@dataclass(frozen=True, eq=False)
class Strip:
    """One layer through the epochs.

    Attributes:
        kind: "maps", "kernels" or "gradients".
        layer: the layer's name.
        note: what is shown of it, in words.
        scale: the one colour scale of all its frames.
        largest: the largest absolute value in any frame; what lies beyond `scale` has the colour of its end.
        zoom: whole number by which a page enlarges the frames.
        size: height and width of a frame in pixels, not enlarged.
        marks: the channels' numbers.
        frames: for each epoch its PNGs: one for each probe image if `kind` is "maps", else one.
    """

    kind: str
    layer: str
    note: str
    scale: Scale
    largest: float
    zoom: int
    size: tuple[int, int]
    marks: tuple[Mark, ...]
    frames: Mapping[int, tuple[bytes, ...]]


@dataclass(frozen=True, eq=False)
class Probe:
    """One of the images that every epoch looks at: its class, its PNG, its size and enlargement."""

    label: str
    png: bytes
    size: tuple[int, int]
    zoom: int


@dataclass(frozen=True, eq=False)
class Film:
    """All strips of a run; `left_out` says what of the snapshots is not in it."""

    epochs: tuple[int, ...]
    probes: tuple[Probe, ...]
    strips: tuple[Strip, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The content of one `arrays.safetensors`."""

    arrays: dict[str, NDArray[Any]]
    labels: tuple[str, ...]
    layers: tuple[str, ...]


_KINDS = ("maps", "channels", "kernels", "gradients")


def read_snapshot(path: Path) -> Snapshot:
    """The arrays and names in a snapshot's file; a damaged one is an `InputError`."""
    names = unbroken(path, needed=RunFolder(path.parents[2]).info()["schema_version"] > 1)
    try:
        with safe_open(str(path), framework="np") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping: it has only keys())
        found = [key.removeprefix("maps/") for key in arrays if key.startswith("maps/")]
        layers = parse_json(names["layers"]) if "layers" in names else found
        labels = parse_json(names.get("labels", "[]"))
        check([layers, labels], list[list[str]])
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    strange = [key for key in arrays if key != "images" and key.partition("/")[0] not in _KINDS]
    if strange:
        raise InputError(f"{path} is damaged (it holds '{strange[0]}', which no snapshot does)")
    if names.get("epoch", "") not in ("", str(int(path.parent.name))):
        raise InputError(f"{path} is of epoch {names['epoch']}")
    return Snapshot(arrays, tuple(labels), tuple(layer for layer in layers if layer in found))


def build_film(run: Run, say: Words | None = None) -> Film | None:
    """The film of a run, or None if it has no snapshots; `say` has its texts (English)."""
    say = say or words()
    folders = run.folder.path.glob("snapshots/[0-9]*/arrays.safetensors")
    paths = {int(path.parent.name): path for path in folders if re.fullmatch("[0-9]{4,9}", path.parent.name)}
    kept = spread(sorted(paths), MAX_EPOCHS, run.best_epoch)
    left_out = [say("film.epochs", kept=len(kept), all=len(paths))] if len(kept) < len(paths) else []
    snapshots: dict[int, Snapshot] = {}
    for epoch in kept:
        try:
            snapshots[epoch] = read_snapshot(paths[epoch])
        except InputError as error:
            left_out.append(str(error))
    if not snapshots:
        return None
    strips = _strips(snapshots, say)
    return Film(tuple(snapshots), _probes(snapshots[max(snapshots)]), strips, tuple(left_out))


def spread(epochs: Sequence[int], count: int, wanted: int | None = None) -> list[int]:
    """At most `count` of the epochs, evenly spread, with the first, the last and the `wanted` one.

    >>> spread(range(1, 101), 5, 50)
    [1, 34, 50, 67, 100]
    """
    if len(epochs) <= count:
        return list(epochs)
    extra = {wanted} & set(epochs)
    places = np.linspace(0, len(epochs) - 1, count - len(extra)).round().astype(int)
    return sorted({epochs[place] for place in places.tolist()} | {epoch for epoch in extra if epoch is not None})


def _probes(snapshot: Snapshot) -> tuple[Probe, ...]:
    images = snapshot.arrays.get("images")
    if images is None:
        return ()
    zoom = whole_zoom(max(images.shape[2:]), 112)
    labels = [*snapshot.labels, *[""] * len(images)]
    return tuple(
        Probe(label, png(picture_of(image)), (image.shape[1], image.shape[2]), zoom)
        for image, label in zip(images[:MAX_PROBES], labels, strict=False)
    )


def _strips(snapshots: Mapping[int, Snapshot], say: Words) -> tuple[Strip, ...]:
    scales = snapshot_scales(snapshot.arrays for snapshot in snapshots.values())
    last = snapshots[max(snapshots)]
    names = [key for kind in ("kernels/", "gradients/") for key in last.arrays if key.startswith(kind)]
    kernels = [_kernel_strip(name, snapshots, scales[name], say) for name in names]
    maps = [_map_strip(layer, snapshots, scales[f"maps/{layer}"], say) for layer in last.layers]
    return (*kernels, *maps)


def _map_strip(layer: str, snapshots: Mapping[int, Snapshot], scale: Scale, say: Words) -> Strip:
    name, last = f"maps/{layer}", snapshots[max(snapshots)].arrays
    maps = last[name]
    shown = choose(maps.shape[1], MAX_CHANNELS)
    numbers = last.get(f"channels/{layer}", np.arange(maps.shape[1]))[shown]
    inner = whole_zoom(max(maps.shape[2:]), _TILE)
    layout = _layout(len(shown), maps.shape[2] * inner, maps.shape[3] * inner, _WIDTH)

    def draw(snapshot: Snapshot) -> tuple[bytes, ...]:
        values = snapshot.arrays[name][:MAX_PROBES, shown]
        return tuple(mosaic(one, scale, layout, inner).png() for one in values)

    note = say("film.channels", count=len(shown), height=maps.shape[2], width=maps.shape[3])
    return _strip(name, note, scale, layout, numbers, snapshots, draw)


def _kernel_strip(name: str, snapshots: Mapping[int, Snapshot], scale: Scale, say: Words) -> Strip:
    kernels = snapshots[max(snapshots)].arrays[name]
    outputs, inputs = choose(len(kernels), MAX_KERNELS), choose(kernels.shape[1], 3)
    inner = whole_zoom(max(kernels.shape[2:]), _TILE // 2 - 2)

    def groups(snapshot: Snapshot) -> NDArray[np.uint8]:
        return kernel_groups(snapshot.arrays[name][np.ix_(outputs, inputs)], scale, inner)

    def draw(snapshot: Snapshot) -> tuple[bytes, ...]:
        return (Mosaic(place(groups(snapshot), layout), scale.kind).png(),)

    height, width = groups(snapshots[max(snapshots)]).shape[1:]
    layout = _layout(len(outputs), height, width, _KERNEL_WIDTH, gap=2 if len(inputs) == 1 else 6)
    return _strip(
        name, _kernel_note(kernels.shape, len(outputs), len(inputs), say), scale, layout, outputs, snapshots, draw
    )


def _kernel_note(shape: tuple[int, ...], outputs: int, inputs: int, say: Words) -> str:
    """How many of the kernels (out, in, kh, kw) are shown, and of how many of their input channels."""
    some = say("film.kernels_some", count=outputs, all=shape[0]) if outputs < shape[0] else str(shape[0])
    beside = ""
    if shape[1] > 1:
        key = "film.kernels_beside_all" if inputs == shape[1] else "film.kernels_beside"
        beside = say(key, count=inputs, all=shape[1])
    return say("film.kernels", shown=some, height=shape[2], width=shape[3], beside=beside)


def _layout(count: int, height: int, width: int, room: int, gap: int = 2) -> Layout:
    fitting = max(1, (room + gap) // (width + gap))
    rows = -(-count // fitting)
    return Layout(count, -(-count // rows), height, width, gap, _NUMBER)


def _strip(
    name: str,
    note: str,
    scale: Scale,
    layout: Layout,
    numbers: NDArray[Any],
    snapshots: Mapping[int, Snapshot],
    draw: Callable[[Snapshot], tuple[bytes, ...]],
) -> Strip:
    kind, layer = name.split("/", 1)
    marks = []
    for tile, text in enumerate(numbers.tolist()):
        top, left = layout.corner(tile)
        marks.append(Mark(left + layout.width // 2, top + layout.height, str(text)))
    ends = [finite_range(snapshot.arrays[name]) for snapshot in snapshots.values()]
    return Strip(
        kind=kind,
        layer=layer,
        note=note,
        scale=scale,
        largest=max(max(-low, high) for low, high in ends),
        zoom=2 if layout.width <= 1.5 * _TILE or kind != "maps" else 1,
        size=layout.size,
        marks=tuple(marks),
        frames={epoch: draw(snapshot) for epoch, snapshot in snapshots.items()},
    )
