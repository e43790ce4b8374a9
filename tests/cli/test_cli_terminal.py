"""What stands on the screen: bars in a terminal, lines elsewhere, tables in line."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.cells import cell_len

from cutaway.cli.table import shortened, table
from cutaway.cli.terminal import TerminalWatcher

EPOCH = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "val_loss": 0.25,
    "val_accuracy": 0.875,
    "seconds": 80.0,
}
LINE = "epoch 1/2  train loss 0.500 accuracy 75.00%  val loss 0.250 accuracy 87.50%  1 min 20 s"


class Screen(io.StringIO):
    """A file that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def work(watch: TerminalWatcher) -> None:
    """Two epochs of three steps, one of them shown, after a preparation."""
    with watch:
        for done in range(4):
            watch.work("decoding [a]", done, 3)
        watch.begin(0, 3, 6, 10)
        for _ in range(3):
            watch.step(0.5, 0.75)
        if watch.bar:
            watch.bar.refresh()
        watch.epoch(EPOCH)


def screen(patch: pytest.MonkeyPatch, terminal: bool) -> Screen:
    """Put a screen in the place of stderr; inside the test, because pytest changes stderr before it."""
    made = Screen(terminal)
    patch.setattr(sys, "stderr", made)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"):
        patch.delenv(name, raising=False)
    patch.setenv("TERM", "xterm")
    patch.setenv("COLUMNS", "100")
    return made


def test_a_terminal_gets_a_bar_and_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen(monkeypatch, terminal=True)
    work(TerminalWatcher())
    text = seen.getvalue()
    assert "decoding [a]" in text
    assert "epoch 1/2" in text
    assert "loss 0.500 accuracy 75.0%" in text
    assert LINE in text
    assert re.search(r"\x1b\[2K\s*$", text)  # the bar is wiped away


@pytest.mark.parametrize("forced", [False, True])
def test_elsewhere_there_are_only_lines(forced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen(monkeypatch, terminal=False)
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    work(TerminalWatcher())
    assert seen.getvalue() == LINE + "\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_says_nothing(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen(monkeypatch, terminal)
    watch = TerminalWatcher(quiet=True)
    work(watch)
    watch.note("anything")
    watch.quarantined("a.jpg", "torn")
    assert seen.getvalue() == ""


def test_a_note_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = screen(monkeypatch, terminal=False)
    watch = TerminalWatcher()
    watch.note("[bold]no markup[/bold] " + "and no line break " * 20)
    watch.epoch({**EPOCH, "val_loss": None})
    assert seen.getvalue().count("\n") == 2
    assert seen.getvalue().startswith("[bold]no markup[/bold]")
    assert "val loss nan" in seen.getvalue()


def test_a_table_keeps_wide_letters_in_line() -> None:
    rows = [{"class": "运动鞋", "recall": "9.5%"}, {"class": "boot", "recall": "100.0%"}, {"class": "x", "recall": "-"}]
    lines = table(rows).splitlines()
    assert lines == ["class   recall", "运动鞋    9.5%", "boot    100.0%", "x            -"]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_a_table_shortens_only_what_it_may(width: int) -> None:
    rows = [{"run": "r" * 50, "note": "whole", "best": 12}, {"run": "运" * 30, "note": None, "best": 7}]
    lines = table(rows, width, shrink=["run"]).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "whole" in lines[1]
    assert lines[1].endswith("12")
    assert "…" in lines[1]
    assert "…" in lines[2]
    assert "…" not in table(rows)


@pytest.mark.parametrize("text", ["a", "abcdefghij", "运动鞋运动鞋运动鞋", "a运b动c鞋d", ""])
@pytest.mark.parametrize("width", range(3, 12))
def test_shortened_words_fit_and_keep_their_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert cell_len(short) <= width
    assert (short == text) == (cell_len(text) <= width)
    if short != text:
        head, _, tail = short.partition("…")
        assert text.startswith(head)
        assert text.endswith(tail)
