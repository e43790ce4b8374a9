"""How strong and how sparse the gradients of a network's weights are, as numbers to put beside their pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.lenses.capture import find_module
from cutaway.lenses.weights import gradients
from cutaway.showing import Shown

NEAR_ZERO = 1e-3  # of the layer's largest: below it, a picture shows paper


@dataclass(frozen=True)
class GradientStatistics(Shown):
    """The gradient of the loss with respect to one layer's weight.

    Attributes:
        layer: its name.
        norm: Euclidean length of the gradient.
        relative: `norm` over the Euclidean length of the weight; NaN for a weight of zeros.
        sparsity: Hoyer's (2004), 0 if all entries are equally large .. 1 if only one is not zero.
        near_zero: share of the entries below a thousandth of the largest.
        size: number of entries.
    """

    layer: str
    norm: float
    relative: float
    sparsity: float
    near_zero: float
    size: int


def gradient_statistics(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], layers: Sequence[str] | None = None
) -> dict[str, GradientStatistics]:
    """Length and sparsity of the gradient of the mean cross-entropy over all batches, for each layer with a weight.

    Args:
        network: any module that returns logits (N, classes).
        batches: images, float (n, C, H, W) as the network expects them, with their true classes, int64 (n,).
        layers: names of layers with a weight; None for all that the forward pass uses.
    """
    total: dict[str, Tensor] = {}
    count = 0
    for images, labels in batches:
        count += len(images)
        for layer, value in gradients(network, images, labels, layers, reduction="sum").items():
            value = value.cpu().double()
            total[layer] = total[layer] + value if layer in total else value
    return {layer: _statistics(network, layer, value / count) for layer, value in total.items()}


def _statistics(network: nn.Module, layer: str, gradient: Tensor) -> GradientStatistics:
    weight = find_module(network, layer).get_parameter("weight").detach().cpu().double()
    norm, length = float(gradient.norm()), float(weight.norm())
    size = gradient.abs()
    near = float((size < NEAR_ZERO * size.max()).double().mean()) if norm > 0 else 1.0
    return GradientStatistics(
        layer, norm, norm / length if length > 0 else math.nan, hoyer_sparsity(gradient), near, gradient.numel()
    )


def hoyer_sparsity(values: Tensor) -> float:
    """Hoyer's measure of sparsity (2004), 0 .. 1: `(sqrt(n) - |x|_1 / |x|_2) / (sqrt(n) - 1)`.

    0 where all entries are equally large, 1 where only one is not zero; it does not change with scale. Zeros alone
    count as 1.

    >>> round(hoyer_sparsity(torch.tensor([0.0, 3.0, 0.0, 4.0])), 6)
    0.6
    """
    values = values.double()
    length = float(values.norm())
    if length == 0 or values.numel() == 1:
        return 1.0
    root = math.sqrt(values.numel())
    return min(1.0, max(0.0, (root - float(values.abs().sum()) / length) / (root - 1)))


def spread(statistics: Sequence[GradientStatistics]) -> float:
    """How evenly gradient length is spread over layers, 0 .. 1: the entropy of their shares over that of equal shares.

    >>> rows = [GradientStatistics(str(n), 1.0, 1.0, 0.0, 0.0, 4) for n in range(3)]
    >>> round(spread(rows), 6)
    1.0
    """
    norms = torch.tensor([row.norm for row in statistics], dtype=torch.float64)
    if len(norms) < 2 or norms.sum() == 0:
        return 1.0
    return float(torch.special.entr(norms / norms.sum()).sum() / math.log(len(norms)))
