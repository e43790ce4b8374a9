"""Standard output and standard error, which may be closed, full, or unable to write Chinese."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from cutaway.plain import visible

_NAMES = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Open on nothing what was closed before the start, and let letters that an encoding lacks be written as codes."""
    for number, name in enumerate(_NAMES):
        _open(number, name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open(number: int, name: str) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free is this one. Left free, the next file of ours would get it, and with it
        # whatever a library writes to standard error.
        os.open(os.devnull, os.O_RDWR)
    if getattr(sys, name) is None:
        stream = open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # it stays open
        setattr(sys, name, stream)


def tell(text: str) -> None:
    """A line on standard error. That nobody can hear it ends no work."""
    Stderr().write(f"{visible(text)}\n")


def complain(sentence: str) -> int:
    """Say what was wrong with the input, in the terminal's language, and the exit code for it."""
    from cutaway.words import terminal_words

    tell(f"cutaway: {' '.join(terminal_words().said(sentence).split())}")
    return 2


def print_json(value: Any) -> None:
    """One line of JSON on standard output; letters that its encoding lacks are written as JSON's own codes."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, default=str)
    print(text)


class Unheard(OSError):  # noqa: N818  # it reads as what became of the output
    """Standard output could not be written."""


@contextmanager
def plain_stdout() -> Iterator[None]:
    """Inside, nothing that is printed can command the terminal: names in it may be anybody's."""
    kept = sys.stdout
    sys.stdout = cast(TextIO, _Plain(kept))
    try:
        yield
    finally:
        sys.stdout = kept


class _Plain(io.TextIOBase):
    """A stream that gets no control characters, and is otherwise the one below it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]  # writable in the base class, where nothing writes it
        """That of the stream."""
        return self._stream.encoding

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write what is visible of the text."""
        with _unheard():
            self._stream.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with _unheard():
            self._stream.flush()


@contextmanager
def _unheard() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unheard(error.errno, error.strerror) from error


class Stderr(io.TextIOBase):
    """Standard error, as it is now, whose failures nobody hears of."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # writable in the base class, where nothing writes it
        """That of standard error."""
        return getattr(sys.stderr, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()

    def fileno(self) -> int:
        """That of standard error."""
        return sys.stderr.fileno()

    def write(self, text: str) -> int:
        """Write and flush, if it can be."""
        # While a bar is shown, rich puts a stream of its own there, which would come back to this one.
        stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
        if stream is not None and not stream.closed:
            try:
                stream.write(text)
                stream.flush()
            except OSError:  # full, or its reader has gone: there is nowhere to complain
                silence(sys.stderr)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def stdout_problem() -> OSError | None:
    """Flush standard output; why that is not possible."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        return error
    return None


def silence(stream: TextIO) -> None:
    """Let what a stream still holds, and all that follows, go nowhere: Python's exit would complain of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)
    stream.flush()
