"""What a person at the terminal sees while something long is under way."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cutaway.cli.streams import Stderr
from cutaway.plain import visible
from cutaway.training.watcher import Watcher
from cutaway.views.run import duration
from cutaway.words import terminal_words

if TYPE_CHECKING:
    from cutaway.runs import RunFolder

_SHOWN_BAD_FILES = 10


class TerminalWatcher(Watcher):
    """A live bar in a terminal, one line an epoch elsewhere; everything on stderr."""

    def __init__(self, quiet: bool = False) -> None:
        self.say = terminal_words()
        # rich ends the process when the reader of its file has gone; a bar that nobody sees is no reason to.
        self.console = Console(file=cast(IO[str], Stderr()), highlight=False, soft_wrap=True)
        # rich takes FORCE_COLOR for a terminal too; only the file descriptor knows.
        self.live = Stderr().isatty() and not quiet
        self.quiet = quiet
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.label = ""
        self.bad_files = 0
        self.batch_size = 1
        self.epochs = 1
        self.steps_done = self.steps_an_epoch = 0
        self.told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if self.bad_files > _SHOWN_BAD_FILES:
            self._say(self.say("terminal.more_bad", count=self.bad_files - _SHOWN_BAD_FILES))

    def _say(self, text: str) -> None:
        if not self.quiet:
            (self.bar.console if self.bar else self.console).print(visible(text), markup=False)

    def note(self, sentence: str) -> None:
        """One line."""
        self._say(self.say.said(sentence))

    def quarantined(self, file: str, reason: str) -> None:
        """The first few bad files by name, the rest as a number."""
        self.bad_files += 1
        if self.bad_files <= _SHOWN_BAD_FILES:
            self._say(self.say("terminal.left_out", file=file, reason=self.say.said(reason)))

    def work(self, label: str, done: int, total: int) -> None:
        """A bar for a long preparation."""
        if not self.live:
            return
        if self.label != label:
            self._open(label, total, MofNCompleteColumn())
        self._move(done)
        if done >= total:
            self._close()

    def begin(self, steps: int, steps_an_epoch: int, total: int, batch_size: int) -> None:
        """The bar of the whole training."""
        self.steps_done, self.steps_an_epoch, self.batch_size = steps, steps_an_epoch, batch_size
        self.epochs = total // steps_an_epoch
        if self.live:
            fields = [TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("rate", "figures")]
            self._open("training", total, *fields)
            self._move(steps)

    def step(self, loss: float, accuracy: float) -> None:
        """Move the bar on."""
        self.steps_done += 1
        if self.bar is None or self.task is None:
            return
        epoch = min(self.epochs, 1 + (self.steps_done - 1) // self.steps_an_epoch)
        speed = self.bar.tasks[0].speed
        rate = self.say("terminal.rate", count=f"{speed * self.batch_size:,.0f}") if speed else ""
        self.bar.update(
            self.task,
            completed=self.steps_done,
            description=self.say("terminal.epoch", epoch=f"{epoch}/{self.epochs}"),
            rate=rate,
            figures=self.say("terminal.figures", loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}"),
        )

    def epoch(self, line: Mapping[str, Any]) -> None:
        """One line for the epoch."""
        loss = "nan" if line["val_loss"] is None else f"{line['val_loss']:.3f}"
        train, val = (
            self.say("terminal.figures", loss=loss, accuracy=f"{accuracy:.2%}")
            for loss, accuracy in ((f"{line['train_loss']:.3f}", line["train_accuracy"]), (loss, line["val_accuracy"]))
        )
        epoch = self.say("terminal.epoch", epoch=f"{line['epoch']:>{len(str(self.epochs))}}/{self.epochs}")
        parts = [self.say("terminal.train", figures=train), self.say("terminal.val", figures=val)]
        self._say("  ".join([epoch, *parts, duration(line["seconds"], self.say)]))

    def checkup(self, folder: RunFolder) -> None:
        """One line for each finding, the first time that the doctor has it."""
        from cutaway.doctor import diagnose

        for finding in diagnose(folder.path):
            if finding.severity != "note" and finding.rule not in self.told:
                self.told.add(finding.rule)
                severity, command = self.say(f"doctor.{finding.severity}"), f"cutaway doctor {quote(str(folder.path))}"
                told = {"title": self.say.said(finding.title), "rule": finding.rule, "command": command}
                self._say(self.say("terminal.finding", severity=severity, **told))

    def _open(self, label: str, total: int, *columns: ProgressColumn) -> None:
        self._close()
        name = TextColumn("{task.description}", markup=False)
        left = TextColumn(self.say("terminal.left"), markup=False)
        # Gone when it is done: what stays on the screen are the lines.
        self.bar = Progress(
            name, BarColumn(24), *columns, TimeRemainingColumn(), left, console=self.console, transient=True
        )
        self.label = label
        self.task = self.bar.add_task(self.say.known("work", label), total=total, rate="", figures="")
        self.bar.start()

    def _move(self, done: int) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.bar, self.task, self.label = None, None, ""
