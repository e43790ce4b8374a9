"""Exemplars: the real patches of a data set that excite each unit most."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.computing.memory import is_out_of_memory
from cutaway.data import Dataset, Split, load_data
from cutaway.data.sources import BUILT_IN
from cutaway.errors import InputError, unknown
from cutaway.lenses.attribution.method import Progress
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.exemplars import Box, Replay, Surveyed, Table, Tables, replay, survey
from cutaway.pictures import Picture
from cutaway.pictures.exemplars import Shot, layer_sheet, unit_sheet
from cutaway.pictures.grids import choose
from cutaway.scope.exemplar_chunks import SAMPLE, Found, Manifest, Scanner, Store, can_fork, computing, one_thread
from cutaway.scope.exemplar_workers import scan_all
from cutaway.scope.result import Result
from cutaway.scope.sides import fitted

if TYPE_CHECKING:
    from cutaway.scope.microscope import Scope

LEVELS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
KINDS = ("best", "spots", "quantiles", "least")
UNITS = 16  # rows of a layer's sheet
_FORMAT = 1
_VALUES = 64 * 3 * 32 * 32  # of the images in a batch: more fall out of a core's cache


class Patch(NamedTuple):
    """One entry of a unit: score, image (its position in the split), place (row, column) in the map, and its box.

    `box` is top, left, bottom, right in the network's input, the last two exclusive; it may reach beyond the image.
    """

    score: float
    image: int
    place: tuple[int, int]
    box: Box


@dataclass(frozen=True, eq=False)
class Patches:
    """What stands out for each channel of a layer, the highest score first.

    Attributes:
        scores: float32 (channels, n).
        images: int64 (channels, n), positions in the split.
        places: int64 (channels, n, 2), row and column in the layer's map.
    """

    scores: Tensor
    images: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class LayerExemplars:
    """One layer.

    Attributes:
        found: channels, size of the map and receptive fields.
        best: the k images with the highest maximum, one place each.
        spots: the k highest places, several of which may be in one image.
        quantiles: images whose maximum is at `LEVELS` of all images' maxima, as a sample of the images gives them.
        least: the k images with the lowest maximum, lowest first, at the place of that maximum.
    """

    found: Surveyed
    best: Patches
    spots: Patches
    quantiles: Patches
    least: Patches

    def patches(self, channel: int, kind: str = "best") -> list[Patch]:
        """The patches of a unit, of `kind` "best", "spots", "quantiles" or "least"."""
        self.found.check(channel)
        if kind not in KINDS:
            raise unknown("kind", kind, KINDS, "of exemplars")
        some: Patches = getattr(self, kind)
        rows = zip(
            some.scores[channel].tolist(), some.images[channel].tolist(), some.places[channel].tolist(), strict=True
        )
        return [Patch(score, image, (row, col), self.found.box(row, col)) for score, image, (row, col) in rows]

    def is_constant(self, channel: int) -> bool:
        """Whether the unit's maximum is the same for every image, as a dead unit's is."""
        return bool(self.best.scores[channel, 0] == self.least.scores[channel, 0])


@dataclass(frozen=True, eq=False)
class Exemplars(Result):
    """The patches of a split that excite each unit of some layers most.

    Attributes:
        layers: layer -> its exemplars, in the order of the forward pass.
        split: the images, for pictures.
        classes: names of the labels; may be empty.
        source: of the data, for titles.
        shape: (C, H, W) of the network's input, in whose pixels boxes count.
        certificate: how they were found, and the replay.
        units: (layer, channel) of the units that `pictures` draws first, each by itself.
    """

    layers: dict[str, LayerExemplars]
    split: Split
    classes: tuple[str, ...]
    source: str
    shape: tuple[int, int, int]
    certificate: Certificate
    units: tuple[tuple[str, int], ...] = ()

    def __getitem__(self, layer: str) -> LayerExemplars:
        if layer not in self.layers:
            raise unknown("layer", layer, self.layers, "in these exemplars")
        return self.layers[layer]

    def unit(self, layer: str, channel: int, kind: str = "best") -> list[Patch]:
        """The patches of a unit: `kind` is "best", "spots", "quantiles" or "least"."""
        return self[layer].patches(channel, kind)

    def name(self, image: int) -> str:
        """What an image of the split is called: its file, or `train:412`, and its class."""
        name = self.split.files[image] if self.split.files is not None else f"{self.split.name}:{image}"
        return f"{name} {self.label(image)}".strip()

    def label(self, image: int) -> str:
        """The class of an image of the split; "" where it has no name."""
        label = int(self.split.labels[image])
        return self.classes[label] if 0 <= label < len(self.classes) else ""

    def crop(self, patch: Patch) -> NDArray[np.uint8]:
        """Pixels uint8 (C, h, w) of what a patch's place sees, as far as it lies in the image."""
        top, left, bottom, right = patch.box
        image = self._pixels([patch.image])[0]
        return np.asarray(image[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)])

    def picture(self, layer: str | None = None, channel: int | None = None) -> Picture:
        """A unit's sheet, a layer's, or the main picture of all."""
        if layer is None:
            return next(iter(self.pictures().values()))
        return self._layer_sheet(layer) if channel is None else self._unit_sheet(layer, channel)

    def pictures(self) -> dict[str, Picture]:
        """The sheets of the units asked for, then one a layer: the best patches of some of its units."""
        single = {f"unit {layer} {channel}": self._unit_sheet(layer, channel) for layer, channel in self.units}
        return {**single, **{f"exemplars {layer}": self._layer_sheet(layer) for layer in self.layers}}

    def arrays(self) -> dict[str, Tensor]:
        """`LAYER/best.scores`, `.images`, `.places`, and the same of spots, quantiles and least, for each layer."""
        return {
            f"{layer}/{kind}.{part}": getattr(getattr(found, kind), part)
            for layer, found in self.layers.items()
            for kind in KINDS
            for part in ("scores", "images", "places")
        }

    def rows(self, layer: str, channel: int) -> dict[str, Any]:
        """A unit as plain data, JSON-able: its patches of every kind, with the images' names."""
        kinds = {
            kind: [{**patch._asdict(), "name": self.name(patch.image)} for patch in self.unit(layer, channel, kind)]
            for kind in KINDS
        }
        return {"layer": layer, "channel": channel, "constant": self[layer].is_constant(channel), **kinds}

    def _pixels(self, images: Sequence[int]) -> NDArray[np.uint8]:
        """Uint8 (n, C, H, W) in the size of the network's input."""
        if not len(images):
            return np.zeros((0, *self.shape), np.uint8)
        pixels = torch.from_numpy(self.split.images[np.asarray(images)])
        return np.asarray(fitted(pixels, self.shape).numpy(), np.uint8)

    def _shots(self, patches: Sequence[Patch]) -> list[Shot]:
        pixels = self._pixels([patch.image for patch in patches])
        return [
            Shot(image, patch.box, patch.score, f"{patch.image} {self.label(patch.image)}".strip())
            for image, patch in zip(pixels, patches, strict=True)
        ]

    def _unit_sheet(self, layer: str, channel: int) -> Picture:
        words = {
            "best": "best images",
            "spots": "best places (several may be in one image)",
            "quantiles": f"deciles of all images, {LEVELS[0]:.0%} to {LEVELS[-1]:.0%}",
            "least": "least excited images",
        }
        found = self[layer]
        groups = [(words[kind], self._shots(found.patches(channel, kind))) for kind in KINDS]
        constant = "  ·  the same for every image" if found.is_constant(channel) else ""
        return unit_sheet(groups, title=f"{layer}:{channel}  ·  {self._about(found)}{constant}")

    def _layer_sheet(self, layer: str) -> Picture:
        found = self[layer]
        channels = choose(found.found.channels, UNITS).tolist()
        rows = [(str(channel), self._shots(found.patches(channel))) for channel in channels]
        some = "" if len(channels) == found.found.channels else f"{len(channels)} of "
        count = f"{some}{found.found.channels} units"
        return layer_sheet(rows, title=f"{layer}  ·  best images of {count}  ·  {self._about(found)}")

    def _about(self, layer: LayerExemplars) -> str:
        top, left, bottom, right = layer.found.box(0, 0)
        exact = "" if layer.found.exact else "at most "
        size, image = (bottom - top, right - left), self.shape[1:]
        whole = all(field >= side for field, side in zip(size, image, strict=True))
        field = "each sees the whole image" if whole else f"each sees {exact}{size[0]}×{size[1]} pixels"
        return f"{self.source} {self.split.name}, {len(self.split):,} images  ·  {field}".strip()


