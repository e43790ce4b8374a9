"""ResNet (He et al., 2016) for large and small images, with torchvision's layer names."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Stem = Literal["small", "half", "imagenet"]
STEMS: tuple[Stem, ...] = ("small", "half", "imagenet")
_SMALL_BELOW = 64
_WIDTHS = (64, 128, 256, 512)


def default_stem(shape: tuple[int, int, int]) -> Stem:
    """`small` for images under 64 pixels, which the two halvings of the `imagenet` stem would blur, else `imagenet`.

    >>> default_stem((1, 28, 28)), default_stem((3, 224, 224))
    ('small', 'imagenet')
    """
    return "small" if min(shape[1:]) < _SMALL_BELOW else "imagenet"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (ResNet-18 and 34)."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, width, H/stride, W/stride) of maps (N, inputs, H, W)."""
        identity = maps if self.downsample is None else self.downsample(maps)
        out = self.relu(self.bn1(self.conv1(maps)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu(out + identity)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip (ResNet-50); the stride is in the 3x3, as torchvision has it."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, 4 width, H/stride, W/stride) of maps (N, inputs, H, W)."""
        identity = maps if self.downsample is None else self.downsample(maps)
        out = self.relu(self.bn1(self.conv1(maps)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(out + identity)
        return result


_PLANS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, global average pooling and one linear layer.

    `stem` is `imagenet` (7x7 convolution of stride 2, then 3x3 pooling of stride 2: a quarter of the size),
    `half` (3x3 convolution of stride 2: half the size, for speed on small images) or `small` (3x3, full size).
    """

    def __init__(
        self, depth: int, shape: tuple[int, int, int], classes: int, stem: Stem, dropout: float | None
    ) -> None:
        super().__init__()
        block, counts = _PLANS[depth]
        self.conv1 = _stem_convolution(shape[0], stem)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        inputs = [_WIDTHS[0], *(width * block.expansion for width in _WIDTHS)]
        self.layer1 = _stage(block, inputs[0], _WIDTHS[0], counts[0], stride=1)
        self.layer2 = _stage(block, inputs[1], _WIDTHS[1], counts[1], stride=2)
        self.layer3 = _stage(block, inputs[2], _WIDTHS[2], counts[2], stride=2)
        self.layer4 = _stage(block, inputs[3], _WIDTHS[3], counts[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.fc = nn.Linear(inputs[4], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, H, W)."""
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        logits: Tensor = self.fc(self.dropout(torch.flatten(self.avgpool(maps), 1)))
        return logits


def _stem_convolution(channels: int, stem: Stem) -> nn.Conv2d:
    if stem == "imagenet":
        return nn.Conv2d(channels, _WIDTHS[0], 7, stride=2, padding=3, bias=False)
    return nn.Conv2d(channels, _WIDTHS[0], 3, stride=2 if stem == "half" else 1, padding=1, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, count: int, stride: int
) -> nn.Sequential:
    rest = (block(width * block.expansion, width, 1) for _ in range(count - 1))
    return nn.Sequential(block(inputs, width, stride), *rest)
