"""Image folders: which files belong to which class of which split."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cutaway.errors import InputError

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_SYSTEM_NAMES = {
    *("__macosx", "@eadir", "@tmp", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}
_SIDE_FILES = {"txt", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "md", "db", "ini", "py", "log"}
_PREFIX = re.compile(r"(\d+)\s*-\s*(?=\S)")
_NUMBER = re.compile(r"(\d+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_NOTES = 20


@dataclass(frozen=True)
class Entry:
    """One file: its path below the source folder, its label, size in bytes and latest change in nanoseconds."""

    file: str
    label: int
    size: int
    changed: int


@dataclass(frozen=True)
class Listing:
    """A folder's classes and, per split, its files in natural order; "all" is the only split when none are given."""

    classes: tuple[str, ...]
    splits: dict[str, tuple[Entry, ...]]
    notes: tuple[str, ...]


def natural(text: str) -> tuple[list[str | int], str]:
    """A sort key that counts: "2-b" before "10-a", whatever the case; the text itself decides between equals."""
    parts: list[str | int] = list(_NUMBER.split(text.casefold()))
    parts[1::2] = map(int, parts[1::2])  # a split at a group gives text and numbers in turn
    return parts, text


def class_names(folders: list[str]) -> tuple[str, ...]:
    """Names without their ordering prefix `N-`, if every folder has one and the names stay distinct."""
    stripped = [_PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name for name in folders]
    if all(_PREFIX.match(name) for name in folders) and len(set(stripped)) == len(folders):
        return tuple(stripped)
    return tuple(folders)


def list_folder(root: Path, *, trainable: bool = True) -> Listing:
    """Find the splits, the classes and their files below `root`; a layout that is none is an `InputError`.

    A link to a folder elsewhere is followed; none that leads upwards, or to a folder that the data set has already.
    What is left out for that, or because it cannot be listed, is in the notes.

    Without `trainable`, one class is enough, a class may be missing in a split, and a class folder that cannot be
    listed is only noted.
    """
    walk = _Walk(root, strict=trainable)
    try:
        roots, notes = _split_roots(walk)
        walk.held = [os.path.realpath(folder) for folder in roots.values()]
        found = {split: _class_files(walk, folder) for split, folder in roots.items()}
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be listed ({error.strerror}); make it readable or remove it"
        ) from error
    notes += walk.notes()
    names = sorted({name for files in found.values() for name in files}, key=natural)
    if trainable or not names:
        _check_classes(root, names, found)
    labels = {name: label for label, name in enumerate(names)}
    splits = {
        split: tuple(
            Entry(file, labels[name], size, changed) for name in names for file, size, changed in files.get(name, [])
        )
        for split, files in found.items()
    }
    return Listing(class_names(names), splits, tuple(notes))


