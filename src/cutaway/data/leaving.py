"""The list of files to leave out of a folder, which `cutaway audit` suggests and a person edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cutaway.data.dataset import Quarantined
from cutaway.data.folder import Listing
from cutaway.errors import InputError, unknown
from cutaway.files import Unreadable, read_bytes, write_text

_MOST = 256_000_000  # bytes
_HEAD = "# One file a line, relative to the folder of images; what stands after a tab is the reason."


def write_leaving(path: Path, items: Sequence[Quarantined]) -> None:
    """Write the list: a file and its reason a line, atomically."""
    write_text(path, "\n".join([_HEAD, *(f"{item.file}\t{item.reason}" for item in items)]) + "\n")


def read_leaving(path: Path) -> tuple[Quarantined, ...]:
    """The files of a list with their reasons; empty lines and lines that begin with # say nothing."""
    try:
        lines = read_bytes(path, _MOST).decode("utf-8-sig").splitlines()
    except Unreadable as error:
        if not path.exists():
            raise InputError(f"there is no list {path}; `cutaway audit DATA` writes one") from error
        raise InputError(f"{path} is no list of files ({error}): expected text, one file a line") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no list of files: expected text, one file a line") from error
    found = (line.partition("\t") for line in lines if line.strip() and not line.startswith("#"))
    return tuple(Quarantined(file.strip(), reason.strip() or f"listed in {path.name}") for file, _, reason in found)


def without(listing: Listing, items: Sequence[Quarantined], root: Path, path: Path) -> Listing:
    """`listing` without the files of the list `path`; a file that is not there is an `InputError` that names it."""
    known = {entry.file for entries in listing.splits.values() for entry in entries}
    for item in items:
        if item.file not in known:
            raise unknown("file", item.file, known, f"in {root}, though {path} lists it")
    left_out = {item.file for item in items}
    splits = {
        name: tuple(entry for entry in entries if entry.file not in left_out)
        for name, entries in listing.splits.items()
    }
    note = f"{len(left_out)} of {len(known)} files are left out, as {path} says"
    return replace(listing, splits=splits, notes=(*listing.notes, note))
