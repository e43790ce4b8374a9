"""VGG (Simonyan and Zisserman, 2015) with torchvision's layer names and a head that follows the input's size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

_STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_WIDTHS = (64, 128, 256, 512, 512)
_ROUND_UP_FROM, _ROUND_UP_BELOW = 16, 32


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each ended by a 2x2 pooling, then three fully connected layers.

    Between 16 and 31 pixels the poolings round up, since five that round down would leave nothing;
    from 32 pixels on they round down, as in the paper and in torchvision.
    """

    def __init__(
        self, depth: int, shape: tuple[int, int, int], classes: int, batch_norm: bool, dropout: float | None
    ) -> None:
        super().__init__()
        channels, height, width = shape
        round_up = _ROUND_UP_FROM <= min(height, width) < _ROUND_UP_BELOW
        last = tuple(_after_poolings(side, round_up) for side in (height, width))
        hidden = hidden_width(*last)
        self.features = _features(depth, channels, batch_norm, round_up)
        self.classifier = _head(
            _WIDTHS[-1] * last[0] * last[1], hidden, classes, default_dropout(hidden) if dropout is None else dropout
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        logits: Tensor = self.classifier(torch.flatten(self.features(images), 1))
        return logits


def hidden_width(height: int, width: int) -> int:
    """Width of the two hidden layers over a last map of `height` x `width` pixels.

    One pixel (inputs to 63): 100. From 7x7 on (inputs from 224): 4096, as in the paper. Between: 512.

    >>> [hidden_width(side, side) for side in (1, 3, 7)]
    [100, 512, 4096]
    """
    pixels = height * width
    if pixels <= 1:
        return 100
    return 4096 if pixels >= 49 else 512


def default_dropout(hidden: int) -> float:
    """The paper's 0.5 for its wide head; none for the narrow ones, which would lose more than they gain."""
    return 0.5 if hidden == 4096 else 0.0


def _after_poolings(side: int, round_up: bool) -> int:
    for _ in _WIDTHS:
        side = (side + round_up) // 2
    return side


def _features(depth: int, channels: int, batch_norm: bool, round_up: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for count, width in zip(_STAGES[depth], _WIDTHS, strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, kernel_size=3, padding=1))
            layers.extend([nn.BatchNorm2d(width)] if batch_norm else [])
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(kernel_size=2, stride=2, ceil_mode=round_up))
    return nn.Sequential(*layers)


def _head(flat: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((flat, hidden, hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, classes))
