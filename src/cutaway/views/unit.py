"""What the page of one unit shows, as plain data read from an atlas; it knows no HTML and no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.pictures.colours import Scale, to_rgb
from cutaway.pictures.grids import kernel_groups
from cutaway.pictures.mosaic import Layout, Mosaic, dead_maps, mosaic, whole_zoom
from cutaway.pictures.stills import Still
from cutaway.runs.atlas import Arrays, Atlas
from cutaway.views.checks import own_check
from cutaway.views.patches import PatchView, view_patches

_CELL = 96  # pixels that a map or a kernel is brought near to
_KERNEL = 36


@dataclass(frozen=True, eq=False)
class ImaginedView:
    """An imagined image.

    Attributes:
        still: the image.
        reached: its objective, the mean of the unit's map.
        start: that of the noise it began with.
        noise: that of noise with its colours and spectrum, mean of several; noise_max: the highest of them.
        best_real: the highest of the real images in the statistics; None where they are not made.
        peak: the largest value of its map, to be seen beside the scores of real patches.
        seed, steps, style: how it was made.
        notes: sentences a reader must know.
    """

    still: Still
    reached: float
    start: float
    noise: float
    noise_max: float
    best_real: float | None
    peak: float
    seed: int
    steps: int
    style: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class KernelView:
    """The kernel of a unit, the inputs with the largest weights first.

    Attributes:
        values: float32 (n, kh, kw), signed.
        inputs: the input channel of each.
        sources: what each input channel is, such as `features.0 c12`; "" where it could not be followed.
        total: how many inputs there are.
        norm: Euclidean length of the whole kernel.
        scale: of the picture.
        still: the picture, all slices from left to right in rows of 8.
    """

    values: NDArray[np.float32]
    inputs: tuple[int, ...]
    sources: tuple[str, ...]
    total: int
    norm: float
    scale: Scale
    still: Still


@dataclass(frozen=True, eq=False)
class MapView:
    """A unit's map on one image.

    Attributes:
        values: float32 (h, w).
        scale: of the picture.
        still: the picture, each value a square.
        overlay: the map over the image, the image's grey where the map is near zero; None without an image.
        dead: whether it is zero everywhere.
    """

    values: NDArray[np.float32]
    scale: Scale
    still: Still
    overlay: Still | None
    dead: bool


@dataclass(frozen=True, eq=False)
class StatisticsView:
    """A unit over the data.

    Attributes:
        images: how many images were looked at; total: how many the split has.
        active: share of the places where the activation behind the layer is not zero.
        active_of: the name of that activation; the layer itself where none follows (then: share above zero).
        mean, std: over all places of all images.
        low, high: the extremes.
        counts: int64 (bins,), places by value; edges: float32 (bins + 1,).
        dead: whether it was active nowhere.
    """

    images: int
    total: int
    active: float
    active_of: str
    mean: float
    std: float
    low: float
    high: float
    counts: NDArray[np.int64]
    edges: NDArray[np.float32]
    dead: bool


@dataclass(frozen=True)
class VoteView:
    """What a unit says for a class: by how much a raised answer raises its logit, and its mean answer to such images.

    Attributes:
        label: the class.
        vote: change of the class's logit, less the mean of all logits, where the unit answers one standard deviation
            more everywhere; to first order, mean over images.
        response: its mean answer to images of this class; None if there were none.
    """

    label: str
    vote: float
    response: float | None


@dataclass(frozen=True)
class WeightView:
    """A weight between this unit and another.

    Attributes:
        layer, channel: the other unit; `input` for the image.
        weight: the kernel's sum, times the scale of a BatchNorm that lies between the two.
        norm: its Euclidean length, times that scale's size; the strongest stand first.
    """

    layer: str
    channel: int
    weight: float
    norm: float


@dataclass(frozen=True, eq=False)
class UnitView:
    """All that the page of a unit shows; None or empty: not made yet.

    Attributes:
        layer, channel: which.
        kind: the class of the layer's module.
        channels: how many units the layer has.
        map_size: height and width of its map.
        field: height and width of what one place sees, in pixels; None where nobody knows.
        field_exact: whether `field` is exact, or the most that it can be.
        best, least, quantiles: real patches; quantiles from high to low.
        imagined: imagined images.
        kernel, statistics, votes, incoming, outgoing: see their classes.
        certificates: by part ("exemplars", "responses", "weights", "imagined"), each as its `as_dict`.
    """

    layer: str
    channel: int
    kind: str
    channels: int
    map_size: tuple[int, int]
    field: tuple[int, int] | None
    field_exact: bool
    best: tuple[PatchView, ...] = ()
    least: tuple[PatchView, ...] = ()
    quantiles: tuple[PatchView, ...] = ()
    imagined: tuple[ImaginedView, ...] = ()
    kernel: KernelView | None = None
    statistics: StatisticsView | None = None
    votes: tuple[VoteView, ...] = ()
    incoming: tuple[WeightView, ...] = ()
    outgoing: tuple[WeightView, ...] = ()
    certificates: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def view_unit(atlas: Atlas, layer: str, channel: int) -> UnitView:
    """Everything that an atlas has of a unit.

    Raises:
        InputError: a layer or channel that it does not know; a damaged file.
    """
    found = atlas.unit(layer, channel)
    parts = {
        part: (about, row)
        for part in ("exemplars", "responses", "weights")
        if (row := atlas.row(part, layer, channel)) is not None and (about := atlas.about(part, layer)) is not None
    }
    groups = view_patches(atlas, found, channel, parts["exemplars"][1]) if "exemplars" in parts else {}
    responses = parts.get("responses")
    imagined = _imagined(atlas, layer, channel, responses[1] if responses else None)
    certificates = {part: about["certificate"] for part, (about, _) in parts.items()}
    if imagined and (about := atlas.about("imagined", layer, channel)):
        place = channel % atlas.chunk_size
        count = min(atlas.chunk_size, found.channels - channel + place)
        check = own_check(about["certificate"]["check"], place, count)
        certificates["imagined"] = {**about["certificate"], "check": check}
    return UnitView(
        layer=layer,
        channel=channel,
        kind=found.kind,
        channels=found.channels,
        map_size=found.size,
        field=found.field,
        field_exact=found.exact,
        best=groups.get("best", ()),
        least=groups.get("least", ()),
        quantiles=groups.get("quantiles", ()),
        imagined=imagined,
        kernel=_kernel(*parts["weights"]) if "weights" in parts else None,
        statistics=_statistics(*responses) if responses else None,
        votes=_votes(atlas, *responses) if responses else (),
        incoming=tuple(_weights(*parts["weights"], "in")) if "weights" in parts else (),
        outgoing=tuple(_weights(*parts["weights"], "out")) if "weights" in parts else (),
        certificates=certificates,
    )


def map_view(values: NDArray[Any], scale: Scale | None = None, image: NDArray[np.uint8] | None = None) -> MapView:
    """A unit's map (h, w) as a page shows it; `scale` None: its own; `image` uint8 (C, H, W) for the overlay."""
    values = np.asarray(values, np.float32)
    scale = scale or Scale.of(values)
    zoom = whole_zoom(max(values.shape), _CELL)
    layout = Layout(1, 1, values.shape[0] * zoom, values.shape[1] * zoom)
    still = _mosaic_still(mosaic(values[None], scale, layout, zoom))
    overlay = None if image is None else Still.png(overlaid(values, scale, image))
    return MapView(values, scale, still, overlay, bool(dead_maps(values[None])[0]))


