"""Weight initialisation by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cutaway.errors import unknown

Scheme = Literal["default", "xavier", "kaiming", "orthogonal"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def initialize(
    network: nn.Module, scheme: str, *, seed: int | None = None, generator: torch.Generator | None = None
) -> nn.Module:
    """Draw the weights of every convolution and linear layer anew, in place, and set their biases to zero.

    `scheme` is `default` (leave what the network's constructor drew), `xavier` (uniform; Glorot and Bengio, 2010),
    `kaiming` (normal, gain of a ReLU, fan-in; He et al., 2015) or `orthogonal` (Saxe et al., 2014, gain of a ReLU).
    Draws come from `generator`, else from `seed`, else from torch's global generator. Returns `network`.
    Frozen layers stay as they are.
    """
    if scheme not in SCHEMES:
        raise unknown("initialisation", scheme, SCHEMES)
    if scheme == "default":
        return network
    if generator is None and seed is not None:
        generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, _WEIGHTED) and module.weight.requires_grad:
            _draw(module, _FILL[scheme], generator)
    return network


@torch.no_grad()
def _draw(
    module: nn.Module, fill: Callable[[Tensor, torch.Generator | None], None], generator: torch.Generator | None
) -> None:
    weight = module.get_parameter("weight")
    # Drawn on the CPU, so that a seed means the same weights on every device.
    values = torch.empty(weight.shape)
    fill(values, generator)
    weight.copy_(values)
    if isinstance(module.bias, Tensor):
        module.bias.zero_()


def _xavier(values: Tensor, generator: torch.Generator | None) -> None:
    nn.init.xavier_uniform_(values, generator=generator)


def _kaiming(values: Tensor, generator: torch.Generator | None) -> None:
    nn.init.kaiming_normal_(values, nonlinearity="relu", generator=generator)


def _orthogonal(values: Tensor, generator: torch.Generator | None) -> None:
    nn.init.orthogonal_(values, gain=nn.init.calculate_gain("relu"), generator=generator)


_FILL: dict[str, Callable[[Tensor, torch.Generator | None], None]] = {
    "xavier": _xavier,
    "kaiming": _kaiming,
    "orthogonal": _orthogonal,
}
