"""A folder of photographs in class folders becomes a folder of faces in class folders; it can stop and go on."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from cutaway.care.faces.detector import need_detector
from cutaway.care.faces.photograph import Photograph, process
from cutaway.care.faces.settings import Settings
from cutaway.data.folder import Entry, list_folder
from cutaway.data.parallel import each
from cutaway.errors import InputError
from cutaway.files import read_json, write_json
from cutaway.progress import Progress

RECORD = "faces.json"
_SECONDS = 5.0
_LONGEST, _EXTENSION = 220, 20  # bytes of a name; file systems allow 255
_LATER_FACE = re.compile(r"\.face\d+$")


@dataclass(frozen=True)
class Collection:
    """What became of every photograph.

    Attributes:
        source: the folder of photographs.
        destination: the folder of crops.
        settings: how they were cut.
        photographs: in the order of the listing.
        known: how many of them were done already.
    """

    source: Path
    destination: Path
    settings: Settings
    photographs: tuple[Photograph, ...]
    known: int

    @property
    def outcomes(self) -> dict[str, int]:
        """How many photographs ended how."""
        return dict(Counter(one.outcome for one in self.photographs))

    @property
    def crops(self) -> int:
        """How many crops there are."""
        return sum(bool(crop.file) for one in self.photographs for crop in one.crops)

    @property
    def several(self) -> tuple[Photograph, ...]:
        """Photographs with more than one face on them."""
        return tuple(one for one in self.photographs if one.found > 1)


def collect_faces(
    source: str | Path, destination: str | Path, settings: Settings | None = None, progress: Progress | None = None
) -> Collection:
    """Cut the faces out of all photographs of `source` into the same class folders below `destination`.

    Photographs that were done already, with these settings and unchanged since, are not done again. Crops of
    photographs that are gone or have changed go with them. Nothing in `source` is changed.

    Args:
        source: a folder of class folders, or of train/, val/ and test/ with such folders in them.
        destination: a folder that is empty, new, or an earlier collection of the same source.
        settings: how; see `Settings`.
        progress: called as progress(label, done, total).

    Raises:
        InputError: no class folders, a destination that holds other things, or what the detector needs is missing.
    """
    settings = settings or Settings()
    root, target = Path(source).expanduser(), Path(destination).expanduser()
    _check_places(root, target)
    need_detector()
    entries = [entry for part in list_folder(root, trainable=False).splits.values() for entry in part]
    before = _earlier(root, target, settings)
    names = crop_names([entry.file for entry in entries])
    known = {entry.file: before[entry.file] for entry in entries if _still_good(target, entry, before)}
    jobs = [(entry, names[entry.file]) for entry in entries if entry.file not in known]
    _remove_stale(target, before, known)
    done = dict(known)
    # Before the first crop, so that a folder that was left half-way is known again.
    _save(root, target, settings, done)
    saved = time.monotonic()
    try:
        for found in each(partial(process, root, target, settings), jobs):
            done[found.file] = found
            if progress:
                progress("looking for faces", len(done), len(entries))
            if time.monotonic() - saved > _SECONDS:
                _save(root, target, settings, done)
                saved = time.monotonic()
    finally:
        _save(root, target, settings, done)
    ordered = tuple(done[entry.file] for entry in entries)
    return Collection(root, target, settings, ordered, len(known))


def crop_names(files: list[str]) -> dict[str, str]:
    """The path of each file's crop without its ending: the file's own, with the ending where two would be the same.

    >>> crop_names(["a/1.jpg", "a/1.png", "b/1.png"])
    {'a/1.jpg': 'a/1-jpg', 'a/1.png': 'a/1-png', 'b/1.png': 'b/1'}
    """
    short = {file: _shortened(PurePosixPath(file)) for file in files}
    stems = Counter(str(path.with_suffix("")).casefold() for path in short.values())
    names = {}
    for file in files:
        path = short[file]
        stem = str(path.with_suffix(""))
        clear = stems[stem.casefold()] == 1 and not _LATER_FACE.search(stem)
        names[file] = stem if clear else f"{_LATER_FACE.sub('', stem)}-{path.suffix[1:]}"
    taken: dict[str, list[str]] = defaultdict(list)
    for file, name in names.items():
        taken[name.casefold()].append(file)
    for same in taken.values():
        if len(same) > 1:
            raise InputError(f"the crops of {' and '.join(same[:2])} would have the same name; rename one of them")
    return names


def _shortened(path: PurePosixPath) -> PurePosixPath:
    """A file whose name leaves room for what a crop's name has more: the rest of a longer one becomes a number."""
    name = path.name.encode()
    if len(name) <= _LONGEST:
        return path
    suffix = path.suffix if len(path.suffix) < _EXTENSION else ""
    mark = hashlib.blake2b(name, digest_size=4).hexdigest()
    return path.with_name(f"{name[: _LONGEST - 40].decode(errors='ignore')}-{mark}{suffix}")


def _check_places(root: Path, target: Path) -> None:
    if not root.is_dir():
        raise InputError(f"there is no folder {root}; name a folder of class folders with photographs")
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; name a folder for the crops")
    inner, outer = target.resolve(), root.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise InputError(f"{target} and {root} lie in one another; name a destination outside the photographs")


def _earlier(root: Path, target: Path, settings: Settings) -> dict[str, Photograph]:
    """What an earlier call left in the destination, by file; another source or other settings are refused."""
    record = target / RECORD
    if not record.is_file():
        if target.is_dir() and any(target.iterdir()):
            raise InputError(f"{target} holds other things and no {RECORD}; name a new or empty folder for the crops")
        return {}
    try:
        values = read_json(record)
        was = Path(values["source"]), Settings(**values["settings"])
        photographs = [Photograph.from_dict(one) for one in values["photographs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{record} is damaged ({error}); remove {target} and begin again") from error
    if was[0] != root.resolve():
        raise InputError(f"{target} holds the faces of {was[0]}; name another destination for those of {root}")
    if was[1] != settings:
        changed = ", ".join(_changes(was[1].as_dict(), settings.as_dict()))
        raise InputError(f"{target} was made with {changed}; use the same, or name another destination")
    return {one.file: one for one in photographs}


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    yield from (f"{name} {before[name]} instead of {now[name]}" for name in now if before[name] != now[name])


def _still_good(target: Path, entry: Entry, before: dict[str, Photograph]) -> bool:
    """Whether a photograph was done, is unchanged since, and all of its crops are there."""
    one = before.get(entry.file)
    if one is None or (one.size, one.changed) != (entry.size, entry.changed):
        return False
    return all((target / crop.file).is_file() for crop in one.crops if crop.file)


def _remove_stale(target: Path, before: dict[str, Photograph], known: dict[str, Photograph]) -> None:
    """Remove the crops of photographs that are gone or have changed."""
    for one in before.values():
        if one.file not in known:
            for crop in one.crops:
                if crop.file:
                    (target / crop.file).unlink(missing_ok=True)


def _save(root: Path, target: Path, settings: Settings, done: dict[str, Photograph]) -> None:
    photographs = [one.as_dict() for one in done.values()]
    record = {"source": str(root.resolve()), "settings": settings.as_dict(), "photographs": photographs}
    write_json(target / RECORD, record)
