"""Vitals: what a doctor would want to know of every layer, once an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.lenses.activations import ActivationStatistics


def weighted_layers(network: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Every module with a trainable weight of its own: name, module, weight."""
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.requires_grad:
            yield name, module, weight


class StepVitals:
    """Gradient and weight norms before one optimizer step, and how far the step moved each weight."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.before = {name: weight.detach().clone() for name, _, weight in weighted_layers(network)}
        self.gradients = {
            name: norm(weight.grad) if weight.grad is not None else 0.0 for name, _, weight in weighted_layers(network)
        }

    def lines(self, epoch: int, activations: dict[str, ActivationStatistics]) -> list[dict[str, Any]]:
        """One record per layer, after the step; `activations` are joined by the layer they come from."""
        by_source: dict[str, ActivationStatistics] = {}
        for statistic in activations.values():
            by_source.setdefault(statistic.source, statistic)
        return [
            self._line(epoch, name, module, weight, by_source.get(name))
            for name, module, weight in weighted_layers(self.network)
        ]

    def _line(
        self, epoch: int, name: str, module: nn.Module, weight: Tensor, activity: ActivationStatistics | None
    ) -> dict[str, Any]:
        size, moved = norm(self.before[name]), norm(weight.detach() - self.before[name])
        gradient = self.gradients[name]
        return {
            "epoch": epoch,
            "layer": name,
            "kind": type(module).__name__,
            "gradient_norm": finite(gradient),
            "weight_norm": finite(size),
            "update_ratio": finite(moved / size) if size > 0 else None,
            "zero_fraction": activity.zero_fraction if activity else None,
            "dead_fraction": activity.dead_fraction if activity else None,
            "dead_channels": list(activity.dead_channels) if activity else None,
            "finite": math.isfinite(gradient) and math.isfinite(size) and math.isfinite(moved),
        }

    def movement(self, name: str, weight: Tensor) -> dict[str, Any]:
        """The part of a check-up that says how one weight is and how the step moved it."""
        before, gradient = self.before[name], self.gradients[name]
        size, moved = norm(before), norm(weight.detach() - before)
        return {
            "trains": True,
            "gradient_norm": finite(gradient),
            "weight_norm": finite(size),
            "weight_std": finite(float(before.float().std(correction=0))),
            "update_ratio": finite(moved / size) if size > 0 else None,
            "finite": math.isfinite(gradient) and math.isfinite(size) and math.isfinite(moved),
        }


def norm(tensor: Tensor) -> float:
    """The Euclidean norm, in float32."""
    return float(torch.linalg.vector_norm(tensor.float()))


def finite(value: float) -> float | None:
    """Six digits of a number, None for what JSON has no number for."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
