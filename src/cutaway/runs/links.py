"""That nothing in a folder leads out of it: it may come from anybody, and is written to as well as read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cutaway.errors import InputError

_MOST = 1_000_000  # entries; a run of thousands of epochs with an atlas has some ten thousand


def check_links(folder: Path, *, deep: bool = True) -> None:
    """Refuse a folder in which a link leads out of it, or in which something is neither file nor folder.

    Args:
        folder: of a run, or of what the microscope keeps.
        deep: look into the folders in it, too.

    Raises:
        InputError: naming the link and where it leads.
    """
    count, waiting = 0, [str(folder)]
    while waiting:
        for entry in _entries(waiting.pop()):
            count += 1
            if _is_inner_folder(entry, folder) and deep:
                waiting.append(entry.path)
        if count > _MOST:
            raise InputError(f"{folder} holds more than {_MOST:,} files, which no run does")


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:  # whoever trains into it has just removed it
        return
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}") from error


def _is_inner_folder(entry: os.DirEntry[str], root: Path) -> bool:
    if entry.is_symlink():
        leads = os.path.realpath(entry.path)
        if not Path(leads).is_relative_to(os.path.realpath(root)):
            raise InputError(
                f"{entry.path} is a link that leads out of {root}, to {leads}; remove it, or put what it leads to in "
                "its place"
            )
        return False
    if not entry.is_dir() and not entry.is_file() and os.path.lexists(entry.path):
        raise InputError(f"{entry.path} is neither a file nor a folder; remove it")
    return entry.is_dir()
