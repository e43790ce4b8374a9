"""Small networks and maps whose right answers are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cutaway.lenses.targets import Target

DOG = Target("", (1,), names=("dog",))


def small(seed: int = 0, size: int = 8) -> nn.Module:
    """A convolutional network with batch normalisation and an in-place ReLU, three classes."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * (size // 2 - 2) ** 2, 3),
    )
    return network.train()


class Linear(nn.Module):
    """logits_k = sum of weight_k * image + bias_k."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.linspace(-1, 1, len(weight)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, K) of images (N, C, H, W)."""
        return images.flatten(1) @ self.weight.flatten(1).T + self.bias


class OnePixel(nn.Module):
    """Class 1 is certain where the pixel (row 2, column 3) is bright, and impossible where it is not."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 2)."""
        bright = images[:, :, 2, 3].mean(1)
        return torch.stack([torch.zeros_like(bright), 60 * (bright - 0.5)], 1)
