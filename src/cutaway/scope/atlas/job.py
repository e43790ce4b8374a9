"""What all parts of an atlas are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cutaway.data import Dataset, Split
from cutaway.lenses.certificate import Certificate
from cutaway.progress import Progress
from cutaway.runs.atlas import Arrays, Atlas, is_whole, write_arrays
from cutaway.scope.exemplar_chunks import Scanner
from cutaway.scope.subject import Subject


@dataclass(frozen=True, eq=False)
class Job:
    """An atlas that is being made.

    Attributes:
        subject: the network.
        data: the images.
        scanner: how those of one split pass.
        labels: names of the data's labels.
        source: what the data are called.
        atlas: where it lies, and its record.
        layers: those that were asked for.
        progress: called as progress(label, done, total); may raise to stop.
    """

    subject: Subject
    data: Dataset | Split
    scanner: Scanner
    labels: tuple[str, ...]
    source: str
    atlas: Atlas
    layers: tuple[str, ...]
    progress: Progress | None

    @property
    def part(self) -> Split:
        """The split that is looked at."""
        return self.scanner.split

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the atlas besides weights and data."""
        found: Mapping[str, Any] = self.atlas.info["settings"]
        return found

    def missing(self, part: str) -> list[str]:
        """The layers of which a part is not there yet, or is damaged."""
        return [layer for layer in self.layers if not is_whole(self.atlas.part(part, layer))]

    def write(self, part: str, layer: str, arrays: Arrays, about: Mapping[str, Any] | None = None) -> None:
        """Keep one part of a layer."""
        write_arrays(self.atlas.part(part, layer), arrays, about or {})

    def certificate(
        self, method: str, parameters: Mapping[str, Any], check: Mapping[str, Any], notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """A signed certificate, with the data in its parameters."""
        about = {"data": self.source, "split": self.part.name, "fingerprint": self.part.fingerprint}
        return self.subject.certify(Certificate(method, {**about, **parameters}, None, check, tuple(notes))).as_dict()

    def batches(self, ids: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """Images of the split in batches: their positions, and float (B, C, H, W) as the network expects them."""
        size = self.scanner.batch
        rows = [ids[start : start + size] for start in range(0, len(ids), size)]
        for part, pixels in zip(rows, self.part.images.stream(rows), strict=True):
            yield part, self.scanner.prepare(pixels)
