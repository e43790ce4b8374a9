"""The atlas of a network: where what is known of every unit lies, and how it is read, without torch and the network.

RUN/atlas/epoch-0007/KEY/             of a run's epoch; CACHE/atlas/WEIGHTS/KEY/ of any other model
  atlas.json                          of what, with which settings, and the layers
  exemplars/LAYER.safetensors         patches: scores, images and places
  crops/LAYER.safetensors             their pixels, where images are too large to be kept whole
  responses/LAYER.safetensors         statistics, histograms, votes
  weights/LAYER.safetensors           kernels and the strongest incoming and outgoing weights
  imagined/LAYER/0000.safetensors     imagined images of some units, and what they reached
  images/0001.safetensors             the images that patches refer to, small, each once
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from cutaway.errors import InputError, unknown
from cutaway.files import cache_folder, parse_json, write_bytes
from cutaway.runs.checked import Wrong, check
from cutaway.runs.record import Run
from cutaway.runs.schema import AtlasInfo
from cutaway.runs.sealed import Stamp, read_sealed_json, seal, stamp, unbroken, write_sealed_json

SCHEMA_VERSION = 2
"""2: every file carries a seal and says what it is a part of."""

Box = tuple[int, int, int, int]
Arrays = dict[str, NDArray[Any]]
Found = TypeVar("Found")


@dataclass(frozen=True)
class LayerRecord:
    """A layer as the atlas knows it.

    Attributes:
        name: as in `capture`.
        kind: the class of its module.
        channels: how many units.
        size: height and width of its map.
        fields: start, jump and size of the receptive fields, down and across, in pixels of the network's input.
        exact: whether the fields are exact; else they are hulls.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, int]
    fields: tuple[tuple[int, int, int], tuple[int, int, int]]
    exact: bool

    @property
    def field(self) -> tuple[int, int]:
        """Height and width of the receptive field."""
        return self.fields[0][2], self.fields[1][2]

    def box(self, row: int, column: int) -> Box:
        """Top, left, bottom, right (the last two exclusive) of what a place sees; it may reach beyond the image."""
        (top, bottom), (left, right) = (
            (start + place * jump, start + place * jump + size)
            for (start, jump, size), place in zip(self.fields, (row, column), strict=True)
        )
        return top, left, bottom, right

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, without the name."""
        return {
            "kind": self.kind,
            "channels": self.channels,
            "size": list(self.size),
            "fields": [list(side) for side in self.fields],
            "exact": self.exact,
        }

    @classmethod
    def of(cls, name: str, about: Mapping[str, Any]) -> LayerRecord:
        """The inverse of `as_dict`."""
        down, across = (tuple(side) for side in about["fields"])
        return cls(name, about["kind"], about["channels"], tuple(about["size"]), (down, across), about["exact"])


@dataclass(frozen=True, eq=False)
class Kept:
    """An image as the atlas keeps it: its file, its name and its label (-1 where it has none)."""

    data: bytes
    name: str
    label: int


@dataclass(frozen=True, eq=False)
class Atlas:
    """One atlas, read-only; a part that is not made yet reads as None.

    Attributes:
        path: its folder.
        info: `atlas.json`: model, epoch, weights, shape, classes, data, settings, layers.
    """

    path: Path
    info: AtlasInfo

    @cached_property
    def layers(self) -> dict[str, LayerRecord]:
        """The layers in the order of the forward pass."""
        return {name: LayerRecord.of(name, about) for name, about in self.info["layers"].items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the network's classes; may be empty."""
        return tuple(self.info["classes"])

    def layer(self, name: str) -> LayerRecord:
        """One layer, or an `InputError` with the nearest names."""
        if name not in self.layers:
            raise unknown("layer", name, self.layers, f"in the atlas {self.path}")
        return self.layers[name]

    def unit(self, layer: str, channel: int) -> LayerRecord:
        """The layer of a unit, or an `InputError` if it has no such channel."""
        found = self.layer(layer)
        if not 0 <= channel < found.channels:
            raise InputError(f"layer '{layer}' has no channel {channel}; they are numbered 0 to {found.channels - 1}")
        return found

    def part(self, part: str, layer: str) -> Path:
        """The file of one part of a layer."""
        return self.path / part / f"{quote(layer, safe='')}.safetensors"

    def chunk(self, layer: str, number: int) -> Path:
        """The file with the imagined images of some units of a layer."""
        return self.path / "imagined" / quote(layer, safe="") / f"{number:04d}.safetensors"

    @property
    def chunk_size(self) -> int:
        """How many units a file of imagined images holds."""
        return int(self.info["settings"]["chunk"])

    def arrays(self, part: str, layer: str, names: Sequence[str] | None = None) -> Arrays | None:
        """Arrays of a layer, all channels; None if that part is not there."""
        return read_arrays(self.part(part, layer), names)

    def row(self, part: str, layer: str, channel: int) -> Arrays | None:
        """One channel's row of every array."""
        return read_arrays(self.part(part, layer), at=channel)

    def about(self, part: str, layer: str, channel: int = 0) -> dict[str, Any] | None:
        """What is written in a part's header: its certificate, and what its arrays refer to."""
        path = self.part(part, layer) if part != "imagined" else self.chunk(layer, channel // self.chunk_size)
        return read_about(path)

    def crops(self, layer: str, channel: int) -> list[bytes]:
        """The pixels of a unit's patches, in the order best, least, quantiles; empty where whole images are kept."""
        path = self.part("crops", layer)
        ends = read_arrays(path, ["ends"], at=channel)
        if ends is None:
            return []
        spans = list(pairwise(ends["ends"].tolist()))
        return _opened(path, lambda file: _cut(file, "bytes", spans)) or []

    def first_crops(self, layer: str) -> list[bytes]:
        """The pixels of the best patch of every unit of a layer; empty where whole images are kept."""
        path = self.part("crops", layer)
        ends = read_arrays(path, ["ends"])
        spans = [] if ends is None else ends["ends"][:, :2].tolist()
        return _opened(path, lambda file: _cut(file, "bytes", spans)) or []

    def class_name(self, index: int) -> str:
        """The name of a class of the network; its number where it has none."""
        return self.classes[index] if index < len(self.classes) else str(index)

    def label(self, index: int) -> str:
        """The name of a label of the data; "" where it has none."""
        names = self.info["data"]["classes"]
        return str(names[index]) if 0 <= index < len(names) else ""

    def imagined(self, layer: str, channel: int) -> tuple[bytes, Arrays] | None:
        """The imagined image of a unit, as the bytes of a picture file, and the numbers beside it."""
        number, place = divmod(channel, self.chunk_size)
        path = self.chunk(layer, number)
        found = read_arrays(path, at=place, without=("bytes", "offsets"))
        if found is None:
            return None
        return unpack(path, "bytes", "offsets", [place])[0], found

    def imagined_all(self, layer: str) -> dict[int, bytes]:
        """All imagined images of a layer that are there, by channel."""
        found: dict[int, bytes] = {}
        for first in range(0, self.layer(layer).channels, self.chunk_size):
            path = self.chunk(layer, first // self.chunk_size)
            if path.is_file():
                count = min(self.chunk_size, self.layer(layer).channels - first)
                found |= dict(enumerate(unpack(path, "bytes", "offsets", range(count)), start=first))
        return found

    def images(self, ids: Iterable[int]) -> dict[int, Kept]:
        """Images of the split by their positions; those that are not kept are left out."""
        found: dict[int, Kept] = {}
        for pack in self._packs:
            rest = [image for image in dict.fromkeys(ids) if image not in found]
            found |= pack.get(rest) if rest else {}
        return found

    def kept(self) -> set[int]:
        """The positions of all images that are kept."""
        return {image for pack in self._packs for image in pack.ids.tolist()}

    @cached_property
    def _packs(self) -> list[_Pack]:
        return [_Pack.of(path) for path in sorted((self.path / "images").glob("[0-9]*.safetensors"))]


@dataclass(frozen=True, eq=False)
class _Pack:
    """A file of images, with the positions that are in it."""

    path: Path
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, path: Path) -> _Pack:
        found = read_arrays(path, ["ids", "labels"]) or {}
        return cls(path, found["ids"], found["labels"])

    def get(self, ids: Sequence[int]) -> dict[int, Kept]:
        """Those of the images that are here."""
        wanted = np.asarray(ids, np.int64)
        places = np.searchsorted(self.ids, wanted)
        inside = [
            (image, place)
            for image, place in zip(wanted.tolist(), places.tolist(), strict=True)
            if place < len(self.ids) and self.ids[place] == image
        ]
        at = [place for _, place in inside]
        pictures, names = unpack(self.path, "bytes", "offsets", at), unpack(self.path, "names", "name_offsets", at)
        return {
            image: Kept(data, name.decode(), int(self.labels[place]))
            for (image, place), data, name in zip(inside, pictures, names, strict=True)
        }


def open_atlas(path: str | Path) -> Atlas:
    """The atlas in a folder; one that is none, or of a newer version, is an `InputError`."""
    path = Path(path)
    if not (path / "atlas.json").is_file():
        raise InputError(f"{path} is no atlas: it has no atlas.json; `cutaway atlas MODEL DATA` makes one")
    return Atlas(path, _info(path / "atlas.json"))


def write_info(path: Path, info: AtlasInfo) -> None:
    """Write the record of the atlas in the folder `path`."""
    write_sealed_json(path / "atlas.json", info)


def _info(path: Path) -> AtlasInfo:
    info, sealed = read_sealed_json(path)
    version = info.get("schema_version")
    if type(version) is not int:
        raise InputError(f"{path} is not an atlas's record: schema_version is missing")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path.parent} has schema {version}, this version reads up to {SCHEMA_VERSION}; update Cutaway"
        )
    try:
        check(info, AtlasInfo)
        found = cast(AtlasInfo, info)
        _agree(found)
    except Wrong as wrong:
        raise InputError(f"{path} is not an atlas's record: {wrong}") from wrong
    if version > 1 and not sealed:
        raise InputError(f"{path} is damaged: it has lost its seal; delete {path.parent} and make the atlas again")
    return found


