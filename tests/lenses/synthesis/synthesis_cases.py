"""Networks and spaces that the tests of imagining share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cutaway.lenses.synthesis import Space

SMALL = Space((3, 12, 16), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3))


def network(seed: int = 0, channels: int = 3) -> nn.Sequential:
    """In float64, so that a batch and its images alone take the same way; ReLUs in place; smooth enough to climb."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.Tanh()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)).double()


def by_hand(model: nn.Sequential, images: Tensor, end: int) -> Tensor:
    """What the first `end` layers return, one after the other, in eval mode."""
    model.eval()
    for layer in list(model)[:end]:
        images = layer(images.clone())
    return images
