"""Partial results of a scan, and how two of them make one.

Whoever scanned which images, and in whatever order parts are merged, the tables are the same: entries stand in one
total order (higher score, then lower image, then lower place), in which no two are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

NOTHING = -1  # the image and the place of an entry that is not filled
_LOW = 0xFFFFFFFF


class Entries(NamedTuple):
    """Candidates for a table, (M,) each: channels int64, scores float32, images and places int64."""

    channels: Tensor
    scores: Tensor
    images: Tensor
    places: Tensor


@dataclass(frozen=True, eq=False)
class Table:
    """The k first entries of each channel.

    Attributes:
        scores: float32 (C, k), falling; -inf where there is no entry.
        images: int64 (C, k), positions in the split; -1 where there is no entry.
        places: int64 (C, k), row * width + column in the layer's map; -1 where there is no entry.
    """

    scores: Tensor
    images: Tensor
    places: Tensor

    @classmethod
    def empty(cls, channels: int, k: int, device: torch.device | None = None) -> Table:
        """A table without entries."""
        nothing = torch.full((channels, k), NOTHING, dtype=torch.int64, device=device)
        return cls(torch.full((channels, k), -torch.inf, device=device), nothing, nothing.clone())

    @classmethod
    def of(cls, channels: int, k: int, entries: Entries) -> Table:
        """The k first of any entries."""
        order = _lexsort(entries.channels, -entries.scores, _rank(entries.images, entries.places))
        channel = entries.channels[order]
        counts = channel.bincount(minlength=channels)
        rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[channel]
        inside = rank < k
        order, at = order[inside], (channel[inside], rank[inside])
        table = cls.empty(channels, k, order.device)
        table.scores[at], table.images[at], table.places[at] = (
            entries.scores[order],
            entries.images[order],
            entries.places[order],
        )
        return table

    @property
    def k(self) -> int:
        """Entries a channel."""
        return self.scores.shape[1]

    @property
    def last(self) -> Tensor:
        """Float32 (C,): the score of the last entry, -inf while there is room."""
        return self.scores[:, -1]

    def to(self, device: torch.device) -> Table:
        """On another device."""
        return Table(self.scores.to(device), self.images.to(device), self.places.to(device))

    def merge(self, other: Table) -> Table:
        """The k first of both; associative and commutative."""
        merged = Table(self.scores.clone(), self.images.clone(), self.places.clone())
        rows = (other.images[:, 0] != NOTHING).nonzero()[:, 0]
        scores, images, places = (
            torch.cat([getattr(self, item.name)[rows], getattr(other, item.name)[rows]], 1) for item in fields(Table)
        )
        order = _lexsort(-scores, _rank(images, places))[:, : self.k]
        for mine, both in ((merged.scores, scores), (merged.images, images), (merged.places, places)):
            mine[rows] = both.gather(1, order)
        return merged


def _rank(images: Tensor, places: Tensor) -> Tensor:
    """Int64: in the order of images, of equal ones in that of places; both are below 2**31."""
    return (images << 31) + places


def _lexsort(*keys: Tensor) -> Tensor:
    """Where the sorted entries of each row stand: by the first key, of equal ones by the second, and so on."""
    order = keys[-1].argsort(dim=-1, stable=True)
    for key in reversed(keys[:-1]):
        order = order.gather(-1, key.gather(-1, order).argsort(dim=-1, stable=True))
    return order


def top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest of each row and where they stand; of equal ones the first, which `torch.topk` leaves open.

    Args:
        scores: float32 (R, m), no NaN, m at least `k`.
        k: how many.

    >>> top(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), 2)
    (tensor([[3., 3.]]), tensor([[1, 2]]))
    """
    bits = (scores + 0.0).contiguous().view(torch.int32)  # + 0.0 makes one zero of the two
    rising = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long()  # integers in the order of the floats
    backwards = _LOW - torch.arange(scores.shape[1], device=scores.device)
    keys = ((rising << 32) | backwards).topk(k, dim=1).values
    at = _LOW - (keys & _LOW)
    return scores.gather(1, at), at


@dataclass(frozen=True, eq=False)
class Sample:
    """Maxima of some images, chosen before the scan: what the quantiles are read from.

    Attributes:
        images: int64 (S,), positions in the split, rising.
        scores: float32 (S, C), each image's maximum over the map.
        places: int64 (S, C), where it is.
    """

    images: Tensor
    scores: Tensor
    places: Tensor

    @classmethod
    def empty(cls, channels: int, device: torch.device | None = None) -> Sample:
        """A sample of no images."""
        none = torch.zeros((0, channels), dtype=torch.int64, device=device)
        return cls(none[:, 0].clone() if channels else none.flatten(), none.float(), none)

    @classmethod
    def of(cls, parts: Sequence[Sample]) -> Sample:
        """Several samples as one, whatever their order."""
        parts = [part for part in parts if len(part.images)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        images, scores, places = (torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls))
        order = images.argsort()
        return cls(images[order], scores[order], places[order])

    def quantiles(self, levels: tuple[float, ...]) -> Table:
        """The images at these quantiles (0..1) of each channel's maxima; the nearest rank, of equal ones by image."""
        if not len(self.images):
            return Table.empty(self.scores.shape[1], len(levels))
        order = self.scores.argsort(dim=0, stable=True)
        ranks = torch.tensor([round(level * (len(self.images) - 1)) for level in levels], device=order.device)
        rows = order[ranks].T
        columns = torch.arange(rows.shape[0], device=order.device)[:, None]
        return Table(self.scores[rows, columns], self.images[rows], self.places[rows, columns])


@dataclass(frozen=True, eq=False)
class Tables:
    """All that a scan keeps of one layer: its size does not depend on the number of images.

    Attributes:
        best: the images with the highest maximum of each channel, at the place of that maximum.
        spots: the highest places, several of which may be of one image.
        least: the images with the lowest maximum; its scores are the negative maxima.
        sample: maxima of a sample of images.
    """

    best: Table
    spots: Table
    least: Table
    sample: Sample

    @classmethod
    def empty(cls, channels: int, k: int, device: torch.device | None = None) -> Tables:
        """Of no images."""
        best, spots, least = (Table.empty(channels, k, device) for _ in range(3))
        return cls(best, spots, least, Sample.empty(channels, device))

    def merge(self, other: Tables) -> Tables:
        """Of the images of both, which must be different ones; associative and commutative."""
        return Tables(
            self.best.merge(other.best),
            self.spots.merge(other.spots),
            self.least.merge(other.least),
            Sample.of([self.sample, other.sample]),
        )

    def first(self) -> tuple[Table, Table, Table]:
        """Best, spots and least."""
        return self.best, self.spots, self.least

    def cpu(self) -> Tables:
        """On the CPU."""
        return self.from_arrays({name: value.cpu() for name, value in self.arrays().items()})

    def arrays(self) -> dict[str, Tensor]:
        """Every tensor by name, such as `best.scores`."""
        parts = {item.name: getattr(self, item.name) for item in fields(self)}
        return {
            f"{name}.{item.name}": getattr(part, item.name) for name, part in parts.items() for item in fields(part)
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Tables:
        """The inverse of `arrays`."""
        best, spots, least = (
            Table(*(arrays[f"{name}.{item.name}"] for item in fields(Table))) for name in ("best", "spots", "least")
        )
        return cls(best, spots, least, Sample(*(arrays[f"sample.{item.name}"] for item in fields(Sample))))