def _agree(info: AtlasInfo) -> None:
    if len(info["shape"]) != 3:
        raise Wrong("shape: expected channels, height and width")
    for name, layer in info["layers"].items():
        if len(layer["size"]) != 2 or [len(side) for side in layer["fields"]] != [3, 3]:
            raise Wrong(f"layers.{name}: expected a size of two numbers, and three for each side of a field")


def find_atlas(run: Run, epoch: int) -> Atlas | None:
    """The newest atlas of an epoch, or None."""
    return newest_atlas(run.folder.atlas(epoch))


def model_atlases(weights: str) -> Path:
    """The folder of the atlases of a model that is no run, by the fingerprint of its weights."""
    return cache_folder() / "atlas" / weights


def find_model_atlas(weights: str) -> Atlas | None:
    """The newest atlas of a model that is no run, by the fingerprint of its weights; or None."""
    return newest_atlas(model_atlases(weights))


def newest_atlas(folder: Path) -> Atlas | None:
    """The newest of the atlases in a folder, or None."""
    paths = sorted(folder.glob("*/atlas.json"), key=lambda path: (path.stat().st_mtime, path.parent.name))
    return open_atlas(paths[-1].parent) if paths else None


def read_arrays(
    path: Path, names: Sequence[str] | None = None, at: int | None = None, without: Sequence[str] = ()
) -> Arrays | None:
    """Arrays of a file, or row `at` of each; None if there is no such file. A damaged one is an `InputError`."""
    return _opened(
        path,
        lambda file: {
            name: file.get_tensor(name) if at is None else file.get_slice(name)[at]
            for name in names or file.keys()
            if name not in without
        },
    )


