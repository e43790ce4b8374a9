"""What a lens found, saved and told: the last lines of every verb that looks inside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutaway.cli.streams import print_json, tell
from cutaway.files import Unwritten
from cutaway.words import terminal_words

if TYPE_CHECKING:
    from cutaway.scope import Result

_FEW = 5
NOT_KEPT = 3  # the exit code where what was found is told but could not be kept


def folder_for(out: Path | None, *words: str) -> Path:
    """Where results go: `out`, or a folder in pictures/ named after verb, model and image.

    >>> str(folder_for(None, "maps", "runs/faces-1@7", "photos/cat.jpg"))
    'pictures/maps-faces-1-7-cat'
    """
    # test:412 is a name as well: only a file's ending goes.
    stems = [re.sub(r"\.(jpe?g|png|gif|bmp|webp|tiff?)$", "", Path(word).name, flags=re.IGNORECASE) for word in words]
    return out or Path("pictures") / re.sub(r"[^\w.-]+", "-", "-".join(stems))


def keep(folder: Path, *works: Callable[[], object]) -> int:
    """Write what was found into a run folder; the exit code, and where it cannot be written a line that says so.

    What was found is worth telling where it cannot be kept: on a full disk, or in a run that is only read.
    """
    try:
        for work in works:
            work()
    except Unwritten as error:
        way_out = "" if error.full else "copy the run to where it may be written"
        problem = Unwritten(error.path, error.full, way_out)
        say = terminal_words()
        tell(f"cutaway: {say('terminal.not_kept', run=folder, problem=say.said(problem))}")
        return NOT_KEPT
    return 0


def save_and_tell(
    found: Result, folder: Path, as_json: bool, *, text: str = "", report: Mapping[str, Any] | None = None
) -> None:
    """Save `found` in `folder`; print `text` and the files, or one JSON object with `report` and the certificate."""
    files = [path.name for path in found.save(folder)]
    if as_json:
        told = {"folder": str(folder), "files": files, **(report or {}), "certificate": found.certificate.as_dict()}
        print_json(told)
        return
    if text:
        print(text)
    print(folder / files[0])
    rest = files[1:]
    say = terminal_words()
    some = ", ".join(rest) if len(rest) < _FEW else say("terminal.many", first=rest[0], last=rest[-1], count=len(rest))
    print(say("terminal.beside", files=some))
