"""The built-in data sets: where each may lie on this machine, and how it is fetched when it does not."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import numpy as np

from cutaway.data.parallel import usable_cores
from cutaway.data.part import Split
from cutaway.data.pixels import fit, to_array, to_mode
from cutaway.data.readers import Arrays, Unusable, read_cifar10, read_cifar100, read_fashion_mnist, read_mnist
from cutaway.data.shapes import load_shapes
from cutaway.data.stores import ArrayImages
from cutaway.errors import InputError
from cutaway.files import cache_folder, write_bytes
from cutaway.pictures.stills import picture_of
from cutaway.progress import Progress

BUILT_IN = ("fashion-mnist", "mnist", "cifar10", "cifar100", "shapes")
SYSTEM = (Path("/usr/share/datasets"), Path("/usr/local/share/datasets"))
SECONDS = 5.0
"""How long a server may take to answer before it counts as out of reach."""


@dataclass(frozen=True)
class Found:
    """A built-in data set: its class names, its splits ("train" and "test" at least) and notes."""

    classes: tuple[str, ...]
    splits: dict[str, Split]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """A published set: the folder names it goes by, its reader, and what to fetch from where as (file, md5)."""

    folders: tuple[str, ...]
    read: Callable[[Path], tuple[tuple[str, ...], Arrays]]
    published: Callable[[], tuple[list[str], list[tuple[str, str]]]]
    package: str = ""


def load_built_in(
    name: str, data_dir: Path | None, size: int | None, channels: int | None, download: bool, progress: Progress | None
) -> Found:
    """The built-in set `name` from the first place that has it, brought to `size` and `channels` if they are given."""
    if name == "shapes":
        return Found(*load_shapes(size or 32, channels or 3), ())
    classes, arrays, place = find(name, data_dir, download, progress)
    splits = {
        split: Split(split, ArrayImages(_as_asked(images, size, channels)), labels)
        for split, (images, labels) in arrays.items()
    }
    return Found(classes, splits, (f"{name} found in {place}",))


def find(
    name: str, data_dir: Path | None, download: bool, progress: Progress | None
) -> tuple[tuple[str, ...], Arrays, Path]:
    """Class names, arrays and the place of a published set; when it is nowhere, an error with every place tried."""
    source, tried = _SOURCES[name], []
    for place in places(name, data_dir):
        try:
            return (*source.read(place), place)
        except Unusable as error:
            tried.append(f"{place} ({error})")
    target = Path(data_dir or cache_folder() / "datasets") / name
    try:
        if not download:
            raise Unusable("not allowed")
        _fetch(source, target, progress)
        return (*source.read(target), target)
    except Unusable as error:
        tried.append(f"download ({error})")
    package = f"`apt-get install {source.package}`, or " if source.package else ""
    raise InputError(
        f"{name} was not found; tried {', '.join(tried)}; {package}put its files in a folder and name that with "
        "--data-dir, or use the built-in data set 'shapes', which needs no files"
    )


def places(name: str, data_dir: Path | None) -> list[Path]:
    """The folders that are searched, in order: what exists of them, and always the one a user would expect."""
    bases = [Path(data_dir)] if data_dir else []
    bases.append(cache_folder() / "datasets")
    folders = _SOURCES[name].folders
    inside = [base / folder for base in bases for folder in ("", *folders)]
    found = [place for place in inside if place.is_dir() or place in bases]
    return found + [base / folder for base in SYSTEM for folder in folders if base == SYSTEM[0] or base.is_dir()][:4]


def _as_asked(images: np.ndarray, size: int | None, channels: int | None) -> np.ndarray:
    """uint8 (N, C, H, W), resized and brought to the channels asked for as the decoder does it."""
    shape = (channels or images.shape[1], size or images.shape[2], size or images.shape[3])
    if shape == images.shape[1:]:
        return images

    def work(pixels: np.ndarray) -> np.ndarray:
        image = picture_of(pixels)
        return to_array(fit(to_mode(image, "L" if shape[0] == 1 else "RGB"), shape[1:]))

    with ThreadPoolExecutor(usable_cores()) as pool:
        return np.stack(list(pool.map(work, images)))


def _fetch(source: _Source, target: Path, progress: Progress | None) -> None:
    """Download every file of `source` into `target`, each checked against its md5 before it is written."""
    mirrors, files = source.published()
    for file, md5 in files:
        reasons = []
        for mirror in mirrors:
            try:
                content = _download(mirror + file, progress)
            except (OSError, HTTPException) as error:
                reasons.append(f"{mirror + file}: {getattr(error, 'reason', None) or error}")
                continue
            if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5:
                write_bytes(target / file, content)
                break
            reasons.append(f"{mirror + file}: not the published file, its md5 is wrong")
        else:
            raise Unusable("; ".join(reasons))


def _download(url: str, progress: Progress | None) -> bytes:
    content = bytearray()
    with _answer(url) as response:
        total = int(response.headers.get("Content-Length") or 0)
        while block := response.read(1 << 18):
            content += block
            if progress:
                progress(f"downloading {url.rsplit('/', 1)[-1]}", len(content), max(total, len(content)))
    return bytes(content)


def _answer(url: str) -> HTTPResponse:
    """The open connection, or an `OSError` within seconds: looking up a host's name has no time limit of its own."""
    result: list[HTTPResponse | Exception] = []

    def ask() -> None:
        try:
            result.append(urllib.request.urlopen(url, timeout=SECONDS))
        except Exception as error:  # carried over to the caller, who raises it
            result.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * SECONDS)
    if not result:
        raise TimeoutError(f"no answer within {2 * SECONDS:.0f} seconds")
    if isinstance(result[0], Exception):
        raise result[0]
    return result[0]


def _published_idx(kind: str) -> tuple[list[str], list[tuple[str, str]]]:
    from torchvision import datasets  # here, because it takes a second to import and is seldom needed

    published = getattr(datasets, kind)
    return list(published.mirrors), list(published.resources)


def _published_cifar(kind: str, md5: str) -> tuple[list[str], list[tuple[str, str]]]:
    from torchvision import datasets  # here, because it takes a second to import and is seldom needed

    # The same page offers the binary version beside the pickled one that torchvision takes.
    mirror, _, file = getattr(datasets, kind).url.rpartition("/")
    return [f"{mirror}/"], [(file.replace("python", "binary"), md5)]


_SOURCES = {
    "fashion-mnist": _Source(
        ("fashion-mnist", "FashionMNIST/raw"),
        read_fashion_mnist,
        lambda: _published_idx("FashionMNIST"),
        "dataset-fashion-mnist",
    ),
    "mnist": _Source(("mnist", "MNIST/raw"), read_mnist, lambda: _published_idx("MNIST")),
    "cifar10": _Source(
        ("cifar10", "cifar-10"),
        read_cifar10,
        lambda: _published_cifar("CIFAR10", "c32a1d4ab5d03f1284b67883e8d87530"),
    ),
    "cifar100": _Source(
        ("cifar100", "cifar-100"),
        read_cifar100,
        lambda: _published_cifar("CIFAR100", "03b5dce01913d631647c71ecec9e9cb8"),
    ),
}
