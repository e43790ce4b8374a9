"""From a recipe to an optimizer whose whole state has names, so that it can be saved without pickle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.training.recipe import Recipe

# Coefficients of the quintic Newton-Schulz iteration (Jordan et al., 2024, "Muon").
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Momentum whose update of every matrix is orthogonalised (Jordan et al., 2024); the rest gets Nesterov momentum.

    A convolution's weight `(out, in, kh, kw)` is taken as the matrix `(out, in * kh * kw)`; torch's own Muon takes
    matrices only. Tensors of fewer than two dimensions are updated with the same rate and plain Nesterov momentum.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is used
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        update = gradient.add(buffer, alpha=group["momentum"])
        if parameter.ndim >= 2:
            update = orthogonalise(update.flatten(1)).view_as(update)
        parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Push all singular values of `matrix` (rows, columns) towards 1, scaled by sqrt(max(1, rows / columns))."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).to(torch.bfloat16)
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = (x.T if tall else x).to(matrix.dtype)
    return result * math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over the network's trainable tensors, fused where torch offers it."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate = recipe.learning_rate
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)
        case "adam":
            return torch.optim.Adam(groups, rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, rate, fused=True)
        case "adagrad":
            on_cpu = all(parameter.device.type == "cpu" for parameter in trainable)
            return torch.optim.Adagrad(groups, rate, fused=True if on_cpu else None)
        case "rmsprop":
            return torch.optim.RMSprop(groups, rate, momentum=recipe.momentum, foreach=True)
        case "nadam":
            return torch.optim.NAdam(groups, rate, foreach=True)
        case _:
            return Muon(groups, rate, momentum=recipe.momentum)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state as `{parameter name}|{key}` -> tensor; numbers become float64 tensors."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        f"{names[id(parameter)]}|{key}": value
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=torch.float64)
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module, saved: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, on the device and in the layout of each parameter."""
    parameters = dict(network.named_parameters())
    for name, value in saved.items():
        parameter_name, key = name.rsplit("|", 1)
        parameter = parameters[parameter_name]
        if value.shape == parameter.shape:
            restored = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        elif value.dtype == torch.float64 and value.ndim == 0:
            optimizer.state[parameter][key] = value.item()
            continue
        else:
            restored = value.clone()
        optimizer.state[parameter][key] = restored
