"""Decoded image folders, kept as memory-mapped arrays and found again by content."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import PIL

from cutaway.data.decode import VERSION, Header, Undecodable, decode, probe, read
from cutaway.data.folder import Entry
from cutaway.data.parallel import each
from cutaway.data.stores import ImageStore, MappedImages, StreamedImages, pixel_hash
from cutaway.errors import InputError
from cutaway.files import atomic, cache_folder, read_json, remove_leftovers, write_json, write_with
from cutaway.progress import Progress

T = TypeVar("T")

MAX_SIDE = 224
_PART_BYTES = 8 * 2**20
_CHECKED_ROWS = 32
_TRIES = 3


@dataclass(frozen=True)
class Decoded:
    """The images of a folder that could be decoded.

    Attributes:
        images: uint8 (N, C, H, W).
        hashes: uint64 (N,) of each image's pixels.
        bad: the reason of each file that is not among them, by file.
        notes: what was resized and how.
    """

    images: ImageStore
    hashes: np.ndarray
    bad: dict[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """What to make of every file: the shape, and what to tell about it."""

    shape: tuple[int, int, int]
    notes: tuple[str, ...]


def decode_folder(
    root: Path, entries: Sequence[Entry], size: int | None, channels: int | None, progress: Progress | None
) -> Decoded:
    """Every file of `entries` decoded, from the cache where its content has been decoded before."""
    wish = f"{VERSION} {PIL.__version__} {size} {channels}"
    lookup = cache_folder() / "lookups" / f"{_signature(root, entries, wish)}.json"
    if (known := _known(lookup)) and (found := _open(root, entries, known)):
        return found
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # the decoder decides on everything that Pillow warns of
        for _ in range(_TRIES):
            content = _content(root, entries, wish, progress)
            found = _open(root, entries, content)
            # What was decoded has to be what was hashed, or other pixels would be kept under its name for ever.
            if found or _build(root, entries, content, wish, _plan(root, entries, size, channels, progress), progress):
                break
        else:
            raise InputError(f"{root} changes while it is read; wait until nothing is written there any more")
        found = found or _open(root, entries, content)
    if not found:
        raise InputError(f"{cache_folder()} does not keep what is written to it; set CUTAWAY_CACHE to another folder")
    write_json(lookup, {"content": content})
    return found


def _known(lookup: Path) -> str:
    """The key that was noted for this signature, or nothing if there is none or the note is damaged."""
    try:
        return str(read_json(lookup)["content"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _signature(root: Path, entries: Sequence[Entry], wish: str) -> str:
    """What tells without reading a file that nothing has changed: names, sizes and dates."""
    digest = hashlib.blake2b(os.fsencode(root.resolve()) + f"\n{wish}\n".encode(), digest_size=16)
    for entry in entries:
        digest.update(f"{entry.file}\0{entry.size}\0{entry.changed}\n".encode())
    return digest.hexdigest()


def _content(root: Path, entries: Sequence[Entry], wish: str, progress: Progress | None) -> str:
    """The key of the decoded images: the names and contents of all files, and how they are to be decoded."""
    files = [entry.file for entry in entries]
    return _key(entries, every(_file_digest, root, files, "reading", progress), wish)


def _key(entries: Sequence[Entry], contents: Iterable[str], wish: str) -> str:
    digest = hashlib.blake2b(f"{wish}\n".encode(), digest_size=16)
    for entry, content in zip(entries, contents, strict=True):
        digest.update(f"{entry.file}\0{content}\n".encode())
    return digest.hexdigest()


def _file_digest(file: Path) -> str:
    try:
        return _digest(read(file))
    except Undecodable as error:
        return str(error)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def every(
    work: Callable[[Path], T],
    root: Path,
    files: Sequence[str],
    label: str,
    progress: Progress | None,
    part: int = 256,
) -> Iterator[T]:
    """`work` on every file below `root`, on all cores, results in order."""
    parts = [[root / file for file in files[start : start + part]] for start in range(0, len(files), part)]
    done = 0
    for results in each(partial(_work_through, work), parts):
        yield from results
        done += len(results)
        if progress:
            progress(label, done, len(files))


def _work_through(work: Callable[[Path], T], files: list[Path]) -> list[T]:
    return [work(file) for file in files]


def _plan(
    root: Path, entries: Sequence[Entry], size: int | None, channels: int | None, progress: Progress | None
) -> _Plan:
    """The common shape: as asked for, else from the headers of all files."""
    headers = list(every(read_header, root, [entry.file for entry in entries], "measuring", progress))
    readable = [header for header in headers if isinstance(header, Header)]
    if not readable:
        reasons = Counter(header for header in headers if isinstance(header, str))
        raise InputError(f"{root} has no readable image: {len(entries)} files tried; {most_common(reasons)}")
    sizes = Counter((header.height, header.width) for header in readable)
    if channels is None:
        channels = 1 if all(header.grey for header in readable) else 3
    height, width = (size, size) if size else _common_size(sizes)
    if set(sizes) == {(height, width)}:
        return _Plan((channels, height, width), ())
    kinds = f"{len(sizes)} sizes" if len(sizes) > 1 else "{}x{}".format(*next(iter(sizes)))
    return _Plan((channels, height, width), (f"images of {kinds} were resized to {height}x{width}",))


def _common_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """One size: itself, shrunk to a shorter side of at most 224; several: a square of the median shorter side."""
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        scale = min(1.0, MAX_SIDE / min(height, width))
        return round(height * scale), round(width * scale)
    shorter = np.repeat([min(size) for size in sizes], list(sizes.values()))
    side = min(MAX_SIDE, round(float(np.median(shorter))))
    return side, side


def read_header(file: Path) -> Header | str:
    """The header of a file, or the reason why it has none."""
    try:
        return probe(read(file))
    except Undecodable as error:
        return str(error)


def most_common(reasons: Counter[str]) -> str:
    """The three most common reasons with their counts, in words."""
    return "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))


def _build(
    root: Path, entries: Sequence[Entry], content: str, wish: str, plan: _Plan, progress: Progress | None
) -> bool:
    """Decode everything once; keep hashes and reasons, and the pixels too unless they are too big.

    False, and nothing that counts is kept, if the files are no longer those of the key `content`.
    """
    folder = cache_folder() / "images" / content
    remove_leftovers(folder)
    too_big = _too_big(entries, plan.shape)
    bad: dict[str, str] = {}
    hashes: list[int] = []
    digests: list[str] = []
    pixels = _pixels(root, entries, plan.shape, bad, hashes, digests, progress)
    if too_big:
        for _ in pixels:
            pass
    else:
        with atomic(folder / "pixels.npy") as file:
            _write_npy(file, plan.shape, pixels)
    write_with(folder / "hashes.npy", lambda file: np.save(file, np.array(hashes, dtype=np.uint64)))
    if _key(entries, digests, wish) != content:
        return False
    # The index is written last: a build that was interrupted has none, and is made again.
    index = {"shape": plan.shape, "bad": bad, "notes": plan.notes, "streamed": too_big}
    write_json(folder / "index.json", index)
    return True


def _pixels(
    root: Path,
    entries: Sequence[Entry],
    shape: tuple[int, int, int],
    bad: dict[str, str],
    hashes: list[int],
    digests: list[str],
    progress: Progress | None,
) -> Iterator[np.ndarray]:
    """The images that decode, in order; `bad`, `hashes` and the digests of the files are filled on the way."""

    part = max(4, min(256, _PART_BYTES // int(np.prod(shape))))
    files = [entry.file for entry in entries]
    results = every(partial(_decode_and_hash, shape), root, files, "decoding", progress, part)
    for entry, (digest, result) in zip(entries, results, strict=True):
        digests.append(digest)
        if isinstance(result, str):
            bad[entry.file] = result
        else:
            hashes.append(result[1])
            yield result[0]


def _decode_and_hash(shape: tuple[int, int, int], file: Path) -> tuple[str, tuple[np.ndarray, int] | str]:
    """The digest of a file, and its pixels with their hash, or why there are none."""
    try:
        content = read(file)
    except Undecodable as error:
        return str(error), str(error)
    try:
        image = decode(content, size=shape[1:], channels=shape[0])
    except Undecodable as error:
        return _digest(content), str(error)
    return _digest(content), (image, pixel_hash(image))


def _write_npy(file: IO[bytes], shape: tuple[int, int, int], images: Iterator[np.ndarray]) -> None:
    """A `.npy` file of as many images as there will be; the header leaves room for the count, written at the end."""
    count = 0
    header = {"descr": "|u1", "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *shape)})
    for image in images:
        file.write(image.tobytes())
        count += 1
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {**header, "shape": (count, *shape)})


def _too_big(entries: Sequence[Entry], shape: Sequence[int]) -> bool:
    return len(entries) * int(np.prod(shape)) > _room()


def _room() -> int:
    """How many bytes one set may take: `CUTAWAY_CACHE_LIMIT_GB` (20), and half of what is free."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    limit = os.environ.get("CUTAWAY_CACHE_LIMIT_GB", "20")
    try:
        return min(int(float(limit) * 1e9), shutil.disk_usage(folder).free // 2)
    except ValueError as error:
        raise InputError(f"CUTAWAY_CACHE_LIMIT_GB is a number of gigabytes; found '{limit}'") from error


def _open(root: Path, entries: Sequence[Entry], content: str) -> Decoded | None:
    """The finished build of this content, or None if there is none or it is damaged."""
    folder = cache_folder() / "images" / content
    if not (folder / "index.json").exists():
        return None
    try:
        index = read_json(folder / "index.json")
        if index["streamed"] and not _too_big(entries, index["shape"]):
            return None
        hashes = np.load(folder / "hashes.npy", allow_pickle=False)
        images = _images(root, entries, folder, index)
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None
    rows = np.unique(np.linspace(0, len(hashes) - 1, _CHECKED_ROWS).astype(np.int64)) if len(hashes) else np.arange(0)
    intact = len(images) == len(hashes) and (
        index["streamed"] or all(pixel_hash(images[[row]][0]) == hashes[row] for row in rows)
    )
    return Decoded(images, hashes, index["bad"], tuple(index["notes"])) if intact else None


def _images(root: Path, entries: Sequence[Entry], folder: Path, index: dict[str, Any]) -> ImageStore:
    if not index["streamed"]:
        return MappedImages(folder / "pixels.npy")
    channels, height, width = index["shape"]
    return StreamedImages(root, [e.file for e in entries if e.file not in index["bad"]], (channels, height, width))
