"""Responses: how every unit behaves over a set of images, and for which classes it speaks.

A unit's vote for a class c is the change of the class's logit, less the mean of all logits, if the unit answered one
standard deviation more at every place, to first order, mean over the images:

    vote(u, c) = std(u) * mean over images of  sum over places of  d (z_c - mean z) / d a_u

The mean of all logits is taken away because softmax does not see it. The standard deviation is that of the unit's own
answers, so that the votes of all units are in one measure, logits. The level of the answers does not enter, so that it
does not matter whether a batch norm follows. It is the directional derivative of TCAV (Kim et al., 2018) along one
channel, with its size kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.torch_inside import unseen
from cutaway.lenses.activations import ActivationWatch
from cutaway.lenses.capture import module_name, observe
from cutaway.lenses.exemplars.scan import maps_of
from cutaway.lenses.forward import opened
from cutaway.lenses.layouts import channels_last_shapes

BINS = 32


@dataclass(frozen=True, eq=False)
class LayerResponses:
    """How the units of a layer behaved.

    Attributes:
        mean, std, low, high: float32 (C,), over all places of all images.
        best_mean: float32 (C,), the highest mean over the places of one image.
        by_label: float32 (C, L), mean over the images of a label; NaN where there were none.
        active: float32 (C,), share of the places where the activation behind the layer is above zero.
        active_of: that activation's name; the layer's own where none follows.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor
    best_mean: Tensor
    by_label: Tensor
    active: Tensor
    active_of: str


class ResponseTotals:
    """The running statistics of some layers' units.

    Args:
        network: any module that takes one image batch; left as it was.
        layers: dotted names, as in `capture`.
        labels: how many labels the images have.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], labels: int) -> None:
        self.network = network
        self.layers = list(layers)
        self.labels = torch.zeros(labels, dtype=torch.float64)
        self._sums: dict[str, _Sums] = {}
        self._active: dict[str, _Active] = {}

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Pass a batch: float (N, C, H, W) as the network expects them, and int64 (N,)."""
        member = F.one_hot(labels, len(self.labels)).double()
        self.labels += member.sum(0)
        seen: set[str] = set()
        channels_last = channels_last_shapes(self.network, images)

        def note(name: str, source: str, last: bool, _ends: Any, value: Tensor) -> None:
            if source not in seen:
                seen.add(source)
                self._active.setdefault(source, _Active(name)).add(value, last)

        def visit(layer: str, value: Tensor) -> None:
            with unseen():
                maps = maps_of(layer, value, channels_last)
                if layer not in self._sums:
                    self._sums[layer] = _Sums(maps, len(self.labels))
                self._sums[layer].add(maps, member.to(maps.device))

        with torch.no_grad(), ActivationWatch(self.network, note).installed():
            # The activation behind the last layer comes after it.
            observe(self.network, images, self.layers, visit, whole=True)

    def result(self) -> dict[str, LayerResponses]:
        """The statistics so far, layers in the order of the forward pass."""
        return {layer: self._result(layer, sums) for layer, sums in self._sums.items()}

    def _result(self, layer: str, sums: _Sums) -> LayerResponses:
        behind = self._active.get(module_name(layer))
        is_known = behind is not None and behind.above.shape == sums.above.shape
        active = behind.share if behind is not None and is_known else sums.above / sums.places
        return LayerResponses(
            mean=sums.mean.float().cpu(),
            std=(sums.squares / sums.places).sqrt().float().cpu(),
            low=sums.low.float().cpu(),
            high=sums.high.float().cpu(),
            best_mean=sums.best_mean.float().cpu(),
            by_label=(sums.by_label.cpu() / self.labels[:, None]).T.float().contiguous(),
            active=active.float().cpu(),
            active_of=behind.name if behind is not None and is_known else layer,
        )


class _Active:
    """How often each channel of one activation is above zero."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.above = torch.zeros(0)
        self.places = 0

    def add(self, value: Tensor, last: bool) -> None:
        """Count a batch in; the channels are the last dimension if `last`, else dimension 1."""
        with unseen():
            channel = value.ndim - 1 if last else 1
            above = (value > 0).sum([axis for axis in range(value.ndim) if axis != channel])
        self.above = above if not self.places else self.above + above
        self.places += value.numel() // value.shape[channel]

    @property
    def share(self) -> Tensor:
        """Float64 (C,)."""
        return self.above.double() / self.places


class _Sums:
    """The running sums of one layer, in float64 on its device."""

    def __init__(self, maps: Tensor, labels: int) -> None:
        zeros = torch.zeros(maps.shape[1], dtype=torch.float64, device=maps.device)
        self.places = 0
        self.mean, self.squares, self.above = zeros, zeros, zeros
        self.low, self.high, self.best_mean = zeros + torch.inf, zeros - torch.inf, zeros - torch.inf
        self.by_label = zeros.new_zeros(labels, len(zeros))

    def add(self, maps: Tensor, member: Tensor) -> None:
        """Count in maps (N, C, H, W); `member` float64 (N, L) has a one at each image's label."""
        maps = maps.float()
        means = maps.mean((2, 3)).double()
        self._spread(maps, means.mean(0))
        self.above = self.above + (maps > 0).sum((0, 2, 3))
        self.low = torch.minimum(self.low, maps.amin((0, 2, 3)))
        self.high = torch.maximum(self.high, maps.amax((0, 2, 3)))
        self.best_mean = torch.maximum(self.best_mean, means.amax(0))
        self.by_label = self.by_label + member.T @ means

    def _spread(self, maps: Tensor, mean: Tensor) -> None:
        """Mean and squares around it, of two parts as one (Chan et al., 1979): sums of squares alone would cancel."""
        more = len(maps) * maps.shape[2] * maps.shape[3]
        around = (maps - mean.float().view(1, -1, 1, 1)).square().mean((0, 2, 3)).double()
        total, apart = self.places + more, mean - self.mean
        self.squares = self.squares + more * around + apart.square() * self.places * more / total
        self.mean = self.mean + apart * more / total
        self.places = total


