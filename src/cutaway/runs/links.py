"""That nothing in a folder leads out of it: it may come from anybody, and is written to as well as read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from cutaway.errors import InputError

_MOST = 1_000_000  # entries; a run of thousands of epochs with an atlas has some ten thousand


def check_links(folder: Path, *, deep: bool = True) -> None:
    """Refuse a folder in which a link leads out of it, or in which something is neither file nor folder.

    Args:
        folder: of a run, or of what the microscope keeps.
        deep: look into the folders in it, too; done once as long as the folder's own entries stay the same.

    Raises:
        InputError: naming the link and where it leads.
    """
    if deep:
        _whole(str(folder), os.stat(folder).st_mtime_ns)
    else:
        _level(folder, folder)


@lru_cache(maxsize=1024)
def _whole(folder: str, _: int) -> None:
    count, waiting = 0, [Path(folder)]
    while waiting:
        for inner in _level(waiting.pop(), Path(folder)):
            waiting.append(inner)
        count += 1
        if count + len(waiting) > _MOST:
            raise InputError(f"{folder} holds more than {_MOST:,} folders, which no run does")


def _level(folder: Path, root: Path) -> list[Path]:
    """The folders in `folder`, whose entries were all looked at."""
    try:
        with os.scandir(folder) as entries:
            return list(_inner(entries, root))
    except OSError as error:
        raise InputError(f"{folder} cannot be listed: {error.strerror}") from error


def _inner(entries: Iterator[os.DirEntry[str]], root: Path) -> Iterator[Path]:
    for entry in entries:
        if entry.is_symlink():
            leads = Path(os.path.realpath(entry.path))
            if not leads.is_relative_to(root.resolve()):
                raise InputError(
                    f"{entry.path} is a link that leads out of {root}, to {leads}; remove it, or put what it leads to "
                    "in its place"
                )
        elif entry.is_dir():
            yield Path(entry.path)
        elif not entry.is_file():
            raise InputError(f"{entry.path} is neither a file nor a folder; remove it")
