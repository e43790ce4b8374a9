"""A run with its layers, units, images and a comparison as one file that needs no network."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from cutaway.errors import InputError
from cutaway.files import write_text
from cutaway.progress import Progress
from cutaway.report.book import Book
from cutaway.report.chapters import add_comparison, add_images, add_layers
from cutaway.report.page import render
from cutaway.runs import Run, resolve
from cutaway.runs.atlas import find_atlas
from cutaway.views.comparison import view_comparison
from cutaway.views.images import Answers, view_images
from cutaway.views.run import view_run
from cutaway.words import DEFAULT, Words, words

if TYPE_CHECKING:
    from cutaway.data import Dataset
    from cutaway.scope import Scope

LIMIT = 10_000_000  # bytes of a report
IMAGES = 24  # mistakes that get a page
COMPARED = 512  # images that two networks are compared on
# Left of the limit for what the estimate of a book's size does not know.
_MARGIN = 400_000


def write_report(
    run: str | Path,
    out: str | Path | None = None,
    language: str = DEFAULT,
    against: str | None = None,
    *,
    trust: bool | str = False,
    progress: Progress | None = None,
) -> Path:
    """Write the report of a run.

    Args:
        run: `RUN` (its best epoch), `RUN@7` or `RUN@last`.
        out: the file; None for `report.html` in the run folder.
        language: a key of `cutaway.words.LANGUAGES`.
        against: the model that it is compared with; None for the run's first saved epoch.
        trust: whether code that this machine has not trained with may run; see `load_model`.
        progress: called as progress(label, done, total).

    Returns:
        The file's path. What could not be shown, and what was sampled, stands in it.

    Raises:
        InputError: no such run, epoch or model, or a file that cannot be written.
    """
    record, which = resolve(run)
    epoch, say = record.epoch(which), words(language)
    path = Path(out) if out is not None else record.folder.path / "report.html"
    if path.suffix.lower() != ".html":
        raise InputError(f"--out is {path}, expected a name ending in .html")
    return _Report(record, epoch, say, trust, progress).written(path, against)


class _Report:
    """What the parts of one report share."""

    def __init__(self, run: Run, epoch: int, say: Words, trust: bool | str, progress: Progress | None) -> None:
        self.run, self.epoch, self.say, self.trust, self.progress = run, epoch, say, trust, progress
        self.book, self.notes = Book(), list[str]()

    def written(self, path: Path, against: str | None) -> Path:
        view = view_run(self.run, self.say)
        frame = len(render(view, self.say).encode())
        self._networks(against)
        self._units(LIMIT - _MARGIN - frame)
        write_text(path, render(view, self.say, self.book, self.notes))
        return path

    def _networks(self, against: str | None) -> None:
        """What needs the network and its data: images and the comparison."""
        from cutaway.data import load_recorded
        from cutaway.models.trust import concerning
        from cutaway.scope import Scope

        try:
            data = load_recorded(self.run, progress=self.progress)
        except InputError as error:
            self.notes.append(self.say("report.no_data", reason=self.say.said(error)))
            return
        try:
            scope = Scope(f"{self.run.folder.path}@{self.epoch}", trust=self.trust)
        except InputError as error:
            if isinstance(self.trust, str):
                raise  # who named a factory wants that network
            self.notes.append(self.say("report.no_network", reason=self.say.said(error)))
            return
        self._images(scope, data)
        other = against or self._first_epoch()
        if other:
            self._comparison(Scope(other, trust=concerning(other, self.trust)), scope, data)

    def _first_epoch(self) -> str:
        first = self.run.epochs[0]
        return "" if first == self.epoch else f"{self.run.folder.path}@{first}"

    def _images(self, scope: Scope, data: Dataset) -> None:
        from cutaway.scope.answers import answers

        split = data.splits["test"]
        found = Answers(**answers(scope, split, self.progress))
        wrong = found.mistakes()
        shown = wrong[:IMAGES]
        if not shown:
            self.notes.append(self.say("report.no_mistakes", size=f"{len(split):,}"))
            return
        counts = {"shown": len(shown), "wrong": f"{len(wrong):,}", "size": f"{len(split):,}"}
        note = self.say("report.images_note", epoch=self.epoch, **counts)
        add_images(self.book, view_images(scope, split, shown, self.say, progress=self.progress), note, self.say)

    def _comparison(self, other: Scope, scope: Scope, data: Dataset) -> None:
        from cutaway.scope import compare

        found = compare(other, scope, data, images=COMPARED, progress=self.progress)
        add_comparison(self.book, view_comparison(found), self.say)

    def _units(self, limit: int) -> None:
        atlas = find_atlas(self.run, self.epoch)
        if atlas is None:
            command = shlex.join(
                ["cutaway", "atlas", f"{self.run.folder.path}@{self.epoch}", self.run.info["data"]["source"]]
            )
            self.notes.append(self.say("report.no_atlas", command=command))
            return
        self.notes += add_layers(self.book, atlas, limit, self.say)
