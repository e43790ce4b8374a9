"""Readers of the published file formats of the built-in sets: IDX (MNIST) and CIFAR's binary records. No pickles."""

from __future__ import annotations

import gzip
import io
import math
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cutaway.files import Unreadable, open_regular, read_bytes

Arrays = dict[str, tuple[np.ndarray, np.ndarray]]
"""Per split: images uint8 (N, C, H, W), labels int64 (N,)."""

_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
# MNIST and Fashion-MNIST have the same file names and sizes; their first labels tell which is which.
_FIRST_LABELS = {"mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4), "fashion-mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)}
_SIDE = 32
_MOST, _MOST_UNPACKED = 256_000_000, 1_000_000_000  # bytes of a file, and of an archive; the largest has 184 MB
_IDX_PARTS = {"train": "train", "test": "t10k"}


class Unusable(ValueError):  # noqa: N818 - it reads as what it says of the place
    """Why one place does not give the data set."""


def read_mnist(folder: Path) -> tuple[tuple[str, ...], Arrays]:
    """Handwritten digits from the four IDX files in `folder`."""
    return _DIGITS, _read_idx_set(folder, "mnist", "fashion-mnist")


def read_fashion_mnist(folder: Path) -> tuple[tuple[str, ...], Arrays]:
    """Clothes from the four IDX files in `folder`."""
    return _CLOTHES, _read_idx_set(folder, "fashion-mnist", "mnist")


def _read_idx_set(folder: Path, name: str, twin: str) -> Arrays:
    arrays: Arrays = {}
    for split, part in _IDX_PARTS.items():
        images = read_idx(_idx_file(folder, f"{part}-images", "idx3-ubyte"))
        labels = read_idx(_idx_file(folder, f"{part}-labels", "idx1-ubyte"))
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise Unusable(f"its {split} images {images.shape} and labels {labels.shape} do not belong together")
        arrays[split] = (images[:, None], labels.astype(np.int64))
    if tuple(arrays["train"][1][:10]) == _FIRST_LABELS[twin]:
        raise Unusable(f"its files are those of {twin}, not of {name}")
    return arrays


def _idx_file(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{joint}{kind}{end}" for end in (".gz", "") for joint in ("-", ".")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise Unusable(f"no {names[0]}")


def read_idx(file: Path) -> np.ndarray:
    """The uint8 array in an IDX file, packed with gzip or not."""
    try:
        content = read_bytes(file, _MOST)
        if file.suffix == ".gz":
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_MOST + 1)
    except (Unreadable, OSError, EOFError, zlib.error) as error:
        raise Unusable(f"{file.name} cannot be read ({error})") from error
    if len(content) > _MOST:
        raise Unusable(f"{file.name} unpacks to more than {_MOST / 1e6:.0f} MB")
    if content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise Unusable(f"{file.name} is not an IDX file of bytes")
    ndim = content[3]
    shape = tuple(int(size) for size in np.frombuffer(content, ">i4", ndim, 4))
    if min(shape, default=0) < 0 or len(content) != 4 + 4 * ndim + math.prod(shape):
        raise Unusable(f"{file.name} has {len(content)} bytes, which does not fit its shape {shape}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def read_cifar10(folder: Path) -> tuple[tuple[str, ...], Arrays]:
    """CIFAR-10 from `cifar-10-binary.tar.gz`, or from what it holds, in `folder`."""
    train = [f"data_batch_{number}.bin" for number in range(1, 6)]
    return _read_cifar(folder, "cifar-10", "cifar-10-batches-bin", "batches.meta.txt", train, ["test_batch.bin"], 1)


def read_cifar100(folder: Path) -> tuple[tuple[str, ...], Arrays]:
    """CIFAR-100 with its 100 fine classes from `cifar-100-binary.tar.gz`, or from what it holds, in `folder`."""
    return _read_cifar(folder, "cifar-100", "cifar-100-binary", "fine_label_names.txt", ["train.bin"], ["test.bin"], 2)


def _read_cifar(
    folder: Path, stem: str, inner: str, names_file: str, train: list[str], test: list[str], label_bytes: int
) -> tuple[tuple[str, ...], Arrays]:
    content = _contents(folder, stem, inner, [names_file, *train, *test])
    classes = tuple(content[names_file].decode("utf-8").split())
    parts = {"train": train, "test": test}
    return classes, {
        split: read_cifar_records(b"".join(content[name] for name in names), label_bytes, len(classes))
        for split, names in parts.items()
    }


def _contents(folder: Path, stem: str, inner: str, names: list[str]) -> dict[str, bytes]:
    """The named files, from `folder`, its sub-folder `inner`, or the archive in it."""
    for place in (folder / inner, folder):
        if all((place / name).is_file() for name in names):
            try:
                return {name: read_bytes(place / name, _MOST) for name in names}
            except (Unreadable, OSError) as error:
                raise Unusable(f"{place} cannot be read ({error})") from error
    archive = folder / f"{stem}-binary.tar.gz"
    if archive.is_file():
        return dict(_members(archive, inner, names))
    pickled = [f"{stem}-python.tar.gz", f"{stem}-batches-py", f"{stem}-python"]
    if any((folder / name).exists() for name in pickled):
        raise Unusable(f"only the pickled version, which is never opened; {archive.name} is needed")
    raise Unusable(f"no {inner}/ and no {archive.name}")


class _Bounded(io.RawIOBase):
    """A packed file that ends in an error where it unpacks to more than an archive of ours ever does."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._packed.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset > _MOST_UNPACKED:
            raise OSError(f"it unpacks to more than {_MOST_UNPACKED / 1e6:.0f} MB")
        return self._packed.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        content = self._packed.read(min(size, _MOST_UNPACKED + 1) if size >= 0 else _MOST_UNPACKED + 1)
        if self._packed.tell() > _MOST_UNPACKED:
            raise OSError(f"it unpacks to more than {_MOST_UNPACKED / 1e6:.0f} MB")
        return content


def _members(archive: Path, inner: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    try:
        packed = open_regular(archive)
        with packed, _Bounded(gzip.GzipFile(fileobj=packed)) as whole, tarfile.open(fileobj=whole, mode="r:") as tar:
            for name in names:
                member = tar.extractfile(f"{inner}/{name}")
                if member is None:
                    raise Unusable(f"{archive.name} has no file {inner}/{name}")
                content = member.read(_MOST + 1)
                if len(content) > _MOST:
                    raise Unusable(f"{archive.name} unpacks to more than {_MOST / 1e6:.0f} MB")
                yield name, content
    except (Unreadable, OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise Unusable(f"{archive.name} cannot be read ({error})") from error


def read_cifar_records(content: bytes, label_bytes: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of records: label bytes (the last counts), then pixels."""
    record = label_bytes + 3 * _SIDE * _SIDE
    if not content or len(content) % record:
        raise Unusable(f"{len(content)} bytes are no whole number of records of {record} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= classes:
        raise Unusable(f"it has label {labels.max()}, and only {classes} class names")
    return np.ascontiguousarray(rows[:, label_bytes:]).reshape(-1, 3, _SIDE, _SIDE), labels
