"""The chunks of a scan, one after the other or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from cutaway.data.parallel import usable_cores
from cutaway.errors import InputError
from cutaway.lenses.attribution.method import Progress
from cutaway.lenses.synthesis.ascent import is_memory
from cutaway.scope.exemplar_chunks import Found, Manifest, Scanner, Store, can_fork, chunk_name, merged

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
    if pilot is None:
        pilot = scanner.scan(manifest.sample, None, meter.tick, ahead=True)
        store.write("pilot", pilot)
    count = min(processes or (usable_cores() if can_fork(scanner.device) else 1), len(todo))
    if count > 1:
        _Crew(scanner, manifest, store, pilot, todo).run(count, meter.tick)
    else:
        _Chunks(scanner, manifest, store, pilot).run(todo, meter.tick, ahead=True)
    return _join(scanner, manifest, store, pilot)


def _join(scanner: Scanner, manifest: Manifest, store: Store, pilot: Found) -> Found:
    """Merge the parts, keep the whole, and remove them."""
    found = pilot
    for index in range(len(manifest)):
        part = store.read(chunk_name(index))
        if part is None:  # damaged since it was written
            part = scanner.scan(manifest.ids(index), pilot, lambda _: None, ahead=True)
        found = merged(found, part)
    store.write("all", found)
    store.tidy()
    return found


class _Meter:
    def __init__(self, total: int, rest: int, progress: Progress | None) -> None:
        self.total, self.done, self.progress = total, total - rest, progress

    def tick(self, images: int) -> None:
        self.done += images
        if self.progress:
            self.progress(LABEL, self.done, self.total)


@dataclass(eq=False)
class _Chunks:
    """Scans chunks one by one; the best of each raise the bar for the next."""

    scanner: Scanner
    manifest: Manifest
    store: Store
    known: Found

    def run(self, indices: Any, tick: Callable[[int], None], *, ahead: bool) -> None:
        for index in indices:
            found = self.scanner.scan(self.manifest.ids(index), self.known, tick, ahead=ahead)
            self.store.write(chunk_name(index), found)
            self.known = merged(self.known, found)


class _Crew:
    """Forked processes that take the next chunk whenever they are done with one."""

    def __init__(self, scanner: Scanner, manifest: Manifest, store: Store, pilot: Found, todo: list[int]) -> None:
        self.chunks = _Chunks(scanner, manifest, store, pilot)
        self.todo = todo
        self.context = multiprocessing.get_context("fork")

    def run(self, count: int, tick: Callable[[int], None]) -> None:
        """Scan all chunks in `count` processes; none of them outlives this call."""
        taken = self.context.Value("q", 0)
        workers: dict[Connection, ForkProcess] = {}
        try:
            for _ in range(count):
                here, there = self.context.Pipe(duplex=False)
                worker = self.context.Process(target=self._work, args=(taken, there, os.getpid()), daemon=True)
                worker.start()
                there.close()
                workers[here] = worker
            while workers:
                for pipe in wait(list(workers)):
                    self._hear(pipe, workers, tick)  # type: ignore[arg-type]  # `wait` returns what it was given
        finally:
            for worker in workers.values():
                worker.terminate()
            for worker in workers.values():
                worker.join()

    def _hear(self, pipe: Connection, workers: dict[Connection, ForkProcess], tick: Callable[[int], None]) -> None:
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

    def _work(self, taken: Synchronized[int], pipe: Connection, parent: int) -> None:
        """What a process does; whatever goes wrong is told through the pipe."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children

        def tick(images: int) -> None:
            if os.getppid() != parent:
                raise SystemExit(1)
            pipe.send(("images", images))

        try:
            self.chunks.run(self._next(taken), tick, ahead=False)
        except Exception as problem:
            kind = "input" if isinstance(problem, InputError) else "memory" if is_memory(problem) else "crash"
            with suppress(OSError):  # nobody may be left to hear it
                pipe.send((kind, traceback.format_exc() if kind == "crash" else str(problem)))

    def _next(self, taken: Synchronized[int]) -> Any:
        while True:
            with taken.get_lock():
                number, taken.value = taken.value, taken.value + 1
            if number >= len(self.todo):
                return
            yield self.todo[number]
