"""The program as a process: its exit code, and how it ends when a signal asks it to.

This module imports nothing that takes long, so that a signal is answered from the first instant.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from cutaway.cli.streams import Unheard, complain, open_streams, silence, stdout_problem, tell
from cutaway.errors import InputError
from cutaway.signals import Stopped, handling

_AGAIN = 0.05  # seconds until a signal is raised again that was swallowed


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a verb and exit; a mistake in the input is one line on stderr and exit code 2.

    Args:
        arguments: the words after `cutaway`; by default those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with _stoppable(whole=arguments is None) as stop:
        code = _code(words or ["--help"], stop)
    if arguments is None and stop.number:
        _end(code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    """End without waiting for threads that the signal found at work: an import, a pool."""
    atexit._run_exitfuncs()
    os._exit(code)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


class _Stop:
    """Which signal came, and whether the process is ours, so that it may be ended at once."""

    def __init__(self, whole: bool) -> None:
        self.whole, self.number = whole, 0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first signal unwinds, the second ends at once."""
        if self.number and self.whole:
            os._exit(128 + number)
        self.number = number
        if self.whole and _is_importing(frame):
            # What is raised in the middle of a library's C code can abort the process. Nothing of ours is half done.
            _end(_stopped(number))
        raise Stopped(number)

    def unraisable(self, what: Any) -> None:
        """A signal that struck where Python swallows what is raised (a destructor) is raised again."""
        if isinstance(what.exc_value, KeyboardInterrupt) and self.number:
            number, self.number = self.number, 0
            threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            sys.__unraisablehook__(what)


@contextmanager
def _stoppable(whole: bool) -> Iterator[_Stop]:
    """Raise `Stopped` for a signal inside; `whole`: afterwards the process ends, and a late signal changes nothing."""
    stop, hook = _Stop(whole), sys.unraisablehook
    with handling(stop.ask, signal.SIG_IGN if whole else None):
        sys.unraisablehook = stop.unraisable
        try:
            yield stop
        finally:
            sys.unraisablehook = hook


def _code(words: list[str], stop: _Stop) -> int:
    try:
        try:
            open_streams()
            from cutaway.cli.app import run
            from cutaway.computing.process import set_up

            if stop.whole:
                set_up()
            code = run(words)
            if problem := stdout_problem():
                raise problem
            return code
        except BaseException as error:
            return _told(error, stop)
    except KeyboardInterrupt as late:  # it struck while the first was being told
        return 128 + getattr(late, "number", signal.SIGINT)


def _told(error: BaseException, stop: _Stop) -> int:
    """The exit code for what went wrong, after saying it; what is a mistake of ours is raised again."""
    if isinstance(error, KeyboardInterrupt) or stop.number:
        # Whatever a library makes of being interrupted (numpy: a failed import), it is the signal's doing.
        return _stopped(getattr(error, "number", 0) or stop.number or signal.SIGINT)
    if isinstance(error, InputError):
        return complain(str(error))
    if isinstance(error, OSError):
        return _broken(error)
    raise error


def _stopped(number: int) -> int:
    from cutaway.words import terminal_words

    if stdout_problem():
        silence(sys.stdout)
    tell(f"cutaway: {terminal_words()('terminal.stopped')}")
    return 128 + number


def _broken(error: OSError) -> int:
    """A disk, a file, or standard output, which is as hostile as any file."""
    problem = error if isinstance(error, Unheard) else stdout_problem()
    if problem is not None:
        silence(sys.stdout)
    if error.errno == errno.EPIPE:
        return 141  # as of a program that SIGPIPE ends: the reader (`| head`) has seen enough
    if problem is not None:
        return complain(f"standard output cannot be written: {problem.strerror}; send it elsewhere")
    if error.filename is None:
        raise error
    return complain(f"{error.filename}: {error.strerror}")
