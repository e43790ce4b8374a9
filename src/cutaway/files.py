"""Writing files so that a crash leaves the old file or the new one, never half of one; reading them within bounds."""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import platformdirs

from cutaway.errors import InputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# Windows has neither of these flags. O_NONBLOCK: opening a pipe would wait for a writer, reading some devices for ever.
_PATIENT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
MOST_JSON = 256 * 2**20
"""The most bytes of JSON that are read: no record of ours comes near, and no file may fill the memory."""


class Unreadable(ValueError):  # noqa: N818  # it reads as what it says of the file
    """A file that cannot be read; the message is the reason, in a few words."""


class Unwritten(InputError):  # noqa: N818  # it reads as what it says of the file
    """A file that could not be written, because the disk is full or read-only.

    Args:
        path: the file.
        full: whether the disk is full; otherwise it may not be written.
        way_out: what to do, for both; by default what helps where nothing is known of the command.
    """

    def __init__(self, path: Path, full: bool, way_out: str = "") -> None:
        self.path, self.full = path, full
        reason = "the disk is full" if full else "not permitted (read-only disk or folder)"
        other = "set CUTAWAY_CACHE to another folder" if _is_cached(path) else "choose another folder"
        usual = "free some space and run the same command again" if full else other
        super().__init__(f"cannot write {path}: {reason}; {way_out or usual}")


def cache_folder() -> Path:
    """The user's cache, or `CUTAWAY_CACHE` if that is set."""
    return Path(os.environ.get("CUTAWAY_CACHE") or platformdirs.user_cache_dir("cutaway"))


def _is_cached(path: Path) -> bool:
    return Path(path).is_relative_to(cache_folder())


def user_folder() -> Path:
    """What belongs to this user of this machine and is no cache, or `CUTAWAY_HOME` if that is set."""
    return Path(os.environ.get("CUTAWAY_HOME") or platformdirs.user_data_dir("cutaway"))


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one clear sentence that names the path."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL | _FORBIDDEN:
            raise Unwritten(path, full=error.errno in _FULL) from error
        raise


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that becomes `path` only when the block ends well: write aside, fsync, rename, fsync the folder."""
    path = Path(path)
    with explain_disk_errors(path):
        make_folder(path.parent)
        handle, name, lock = _aside(path)
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
        finally:
            _release(lock)
        sync_folder(path.parent)


def _aside(path: Path) -> tuple[int, str, int]:
    """A new file beside `path`, and a lock on it, by which `remove_leftovers` knows that its writer lives."""
    while True:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".tmp"
        )  # 255 bytes at most
        lock = _locked(name, os.O_RDONLY)
        if lock is not None and os.fstat(lock).st_nlink:
            return handle, name, lock
        os.close(handle)  # it was taken for a leftover between its making and its lock
        _release(lock)


def remove_leftovers(folder: Path) -> None:
    """Delete what writers that were killed have left below `folder`, which is ours; what is being written now stays."""
    _remove(Path(folder).rglob(".*.tmp"))


def remove_leftovers_of(file: Path) -> None:
    """Delete what killed writers of one file have left, in a folder in which other things of the user's may lie."""
    file = Path(file)
    _remove(file.parent.glob(f".{glob.escape(file.name)}.????????.tmp"))


def _remove(leftovers: Iterable[Path]) -> None:
    for path in leftovers:
        try:
            lock = _locked(str(path), os.O_RDONLY)
        except (OSError, InputError):  # not ours to touch
            continue
        if lock is not None:
            path.unlink(missing_ok=True)
            _release(lock)


_GLANCE = 0.3  # seconds: longer than somebody who only looks whether a lock is held


@contextmanager
def alone(folder: Path, busy: str, patience: float = _GLANCE) -> Iterator[None]:
    """Hold the lock of `folder` for the block.

    Args:
        folder: exists; its file `.lock` is what is locked, and stays there.
        busy: the sentence for those who come second.
        patience: seconds to wait for whoever holds it.

    Raises:
        InputError: `busy`, if another process or thread holds it.
    """
    lock = _awaited(Path(folder) / ".lock", patience)
    if lock is None:
        raise InputError(busy)
    try:
        yield
    finally:
        _release(lock)


