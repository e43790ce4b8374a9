"""Training only the head of a network."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from cutaway.computing.torch_inside import Norm
from cutaway.errors import unknown


def freeze_backbone(network: nn.Module, trainable: Iterable[str]) -> None:
    """Freeze every parameter except those of the layers named in `trainable` (dotted names)."""
    trainable, known = list(trainable), [name for name, _ in network.named_modules() if name]
    for name in trainable:
        if name not in known:
            raise unknown("layer", name, known, "in the network that is to be frozen up to it")
    network.requires_grad_(False)
    for name in trainable:
        network.get_submodule(name).requires_grad_(True)


def train_mode(network: nn.Module) -> nn.Module:
    """Put `network` into training mode, except normalisation whose parameters are frozen: its statistics stay too.

    Use this wherever `network.train()` would stand.
    """
    network.train()
    if all(parameter.requires_grad for parameter in network.parameters()):
        return network
    for module in network.modules():
        if isinstance(module, Norm) and not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()
    return network
