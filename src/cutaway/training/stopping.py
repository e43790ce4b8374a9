"""Stopping well: Ctrl-C, SIGTERM and SIGHUP ask the loop to save its state at the next step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cutaway.errors import Stopped

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class StopRequest:
    """Whether somebody asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int = 0

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self.number != 0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the first signal asks, the second one interrupts at once."""
        if self.asked:
            raise Stopped(number)
        self.number = number


@contextmanager
def listening() -> Iterator[StopRequest]:
    """While inside, SIGINT, SIGTERM and SIGHUP set the request; the handlers are put back afterwards."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may handle signals
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    for number in before:  # what is ignored stays so: nohup wants it
        signal.signal(number, request.ask)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
