"""What the doctor's check-ups cost: the seconds spent in them, of all seconds of a training.

    python benchmarks/checkups.py fashion-mnist --model resnet18 --epochs 1

Measured inside one process, so that what else the machine does weighs on both sides alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch

from cutaway.cli.terminal import TerminalWatcher
from cutaway.training import fit, train
from cutaway.training.checkup import Checkup


class Stopwatch:
    """Seconds spent inside some functions; what one calls of the others counts once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.depth = 0.0, 0, 0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start, self.depth = time.perf_counter(), self.depth + 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds += time.perf_counter() - start
                    self.calls += 1

        return call


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    watch, live = Stopwatch(), TerminalWatcher()
    with ExitStack() as stack:
        for owner, name in (
            (fit, "_examined"),
            (Checkup, "line"),
            (fit, "_note_checkup"),
            (TerminalWatcher, "checkup"),
        ):
            stack.enter_context(mock.patch.object(owner, name, watch.timed(getattr(owner, name))))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        recipe = {} if options.epochs is None else {"epochs": options.epochs}
        run = train(options.data, options.model, recipe=recipe, runs=folder, name="run", watch=live)
        seconds, steps = run.metrics("epoch")[-1]["seconds"], run.metrics("epoch")[-1]["step"]
    share = watch.seconds / seconds
    print(f"{watch.calls} calls, {watch.seconds:.2f} s of {seconds:.1f} s in {steps} steps: {share:.2%}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
