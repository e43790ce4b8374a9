"""The chunks of a scan, one after the other or in several processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cutaway.data.parallel import usable_cores
from cutaway.progress import Progress
from cutaway.scope.crew import Meter, Tick, crew
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
        store.tidy()  # whoever wrote it may have been stopped before that
        return found
    pilot = store.read("pilot")
    todo = [index for index in range(len(manifest)) if not store.has(chunk_name(index))]
    rest = sum(len(manifest.ids(index)) for index in todo) + (len(manifest.sample) if pilot is None else 0)
    meter = Meter(LABEL, len(manifest.sample) + len(manifest.rest), rest, progress)
    count = min(processes or (usable_cores() if can_fork(scanner.device) else 1), len(todo))
    chunks = _Chunks(scanner, manifest, store)
    if count > 1:
        # The parent computes nothing: memory that it has used and given back would be copied into each process.
        if pilot is None:
            crew(1, [0], chunks.scan_pilot, meter.tick)
        chunks.known = pilot or chunks.need_pilot()
        crew(count, todo, chunks.scan, meter.tick)
    else:
        if pilot is None:
            chunks.scan_pilot([0], meter.tick, ahead=True)
        chunks.known = pilot or chunks.need_pilot()
        chunks.scan(todo, meter.tick, ahead=True)
    return chunks.join()


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
