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

    Without `trainable`, one class is enough, and a class may be missing in a split.
    """
    try:
        look = _Look(root)
        roots, notes = _split_roots(look)
        found = {split: _class_files(look, folder) for split, folder in roots.items()}
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be listed ({error.strerror}); make it readable or remove it"
        ) from error
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
    return Listing(class_names(names), splits, (*notes, *dict.fromkeys(look.left_out)))


class _Look:
    """A walk through a data set, and what was left out on the way."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = os.path.realpath(root)
        self.left_out: list[str] = []

    def entries(self, folder: str | Path, *, needed: bool) -> list[os.DirEntry[str]]:
        """What lies in a folder; one that cannot be listed is left out, but for a class or a split, which is needed."""
        try:
            return list(os.scandir(folder))
        except OSError as error:
            if needed:
                raise
            self.left_out.append(f"left out, as it cannot be listed ({error.strerror}): {_printable(str(folder))}")
            return []

    def is_folder(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry is a folder to look into; a link that leads in a circle, or nowhere, is none."""
        try:
            return entry.is_dir() and not (entry.is_symlink() and self._leads_back(entry.path))
        except OSError:  # a link to itself: as a file that cannot be read, it gets its reason like any other
            return False

    def _leads_back(self, path: str) -> bool:
        """Whether a link leads to what the data set holds already, or to a folder around it."""
        leads = os.path.realpath(path)
        back = _is_inside(leads, self.real) or _is_inside(self.real, leads)
        if back:
            self.left_out.append(f"left out, as a link back into the data: {_printable(path)}")
        return back


def _is_inside(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def _split_roots(look: _Look) -> tuple[dict[str, Path], list[str]]:
    """The folder of each split; {"all": folder} when the classes are not split yet."""
    found: dict[str, Path] = {}
    root, folders = look.root, list(_folders(look, look.root))
    for name, folder in folders:
        split = _SPLITS.get(name.casefold())
        if split and split in found:
            raise InputError(f"{root} has two folders for one split, '{found[split].name}' and '{name}'; keep one")
        if split:
            found[split] = folder
    if len(found) == 1 and len(folders) == 1 and "train" in found:
        return {"all": found["train"]}, [f"{root} holds only train/, which was split into train, val and test"]
    if "train" in found and len(found) > 1:
        others = [name for name, folder in folders if folder not in found.values()]
        return found, [f"left out, as no split: {', '.join(others)}"] if others else []
    return {"all": root}, []


def _class_files(look: _Look, folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """The files of each class folder that has any, by the folder's name, in natural order."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for name, path in _folders(look, folder):
        prefix = _printable(path.relative_to(look.root).as_posix())
        files = sorted(_walk(look, str(path), prefix, (str(path.resolve()),)), key=lambda item: natural(item[0]))
        if files:
            found.setdefault(unicodedata.normalize("NFC", _printable(name)), []).extend(files)
    return found


def _folders(look: _Look, folder: Path) -> Iterator[tuple[str, Path]]:
    for entry in look.entries(folder, needed=True):
        if not _ignored(entry.name) and look.is_folder(entry):
            yield entry.name, Path(entry.path)


def _walk(look: _Look, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """(path below the source, size, time of change) of every file that may be an image; no link is followed back."""
    for entry in look.entries(folder, needed=len(above) == 1):
        path = f"{prefix}/{_printable(entry.name)}"
        if _ignored(entry.name):
            continue
        if look.is_folder(entry):
            real = os.path.realpath(entry.path)
            if real not in above:  # a folder elsewhere may hold links in a circle of its own
                yield from _walk(look, entry.path, path, (*above, real))
        elif os.path.isdir(entry.path):
            continue  # left out, and said
        elif entry.name.rpartition(".")[2].casefold() not in _SIDE_FILES:
            broken = entry.is_symlink() and not os.path.exists(entry.path)
            try:
                status = entry.stat(follow_symlinks=not broken)
            except FileNotFoundError:  # it was there when the folder was listed
                continue
            # A file put in place with an old date has a new st_ctime, so the later of the two tells.
            yield path, status.st_size, max(status.st_mtime_ns, status.st_ctime_ns)


def _printable(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


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