def _split_roots(walk: _Walk) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split; {"all": folder} when the classes are not split yet."""
    root, found = walk.root, dict[str, Path]()
    folders = list(walk.folders(root))
    for name, folder in folders:
        split = _SPLITS.get(name.casefold())
        if split and split in found:
            raise InputError(f"{root} has two folders for one split, '{found[split].name}' and '{name}'; keep one")
        if split:
            found[split] = folder
    if len(found) == 1 and len(folders) == 1 and "train" in found:
        return {"all": found["train"]}, [f"{root} holds only train/, which was split into train, val and test"]
    if "train" in found and len(found) > 1:
        others = [printable(name) for name, folder in folders if folder not in found.values()]
        return found, [f"left out, as no split: {', '.join(others)}"] if others else []
    return {"all": root}, []


def _class_files(walk: _Walk, folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The files of each class folder that has any, by the folder's name, in natural order."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for name, path in walk.folders(folder):
        files = sorted(walk.files(path), key=lambda item: natural(item[0]))
        if files:
            found.setdefault(unicodedata.normalize("NFC", printable(name)), []).extend(files)
    return found


class _Walk:
    """A walk through the folders below `root`, and what it left out on its way."""

    def __init__(self, root: Path, strict: bool) -> None:
        self.root = root
        self.strict = strict
        self._real = os.path.realpath(root)
        self.held = [self._real]
        self._left_out: dict[str, str] = {}

    def folders(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """The folders in `folder` that count, by name."""
        for entry in os.scandir(folder):
            if _is_folder(entry) and not _ignored(entry.name) and self._may_follow(entry, os.path.realpath(folder)):
                yield entry.name, Path(entry.path)

    def files(self, folder: Path) -> Iterator[tuple[str, int, int]]:
        """(path below the root, size, time of change) of every file below a class folder that may be an image."""
        prefix = printable(folder.relative_to(self.root).as_posix())
        # Each folder once in a class: links between folders elsewhere may make more ways than anybody can go.
        yield from self._below(str(folder), prefix, {os.path.realpath(folder)}, outermost=True)

    def _below(self, folder: str, prefix: str, seen: set[str], outermost: bool) -> Iterator[tuple[str, int, int]]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            if outermost and self.strict:
                raise
            self._left_out[prefix] = f"it cannot be listed: {error.strerror}"
            return
        here = os.path.realpath(folder)
        for entry in entries:
            path = f"{prefix}/{printable(entry.name)}"
            if _ignored(entry.name):
                continue
            if _is_folder(entry):
                real = os.path.realpath(entry.path)
                if not self._may_follow(entry, here):
                    continue
                if real in seen:
                    self._left_out[path] = "it leads to a folder that its class has already"
                    continue
                seen.add(real)
                yield from self._below(entry.path, path, seen, outermost=False)
            elif entry.name.rpartition(".")[2].casefold() not in _SIDE_FILES:
                yield path, *_size_and_date(entry)

    def _may_follow(self, entry: os.DirEntry[str], here: str) -> bool:
        """Whether a folder is none of a link that leads upwards or into the data set, which has it already."""
        if not entry.is_symlink():
            return True
        real = os.path.realpath(entry.path)
        upwards = any(_holds(real, place) for place in (here, self._real))
        if upwards or self._has(real):
            path = printable(Path(entry.path).relative_to(self.root).as_posix())
            why = "upwards" if upwards else "to a folder that the data set has already"
            self._left_out[path] = f"it is a link that leads {why}"
            return False
        return True

    def _has(self, real: str) -> bool:
        holders = [folder for folder in self.held if _holds(folder, real)]
        return any(not any(map(_ignored, Path(real).relative_to(folder).parts)) for folder in holders)

    def notes(self) -> list[str]:
        """What was left out and why, one sentence for each."""
        some = [f"left out: {path}, because {why}" for path, why in list(self._left_out.items())[:_MOST_NOTES]]
        more = len(self._left_out) - len(some)
        return [*some, f"left out: {more:,} more folders"] if more > 0 else some


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: counted as a file, which the decoder then names
        return False


def _size_and_date(entry: os.DirEntry[str]) -> tuple[int, int]:
    """Size and latest change of a file; of the link itself where it leads nowhere; 0 of what is gone already."""
    for follow in (True, False):
        try:
            status = entry.stat(follow_symlinks=follow)
        except OSError:  # a broken link, or none of its bytes may be seen: the decoder says which
            continue
        # A file put in place with an old date has a new st_ctime, so the later of the two tells.
        return status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)
    return 0, 0


def printable(name: str) -> str:
    """A name that can be printed, kept as JSON and be a line of a list: what is odd in it is spelled out."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def _check_classes(root: Path, names: list[str], found: dict[str, dict[str, list[tuple[str, int, int]]]]) -> None:
    if not names:
        raise InputError(
            f"{root} has no class folders with images; put the images of each class in a folder of its own"
        )
    if len(names) == 1:
        inner = f"; if the classes are inside it, name {root / names[0]}" if "all" in found else ""
        raise InputError(f"{root} has one class only, '{names[0]}'; two or more class folders are needed{inner}")
    for split, files in found.items():
        missing = [name for name in names if name not in files]
        if missing:
            others = " and ".join(f"{other}/" for other in found if other != split and missing[0] in found[other])
            listed = ", ".join(f"'{name}'" for name in missing)
            raise InputError(
                f"{root}: {split}/ has no images of class {listed}, which {others} has; add them to every split"
            )
