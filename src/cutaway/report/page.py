"""A run as one HTML file with everything inside: it opens from a disk, without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cutaway.files import write_text
from cutaway.numerals import number, percent
from cutaway.pages import EPOCH, Crumb, Shell, Slider, asset
from cutaway.pages import render as render_template
from cutaway.report.book import Book
from cutaway.runs import Run, RunFolder, open_run
from cutaway.views.confusion import confusion_of
from cutaway.views.run import RunView, view_run
from cutaway.words import DEFAULT, Words, words


def write_page(run: Run | RunFolder | str | Path, language: str = DEFAULT) -> Path:
    """Write `index.html`, everything inside, into the run folder.

    Args:
        run: the run or its folder.
        language: of the page's texts, a key of `cutaway.words.LANGUAGES`.

    Returns:
        The path of `index.html`.

    Raises:
        InputError: no run there, or it cannot be written.
    """
    if not isinstance(run, Run):
        run = open_run(run.path if isinstance(run, RunFolder) else run)
    say = words(language)
    write_text(run.folder.page, render(view_run(run, say), say))
    return run.folder.page


def render(view: RunView, say: Words | None = None, book: Book | None = None, notes: Sequence[str] = ()) -> str:
    """The run of `view`, and the other pages in `book`, as one HTML text in the language of both and `say` (English).

    Jinja escapes every name. What is marked as safe here is made of numbers, base64 and files of this package.
    """
    say, book = say or words(), book or Book()
    tabs = [(f"#{address}", title) for address, title in _tabs(say).items() if not address or address in book.pages]
    return render_template(
        "report.html.j2",
        say,
        shell=Shell(view.name, (Crumb(view.name),), _slider(view), frozen=True),
        view=view,
        tabs=tabs if book.pages else [],
        notes=tuple(notes),
        confusion=confusion_of(view.evaluation),
        frames=Markup(_frames_json(view, say)),
        pictures=Markup(book.album.as_json()),
        book=Markup(book.packed()),
        script=Markup(asset("report.js")),
        style=Markup(asset("report.css")),
    )


def _tabs(say: Words) -> dict[str, str]:
    """The chapters by address."""
    names = {"": "run", "layers": "layers", "images": "images_title", "comparison": "comparison"}
    return {address: say(f"report.{name}") for address, name in names.items()}


def _slider(view: RunView) -> Slider | None:
    if view.film is None:
        return None
    return Slider(view.film.epochs, view.film.epochs[-1], f"#?epoch={EPOCH}", "; ".join(view.film.left_out))


def _frames_json(view: RunView, say: Words) -> str:
    """The pictures of all epochs for the script, without the prefix that they share; `<` cannot end the element."""
    if view.film is None:
        return "null"
    frames = [
        {str(epoch): [base64.b64encode(png).decode() for png in pngs] for epoch, pngs in strip.frames.items()}
        for strip in view.film.strips
    ]
    lines = {str(line["epoch"]): _epoch_line(line, say) for line in view.epochs}
    content = {"epochs": view.film.epochs, "strips": frames, "lines": lines}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _epoch_line(line: Mapping[str, Any], say: Words) -> str:
    loss, accuracy = line.get("val_loss"), line.get("val_accuracy")
    return say("report.epoch_line", loss=number(loss), accuracy=percent(accuracy))
