"""Processes that share a list of jobs: each takes the next one whenever it is done with one."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized

from cutaway.computing.memory import is_out_of_memory
from cutaway.data.parallel import end, fork
from cutaway.errors import InputError
from cutaway.progress import Progress

Tick = Callable[[int], None]


class Meter:
    """Tells of progress.

    Args:
        label: what is being done.
        total: how much there is of it; rest: how much is left.
        progress: called as progress(label, done, total).
    """

    def __init__(self, label: str, total: int, rest: int, progress: Progress | None) -> None:
        self.label, self.total, self.done, self.progress = label, total, total - rest, progress

    def tick(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        if self.progress:
            self.progress(self.label, self.done, self.total)


def crew(count: int, jobs: Sequence[int], work: Callable[[Iterable[int], Tick], None], tick: Tick) -> None:
    """Fork `count` processes that take the next job whenever they are done with one; none outlives this call.

    Args:
        count: how many processes.
        jobs: what `work` is given, a few at a time and in this order.
        work: does jobs, and calls `tick` with how much of them is done since the last time.
        tick: is called with the same numbers, here.

    Raises:
        InputError: as `work` raised it, or for a process that was ended from outside.
        MemoryError, RuntimeError: for anything else that went wrong in a process.
    """
    context = multiprocessing.get_context("fork")
    taken = context.Value("q", 0)
    workers: dict[Connection, ForkProcess] = {}
    try:
        for _ in range(count):
            worker, here = fork(_work, work, _next(jobs, taken))
            workers[here] = worker
        while workers:
            for pipe in wait(list(workers)):
                _hear(pipe, workers, tick)  # type: ignore[arg-type]  # `wait` returns what it was given
    finally:
        end(list(workers.values()))


def _next(jobs: Sequence[int], taken: Synchronized[int]) -> Iterator[int]:
    while True:
        with taken.get_lock():
            number, taken.value = taken.value, taken.value + 1
        if number >= len(jobs):
            return
        yield jobs[number]


def _hear(pipe: Connection, workers: dict[Connection, ForkProcess], tick: Tick) -> None:
    """Take one message of a process, or its end."""
    try:
        kind, value = pipe.recv()
    except EOFError:
        worker = workers.pop(pipe)
        worker.join()
        end([worker])
        if worker.exitcode:
            raise InputError(
                f"a process was ended from outside (exit code {worker.exitcode}), most often because "
                "memory ran out; what is done is kept: run the same command again, with fewer processes"
            ) from None
        return
    if kind == "images":
        tick(value)
    elif kind == "input":
        raise InputError(value)
    else:
        raise MemoryError(value) if kind == "memory" else RuntimeError(value)


def _work(pipe: Connection, work: Callable[[Iterable[int], Tick], None], jobs: Iterator[int]) -> None:
    """What a process does; whatever goes wrong is told through the pipe."""

    def tick(images: int) -> None:
        pipe.send(("images", images))

    try:
        work(jobs, tick)
    except Exception as problem:
        kind = "input" if isinstance(problem, InputError) else "memory" if is_out_of_memory(problem) else "crash"
        with suppress(OSError):  # nobody may be left to hear it
            pipe.send((kind, traceback.format_exc() if kind == "crash" else str(problem)))
