"""The chunks of a scan, one after the other or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized

from cutaway.computing.memory import is_out_of_memory
from cutaway.data.parallel import usable_cores
from cutaway.errors import InputError
from cutaway.lenses.attribution.method import Progress
from cutaway.scope.exemplar_chunks import Found, Manifest, Scanner, Store, Tick, can_fork, chunk_name, merged

LABEL = "scanning images"


def scan_all(
    scanner: Scanner, manifest: Manifest, store: Store, processes: int | None, progress: Progress | None = None
) -> Found:
    """The tables of all images; what the store has already is not scanned again.

    Args:
        scanner: how images are scanned.
        manifest: which images belong together.
        store: where parts are kept until the whole is done, and then the whole.
        processes: how many; None for one a core. The result does not depend on it.
        progress: called as progress(label, images done, images in all).
    """
    found = store.read("all")
    if found is not None:
        return found
    pilot = store.read("pilot")
    todo = [index for index in range(len(manifest)) if not store.has(chunk_name(index))]
    rest = sum(len(manifest.ids(index)) for index in todo) + (len(manifest.sample) if pilot is None else 0)
    meter = _Meter(len(manifest.sample) + len(manifest.rest), rest, progress)
    count = min(processes or (usable_cores() if can_fork(scanner.device) else 1), len(todo))
    chunks = _Chunks(scanner, manifest, store)
    if count > 1:
        # The parent computes nothing: memory that it has used and given back would be copied into each process.
        if pilot is None:
            _crew(1, [0], chunks.scan_pilot, meter.tick)
        chunks.known = pilot or chunks.need_pilot()
        _crew(count, todo, chunks.scan, meter.tick)
    else:
        if pilot is None:
            chunks.scan_pilot([0], meter.tick, ahead=True)
        chunks.known = pilot or chunks.need_pilot()
        chunks.scan(todo, meter.tick, ahead=True)
    return chunks.join()


class _Meter:
    def __init__(self, total: int, rest: int, progress: Progress | None) -> None:
        self.total, self.done, self.progress = total, total - rest, progress

    def tick(self, images: int) -> None:
        self.done += images
        if self.progress:
            self.progress(LABEL, self.done, self.total)


@dataclass(eq=False)
class _Chunks:
    """Scans parts one by one; the best of each raise the bar for the next."""

    scanner: Scanner
    manifest: Manifest
    store: Store
    known: Found = field(default_factory=dict)

    def scan_pilot(self, _: Iterable[int], tick: Tick, *, ahead: bool = False) -> None:
        """Scan the sample."""
        self.store.write("pilot", self.scanner.scan(self.manifest.sample, None, tick, ahead=ahead))

    def need_pilot(self) -> Found:
        """The tables of the sample, which were written a moment ago."""
        found = self.store.read("pilot")
        assert found is not None
        return found

    def scan(self, indices: Iterable[int], tick: Tick, *, ahead: bool = False) -> None:
        """Scan these chunks."""
        for index in indices:
            found = self.scanner.scan(self.manifest.ids(index), self.known, tick, ahead=ahead)
            self.store.write(chunk_name(index), found)
            self.known = merged(self.known, found)

    def join(self) -> Found:
        """Merge the parts, keep the whole, and remove them."""
        found = self.need_pilot()
        for index in range(len(self.manifest)):
            part = self.store.read(chunk_name(index))
            if part is None:  # damaged since it was written
                part = self.scanner.scan(self.manifest.ids(index), found, lambda _: None, ahead=True)
            found = merged(found, part)
        self.store.write("all", found)
        self.store.tidy()
        return found


def _crew(count: int, jobs: Sequence[int], work: Callable[[Iterable[int], Tick], None], tick: Tick) -> None:
    """Fork `count` processes that take the next job whenever they are done with one; none outlives this call."""
    context = multiprocessing.get_context("fork")
    taken = context.Value("q", 0)
    workers: dict[Connection, ForkProcess] = {}
    try:
        for _ in range(count):
            here, there = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(work, _next(jobs, taken), there, os.getpid()), daemon=True)
            worker.start()
            there.close()
            workers[here] = worker
        while workers:
            for pipe in wait(list(workers)):
                _hear(pipe, workers, tick)  # type: ignore[arg-type]  # `wait` returns what it was given
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join()


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
        if worker.exitcode:
            raise InputError(
                f"a process of the scan was ended from outside (exit code {worker.exitcode}), most often because "
                "memory ran out; what is done is kept: run the same command again, with fewer processes"
            ) from None
        return
    if kind == "images":
        tick(value)
    elif kind == "input":
        raise InputError(value)
    else:
        raise MemoryError(value) if kind == "memory" else RuntimeError(value)


def _work(work: Callable[[Iterable[int], Tick], None], jobs: Iterator[int], pipe: Connection, parent: int) -> None:
    """What a process does; whatever goes wrong is told through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children

    def tick(images: int) -> None:
        if os.getppid() != parent:
            raise SystemExit(1)
        pipe.send(("images", images))

    try:
        work(jobs, tick)
    except Exception as problem:
        kind = "input" if isinstance(problem, InputError) else "memory" if is_out_of_memory(problem) else "crash"
        with suppress(OSError):  # nobody may be left to hear it
            pipe.send((kind, traceback.format_exc() if kind == "crash" else str(problem)))
