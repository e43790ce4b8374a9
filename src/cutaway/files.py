"""Writing files so that a crash leaves the old file or the new one, never half of one; and where the cache is."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import platformdirs

from cutaway.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


def cache_folder() -> Path:
    """The user's cache, or `CUTAWAY_CACHE` if that is set."""
    return Path(os.environ.get("CUTAWAY_CACHE") or platformdirs.user_cache_dir("cutaway"))


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one clear sentence that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"cannot write {path}: the disk is full; free some space and run the same command again"
            ) from error
        if error.errno in _FORBIDDEN:
            raise InputError(
                f"cannot write {path}: not permitted (read-only disk or folder); choose another folder"
            ) from error
        raise


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` only when the block ends well: write aside, fsync, rename, fsync the folder."""
    path = Path(path)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable (Windows does so by itself, and opens no folders)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode())


def write_with(path: Path, writer: Callable[[IO[bytes]], Any]) -> None:
    """Let `writer` fill the file (for Pillow, matplotlib), atomically."""
    with atomic(path) as file:
        writer(file)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`; a damaged file is an `InputError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: it is not valid JSON ({error})") from error