def overlaid(values: NDArray[np.float32], scale: Scale, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A map over the grey of its image: the further a value lies from zero, the more of its colour is seen."""
    height, width = image.shape[1:]
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    laid = values[np.ix_(rows, columns)]
    grey = np.repeat(image[:3].mean(0)[..., None], 3, axis=2)
    largest = max(abs(scale.low), abs(scale.high)) or 1.0
    share = np.clip(np.abs(laid) / largest, 0, 1)[..., None] * 0.8
    return np.asarray(np.rint(grey * (1 - share) + to_rgb(laid, scale) * share), np.uint8)


def _mosaic_still(drawn: Mosaic) -> Still:
    height, width = drawn.entries.shape
    return Still(drawn.png(), "image/png", height, width)


def _imagined(atlas: Atlas, layer: str, channel: int, responses: Arrays | None) -> tuple[ImaginedView, ...]:
    found, about = atlas.imagined(layer, channel), atlas.about("imagined", layer, channel)
    if found is None or about is None:
        return ()
    data, row = found
    settings = about["certificate"]["parameters"]
    unit = f"{layer}:{channel}'"
    return (
        ImaginedView(
            still=Still.read(data),
            reached=float(row["reached"]),
            start=float(row["start"]),
            noise=float(row["noise_mean"]),
            noise_max=float(row["noise_max"]),
            best_real=float(responses["best_mean"]) if responses else None,
            peak=float(row["peak"]),
            seed=about["certificate"]["seed"],
            steps=settings["steps"],
            style=settings["style"],
            notes=tuple(note for note in about["certificate"]["notes"] if unit in note or "'" not in note),
        ),
    )


def _kernel(about: Mapping[str, Any], row: Arrays) -> KernelView:
    inputs = row["kernel.inputs"].tolist()
    sources = tuple(source_name(about["wires"], channel) for channel in inputs)
    return kernel_view(row["kernel.values"], inputs, sources, about["inputs"], float(row["kernel.norm"]))


def kernel_view(
    values: NDArray[np.float32], inputs: Sequence[int], sources: Sequence[str], total: int, norm: float
) -> KernelView:
    """Slices (n, kh, kw) of a kernel of `total` inputs and length `norm`, from the numbered inputs."""
    scale = Scale.of(values, "signed")
    zoom = whole_zoom(max(values.shape[1:]), _KERNEL)
    entries = kernel_groups(values[None], scale, zoom)[0]
    return KernelView(
        values=values,
        inputs=tuple(inputs),
        sources=tuple(sources),
        total=total,
        norm=norm,
        scale=scale,
        still=_mosaic_still(Mosaic(entries, scale.kind)),
    )


def strongest_inputs(kernel: NDArray[np.float32], most: int = 16) -> KernelView:
    """The slices of one unit's kernel (inputs, kh, kw) with the largest norms, the largest first."""
    norms = np.linalg.norm(kernel, axis=(1, 2))
    inputs = np.argsort(-norms, kind="stable")[:most]
    names = [f"c{channel}" for channel in inputs.tolist()]
    return kernel_view(kernel[inputs], inputs.tolist(), names, len(kernel), float(np.linalg.norm(kernel)))


def source_name(wires: Sequence[Mapping[str, Any]], channel: int) -> str:
    """What arrives at an input channel, from the wires of its layer.

    >>> source_name([{"source": "conv1", "first": 0, "start": 0, "channels": 8, "repeat": 4}], 9)
    'conv1 c2'
    """
    found = [
        f"{wire['source']} c{wire['start'] + (channel - wire['first']) // wire['repeat']}"
        for wire in wires
        if wire["first"] <= channel < wire["first"] + wire["channels"] * wire["repeat"]
    ]
    return " + ".join(found)


def _statistics(about: Mapping[str, Any], row: Arrays) -> StatisticsView:
    return StatisticsView(
        images=about["images"],
        total=about["total"],
        active=float(row["active"]),
        active_of=about["active_of"],
        mean=float(row["mean"]),
        std=float(row["std"]),
        low=float(row["low"]),
        high=float(row["high"]),
        counts=row["counts"],
        edges=row["edges"],
        dead=bool(row["active"] == 0),
    )


def _votes(atlas: Atlas, about: Mapping[str, Any], row: Arrays) -> tuple[VoteView, ...]:
    votes = [
        VoteView(atlas.class_name(index), vote, None if np.isnan(response) else response)
        for index, vote, response in zip(
            about["classes"], row["votes"].tolist(), row["responses"].tolist(), strict=True
        )
    ]
    return tuple(sorted(votes, key=lambda vote: -vote.vote))


def _weights(about: Mapping[str, Any], row: Arrays, side: str) -> Iterator[WeightView]:
    layers = about["layers"]
    columns = (row[f"{side}.{name}"].tolist() for name in ("layers", "channels", "weights", "norms"))
    for layer, channel, weight, norm in zip(*columns, strict=True):
        if layer >= 0:
            yield WeightView(layers[layer], channel, weight, norm)
