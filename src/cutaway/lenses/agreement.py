"""Where two classifiers agree: on which images, how sure they are, and who is right."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import torch
from torch import Tensor

from cutaway.showing import Shown


@dataclass(frozen=True, eq=False)
class Agreement(Shown):
    """What two networks with the same classes say of the same n images.

    Attributes:
        positions: int64 (n,), each image's place in its split.
        labels: int64 (n,), the true classes; -1 where nobody knows.
        predicted_a: int64 (n,), the first network's class; `predicted_b` the second's.
        probability_a: float32 (n,), the first network's probability of its own class; `probability_b` likewise.
    """

    positions: Tensor
    labels: Tensor
    predicted_a: Tensor
    predicted_b: Tensor
    probability_a: Tensor
    probability_b: Tensor

    @classmethod
    def of(cls, positions: Tensor, labels: Tensor, logits_a: Tensor, logits_b: Tensor) -> Agreement:
        """From logits (n, classes) of both."""
        tops = [logits.float().softmax(1).max(1) for logits in (logits_a, logits_b)]
        return cls(positions, labels, tops[0].indices, tops[1].indices, tops[0].values, tops[1].values)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def share(self) -> float:
        """Share of the images on which both say the same class."""
        return float((self.predicted_a == self.predicted_b).double().mean())

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Share of right answers of either; None where an image's true class is not known."""
        if bool((self.labels < 0).any()):
            return None
        right = [float((own == self.labels).double().mean()) for own in (self.predicted_a, self.predicted_b)]
        return right[0], right[1]

    @property
    def disagreeing(self) -> Tensor:
        """int64 (k,): the images with two answers, the one where the less sure network is surest first."""
        rows = torch.nonzero(self.predicted_a != self.predicted_b).flatten()
        sure = torch.minimum(self.probability_a, self.probability_b)[rows]
        return rows[sure.argsort(descending=True, stable=True)]

    @property
    def counts(self) -> dict[str, int]:
        """McNemar's four counts (1947): images that both, only the first, only the second or neither got right."""
        a, b = self.predicted_a == self.labels, self.predicted_b == self.labels
        cells = {"both": a & b, "only_a": a & ~b, "only_b": ~a & b, "neither": ~a & ~b}
        return {name: int(cell.sum()) for name, cell in cells.items()}

    @property
    def p_value(self) -> float:
        """McNemar's exact test: how likely so uneven counts are if both networks were equally good, 0 .. 1."""
        return mcnemar(self.counts["only_a"], self.counts["only_b"])


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided probability that a fair coin splits `only_a + only_b` throws so unevenly.

    >>> mcnemar(0, 3), mcnemar(5, 5)
    (0.25, 1.0)
    """
    throws = only_a + only_b
    tail = sum(comb(throws, heads) for heads in range(min(only_a, only_b) + 1))
    # Whole numbers throughout: 2 ** throws is too large for a float from 1,024 throws on, its quotient is not.
    return min(1.0, float(2 * tail / 2**throws))
