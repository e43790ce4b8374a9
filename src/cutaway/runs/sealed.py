"""Files that know their own hash: whatever numbers come from is compared with it before it is believed.

A safetensors file carries `seal` in its header, a JSON object in itself: the SHA-256 of the whole file with 64 zeros
in that place. So a flipped bit anywhere, in a tensor, its name, its shape or what stands beside it, is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from cutaway.errors import InputError
from cutaway.files import Unreadable, open_regular, parse_json, read_json, write_json

SEAL = "seal"
_BLANK = "0" * 64
_LENGTH = 8  # bytes of the number before a safetensors header
_MOST_HEADER = 100_000_000  # what safetensors itself allows
_BLOCK = 2**20
Stamp = tuple[int, int, int]


def seal(content: bytes, about: Mapping[str, str]) -> tuple[bytes, str]:
    """A safetensors file with `about` in its header and a seal, and the seal; equal content gives equal bytes."""
    size = int.from_bytes(content[:_LENGTH], "little")
    tensors = json.loads(content[_LENGTH : _LENGTH + size])
    known = tensors.pop("__metadata__", {})
    # Written here, because the library writes the entries of the header in any order.
    entries = {"__metadata__": dict(sorted({**known, **about, SEAL: _BLANK}.items())), **tensors}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    data, start = memoryview(content)[_LENGTH + size :], len(text).to_bytes(_LENGTH, "little")
    digest = hashlib.sha256(start + text)
    digest.update(data)
    found = digest.hexdigest()
    return b"".join((start, text.replace(_mark(_BLANK), _mark(found), 1), data)), found


def _mark(digest: str) -> bytes:
    return f'"{SEAL}":"{digest}"'.encode()


def header(path: Path) -> dict[str, str]:
    """What is written in the header of a safetensors file, which is not compared with its seal.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    try:
        with open_regular(path) as file:
            return _metadata(_header(file)[1])
    except (Unreadable, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from error


def unbroken(path: Path, *, needed: bool) -> dict[str, str]:
    """What is written in the header of a safetensors file, after comparing the file with its seal.

    The same file is compared once: as long as its date, size and number on the disk stay.

    Args:
        path: the file.
        needed: whether a file without a seal is refused (those of runs before schema 2 have none).

    Raises:
        InputError: there is no such file, or it is not what was written.
    """
    try:
        found = _compared(str(path), stamp(path))
    except (Unreadable, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})") from error
    if needed and SEAL not in found:
        raise InputError(f"{path} is damaged (it has lost its seal)")
    return dict(found)


def stamp(path: Path) -> Stamp:
    """What changes when a file does: its date in nanoseconds, size and number on the disk.

    Raises:
        Unreadable: it is not there.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from error
    return status.st_mtime_ns, status.st_size, status.st_ino


@lru_cache(maxsize=4096)
def _compared(path: str, _: Stamp) -> Mapping[str, str]:
    with open_regular(Path(path)) as file:
        start, text = _header(file)
        found = _metadata(text)
        claimed = found.get(SEAL)
        if claimed is None:
            return found
        if text.count(_mark(claimed)) != 1:
            raise ValueError("its seal is not in its place")
        digest = hashlib.sha256(start + text.replace(_mark(claimed), _mark(_BLANK)))
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != claimed:
        raise ValueError("its content does not match its seal")
    return found


def _header(file: IO[bytes]) -> tuple[bytes, bytes]:
    """The first bytes of a safetensors file, and its header."""
    start = file.read(_LENGTH)
    size = int.from_bytes(start, "little")
    if len(start) < _LENGTH or size > min(_MOST_HEADER, os.fstat(file.fileno()).st_size):
        raise ValueError("it is no safetensors file, or cut off")
    return start, file.read(size)


def _metadata(text: bytes) -> dict[str, str]:
    content = parse_json(text)
    found = content.get("__metadata__", {}) if isinstance(content, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its header is none")
    return found


def write_sealed_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with its seal, atomically."""
    write_json(path, {**value, SEAL: _json_seal(value)})


def read_sealed_json(path: Path) -> tuple[dict[str, Any], bool]:
    """A JSON object without its seal, and whether it had one.

    Raises:
        InputError: damaged, or no JSON object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} is damaged: expected a JSON object, found {type(value).__name__}")
    claimed = value.pop(SEAL, None)
    if claimed is not None and claimed != _json_seal(value):
        raise InputError(f"{path} is damaged: its content does not match its seal")
    return value, claimed is not None


def _json_seal(value: Mapping[str, Any]) -> str:
    text = json.dumps({**value, SEAL: _BLANK}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
