"""What a training tells while it runs; the command line draws bars from it, a notebook may print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cutaway.runs import RunFolder


class Watcher:
    """Hears of everything and does nothing; override what is wanted."""

    def note(self, sentence: str) -> None:
        """Something worth knowing, once."""

    def quarantined(self, file: str, reason: str) -> None:
        """An image that could not be read and is left out."""

    def work(self, label: str, done: int, total: int) -> None:
        """Progress of a long preparation."""

    def begin(self, steps: int, steps_an_epoch: int, total: int, batch_size: int) -> None:
        """Training begins after `steps` steps of `total`, which all epochs take together."""

    def step(self, loss: float, accuracy: float) -> None:
        """One optimizer step, with the running means of its epoch."""

    def epoch(self, line: Mapping[str, Any]) -> None:
        """One epoch ended; `line` is what metrics.jsonl got."""

    def checkup(self, folder: RunFolder) -> None:
        """A step was looked at closely; `vitals.jsonl` in `folder` has one more check-up."""

    def enough(self) -> bool:
        """Whether to stop after this step as if the user had asked to; the state is saved."""
        return False
