"""The logs of a run, `metrics.jsonl` and `vitals.jsonl`: JSON lines that are only ever appended to.

Each line ends in a check, the CRC-32 of the run's id, the log's name, the line's place in the file and its text: a
flipped bit, a line that is missing or moved, and a log of another run are all noticed. The end of a log is known from
`run.json` once a training has stopped. A torn last line belongs to a writer that was killed and is left out.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Any

from cutaway.errors import InputError
from cutaway.files import Unreadable, explain_disk_errors, parse_json, read_bytes, sync_folder, write_bytes
from cutaway.runs.checked import Wrong, checker
from cutaway.runs.schema import BrokenCheckup, EndCheckup, EpochLine, StepCheckup, StepLine, VitalLine
from cutaway.runs.sealed import Stamp, stamp

_MOST = 4 * 2**30
_CHECK = b', "check": "'
_EPOCH = b'{"kind": "epoch"'
_EMPTY: Stamp = (0, 0, 0)
Line = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """One log.

    Attributes:
        path: the file.
        id: of the run; "" for a run of schema 1, whose lines have no checks.
        length: how many bytes it has at least; 0 if nobody knows.
    """

    path: Path
    id: str = ""
    length: int = 0

    def lines(self, *, only_epochs: bool = False) -> list[Line]:
        """Its lines, or those about epochs alone, which takes a hundredth of the time.

        Raises:
            InputError: it is damaged, or shorter than it was.
        """
        try:
            now = stamp(self.path)
        except Unreadable:
            now = _EMPTY
        if now[1] < self.length:
            raise InputError(
                f"{self.path} has lost its end: {now[1]:,} of {self.length:,} bytes are left; `cutaway resume "
                f"{quote(str(self.path.parent))}` mends it, and RUN@EPOCH names an epoch without it"
            )
        return list(_lines(self.path, self.id, now, self.length, only_epochs))


# A log of hours is some megabytes of text and ten times that as lines, so few are kept.
@lru_cache(maxsize=8)
def _lines(path: Path, run: str, now: Stamp, length: int, only_epochs: bool) -> tuple[Line, ...]:
    if now == _EMPTY:
        return ()
    try:
        content = read_bytes(path, _MOST)
    except Unreadable as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    lines = list(_epochs(content) if only_epochs else _split(content))
    try:
        found: Iterable[Line] = _together(path.name, run, lines)
    except (ValueError, RecursionError):
        found = _one_by_one(path, run, lines, content, length)
    return tuple(line for line in found if not only_epochs or line.get("kind") == "epoch")


def _together(name: str, run: str, lines: Sequence[tuple[int, bytes]]) -> list[Line]:
    """All lines at once, which is several times as fast; whatever is wrong with one is a `ValueError`."""
    found: list[Line] = json.loads(b"[" + b",".join(_bare(name, run, *line) for line in lines) + b"]")
    if len(found) != len(lines):
        raise ValueError("a line holds several records")
    for line in found:
        _kind(name, line)(line)
    return found


def _one_by_one(
    path: Path, run: str, lines: Sequence[tuple[int, bytes]], content: bytes, length: int
) -> Iterator[Line]:
    for offset, text in lines:
        try:
            yield _read(path.name, run, offset, text)
        except ValueError as error:
            if offset + len(text) >= len(content) and offset >= length:
                return  # torn: a whole line ends in a newline
            number = content.count(b"\n", 0, offset) + 1
            raise InputError(
                f"{path} is damaged in line {number}: {error}; `cutaway resume {quote(str(path.parent))}` goes on "
                "without the lines that are lost"
            ) from error


def _split(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Each line that is not empty, with its place."""
    offset = 0
    for text in content.split(b"\n"):
        if text:
            yield offset, text
        offset += len(text) + 1


