"""The audit of a data set: what is in it, what is wrong with it, and what had better be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cutaway.care.audited import Audited
from cutaway.care.findings import find
from cutaway.data.cache import every, read_header
from cutaway.data.dataset import Dataset
from cutaway.data.decode import Header
from cutaway.data.duplicates import find_duplicates
from cutaway.data.hashing import threshold
from cutaway.data.load import load_data
from cutaway.data.measures import measure
from cutaway.errors import InputError
from cutaway.progress import Progress
from cutaway.showing import Card, Shown, Table
from cutaway.words import words

MOST_BITS = 80


class Audit(Audited, Shown):
    """What an audit found, as a notebook shows it."""

    def card(self) -> Card:
        """What is wrong with the set, the gravest first, and the images of each class."""
        say = words()
        found = [f"{finding.severity}: {finding.sentence(say)}" for finding in find(self)]
        rows = [(name, *row) for name, row in zip(self.data.classes, self.counts().tolist(), strict=True)]
        facts = {"images": len(self), "had better be left out": len(self.suggestions)}
        return Card(f"Audit of {self.data.source}", (facts, *found, Table(("class", *self.splits), rows)))


def audit(source: str | Path, *, most: int | None = None, progress: Progress | None = None, **options: Any) -> Audit:
    """Look at every image of a data set.

    Args:
        source: a folder of images or the name of a built-in set; see `load_data`.
        most: in how many of 255 bits the hashes of near duplicates may differ; None takes it from the data.
        progress: called as progress(label, done, total).
        options: passed on to `load_data`.

    Raises:
        InputError: nothing to audit there.
    """
    if most is not None and not 0 <= most <= MOST_BITS:
        raise InputError(f"near duplicates differ in 0 to {MOST_BITS} bits of 255; found {most}")
    data = load_data(source, max_bad=1.0, trainable=False, progress=progress, **options)
    splits = list(data.splits.values())
    measures = measure(splits, progress)
    return Audit(
        data=data,
        names=tuple(name for split in splits for name in _names(split.name, split.files, len(split))),
        split_of=np.repeat(np.arange(len(splits)), [len(split) for split in splits]),
        labels=np.concatenate([split.labels for split in splits]),
        headers=_headers(data, progress),
        measures=measures,
        duplicates=find_duplicates(
            np.concatenate([split.hashes for split in splits]),
            measures.hashes,
            measures.contrast,
            threshold(measures.hashes) if most is None else most,
        ),
    )


def _names(split: str, files: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
    return files or tuple(f"{split}:{place}" for place in range(count))


def _headers(data: Dataset, progress: Progress | None) -> tuple[Header, ...] | None:
    """What the files say; of one that changed under our hands, why it says nothing any more."""
    files = [file for split in data.splits.values() for file in split.files or ()]
    if not files:
        return None
    found = list(every(read_header, Path(data.source).expanduser(), files, "reading headers", progress))
    channels, height, width = data.shape
    gone = Header(height, width, channels == 1, "changed meanwhile:", "", False)
    return tuple(header if isinstance(header, Header) else gone._replace(mode=header) for header in found)
