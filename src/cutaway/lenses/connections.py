"""Connections: the strongest weights into a unit and out of it, over the wires between layers.

A weight from channel k of one layer to channel u of another is that part of u's kernel which reads k, times the scale
of the batch norms on the way from k. Its `weight` is the sum over the kernel (the answer to an even rise of k), its
`norm` the Euclidean length (how much is there at all); the longest are the strongest. What lies behind u itself, such
as its own batch norm, is the same for all weights into u and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.lenses.capture import find_module, module_name
from cutaway.lenses.wiring import Wire, Wires

NOBODY = -1  # the layer of an entry that is not filled


@dataclass(frozen=True, eq=False)
class Strongest:
    """The strongest weights of every unit of a layer on one side, the strongest first.

    Attributes:
        layers: int64 (C, n), places in a list of names; `NOBODY` where there are fewer.
        channels: int64 (C, n), the other unit's channel.
        weights: float32 (C, n), sum of the kernel, scaled.
        norms: float32 (C, n), its length, scaled; falling.
    """

    layers: Tensor
    channels: Tensor
    weights: Tensor
    norms: Tensor


@dataclass(frozen=True, eq=False)
class Kernels:
    """The kernel of every unit of a layer, of each the inputs with the largest weights first.

    Attributes:
        inputs: int64 (C, n), numbers of input channels.
        values: float32 (C, n, kh, kw).
        norms: float32 (C,), length of the whole kernel.
        total: how many inputs there are.
    """

    inputs: Tensor
    values: Tensor
    norms: Tensor
    total: int


@dataclass(frozen=True, eq=False)
class _Block:
    """The weights along one wire: sums and lengths, float (outputs, channels of the source)."""

    wire: Wire
    sums: Tensor
    norms: Tensor


class Connections:
    """The weights between the layers of one network.

    Args:
        network: whose weights are read.
        wires: from `wiring`.

    >>> from cutaway.lenses.wiring import wiring
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False))
    >>> _ = network[1].weight.data.copy_(torch.tensor([[[[3.0]], [[-4.0]]]]))
    >>> found = Connections(network, wiring(network, torch.zeros(1, 1, 2, 2)))
    >>> found.incoming("1", 2).channels.tolist(), found.outgoing("0", 1).weights.tolist()
    ([[1, 0]], [[3.0], [-4.0]])
    """

    def __init__(self, network: nn.Module, wires: Mapping[str, Wires]) -> None:
        self.network = network
        self.wires = wires
        self.names = list(dict.fromkeys([*wires, *(wire.source for found in wires.values() for wire in found)]))

    def has_kernels(self, layer: str) -> bool:
        """Whether the layer is a convolution or linear layer whose weights are read here."""
        return layer in self.wires and isinstance(self._module(layer), (nn.Conv2d, nn.Linear))

    def kernels(self, layer: str, count: int) -> Kernels:
        """The kernels of a layer, `count` inputs of each."""
        weight, groups = _weight(self._module(layer))
        order = weight.flatten(2).norm(dim=2).argsort(dim=1, descending=True, stable=True)[:, :count]
        values = weight.gather(1, order[..., None, None].expand(-1, -1, *weight.shape[2:]))
        inputs = order + _first_inputs(weight, groups)[:, None]
        return Kernels(inputs, values.float(), weight.flatten(1).norm(dim=1).float(), weight.shape[1] * groups)

    def incoming(self, layer: str, count: int) -> Strongest:
        """The strongest weights into every unit of a layer."""
        return self._strongest(
            [(wire.source, wire.start, block.sums, block.norms) for wire, block in self._into(layer)],
            _weight(self._module(layer))[0].shape[0],
            count,
        )

    def outgoing(self, layer: str, count: int) -> Strongest:
        """The strongest weights out of every unit of a layer."""
        channels = _channels(self._module(layer))
        parts = []
        for reader in self.wires:
            if not self.has_kernels(reader):
                continue
            for wire, block in self._into(reader, layer):
                sums, norms = (torch.zeros(channels, len(block.sums), dtype=torch.float64) for _ in range(2))
                rows = slice(wire.start, wire.start + wire.channels)
                sums[rows], norms[rows] = block.sums.T, block.norms.T
                parts.append((reader, 0, sums, norms))
        return self._strongest(parts, channels, count)

    def _module(self, layer: str) -> nn.Module:
        return find_module(self.network, module_name(layer))

    def _into(self, layer: str, source: str | None = None) -> Iterator[tuple[Wire, _Block]]:
        """The wires into a layer, or those of them that come from `source`, with the weights along each."""
        weight, groups = _weight(self._module(layer))
        for wire in self.wires[layer]:
            if source is None or wire.source == source:
                yield wire, _block(weight, groups, wire)

    def _strongest(self, parts: Sequence[tuple[str, int, Tensor, Tensor]], channels: int, count: int) -> Strongest:
        """The longest of each row of all parts: (layer, number of its first channel, sums, lengths)."""
        empty = torch.zeros(channels, 0, dtype=torch.float64)
        norms = torch.cat([empty, *(part[3] for part in parts)], 1)
        order = norms.argsort(dim=1, descending=True, stable=True)[:, :count]
        sizes = [part[2].shape[1] for part in parts]
        layers = torch.tensor(
            [self.names.index(part[0]) for part, size in zip(parts, sizes, strict=True) for _ in range(size)]
        ).long()
        numbers = torch.cat(
            [torch.arange(0), *(torch.arange(size) + part[1] for part, size in zip(parts, sizes, strict=True))]
        )
        sums = torch.cat([empty, *(part[2] for part in parts)], 1).gather(1, order)
        chosen = norms.gather(1, order)
        missing = chosen == 0
        return Strongest(
            layers[order].masked_fill(missing, NOBODY),
            numbers[order].masked_fill(missing, NOBODY),
            sums.float(),
            chosen.float(),
        )


def _weight(module: nn.Module) -> tuple[Tensor, int]:
    """The weight of a layer as kernels, float64 (outputs, inputs of a group, kh, kw), and its groups."""
    weight = module.get_parameter("weight").detach().cpu().double()
    return (weight, module.groups) if isinstance(module, nn.Conv2d) else (weight[..., None, None], 1)


def _channels(module: nn.Module) -> int:
    """How many units a convolution or linear layer has."""
    return int(getattr(module, "out_channels", 0) or getattr(module, "out_features", 0))


def _first_inputs(weight: Tensor, groups: int) -> Tensor:
    """Int64 (outputs,): the number of the first input that each output reads."""
    outputs, inputs = weight.shape[:2]
    return torch.arange(outputs) // (outputs // groups) * inputs


def _block(weight: Tensor, groups: int, wire: Wire) -> _Block:
    outputs, inputs = weight.shape[:2]
    sums = torch.zeros(outputs, inputs * groups, dtype=torch.float64)
    squares = torch.zeros_like(sums)
    columns = _first_inputs(weight, groups)[:, None] + torch.arange(inputs)
    sums.scatter_(1, columns, weight.sum((2, 3)))
    squares.scatter_(1, columns, weight.square().sum((2, 3)))
    shape = (outputs, wire.channels, wire.repeat)
    sums, squares = (value[:, wire.first : wire.stop].reshape(shape).sum(2) for value in (sums, squares))
    return _Block(wire, sums * wire.scale, squares.sqrt() * wire.scale.abs())