def _epochs(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines about epochs, found without splitting the rest; and the first line, which tells another log."""
    if content and not content.startswith((_EPOCH, b"\n")):
        end = content.find(b"\n")
        yield 0, content[: end if end >= 0 else len(content)]
    start = 0 if content.startswith(_EPOCH) else content.find(b"\n" + _EPOCH) + 1
    while start or content.startswith(_EPOCH, start):
        end = content.find(b"\n", start)
        yield start, content[start : end if end >= 0 else len(content)]
        start = content.find(b"\n" + _EPOCH, start) + 1
        if not start:
            return


def _read(name: str, run: str, offset: int, text: bytes) -> Line:
    """One line without its check; whatever is wrong with it is a `ValueError`."""
    line = parse_json(_bare(name, run, offset, text))
    _kind(name, line)(line)
    return dict(line)


def _bare(name: str, run: str, offset: int, text: bytes) -> bytes:
    """The text of a line without its check, which was compared."""
    start, comma, check = text.rpartition(_CHECK)
    if run and (not comma or check != b'%s"}' % _checksum(name, run, offset, start)):
        raise ValueError("its text does not match its check")
    return start + b"}" if comma else text


def _kind(name: str, line: Any) -> Any:
    """The checker of a line by what it is about."""
    if not isinstance(line, dict):
        raise Wrong("expected an object in each line")
    if name == "metrics.jsonl":
        return checker({"step": StepLine, "epoch": EpochLine}.get(str(line.get("kind")), StepLine))
    if line.get("kind") != "checkup":
        return checker(VitalLine)
    return checker(BrokenCheckup if "first_bad" in line else EndCheckup if "end_of_epoch" in line else StepCheckup)


def _checksum(name: str, run: str, offset: int, text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text, zlib.crc32(f"{run}/{name}/{offset}/".encode()))


def _written(name: str, run: str, offset: int, record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    if not run:
        return text + b"\n"
    start = text[:-1]
    return start + _CHECK + _checksum(name, run, offset, start) + b'"}\n'


def append(log: Log, records: Iterable[Mapping[str, Any]]) -> int:
    """Append `records` in one write and return the log's length in bytes afterwards."""
    with explain_disk_errors(log.path), open(log.path, "ab") as file:
        start, parts = file.tell(), bytearray()
        for record in records:
            parts += _written(log.path.name, log.id, start + len(parts), record)
        file.write(parts)
        file.flush()
        return file.tell()


def sync(path: Path) -> None:
    """Make what was appended so far survive a power cut; the state that counts on it is written after this."""
    with explain_disk_errors(path):
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)


def truncate(path: Path, length: int) -> None:
    """Cut a log back to `length` bytes: what a resumed run is about to write again."""
    if path.exists():
        with explain_disk_errors(path):
            os.truncate(path, min(length, path.stat().st_size))


def mend(log: Log, length: int) -> tuple[int, str]:
    """Bring a log back to what it was when it had `length` bytes, as far as that is left.

    Where lines are lost or damaged, those that are whole are kept in a new log, and the old one beside it.

    Returns:
        The length of the log now, and a sentence about what was lost ("" if nothing was).
    """
    try:
        content = read_bytes(log.path, _MOST)[:length]
    except Unreadable:
        content = b""
    whole, damaged = [], 0
    for offset, text in _split(content):
        try:
            whole.append(_read(log.path.name, log.id, offset, text))
        except ValueError:
            damaged += 1
    if len(content) == length and not damaged:
        truncate(log.path, length)
        return length, ""
    aside = log.path.with_name(f"{log.path.stem}.damaged.jsonl")
    write_bytes(aside, content)
    mended = bytearray()
    for line in whole:
        mended += _written(log.path.name, log.id, len(mended), line)
    write_bytes(log.path, bytes(mended))
    return len(mended), (
        f"{log.path.name} had lost or damaged lines: {len(content):,} of {length:,} bytes were left, {damaged} lines "
        f"were unreadable, {len(whole)} were kept; {aside.name} is the log as it was found"
    )
