"""AlexNet (Krizhevsky, 2014, one tower) as torchvision has it, and a light version for images under 64 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LIGHT_BELOW = 64


def is_light(shape: tuple[int, int, int]) -> bool:
    """Whether an input of this shape gets the light version: its shorter side is under 64 pixels.

    >>> is_light((1, 28, 28)), is_light((3, 64, 64))
    (True, False)
    """
    return min(shape[1:]) < _LIGHT_BELOW


class AlexNet(nn.Module):
    """Five convolutions (`features.0, 3, 6, 8, 10`) and three fully connected layers (`classifier.1, 4, 6`).

    From 64 pixels on: torchvision's layers; the last map is averaged to 6x6, so the head is always 9216-4096-4096.
    Under 64: a first convolution of 5x5 and stride 1, 2x2 poolings, and a head of 512 over the last map as it is
    (2304 numbers at 28 pixels, 4096 at 32).
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, dropout: float | None) -> None:
        super().__init__()
        light = is_light(shape)
        height, width = (side // 8 for side in shape[1:])
        flat, hidden = (256 * height * width, 512) if light else (256 * 6 * 6, 4096)
        self.features = _features(shape[0], light)
        self.avgpool = nn.Identity() if light else nn.AdaptiveAvgPool2d(6)
        self.classifier = _head(flat, hidden, classes, 0.5 if dropout is None else dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = self.avgpool(self.features(images))
        logits: Tensor = self.classifier(torch.flatten(maps, 1))
        return logits


def _features(channels: int, light: bool) -> nn.Sequential:
    first = nn.Conv2d(channels, 64, 5, padding=2) if light else nn.Conv2d(channels, 64, 11, stride=4, padding=2)
    second = nn.Conv2d(64, 192, 3 if light else 5, padding=1 if light else 2)
    pool = 2 if light else 3
    return nn.Sequential(
        *(first, nn.ReLU(inplace=True), nn.MaxPool2d(pool, 2)),
        *(second, nn.ReLU(inplace=True), nn.MaxPool2d(pool, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(inplace=True)),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(pool, 2)),
    )


def _head(flat: int, hidden: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Dropout(dropout), nn.Linear(flat, hidden), nn.ReLU(inplace=True)),
        *(nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(inplace=True)),
        nn.Linear(hidden, classes),
    )
