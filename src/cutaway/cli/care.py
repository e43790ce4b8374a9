"""Verbs that take care of data before it is trained on: audit, faces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cutaway.cli.app import app
from cutaway.cli.looking import Json
from cutaway.cli.streams import print_json

if TYPE_CHECKING:
    from cutaway.care import Audit
    from cutaway.care.faces import Collection

_SHOWN = 3


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
    keep_together: Annotated[
        bool, typer.Option("--keep-together", help="Split as `train --keep-together` does.")
    ] = False,
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
    given = {"size": size, "leave_out": leave_out, "data_dir": data_dir, "keep_together": keep_together or None}
    with TerminalWatcher(quiet=as_json) as watch:
        options = {key: value for key, value in given.items() if value is not None}
        found = look(data, most=near, progress=watch.work, **options)
    page = out or Path("pictures") / f"audit-{found.data.name}.html"
    page, listed = write_audit(found, page, words(of_terminal()))
    if as_json:
        print_json({"page": str(page), "leave_out": str(listed) if listed else None, **_told(found, listed)})
    else:
        _print_audit(found, page, listed)


def _told(found: Audit, listed: Path | None) -> dict[str, Any]:
    from cutaway.care.summary import summarize

    return summarize(found, listed)


def _print_audit(found: Audit, page: Path, listed: Path | None) -> None:
    from cutaway.care.findings import find, remedy
    from cutaway.words import of_terminal, words

    texts = words(of_terminal())
    splits = ", ".join(f"{name} {len(split):,}" for name, split in found.data.splits.items())
    print(f"{found.data.source}: {len(found):,} images, {len(found.data.classes)} classes; {splits}")
    for finding in find(found):
        print(f"{texts(f'audit.severity.{finding.severity}')}: {finding.sentence(texts)}")
        if helps := remedy(found, finding, listed):
            print(f"  {texts('doctor.remedy', text=helps)}")
    print(f"\npage: {page}")
    if listed:
        left_out = len(found.suggestions) + len(found.data.quarantine)
        print(f"to leave out ({left_out:,} files): {listed}")


@app.command()
def faces(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A folder of class folders with photographs.")],
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A new folder for the crops.")],
    size: Annotated[int, typer.Option(metavar="N", help="Side of a crop in pixels.")] = 224,
    margin: Annotated[
        float, typer.Option(metavar="X", help="What a crop shows around the face, as a share of its side.")
    ] = 0.2,
    every: Annotated[
        bool, typer.Option("--all", help="Keep all faces of a photograph, not the largest alone.")
    ] = False,
    min_face: Annotated[int, typer.Option(metavar="N", help="Refuse faces of fewer pixels.")] = 48,
    min_sharpness: Annotated[float, typer.Option(metavar="X", help="Refuse crops that are more blurred.")] = 20.0,
    as_json: Json = False,
) -> None:
    """Cut aligned faces out of photographs.

    The crops get the same class folders; nothing in SOURCE is changed. It can be interrupted and called again. A
    contact sheet, faces.html, shows every class and whatever went wrong.
    """
    from cutaway.care.faces import Settings, collect_faces
    from cutaway.cli.terminal import TerminalWatcher
    from cutaway.report.faces import write_sheet
    from cutaway.words import of_terminal, words

    settings = Settings(size, margin, every, min_face, min_sharpness)
    with TerminalWatcher(quiet=as_json) as watch:
        try:
            found = collect_faces(source, destination, settings, watch.work)
        except KeyboardInterrupt:
            watch.note(watch.say("faces.interrupted"))
            raise
    page = write_sheet(found, words(of_terminal()))
    if as_json:
        photographs = [one.as_dict() for one in found.photographs]
        told = {"page": str(page), "crops": found.crops, "outcomes": found.outcomes, "known": found.known}
        print_json({**told, "photographs": photographs})
    else:
        _print_faces(found, page)


def _print_faces(found: Collection, page: Path) -> None:
    from cutaway.views.faces import said
    from cutaway.words import of_terminal, words

    texts = words(of_terminal())
    print(texts("faces.told", crops=found.crops, photographs=len(found.photographs), known=found.known))
    kinds = {
        texts(f"faces.outcome.{outcome}"): [one for one in found.photographs if one.outcome == outcome]
        for outcome in ("nobody", "refused", "unreadable")
    }
    for title, photographs in {**kinds, texts("faces.figure.several"): found.several}.items():
        if photographs:
            print(f"{title}: {len(photographs):,}")
        for one in photographs[:_SHOWN]:
            print(f"  {one.file}  {said(one, texts)}".rstrip())
        if len(photographs) > _SHOWN:
            print("  …")
    print(f"\n{page}")
