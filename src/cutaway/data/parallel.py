"""Work on many items, on all cores, with the results in order."""

from __future__ import annotations

import atexit
import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any, Generic, TypeVar, cast

import torch

from cutaway.errors import InputError
from cutaway.signals import SIGNALS

X = TypeVar("X")
Y = TypeVar("Y")

_FEW = 4
_AHEAD = 2
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def usable_cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[X], Y], items: Sequence[X]) -> Iterator[Y]:
    """`work(item)` for every item, in order, a few ahead of the caller; `work` returns its errors as values.

    On Linux the workers are forked processes, about twice as fast on small images as threads are. Elsewhere a new
    process would first run the caller's script again, so the workers are threads.

    Raises:
        InputError: a process was ended from outside.
    """
    if len(items) < _FEW:
        return map(work, items)
    return _processes(work, items) if sys.platform == "linux" else _threads(work, items)


def fork(target: Callable[..., None], *arguments: Any) -> tuple[ForkProcess, Connection]:
    """A process that runs `target(pipe, *arguments)`, and our end of its pipe.

    Signals are left to the parent, which ends the process with `kill`; it does not outlive the parent, however that
    ends. On Linux alone.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_forked, args=(target, there, os.getpid(), arguments), daemon=True)
    with _signals_held():
        process.start()
        _living.add(process)
    there.close()
    return process, here


def end(processes: Sequence[ForkProcess]) -> None:
    """End forked processes at once, and wait until they are gone."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        _living.discard(process)


# Whose caller never came back for them: at exit multiprocessing would ask them to end by a signal that they leave to
# their parent, and wait for ever. What is registered later is called earlier.
_living: set[ForkProcess] = set()
atexit.register(lambda: end([process for process in _living if process._popen is not None]))  # type: ignore[attr-defined]  # None in a process that was forked itself


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait until the block is over: a child must not meet one before it leaves them to its parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked(target: Callable[..., None], pipe: Connection, parent: int, arguments: Sequence[Any]) -> None:
    _living.clear()  # those of the parent
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if _prctl is not None:
        _prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)
    target(pipe, *arguments)


def _processes(work: Callable[[X], Y], items: Sequence[X]) -> Iterator[Y]:
    pool = _Pool(work, items)
    try:
        pool.start()
        yield from pool.results()
    finally:
        end(list(pool.workers.values()))


class _Pool(Generic[X, Y]):
    """Forked processes, and which of them has how much to do."""

    def __init__(self, work: Callable[[X], Y], items: Sequence[X]) -> None:
        self.work, self.items = work, items
        self.count, self.given, self.taken = len(items), 0, 0
        self.done: dict[int, Y] = {}
        self.workers: dict[Connection, ForkProcess] = {}
        self.load: dict[Connection, int] = {}

    def start(self) -> None:
        """Fork the processes."""
        for _ in range(min(usable_cores(), self.count)):
            process, pipe = fork(_serve, self.work, self.items)
            self.workers[pipe], self.load[pipe] = process, 0

    def results(self) -> Iterator[Y]:
        """All results, in the order of the items."""
        for number in range(self.count):
            self._give()
            self._hear(0)
            while number not in self.done:
                self._hear(None)
            self.taken = number + 1
            yield self.done.pop(number)

    def _give(self) -> None:
        """So much work that nobody waits, and so little that results do not pile up."""
        while self.given < min(self.count, self.taken + _AHEAD * len(self.workers)):
            pipe = min(self.load, key=lambda one: self.load[one])
            try:
                pipe.send(self.given)
            except OSError:
                raise self._lost(pipe) from None
            self.given, self.load[pipe] = self.given + 1, self.load[pipe] + 1

    def _hear(self, patience: float | None) -> None:
        ready = cast(list[Connection], wait(list(self.workers), patience))  # it returns what it was given
        for pipe in ready:
            try:
                number, value, error = pipe.recv()
            except (EOFError, OSError):
                raise self._lost(pipe) from None
            if error is not None:
                raise error
            self.done[number] = value
            self.load[pipe] -= 1

    def _lost(self, pipe: Connection) -> InputError:
        process = self.workers[pipe]
        process.join()
        return InputError(
            f"a process was ended from outside (exit code {process.exitcode}), most often because memory ran out; "
            "run the same command again when there is more"
        )


def _serve(pipe: Connection, work: Callable[[X], Y], items: Sequence[X]) -> None:
    """What a process does until it is ended."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="PIL")  # the decoder decides on everything that Pillow warns of
    while True:
        number = pipe.recv()
        try:
            value, error = work(items[number]), None
        except Exception as problem:
            value, error = None, _told(problem)
        pipe.send((number, value, error))


def _told(problem: Exception) -> Exception:
    """The error as it may cross to the parent: errors of other libraries may not be pickled."""
    if isinstance(problem, (InputError, MemoryError)):
        return type(problem)(str(problem))
    return RuntimeError(f"in a process of its own: {traceback.format_exc()}")


def _threads(work: Callable[[X], Y], items: Sequence[X]) -> Iterator[Y]:
    with ThreadPoolExecutor(usable_cores()) as pool:
        waiting: deque[Future[Y]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > _AHEAD * usable_cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