def read_about(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file's header; None if there is no such file."""
    return _opened(path, lambda file: dict(parse_json((file.metadata() or {}).get("about", "{}"))))


def unpack(path: Path, data: str, ends: str, places: Sequence[int]) -> list[bytes]:
    """Some of the byte strings that `packed` put into a file."""

    def work(file: Any) -> list[bytes]:
        offsets = file.get_tensor(ends).tolist()
        return _cut(file, data, [(offsets[place], offsets[place + 1]) for place in places])

    return _opened(path, work) or []


def _cut(file: Any, name: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    whole = file.get_slice(name)
    return [whole[start:stop].tobytes() if stop > start else b"" for start, stop in spans]


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays with a JSON object in the header, atomically; equal content gives equal bytes."""
    whole = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    text = json.dumps(about, ensure_ascii=False, sort_keys=True, allow_nan=False)
    write_bytes(path, seal(save(whole), {"about": text, "part": _place(path)[0]})[0])


def has_part(folder: Path, part: str, layer: str) -> bool:
    """Whether a layer has a part, at least in pieces."""
    name = quote(layer, safe="")
    return (folder / part / f"{name}.safetensors").is_file() or (folder / part / name).is_dir()


def is_whole(path: Path) -> bool:
    """Whether a part of an atlas is there, undamaged and in its place: what is not is made again."""
    try:
        return read_about(path) is not None
    except InputError:
        return False


def _opened(path: Path, work: Callable[[Any], Found]) -> Found | None:
    """What `work` makes of the open file, which was compared with its seal; None if there is none."""
    if not path.is_file():
        return None
    place, sealed = _place(path)
    try:
        about = unbroken(path, needed=sealed)
        if sealed and about.get("part") != place:
            raise InputError(f"{path} is another part of an atlas ({about.get('part')})")
        with safe_open(path, "np") as file:
            return work(file)
    except FileNotFoundError:
        return None
    except (InputError, SafetensorError, ValueError, IndexError, KeyError, TypeError) as error:
        told = str(error) if isinstance(error, InputError) else f"{path} is damaged ({error})"
        raise InputError(f"{told}; delete it and make the atlas again") from error


def _place(path: Path) -> tuple[str, bool]:
    """What a file is of an atlas, as it stands in its header, and whether it has to stand there."""
    root = next((folder for folder in path.parents[:4] if (folder / "atlas.json").is_file()), None)
    if root is None:
        return path.name, False
    key, version = _key(root / "atlas.json", stamp(root / "atlas.json"))
    return f"{key}/{path.relative_to(root).as_posix()}", version > 1


@lru_cache(maxsize=64)
def _key(path: Path, _: Stamp) -> tuple[str, int]:
    info = _info(path)
    return info["key"], info["schema_version"]
