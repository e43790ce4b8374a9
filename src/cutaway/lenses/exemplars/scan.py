"""Scanning: batches of images pass once, and each layer's tables take what excites its units.

A layer's maps are read where they are made, while they are in the processor's cache, and only the maximum over the
places is taken of all of them. Where a channel's maximum stays below its bar, the map is done with. The bars come from
images scanned before: what lies below the k best of any images cannot be among the k best of all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import unseen
from cutaway.errors import InputError
from cutaway.lenses.capture import observe
from cutaway.lenses.exemplars.tables import Entries, Sample, Table, Tables, top
from cutaway.lenses.layouts import Shapes, channels_first, channels_last_shapes

_COPIED = 2**19  # values of maps that are copied at once
_LITTLE, _LEAST = 1e-6, 1e-30
_ROOM = 2  # candidates wait until there are so many times the entries of the table


class Scan:
    """A scan of some of the images of a split, for all layers at once.

    Args:
        network: any module that takes one image batch; left as it was.
        layers: dotted names, as in `capture`.
        k: entries a channel and table.
        known: tables of other images with which the result will be merged: entries that cannot be among the k best
            then are left out. None for the first scan, a pilot, whose images all go into the sample.
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[str], k: int, known: Mapping[str, Tables] | None = None
    ) -> None:
        self.network = network
        self.layers = list(layers)
        self.k = k
        self.known = known
        self._scans: dict[str, _LayerScan] = {}

    def add(self, images: Tensor, ids: Tensor) -> None:
        """Pass a batch.

        Args:
            images: float (N, C, H, W), as the network expects them.
            ids: int64 (N,), rising, each greater than all before: the images' positions in the split.

        Raises:
            InputError: a layer that does not exist or was not reached, or maxima that are not finite.
        """
        last = channels_last_shapes(self.network, images)

        def visit(layer: str, value: Tensor) -> None:
            # `small_maps` and its like see every call of torch and every attribute; here are many and none for them.
            with unseen():
                maps = maps_of(layer, value, last)
                if layer not in self._scans:
                    self._scans[layer] = _LayerScan(layer, maps, self.k, self.known[layer] if self.known else None)
                self._scans[layer].add(maps, ids.to(maps.device))

        with torch.no_grad():
            observe(self.network, images, self.layers, visit)

    def tables(self) -> dict[str, Tables]:
        """What was found so far, on the CPU, layers in the order of the forward pass."""
        return {layer: scan.tables().cpu() for layer, scan in self._scans.items()}


def maps_of(layer: str, value: Tensor, last: Shapes = frozenset()) -> Tensor:
    """What a layer returned as maps (N, C, H, W): vectors (N, C) have one place, tokens (N, T, C) a column of them.

    Args:
        layer: its name.
        value: what it returned.
        last: the shapes of maps with their channels last, of `channels_last_shapes`; none for what `Forward` gave.
    """
    if value.ndim == 4 and value.numel():
        return channels_first(value, last)
    if value.ndim == 3:
        return value.transpose(1, 2)[..., None]
    if value.ndim == 2:
        return value[..., None, None]
    raise InputError(
        f"layer '{layer}' returns {tuple(value.shape)}; exemplars need maps (N, C, H, W), vectors (N, C) or "
        "tokens (N, T, C); name another layer"
    )


class _LayerScan:
    def __init__(self, layer: str, maps: Tensor, k: int, known: Tables | None) -> None:
        channels, device = maps.shape[1], maps.device
        self.layer = layer
        self.best, self.spots, self.least = (
            _Collector(channels, k, device, table) for table in (known.first() if known else (None, None, None))
        )
        self.sample = [Sample.empty(channels, device)]
        self.is_pilot = known is None

    def add(self, maps: Tensor, ids: Tensor) -> None:
        peaks = maps.amax((2, 3)).float()
        self._check(peaks, ids)
        flat = maps.flatten(2)
        self.best.take(peaks, flat, ids)
        self.least.take(-peaks, flat, ids)
        self.spots.take_places(peaks, flat, ids)
        if self.is_pilot:
            self.sample.append(Sample(ids, peaks, flat.argmax(2)))

    def _check(self, peaks: Tensor, ids: Tensor) -> None:
        if not all(math.isfinite(end) for end in peaks.aminmax()):
            image = int(ids[(~peaks.isfinite()).any(1)][0])
            raise InputError(
                f"layer '{self.layer}' returns values that are not finite for image {image} of the split; "
                "its weights or that image are damaged, or the number format is too narrow"
            )

    def tables(self) -> Tables:
        return Tables(self.best.table(), self.spots.table(), self.least.table(), Sample.of(self.sample))


def _pieces(wanted: Tensor, places: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and channels of the maps that are wanted, bool (N, C), so many at a time that copies of them are small."""
    row, channel = wanted.nonzero(as_tuple=True)
    size = max(1, _COPIED // places)
    for start in range(0, len(row), size):
        yield row[start : start + size], channel[start : start + size]


class _Collector:
    """Fills one table: candidates wait, with their places, until there are enough to be worth sorting."""

    def __init__(self, channels: int, k: int, device: torch.device, known: Table | None) -> None:
        self.filled = Table.empty(channels, k, device)
        self.is_begun = False
        known = Table.empty(channels, k, device) if known is None else known.to(device)
        self.floor, self.floor_image = known.last, known.images[:, -1]
        # A little lower than it must be, for the next float below 0 is one that processors may take for 0.
        self.below_floor = known.last - (known.last.abs() * _LITTLE).clamp(min=_LEAST)
        self.waiting: list[Entries] = []
        self.count = 0

    def take(self, peaks: Tensor, flat: Tensor, ids: Tensor) -> None:
        """Images (N,) by their scores (N, C), at the place of the maximum of their maps (N, C, places)."""
        for row, channel in _pieces(peaks > self._bar(ids), flat.shape[2]):
            place = flat[row, channel].argmax(1)
            self._wait(Entries(channel, peaks[row, channel], ids[row], place))

    def take_places(self, peaks: Tensor, flat: Tensor, ids: Tensor) -> None:
        """Places of these maps, the k best of each."""
        bar = self._bar(ids)
        for row, channel in _pieces(peaks > bar, flat.shape[2]):
            scores, places = top(flat[row, channel].float(), min(self.filled.k, flat.shape[2]))
            keep = scores > bar[channel][:, None]
            channels, images = (value[:, None].expand_as(scores)[keep] for value in (channel, ids[row]))
            self._wait(Entries(channels, scores[keep], images, places[keep]))

    def _bar(self, ids: Tensor) -> Tensor:
        """Float32 (C,): a score above it may enter, one that is not above cannot."""
        # Of equal scores the lower image stands first: none here before the table's own, some perhaps before the known.
        floor = torch.where(self.floor_image > ids[0], self.below_floor, self.floor)
        return torch.maximum(floor, self.filled.last)

    def _wait(self, entries: Entries) -> None:
        self.waiting.append(entries)
        self.count += len(entries.channels)
        if self.count > _ROOM * self.filled.scores.numel():
            self.table()

    def table(self) -> Table:
        """The table of all candidates so far."""
        if self.waiting:
            entries = Entries(*(torch.cat(values) for values in zip(*self.waiting, strict=True)))
            channels, k = self.filled.scores.shape
            found = Table.of(channels, k, entries)
            self.filled = self.filled.merge(found) if self.is_begun else found
            self.is_begun = True
            self.waiting, self.count = [], 0
        return self.filled
