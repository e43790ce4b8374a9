"""Which classes are taken for which, ready for a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Beyond this many classes a confusion matrix is a wall of zeros; the most frequent confusions say more.
MATRIX_CLASSES = 30
_PAIRS = 12


@dataclass(frozen=True)
class Pair:
    """One class taken for another, by number, and how often."""

    true: int
    given: int
    images: int


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: of the classes.
        rows: counts, true class down and predicted class across; None for too many classes.
        shares: tints 0..1 of "right" and "wrong" cells: wrong answers against the largest of them, or one good
            diagonal would hide them all.
        pairs: the most frequent mistakes.
    """

    names: tuple[str, ...]
    rows: list[list[int]] | None
    shares: Mapping[str, list[list[float]]]
    pairs: tuple[Pair, ...]


def view_confusion(names: Sequence[str], counts: NDArray[Any], most: int = MATRIX_CLASSES) -> Confusion:
    """Of counts int (classes, classes), rows true and columns predicted.

    >>> view_confusion(("cat", "dog"), np.array([[3, 1], [0, 4]])).pairs
    (Pair(true=0, given=1, images=1),)
    """
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [divmod(int(cell), len(names)) for cell in order if wrong.flat[cell] > 0]
    shares = {"right": counts / max(1, int(np.diag(counts).max())), "wrong": wrong / max(1, int(wrong.max()))}
    return Confusion(
        names=tuple(names),
        rows=counts.tolist() if len(names) <= most else None,
        shares={name: np.sqrt(values).round(3).tolist() for name, values in shares.items()},
        pairs=tuple(Pair(true, given, int(counts[true, given])) for true, given in pairs),
    )


def confusion_of(evaluation: Mapping[str, Any] | None) -> Confusion | None:
    """The confusion matrix in what `evaluate` measured."""
    if evaluation is None:
        return None
    return view_confusion([str(row["class"]) for row in evaluation["classes"]], np.array(evaluation["confusion"]))
