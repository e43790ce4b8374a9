"""A scan of a whole split: a pilot, then chunks of a sorted manifest, on disk and in several processes.

What each process carries on depends on what it has seen, and yet the merged result does not: a chunk leaves out only
what k other images of the split beat. Arithmetic is the same in every process, because each computes in one thread:
the sums of a matrix product are split differently among two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from cutaway.computing.small_maps import small_maps
from cutaway.data import Split
from cutaway.data.randomness import hash_array, key
from cutaway.errors import InputError
from cutaway.files import parse_json, write_bytes
from cutaway.lenses.exemplars import Scan, Tables
from cutaway.models import Preprocessing
from cutaway.runs.checked import check
from cutaway.runs.sealed import seal, unbroken
from cutaway.scope.crew import Tick

SAMPLE = 512  # images in the pilot, and so behind every quantile: a decile is then right to 2 in 100
_STREAM = 0xE8E3
_CHUNKS, _LEAST, _MOST = 64, 256, 4096

Found = dict[str, Tables]


@dataclass(frozen=True, eq=False)
class Manifest:
    """Which images are scanned together.

    Attributes:
        sample: int64 (S,), rising: the pilot, chosen by a hash of the position.
        rest: int64 (N - S,), rising: all others.
        chunk: how many of `rest` a chunk has.
    """

    sample: NDArray[np.int64]
    rest: NDArray[np.int64]
    chunk: int

    @classmethod
    def of(cls, size: int) -> Manifest:
        """Of a split of `size` images."""
        every = np.arange(size)
        sample = np.sort(np.argsort(hash_array(key(_STREAM), every), kind="stable")[:SAMPLE])
        return cls(sample, np.setdiff1d(every, sample), min(max(size // _CHUNKS, _LEAST), _MOST))

    def __len__(self) -> int:
        return -(-len(self.rest) // self.chunk)

    def ids(self, index: int) -> NDArray[np.int64]:
        """The images of a chunk."""
        return self.rest[index * self.chunk : (index + 1) * self.chunk]


@dataclass(frozen=True, eq=False)
class Scanner:
    """All that is needed to scan any images of a split."""

    network: nn.Module
    device: torch.device
    preprocessing: Preprocessing
    split: Split
    layers: list[str]
    k: int
    batch: int
    bf16: bool

    @property
    def fitting(self) -> dict[str, str]:
        """What decides the pixels besides the data: how those of another size are brought to the network's."""
        return {} if self.split.images.shape[1:] == self.preprocessing.shape else {"fit": "covered, the centre cut"}

    def scan(self, ids: NDArray[np.int64], known: Found | None, tick: Tick, *, ahead: bool) -> Found:
        """The tables of these images; `ahead` decodes the next batches on other cores meanwhile."""
        scan = Scan(self.network, self.layers, self.k, known)
        with computing(self.device, self.bf16):
            for rows, pixels in self._pixels(ids, ahead):
                scan.add(self.prepare(pixels), torch.from_numpy(rows.copy()))
                tick(len(rows))
        return scan.tables()

    def _pixels(self, ids: NDArray[np.int64], ahead: bool) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        rows = [ids[start : start + self.batch] for start in range(0, len(ids), self.batch)]
        images = self.split.images
        return zip(rows, images.stream(rows) if ahead else (images[part] for part in rows), strict=True)

    def prepare(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Pixels uint8 (B, C, H, W) as the network expects them, on its device."""
        return self.preprocessing.prepare(pixels, self.device).contiguous(memory_format=torch.channels_last)

    def image(self, position: int) -> Tensor:
        """Float (1, C, H, W): one image of the split as the network expects it."""
        return self.prepare(self.split.images[[position]])


@contextmanager
def computing(device: torch.device, bf16: bool) -> Iterator[None]:
    """The block in which scans and replays compute."""
    with ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(small_maps())
        if bf16:
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
        yield


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """The block in which sums are the same as in any other process: one thread, where several processes can scan."""
    threads = torch.get_num_threads()
    try:
        if can_fork(device):
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


def can_fork(device: torch.device) -> bool:
    """Whether several processes can scan: a fork keeps any network, and no accelerator survives one."""
    return sys.platform == "linux" and device.type == "cpu"


class _Scan(TypedDict):
    fingerprint: str
    layers: list[str]


@dataclass(frozen=True)
class Store:
    """Tables in a folder, each file whole or not there; a fingerprint of weights, data and settings guards them."""

    folder: Path
    fingerprint: str

    def read(self, name: str) -> Found | None:
        """The tables of that name; None if they are not there, damaged, or of another scan."""
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            about = parse_json(unbroken(path, needed=True).get("scan", "{}"))
            check(about, _Scan)
            with safe_open(path, "pt") as file:
                arrays = {item: file.get_tensor(item) for item in file.keys()}  # noqa: SIM118  # it is no dict
        except (InputError, SafetensorError, ValueError):
            return None  # damaged, or from before files had seals: it is as if it had not been made
        if about.get("fingerprint") != self.fingerprint:
            return None
        return {layer: _unpacked(arrays, layer) for layer in about["layers"]}

    def write(self, name: str, found: Mapping[str, Tables]) -> None:
        """Keep tables, atomically."""
        arrays = {
            f"{layer}/{item}": value.to(torch.int32) if value.dtype == torch.int64 else value.contiguous()
            for layer, tables in found.items()
            for item, value in tables.arrays().items()
        }
        about: _Scan = {"fingerprint": self.fingerprint, "layers": list(found)}
        write_bytes(self._path(name), seal(save(arrays), {"scan": json.dumps(about)})[0])

    def tidy(self) -> None:
        """Remove the parts, and what killed writers left, once the whole is there."""
        for path in [*self.folder.glob("chunk-*"), *self.folder.glob("pilot*"), *self.folder.glob(".*.tmp")]:
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the whole and all parts."""
        self._path("all").unlink(missing_ok=True)
        self.tidy()

    def has(self, name: str) -> bool:
        """Whether a file of that name is there."""
        return self._path(name).is_file()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def _unpacked(arrays: Mapping[str, Tensor], layer: str) -> Tables:
    mine = {name.removeprefix(f"{layer}/"): value for name, value in arrays.items() if name.startswith(f"{layer}/")}
    return Tables.from_arrays(
        {name: value.long() if value.dtype == torch.int32 else value for name, value in mine.items()}
    )


def chunk_name(index: int) -> str:
    """The name of a chunk's tables in a store."""
    return f"chunk-{index:05d}"


def merged(one: Found, other: Found) -> Found:
    """The tables of the images of both."""
    return {layer: tables.merge(other[layer]) for layer, tables in one.items()}
