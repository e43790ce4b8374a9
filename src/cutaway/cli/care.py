"""Verbs that take care of data before it is trained on: audit, faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json

if TYPE_CHECKING:
    from cutaway.care import Audit


@app.command()
def audit(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder of images or a built-in data set.")],
    near: Annotated[
        int | None,
        typer.Option(
            metavar="BITS",
            help="In how many of 255 bits near duplicates may differ, 0 to 80.  [default: from the data]",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="N", help="Side of the images in pixels.")] = None,
    leave_out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A list of files to leave out, to audit what remains.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Look here first for a built-in data set.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page.  [default: pictures/audit-DATA.html]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at every image of a data set before it is trained on.

    Unreadable files, equal and nearly equal images, leaks between splits, imbalance, and the extremes of size,
    brightness and sharpness: a page with pictures, and beside it a list of what to leave out.
    """
    from cutaway.care import audit as look
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.errors import InputError
    from cutaway.report.audit import write_audit
    from cutaway.words import of_terminal, words

    if out is not None and out.suffix != ".html":
        raise InputError(f"--out is {out}, expected a name ending in .html")
    given = {"size": size, "leave_out": leave_out, "data_dir": data_dir}
    with TerminalWatcher(quiet=as_json) as watch:
        options = {key: value for key, value in given.items() if value is not None}
        found = look(data, most=near, progress=watch.work, **options)
    page = out or Path("pictures") / f"audit-{found.data.name}.html"
    page, listed = write_audit(found, page, words(of_terminal()))
    if as_json:
        print(json.dumps({"page": str(page), "leave_out": str(listed) if listed else None, **_told(found)}))
    else:
        _print_audit(found, page, listed)


def _told(found: Audit) -> dict[str, Any]:
    from cutaway.care.summary import summarize

    return summarize(found)


def _print_audit(found: Audit, page: Path, listed: Path | None) -> None:
    from cutaway.care.findings import find
    from cutaway.words import of_terminal, words

    texts = words(of_terminal())
    splits = ", ".join(f"{name} {len(split):,}" for name, split in found.data.splits.items())
    print(f"{found.data.source}: {len(found):,} images, {len(found.data.classes)} classes; {splits}")
    for finding in find(found):
        print(f"{texts(f'audit.severity.{finding.severity}')}: {finding.sentence(texts)}")
    print(f"\npage: {page}")
    if listed:
        left_out = len(found.suggestions) + len(found.data.quarantine)
        print(f"to leave out ({left_out:,} files): {listed}")
