"""A disk whose power may go at any moment: what a process wrote, what of it was promised, and what may be left.

While `Disk.watching()` lasts, whatever changes the files below a folder is noted: each write that was flushed to the
system, each fsync of a file or folder, each rename, removal, truncation and new folder. `Moment.images()` then gives
what can be found after the power went at that moment, by the hard rules of POSIX: a file has the content of its last
fsync, or anything on the way from there to what was written since; a folder has the entries of its last fsync, or
those of now; and the two are independent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

Entries = dict[str, int]
"""What a folder holds: name and number of each file or folder."""


@dataclass(frozen=True)
class Moment:
    """The folder at one moment.

    Attributes:
        event: what was just done.
        now: content of each file by its number, as a process sees it.
        kept: the same as the disk has it for certain.
        entries, kept_entries: of each folder by its path below the root, likewise.
        folders: the path of each folder by its number.
    """

    event: str
    now: dict[int, bytes]
    kept: dict[int, bytes]
    entries: dict[str, Entries]
    kept_entries: dict[str, Entries]
    folders: dict[int, str]

    def images(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """What may be found afterwards: a name for each possibility, and the files with their content."""
        contents: dict[str, Callable[[int], bytes]] = {
            "all": self.now.__getitem__,
            "synced": lambda number: self.kept.get(number, b""),
            "torn": self._torn,
            "zeros": lambda number: self.kept.get(number, b"").ljust(len(self.now[number]), b"\0"),
        }
        for place, entries in (("new names", self.entries), ("old names", self.kept_entries)):
            for what, content in contents.items():
                yield f"{place}, {what}", dict(self._tree("", entries, content))

    def _torn(self, number: int) -> bytes:
        """Half of what was written since the last fsync."""
        kept, now = self.kept.get(number, b""), self.now[number]
        return now[: (len(kept) + len(now)) // 2] if now.startswith(kept) else kept

    def _tree(
        self, folder: str, entries: dict[str, Entries], content: Callable[[int], bytes]
    ) -> Iterator[tuple[str, bytes]]:
        for name, number in entries.get(folder, {}).items():
            path = f"{folder}/{name}" if folder else name
            if number in self.folders:
                yield from self._tree(self.folders[number], entries, content)
            elif number in self.now:
                yield path, content(number)


@dataclass
class Disk:
    """The files below a folder, and every moment of theirs."""

    root: Path
    moments: list[Moment] = field(default_factory=list)
    _kept: dict[int, bytes] = field(default_factory=dict)
    _kept_entries: dict[str, Entries] = field(default_factory=dict)
    _handles: dict[int, int] = field(default_factory=dict)
    _known: dict[int, tuple[tuple[int, int], bytes]] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note every change that is made through the functions by which this package changes files."""
        names = ("replace", "unlink", "rmdir", "mkdir", "truncate", "link")
        with mock.patch.multiple(os, fsync=self._fsync(os.fsync), **{n: self._noted(n) for n in names}):
            from cutaway.runs import logs

            with mock.patch.object(logs, "append", self._after(logs.append, "append")):
                yield

    def _noted(self, name: str) -> Callable[..., Any]:
        return self._after(getattr(os, name), name)

    def _after(self, work: Callable[..., Any], name: str) -> Callable[..., Any]:
        def done(*args: Any, **options: Any) -> Any:
            found = work(*args, **options)
            self._note(f"{name} {args[-1] if name == 'replace' else args[0]}")
            return found

        return done

    def _fsync(self, work: Callable[[int], None]) -> Callable[[int], None]:
        def done(handle: int) -> None:
            # What was written before an fsync without one after it may be lost whole: the moment before counts too.
            path = Path(os.readlink(f"/proc/self/fd/{handle}"))
            self._note(f"before fsync {path}")
            work(handle)
            status = os.fstat(handle)
            if self._inside(path):
                if path.is_dir():
                    self._kept_entries[self._below(path)] = self._listed(path)
                else:
                    self._kept[status.st_ino] = path.read_bytes() if path.exists() else b""
            self._note(f"fsync {path}")

        return done

    def _inside(self, path: Path) -> bool:
        return path == self.root or self.root in path.parents

    def _below(self, path: Path) -> str:
        return "" if path == self.root else path.relative_to(self.root).as_posix()

    @staticmethod
    def _listed(folder: Path) -> Entries:
        return {entry.name: entry.inode() for entry in os.scandir(folder)}

    def _note(self, event: str) -> None:
        entries, folders = dict[str, Entries](), dict[int, str]()
        for folder, _, files in os.walk(self.root):
            place = self._below(Path(folder))
            entries[place] = self._listed(Path(folder))
            folders[os.stat(folder).st_ino] = place
            for name in files:
                self._hold(Path(folder, name))
        now = {number: self._content(number, handle) for number, handle in self._handles.items()}
        kept_entries = {place: dict(inner) for place, inner in self._kept_entries.items()}
        self.moments.append(Moment(event, now, dict(self._kept), entries, kept_entries, folders))

    def _hold(self, path: Path) -> None:
        """Keep a file open, so that its number is given to no other one, and what it held is known once it is gone."""
        number = path.stat().st_ino
        if number not in self._handles:
            self._handles[number] = os.open(path, os.O_RDONLY)

    def _content(self, number: int, handle: int) -> bytes:
        status = os.fstat(handle)
        mark = status.st_mtime_ns, status.st_size
        if self._known.get(number, (None, b""))[0] != mark:
            self._known[number] = mark, os.pread(handle, status.st_size, 0)
        return self._known[number][1]

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()


def write_image(files: dict[str, bytes], folder: Path) -> None:
    """Lay out what was found after the power went."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def promised(moment: Moment) -> bool:
    """Whether a run with a state is on the disk whatever is lost."""
    files = dict(moment.images())["old names, synced"]
    there = {Path(path).name for path, content in files.items() if content}
    return "run.json" in there and bool(there & {"state.safetensors", "state.previous.safetensors"})
