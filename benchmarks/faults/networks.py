"""The networks of the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cutaway.models.builtin import build

Make = Callable[[int, int, int], nn.Module]  # channels, side, classes


def plain(
    *widths: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
    norm: bool = False,
    dropout: float = 0.0,
    last: Callable[[], nn.Module] | None = None,
    head: int = 64,
) -> Make:
    """Convolutions 3x3 of these widths with a pooling after every second one, then two linear layers."""

    def make(channels: int, side: int, classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            layers += [nn.Conv2d(channels, width, 3, padding=1), *([nn.BatchNorm2d(width)] if norm else [])]
            layers += [activation()]
            if number % 2 == 0 and side >= 4:
                layers.append(nn.MaxPool2d(2))
                side //= 2
            channels = width
        layers += [nn.AdaptiveAvgPool2d(min(side, 4)), nn.Flatten(), nn.Linear(channels * min(side, 4) ** 2, head)]
        layers += [activation(), *([nn.Dropout(dropout)] if dropout else []), nn.Linear(head, classes)]
        return nn.Sequential(*layers, *([last()] if last else []))

    return make


small = plain(16, 32)
small_norm = plain(16, 32, norm=True)
middle = plain(24, 32, 48, 64)
middle_norm = plain(24, 32, 48, 64, norm=True)


def built_in(name: str, last: Callable[[], nn.Module] | None = None, dropout: float | None = None) -> Make:
    """A built-in network, with something after its last layer if asked for."""

    def make(channels: int, side: int, classes: int) -> nn.Module:
        stem = "half" if name.startswith("resnet") else None
        network = build(name, classes=classes, shape=(channels, side, side), stem=stem, dropout=dropout)
        return nn.Sequential(network, last()) if last else network

    return make


def changed(make: Make, change: Callable[[nn.Module], None]) -> Make:
    """A network with something done to it after it is made."""

    def made(channels: int, side: int, classes: int) -> nn.Module:
        network = make(channels, side, classes)
        with torch.no_grad():
            change(network)
        return network

    return made


def fill(value: float, layers: slice = slice(None)) -> Callable[[nn.Module], None]:
    """Set the weights of some convolutions and linear layers to a constant."""
    return lambda network: [nn.init.constant_(layer.weight, value) for layer in weighted(network)[layers]] and None


def scale(factor: float, layers: slice = slice(None)) -> Callable[[nn.Module], None]:
    """Multiply the weights of some convolutions and linear layers."""
    return lambda network: [layer.weight.mul_(factor) for layer in weighted(network)[layers]] and None


def shift_bias(value: float, layers: slice) -> Callable[[nn.Module], None]:
    """Set the biases of some convolutions and linear layers."""
    return lambda network: [layer.bias.fill_(value) for layer in weighted(network)[layers]] and None


def kaiming(network: nn.Module) -> None:
    """He's initialisation."""
    for layer in weighted(network):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def freeze(layers: slice) -> Callable[[nn.Module], None]:
    """Freeze some convolutions and linear layers."""
    return lambda network: [layer.requires_grad_(False) for layer in weighted(network)[layers]] and None


def weighted(network: nn.Module) -> list[nn.Module]:
    """The convolutions and linear layers."""
    return [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
