"""A folder whose every change is recorded, and the disks that a power cut at any moment could leave of it.

Before and after every call that orders a disk (fsync, rename, unlink, mkdir, truncate) the folder is compared with what
it was, so that no write escapes, whoever made it.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from cutaway.training import session as sessions

DATA = ("synced", "written", "torn", "zeros")
NAMES = ("none", "all", "half", "some")
CALLS = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir", "truncate", "ftruncate", "chmod")


@dataclass(frozen=True)
class Event:
    """One thing that happened to the disk.

    Attributes:
        kind: "write" (a file holds `content` now), "names" (entries of a folder changed at once), "sync" (a file was
            flushed), "folder" (a folder was flushed), or "promise" (a state was saved: `step`).
        file: the number of a file.
        content: its bytes.
        names: path to number of a file, -1 for a folder, None for gone.
        folder: the path of the folder that was flushed.
        step: the optimizer step of the state.
        call: what caused it.
    """

    kind: str
    file: int = 0
    content: bytes = b""
    names: Mapping[str, int | None] = field(default_factory=dict)
    folder: str = ""
    step: int = -1
    call: str = ""


class Recorder:
    """Watches one folder; `before` is what lies there durably at the beginning."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.numbers: dict[int, int] = {}  # of a file's inode, as long as it has a name
        self.next = 1
        self.names: dict[str, int] = {}
        self.stamps: dict[int, tuple[int, int]] = {}
        self.observe("beginning")
        self.begun = len(self.events)

    def observe(self, call: str) -> None:
        """Compare the folder with what it was: files that changed, then names that did."""
        found: dict[str, int] = {}
        for path in sorted(self.folder.rglob("*")) if self.folder.exists() else []:
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            place = str(path.relative_to(self.folder))
            if path.is_dir():
                found[place] = -1
                continue
            number = self.numbers.get(about.st_ino)
            if number is None:
                number = self.numbers[about.st_ino] = self.next
                self.next += 1
            found[place] = number
            stamp = (about.st_size, about.st_mtime_ns)
            if self.stamps.get(number) != stamp:
                self.stamps[number] = stamp
                self.events.append(Event("write", number, path.read_bytes(), call=call))
        if self.folder.exists():
            found["."] = -1
        changed: dict[str, int | None] = {name: n for name, n in found.items() if self.names.get(name) != n}
        changed |= dict.fromkeys(self.names.keys() - found.keys())
        if changed:
            self.events.append(Event("names", names=changed, call=call))
        self.names = found
        living = set(found.values())
        self.numbers = {inode: number for inode, number in self.numbers.items() if number in living}

    def synced(self, handle: int) -> None:
        """Note what an fsync flushed."""
        about = os.fstat(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if not path.is_relative_to(self.folder) and path != self.folder.parent:
            return
        if about.st_ino in self.numbers and not path.is_dir():
            self.events.append(Event("sync", self.numbers[about.st_ino]))
        elif path.is_dir():
            inside = path.is_relative_to(self.folder)
            self.events.append(Event("folder", folder=str(path.relative_to(self.folder)) if inside else ".."))


@contextmanager
def recording(folder: Path) -> Iterator[Recorder]:
    """Record what happens to `folder` inside the block."""
    recorder = Recorder(folder)

    def wrapped(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            recorder.observe("write")
            result = real(*arguments, **more)
            if name == "fsync":
                recorder.synced(arguments[0])
            else:
                recorder.observe(name)
            return result

        return call

    def promised(saved: Any, state: Any) -> None:
        real_save(saved, state)
        recorder.observe("write")
        recorder.events.append(Event("promise", step=state.progress.step))

    real_save = sessions.save_state
    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(mock.patch.object(os, name, wrapped(name)))
        stack.enter_context(mock.patch.object(sessions, "save_state", promised))
        yield recorder
    recorder.observe("write")


class Disk:
    """What is durable after some events, and what is not yet."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.pending: list[dict[str, int | None]] = []
        self.safe: dict[int, bytes] = {}
        self.now: dict[int, bytes] = {}
        self.promised = -1

    def take(self, event: Event) -> None:
        """One event happens."""
        if event.kind == "write":
            self.now[event.file] = event.content
        elif event.kind == "sync":
            self.safe[event.file] = self.now[event.file]
        elif event.kind == "names":
            self.pending.append(dict(event.names))
        elif event.kind == "folder":
            self._flush(event.folder)
        else:
            self.promised = max(self.promised, event.step)

    def settle(self) -> None:
        """All that happened so far is durable."""
        self.safe = dict(self.now)
        for names in self.pending:
            self._apply(self.names, names)
        self.pending = []

    def _flush(self, folder: str) -> None:
        rest = []
        for names in self.pending:
            self._apply(self.names, {name: n for name, n in names.items() if parent(name) == folder})
            if left := {name: n for name, n in names.items() if parent(name) != folder}:
                rest.append(left)
        self.pending = rest

    @staticmethod
    def _apply(into: dict[str, int], names: Mapping[str, int | None]) -> None:
        for name, number in names.items():
            if number is None:
                into.pop(name, None)
            else:
                into[name] = number

    def images(self, generator: random.Random) -> Iterator[tuple[str, dict[str, bytes | None]]]:
        """Every disk that a cut could leave: what was assumed, and path to content (None for a folder)."""
        for chosen in NAMES:
            names = dict(self.names)
            kept = {
                "none": [],
                "all": self.pending,
                "half": self.pending[: len(self.pending) // 2],
                "some": [one for one in self.pending if generator.random() < 0.5],
            }[chosen]
            for one in kept:
                self._apply(names, one)
            whole = {name: n for name, n in names.items() if all(up in names for up in above(name))}
            for data in DATA:
                yield (
                    f"names {chosen}, data {data}",
                    {name: None if n == -1 else self._content(n, data) for name, n in whole.items() if name != "."},
                )

    def _content(self, number: int, data: str) -> bytes:
        safe, now = self.safe.get(number, b""), self.now[number]
        if data == "synced" or safe == now:
            return safe
        if data == "written":
            return now
        # What was cut off is there or not; what stands before it is not touched.
        pairs = enumerate(zip(safe, now, strict=False))
        same = next((place for place, (one, other) in pairs if one != other), min(len(safe), len(now)))
        added = len(now) - same
        return now[: same + added // 2] if data == "torn" else now[:same] + bytes(added)


def parent(name: str) -> str:
    """The folder that holds a name; the run folder itself is held by `..`."""
    return ".." if name == "." else str(Path(name).parent)


def above(name: str) -> list[str]:
    """The folders that must be there for a name to be."""
    return [] if name == "." else [".", *(str(up) for up in Path(name).parents if str(up) != ".")]


def rebuild(image: Mapping[str, bytes | None], folder: Path) -> None:
    """Lay a disk out as files; there is no folder where none is on the disk."""
    if image:
        folder.mkdir(parents=True)
    for name, content in sorted(image.items()):
        if content is None:
            (folder / name).mkdir(parents=True, exist_ok=True)
    for name, content in image.items():
        if content is not None:
            (folder / name).write_bytes(content)


def digest(image: Mapping[str, bytes | None]) -> str:
    """The same for equal disks."""
    whole = hashlib.sha256()
    for name, content in sorted(image.items()):
        whole.update(f"{name}\0{-1 if content is None else len(content)}\0".encode() + (content or b""))
    return whole.hexdigest()