def exemplars(
    scope: Scope,
    data: Dataset | Split | str | Path,
    layers: str | Sequence[str] | None = None,
    k: int = 9,
    *,
    split: str = "train",
    folder: str | Path | None = None,
    processes: int | None = None,
    batch: int | None = None,
    precision: str = "fp32",
    units: Sequence[tuple[str, int]] = (),
    progress: Progress | None = None,
) -> Exemplars:
    """Pass a split once and keep, for every unit of these layers, the patches that excite it most.

    Args:
        scope: the network and its preprocessing.
        data: a data set, a split, or what `load_data` takes.
        layers: dotted names; None for every convolution, or for the layers of `units` if there are any. Their outputs
            are what counts: name `layer1.0.relu` for what is left after a ReLU.
        k: patches a unit and kind.
        split: which split of a data set.
        folder: where parts of the scan are kept, so that the same call goes on after a stop; None keeps nothing.
        processes: how many scan; None for one a core (one alone on an accelerator and where processes cannot be
            forked). The result does not depend on it.
        batch: images at a time; None for a size that fits the cache. Halved when memory is too small.
        precision: "fp32", or "bf16", which is faster where the processor has it and finds nearly the same patches.
        units: (layer, channel) of units that get a picture each.
        progress: called as progress(label, images done, images in all).

    Raises:
        InputError: a split, layer or channel that does not exist, an empty split, a network that does not say how its
            input is standardised, values that are not finite.
    """
    _check(scope, k, processes, batch, precision)
    part, classes, source = _part(scope, data, split, progress)
    device, manifest = scope.device, Manifest.of(len(part))
    size = batch or _batch(scope, device)
    named = [layers] if isinstance(layers, str) else list(layers or ())
    wanted = list(dict.fromkeys([*named, *(layer for layer, _ in units)])) or None
    assert scope.preprocessing is not None  # _check saw to it
    scanner = Scanner(scope.network, device, scope.preprocessing, part, [], k, size, precision == "bf16")
    surveyed = survey(scope.network, scanner.image(0), wanted)
    for layer, channel in units:
        surveyed[layer].check(channel)
    scanner = replace(scanner, layers=list(surveyed))
    notes: list[str] = []
    while True:
        try:
            with one_thread(device):
                found, key = _scan(scope, scanner, manifest, folder, processes, progress)
                checked = _replay(scanner, found)
            break
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem) or scanner.batch == 1:
                raise
            notes.append(f"not enough memory for batches of {scanner.batch}: halved")
            scanner = replace(scanner, batch=scanner.batch // 2)
    return Exemplars(
        layers={name: _layer(surveyed[name], found[name], len(part)) for name in surveyed},
        split=part,
        classes=classes,
        source=source,
        shape=scope.preprocessing.shape,
        certificate=scope.certify(_certificate(scanner, manifest, source, checked, key, notes)),
        units=tuple(units),
    )


def _check(scope: Scope, k: int, processes: int | None, batch: int | None, precision: str) -> None:
    if scope.preprocessing is None:
        raise InputError(f"{scope.name} does not say how its input is standardised; give Scope a preprocessing")
    for name, value in (("k", k), ("processes", processes), ("batch", batch)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; expected 1 or more")
    if precision not in ("fp32", "bf16"):
        raise unknown("precision", precision, ("fp32", "bf16"))
    if (processes or 1) > 1 and not can_fork(scope.device):
        raise InputError(
            f"{processes} processes were asked for; several can scan only on Linux with the network on the CPU, "
            f"and here it is on {scope.device}: leave them out"
        )


def _part(
    scope: Scope, data: Dataset | Split | str | Path, split: str, progress: Progress | None
) -> tuple[Split, tuple[str, ...], str]:
    """The images, the names of their labels, and what they are called."""
    if not isinstance(data, (Dataset, Split)):
        channels, height, width = scope.shape or (3, 0, 0)
        # A folder is decoded as the network wants it; built-in sets have one size.
        fits = height == width and str(data) not in BUILT_IN
        size, colours = (height, channels) if fits else (None, None)
        data = load_data(data, size=size, channels=colours, progress=progress)
    if isinstance(data, Dataset):
        if split not in data.splits:
            raise unknown("split", split, data.splits, f"in {data.source}")
        part, classes, source = data.splits[split], data.classes, data.name
    else:
        part, classes, source = data, scope.classes, ""
    if not len(part):
        raise InputError(f"the {part.name} split has no images; exemplars need at least one")
    return part, classes, source


def _batch(scope: Scope, device: torch.device) -> int:
    values = int(np.prod(scope.shape or (1,)))
    size = 1 << max(1, _VALUES // values).bit_length() - 1
    return min(max(size, 8), 64) * (1 if device.type == "cpu" else 8)


def _scan(
    scope: Scope,
    scanner: Scanner,
    manifest: Manifest,
    folder: str | Path | None,
    processes: int | None,
    progress: Progress | None,
) -> tuple[Found, str]:
    """All tables, and the key of the scan: equal keys, equal tables."""
    about = {
        "format": _FORMAT,
        "weights": scope.certify(Certificate("exemplars")).weights,
        "data": scanner.split.fingerprint,
        "preprocessing": scanner.preprocessing.as_dict(),
        "layers": scanner.layers,
        "k": scanner.k,
        "batch": scanner.batch,
        "bf16": scanner.bf16,
        "chunk": manifest.chunk,
        "sample": SAMPLE,
        "torch": torch.__version__,
        "device": scanner.device.type,
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    with _kept(folder) as base:
        store = Store(base / f"scan-{key}", key)
        return scan_all(scanner, manifest, store, processes, progress), key


@contextmanager
def _kept(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary)


def _replay(scanner: Scanner, found: Found) -> Replay:
    with computing(scanner.device, scanner.bf16):
        return replay(scanner.network, found, scanner.image)


def _layer(surveyed: Surveyed, tables: Tables, images: int) -> LayerExemplars:
    places = surveyed.size[0] * surveyed.size[1]
    least = replace(tables.least, scores=0.0 - tables.least.scores)
    return LayerExemplars(
        surveyed,
        best=_patches(surveyed, tables.best, images),
        spots=_patches(surveyed, tables.spots, images * places),
        quantiles=_patches(surveyed, tables.sample.quantiles(LEVELS), len(LEVELS)),
        least=_patches(surveyed, least, images),
    )


def _patches(surveyed: Surveyed, table: Table, most: int) -> Patches:
    """A table without the columns that so few images cannot fill."""
    scores, images, places = (value[:, :most] for value in (table.scores, table.images, table.places))
    width = surveyed.size[1]
    return Patches(scores, images, torch.stack([places // width, places % width], dim=2))


def _certificate(
    scanner: Scanner, manifest: Manifest, source: str, checked: Replay, key: str, notes: Sequence[str]
) -> Certificate:
    parameters = {
        "data": source,
        "split": scanner.split.name,
        "fingerprint": scanner.split.fingerprint,
        "images": len(scanner.split),
        "layers": scanner.layers,
        "k": scanner.k,
        "batch": scanner.batch,
        "precision": "bf16" if scanner.bf16 else "fp32",
        "quantiles_from": len(manifest.sample),
        "scan": key,
    }
    check = {"replay_gap": checked.gap, "replayed": checked.checked, "replayed_equal": checked.equal}
    return Certificate("exemplars", parameters, None, check, tuple(notes))


def parse_unit(text: str) -> tuple[str, int]:
    """A unit as people write it.

    >>> parse_unit("layer1.0.conv1:17")
    ('layer1.0.conv1', 17)
    """
    layer, sign, channel = text.rpartition(":")
    if not sign or not layer or not channel.isdigit():
        raise InputError(f"a unit is LAYER:CHANNEL, such as conv1:17; found '{text}'")
    return layer, int(channel)


def plain_layers(found: Exemplars) -> list[dict[str, Any]]:
    """A row a layer, JSON-able: units, how many are the same for every image, map, receptive field, scores."""
    rows = []
    for name, layer in found.layers.items():
        top, left, bottom, right = layer.found.box(0, 0)
        rows.append(
            {
                "layer": name,
                "units": layer.found.channels,
                "constant": int((layer.best.scores[:, 0] == layer.least.scores[:, 0]).sum()),
                "map": list(layer.found.size),
                "field": [bottom - top, right - left],
                "field_exact": layer.found.exact,
                "highest": float(layer.best.scores.max()),
            }
        )
    return rows
