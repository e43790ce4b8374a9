"""Which unit of one layer is which unit of another: correlations over images and places, and the best one-to-one match.

Li, Yosinski, Clune, Lipson and Hopcroft (2015, Convergent Learning) match the units of two networks by their
correlation. Here the answers are first averaged over a grid of places that both layers share, so that maps of different
sizes can be compared too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cutaway.showing import Shown

GRID = 8  # the finest grid of places: 64 answers an image


@dataclass(frozen=True)
class Matching(Shown):
    """The units of a layer of one network beside those of a layer of another.

    Attributes:
        layer_a: the layer of the first network, with A units.
        layer_b: the layer of the second, with B units.
        correlation: float32 (A, B), Pearson's, -1 .. 1; 0 with a unit that answers the same everywhere.
        partner: int64 (A,), the unit of `layer_b` that each unit of `layer_a` is matched with; -1 for none, where A
            is more than B. No unit is taken twice, and the sum of the correlations is the largest there is.
        mean: mean correlation of the matched units.
    """

    layer_a: str
    layer_b: str
    correlation: Tensor
    partner: Tensor
    mean: float

    @property
    def matched(self) -> Tensor:
        """Float32 (A,): the correlation of each unit with its partner; NaN without one."""
        rows = torch.arange(len(self.partner))
        found = self.correlation[rows, self.partner.clamp(min=0)]
        return torch.where(self.partner >= 0, found, torch.nan)

    @property
    def same_place(self) -> float:
        """Share of the matched units whose partner has their own number: 1 for two epochs that kept their units."""
        matched = self.partner >= 0
        return float((self.partner == torch.arange(len(self.partner)))[matched].double().mean())


def placed(value: Tensor, images: int, *, last: bool = False) -> Tensor:
    """What each unit answers at each place: float32 (N, units, height, width), at most `GRID` places a side.

    Args:
        value: a layer's output: (N, units), (N, units, H, W), or with the units in the last dimension (N, ..., units).
        images: N; windows of attention, (N x windows, ..., units), count as places of their image.
        last: the units are the last dimension, as behind a linear layer; such a layer's answers are averaged.
    """
    value = value.detach().float()
    if last or value.ndim != 4:
        return value.reshape(images, -1, value.shape[-1]).mean(1)[..., None, None]
    return F.adaptive_avg_pool2d(value, _smaller(value.shape[2:], (GRID, GRID)))


def _smaller(first: Sequence[int], second: Sequence[int]) -> tuple[int, int]:
    return min(first[0], second[0]), min(first[1], second[1])


class Correlation:
    """Running sums of two layers' answers, and from them their correlation and their match.

    What is summed are differences from the first batch's mean, so that a large mean costs no digits.
    """

    def __init__(self, layer_a: str, layer_b: str) -> None:
        self.layers = (layer_a, layer_b)
        self.shift: tuple[Tensor, Tensor] | None = None
        self.count = 0
        self.sums = [torch.zeros(()) for _ in range(5)]

    def add(self, first: Tensor, second: Tensor) -> None:
        """Count answers in: (n, A, height, width) and (n, B, height, width) of the same images, made by `placed`."""
        size = _smaller(first.shape[2:], second.shape[2:])
        first, second = (_rows(F.adaptive_avg_pool2d(value, size)) for value in (first.cpu(), second.cpu()))
        self.shift = self.shift or (first.mean(0), second.mean(0))
        first, second = first - self.shift[0], second - self.shift[1]
        new = first.sum(0), second.sum(0), first.square().sum(0), second.square().sum(0), first.T @ second
        self.sums = [old + value.double() for old, value in zip(self.sums, new, strict=True)]
        self.count += len(first)

    def result(self) -> Matching:
        """The correlation of all pairs of units so far, and the best match."""
        sum_a, sum_b, square_a, square_b, product = self.sums
        spread_a, spread_b = (
            _spread(square - total.square() / self.count, square)
            for total, square in ((sum_a, square_a), (sum_b, square_b))
        )
        covariance = product - sum_a[:, None] * sum_b[None, :] / self.count
        size = spread_a[:, None] * spread_b[None, :]
        found = torch.where(size > 0, covariance / size.clamp(min=1e-300), 0.0).clamp(-1, 1).float()
        partner = torch.from_numpy(best_match(found.double().numpy()))
        matched = found[torch.arange(len(found)), partner.clamp(min=0)][partner >= 0]
        return Matching(*self.layers, found, partner, float(matched.mean()))


def _rows(maps: Tensor) -> Tensor:
    """(n, units, height, width) as (n x places, units)."""
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)


def _spread(variance: Tensor, square: Tensor) -> Tensor:
    """Standard deviations; 0 where what is left of a unit's variance is rounding."""
    return torch.where(variance > 1e-10 * square, variance, 0.0).sqrt()


def best_match(gain: NDArray[np.float64]) -> NDArray[np.int64]:
    """The column for each row, none taken twice, for which the sum of `gain` (rows, columns) is largest.

    -1 for a row without a column, where there are more rows. It is found by shortest augmenting paths with dual prices
    (Jonker and Volgenant, 1987), in time rows² x columns.

    >>> best_match(np.array([[9.0, 8.0], [8.0, 1.0]]))
    array([1, 0])
    """
    rows, columns = gain.shape
    if rows > columns:
        taken = best_match(gain.T)
        found = np.full(rows, -1)
        found[taken] = np.arange(columns)
        return found
    cost = gain.max() - gain
    price_row, price_column = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1)  # the row that holds each column
    for row in range(rows):
        _assign(row, cost, price_row, price_column, owner)
    found = np.empty(rows, dtype=np.int64)
    held = np.flatnonzero(owner >= 0)
    found[owner[held]] = held
    return found


def _assign(
    start: int,
    cost: NDArray[np.float64],
    price_row: NDArray[np.float64],
    price_column: NDArray[np.float64],
    owner: NDArray[np.int64],
) -> None:
    """Give row `start` a column, moving other rows along the cheapest chain of exchanges (Dijkstra's search)."""
    columns = cost.shape[1]
    distance, before = np.full(columns, np.inf), np.full(columns, -1)  # to each column, and from which column
    done = np.zeros(columns, dtype=bool)
    row, column, length = start, -1, 0.0
    while row >= 0:
        reached = length + cost[row] - price_row[row] - price_column
        closer = ~done & (reached < distance)
        distance[closer], before[closer] = reached[closer], column
        column = int(np.argmin(np.where(done, np.inf, distance)))
        length, done[column], row = distance[column], True, owner[column]
    visited = np.flatnonzero(done & (owner >= 0))
    price_row[start] += length
    price_row[owner[visited]] += length - distance[visited]
    price_column[visited] -= length - distance[visited]
    while column >= 0:
        previous = before[column]
        owner[column] = start if previous < 0 else owner[previous]
        column = previous
