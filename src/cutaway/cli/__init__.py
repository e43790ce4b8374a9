"""The command line: one verb a function; it parses, calls and prints."""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # as in `cutaway`: nothing is imported that can wait
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a verb and exit; a mistake in the input is one line on stderr and exit code 2.

    Args:
        arguments: the words after `cutaway`; by default those of the process.
    """
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is somebody to answer Ctrl-C in one line
    from cutaway.cli.process import main as run

    run(arguments)
