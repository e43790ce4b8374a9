"""The audit of a data set: what is in it, what is wrong with it, and what had better be left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.care.cleaning import Suggestion, suggest
from cutaway.care.leaks import Leak, leaking_pairs, leaks, two_classes
from cutaway.data.cache import Progress, every, read_header
from cutaway.data.dataset import Dataset
from cutaway.data.decode import Header
from cutaway.data.duplicates import Duplicates, find_duplicates
from cutaway.data.hashing import threshold
from cutaway.data.load import load_data
from cutaway.data.measures import Measures, measure
from cutaway.errors import InputError
from cutaway.showing import Card, Shown, Table
from cutaway.words import words

MOST_BITS = 80
_EVALUATED_FIRST = {"test": 0, "val": 1, "train": 2}


@dataclass(frozen=True, eq=False)
class Audit(Shown):
    """What an audit found. Images are counted through the splits: train, then val, then test.

    Attributes:
        data: the set, split as `train` would split it.
        names: of the images: their files, or `test:412` in a built-in set.
        split_of: int (N,), which of `splits` each image is in.
        labels: int64 (N,).
        headers: what each file says of itself; None for a built-in set.
        measures: brightness, contrast and sharpness of each image.
        duplicates: equal and nearly equal images.
    """

    data: Dataset
    names: tuple[str, ...]
    split_of: np.ndarray
    labels: np.ndarray
    headers: tuple[Header, ...] | None
    measures: Measures
    duplicates: Duplicates

    def __len__(self) -> int:
        return len(self.names)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, by the numbers in `split_of`."""
        return tuple(self.data.splits)

    @cached_property
    def leaks(self) -> tuple[Leak, ...]:
        """How many evaluation images the training split has too, for each evaluation split."""
        return leaks(self.duplicates, self.split_of, self.splits)

    @cached_property
    def leaking(self) -> list[tuple[int, int, int]]:
        """Evaluation image, training image, bits between them; the most alike first."""
        return leaking_pairs(self.duplicates, self.split_of, self.splits)

    @cached_property
    def two_classes(self) -> tuple[np.ndarray, ...]:
        """Groups of equal images under more than one class."""
        return two_classes(self.duplicates, self.labels)

    @cached_property
    def suggestions(self) -> list[Suggestion]:
        """What to leave out. Images of splits that came with the set stay before those of train, and larger before
        smaller."""
        return suggest(self.duplicates, self.labels, self.measures.contrast, self._rank())

    def card(self) -> Card:
        """What is wrong with the set, the gravest first, and the images of each class."""
        from cutaway.care.findings import find

        say = words()
        found = [f"{finding.severity}: {finding.sentence(say)}" for finding in find(self)]
        rows = [(name, *row) for name, row in zip(self.data.classes, self.counts().tolist(), strict=True)]
        facts = {"images": len(self), "had better be left out": len(self.suggestions)}
        return Card(f"Audit of {self.data.source}", (facts, *found, Table(("class", *self.splits), rows)))

    def counts(self) -> np.ndarray:
        """Images of each class in each split, int (classes, splits)."""
        table = np.zeros((len(self.data.classes), len(self.splits)), np.int64)
        np.add.at(table, (self.labels, self.split_of), 1)
        return table

    def majority(self) -> tuple[str, float]:
        """The class with the most training images, and the accuracy of answering nothing else on the last split."""
        counts = self.counts()
        most = int(counts[:, self.splits.index("train")].argmax())
        return self.data.classes[most], float(counts[most, -1] / max(1, counts[:, -1].sum()))

    def image(self, position: int) -> np.ndarray:
        """The pixels of an image as a network sees it, uint8 (C, H, W)."""
        split = self.data.splits[self.splits[self.split_of[position]]]
        first = int(np.searchsorted(self.split_of, self.split_of[position]))
        return np.asarray(split.images[np.array([position - first])][0])

    def _rank(self) -> np.ndarray:
        given = np.array([_EVALUATED_FIRST[name] if name in self.data.given else 3 for name in self.splits])
        pixels = np.zeros(len(self)) if self.headers is None else np.array([h.height * h.width for h in self.headers])
        order = np.lexsort((np.arange(len(self)), -pixels, given[self.split_of]))
        rank = np.empty(len(self), np.int64)
        rank[order] = np.arange(len(self))
        return rank


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
