"""What an audit measured of a data set, and what follows from that alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cutaway.care.cleaning import Suggestion, suggest
from cutaway.care.leaks import Leak, leaking_pairs, leaks, two_classes
from cutaway.data.dataset import Dataset
from cutaway.data.decode import Header
from cutaway.data.duplicates import Duplicates
from cutaway.data.measures import Measures

_EVALUATED_FIRST = {"test": 0, "val": 1, "train": 2}


@dataclass(frozen=True, eq=False)
class Audited:
    """What an audit measured. Images are counted through the splits: train, then val, then test.

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