def is_held(folder: Path) -> bool:
    """Whether somebody holds the lock of `folder`: while one lives who does, it is held."""
    try:
        handle = os.open(Path(folder) / ".lock", os.O_RDONLY | _PATIENT | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return False  # nobody ever locked it, or it is none of our locks
    try:
        return not _try_lock(handle, shared=True)
    except (OSError, InputError):
        return True  # the disk has no locks to ask for, so what the folder says of itself stands
    finally:
        os.close(handle)


def _awaited(path: Path, patience: float) -> int | None:
    end = time.monotonic() + patience
    while True:
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        with explain_disk_errors(path):
            lock = _locked(str(path), os.O_RDWR | os.O_CREAT)
        if lock is not None and os.fstat(lock).st_nlink:
            return lock
        _release(lock)  # of a folder that was removed while its lock was waited for
        if time.monotonic() >= end:
            return None
        time.sleep(0.01)


# A lock lives as long as any process has the file open, and a forked worker inherits it: workers of a process that
# was killed would hold its locks for seconds. So children close them first of all.
_held: set[int] = set()


def _forget() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _locked(path: str, flags: int) -> int | None:
    """A handle that holds the lock of a file until `_release`; None if another has it, or the file is gone."""
    try:
        # No link is followed, and nothing is truncated: the folder may come from somebody else.
        handle = os.open(path, flags | _PATIENT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise InputError(f"{path} is a link, which it never is in a folder of ours; remove it") from error
    locked = False
    try:
        locked = _try_lock(handle)
    finally:
        if not locked:
            os.close(handle)
    if not locked:
        return None
    _held.add(handle)
    return handle


def _release(handle: int | None) -> None:
    if handle in _held:
        _held.discard(handle)
        os.close(handle)


def _try_lock(handle: int, shared: bool = False) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno in _NO_LOCKS:
            raise InputError("the disk of this folder knows no locks; choose a folder on another disk") from error
        raise
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that a power cut takes none of them away again."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        try:
            one.mkdir()
        except FileExistsError:
            if not one.is_dir():  # nobody else was quicker: a file lies there
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(one)) from None
        sync_folder(one.parent)


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


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes; a file that grows meanwhile is cut at its first length.

    Raises:
        Unreadable: a folder, a device, a pipe, more than `most` bytes, no permission, or not there.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise Unreadable(f"{size / 1e6:,.0f} MB, more than the {most / 1e6:,.0f} MB that are read")
        # A file that says 0 bytes is empty: those of /proc say so too, and would have no end.
        return file.read(size) if size else b""


def open_regular(path: Path) -> IO[bytes]:
    """A regular file, open for reading; nothing that is none is waited for.

    Raises:
        Unreadable: with the reason in a few words.
    """
    try:
        _check_regular(os.stat(path).st_mode)  # before it is opened, which alone makes some devices do something
        handle = os.open(path, os.O_RDONLY | _PATIENT)
    except FileNotFoundError as error:
        raise Unreadable("the file does not exist") from error
    except PermissionError as error:
        raise Unreadable("no permission to read it") from error
    except Unreadable:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        _check_regular(os.fstat(handle).st_mode)  # again, for it may have been replaced meanwhile
    except Unreadable:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _check_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise Unreadable("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")


def read_json(path: Path) -> Any:
    """The JSON value in `path`, all numbers finite; a damaged file is an `InputError` that names it."""
    if not os.path.lexists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        return parse_json(read_bytes(path, MOST_JSON))
    except Unreadable as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not valid JSON ({error})") from error


def parse_json(content: bytes | str) -> Any:
    """The JSON value in `content`; whatever is wrong, also a number that is not finite, is a `ValueError`."""
    try:
        return json.loads(content, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _no_number(text)
    return value


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no finite number")