class Histograms:
    """The running histograms of some layers' units.

    Args:
        network: any module that takes one image batch; left as it was.
        statistics: of each layer, from `ResponseTotals`, for the ends of the histograms.
    """

    def __init__(self, network: nn.Module, statistics: Mapping[str, LayerResponses]) -> None:
        self.network = network
        self.statistics = statistics
        self._counts: dict[str, Tensor] = {}

    def add(self, images: Tensor) -> None:
        """Pass a batch: float (N, C, H, W), as the network expects them."""
        channels_last = channels_last_shapes(self.network, images)

        def visit(layer: str, value: Tensor) -> None:
            with unseen():
                _add(self._counts, layer, _histogram(maps_of(layer, value, channels_last), self.statistics[layer]))

        with torch.no_grad():
            observe(self.network, images, list(self.statistics), visit)

    def of(self, layer: str) -> tuple[Tensor, Tensor]:
        """Places by answer, int64 (C, BINS), and the bins' edges, float32 (C, BINS + 1), from the least to the most."""
        return self._counts[layer], _edges(self.statistics[layer])


class VoteTotals:
    """The running gradients of some layers' units.

    Args:
        network: any module that returns logits (N, classes); left as it was.
        layers: dotted names, as in `capture`.
        classes: the classes that are voted for, by index.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], classes: Sequence[int]) -> None:
        self.network = network
        self.layers = list(layers)
        self.classes = list(classes)
        self.images = 0
        self._gradients: dict[str, Tensor] = {}

    def add(self, images: Tensor) -> None:
        """Pass a batch: float (N, C, H, W), as the network expects them."""
        self.images += len(images)
        with opened(self.network) as forward:
            # Asked of the images, so that every layer is in the graph, whatever comes before it.
            found = forward(images.detach().requires_grad_(), self.layers)
            values = [found[layer] for layer in self.layers]
            centred = found[""] - found[""].mean(1, keepdim=True)
            columns = [self._column(centred[:, index].sum(), values) for index in self.classes]
        for layer, *totals in zip(self.layers, *columns, strict=True):
            _add(self._gradients, layer, torch.stack(totals, 1))

    def _column(self, logit: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
        """Of each layer, float64 (C,): the gradient of one class's logit, added up over places and images."""
        gradients = torch.autograd.grad(logit, values, retain_graph=True, allow_unused=True)
        return [
            maps_of(layer, torch.zeros_like(value) if gradient is None else gradient).double().sum((0, 2, 3)).cpu()
            for layer, value, gradient in zip(self.layers, values, gradients, strict=True)
        ]

    def votes(self, layer: str, deviation: Tensor) -> Tensor:
        """Float32 (C, classes), in logits; `deviation` float (C,) is that of the units' answers."""
        return (self._gradients[layer] / self.images * deviation.double()[:, None]).float()


def _add(totals: dict[str, Tensor], layer: str, value: Tensor) -> None:
    totals[layer] = totals[layer] + value if layer in totals else value


def _edges(statistics: LayerResponses) -> Tensor:
    part = torch.linspace(0, 1, BINS + 1)
    return torch.lerp(statistics.low[:, None], statistics.high[:, None], part)


def _histogram(maps: Tensor, statistics: LayerResponses) -> Tensor:
    """Int64 (C, BINS) on the CPU; an answer beyond an end, to rounding, counts in the bin there."""
    low = statistics.low.to(maps.device).view(1, -1, 1, 1)
    width = (statistics.high - statistics.low).to(maps.device).view(1, -1, 1, 1).clamp(min=1e-30)
    bins = ((maps.float() - low) / width * BINS).long().clamp(0, BINS - 1)
    bins += torch.arange(maps.shape[1], device=maps.device).view(1, -1, 1, 1) * BINS
    return torch.bincount(bins.flatten(), minlength=maps.shape[1] * BINS).view(-1, BINS).cpu()
