"""Stopping well: Ctrl-C, SIGTERM and SIGHUP ask the loop to save its state at the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cutaway.signals import Stopped, handling


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
    with handling(request.ask):
        yield request
