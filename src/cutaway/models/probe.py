"""Trying a network out without leaving a trace: what it returns, which layer failed, where the logits are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import Operations, operation_name
from cutaway.models.model import Shape
from cutaway.restoring import untouched


@dataclass
class Trial:
    """What one forward pass showed. `logits` is what the network returned, or None where it raised `error`.

    `path` names the modules that were running when it raised, outermost first, and `received` the shape that the
    innermost got. `weighted` are the linear and convolution layers in the order of their calls with the sizes of
    their outputs' channels, `operation` the last operation on the output.
    """

    logits: Any = None
    error: Exception | None = None
    path: list[str] = field(default_factory=list)
    received: tuple[int, ...] = ()
    weighted: list[tuple[str, int]] = field(default_factory=list)
    operation: str = ""


def attempt(network: nn.Module, images: Tensor) -> Trial:
    """Run `images` (N, C, H, W) through `network` in evaluation mode, and leave it as it was."""
    trial = Trial()
    last = _LastOperation()
    with untouched(network), torch.no_grad(), _observed(network, trial):
        network.eval()
        try:
            with last:
                trial.logits = network(images)
        except Exception as error:  # a foreign network may raise anything; the caller says what it means
            trial.error = error
    trial.operation = last.of(trial.logits)
    return trial


def noise(shape: Shape, count: int) -> Tensor:
    """Standard normal images (count, C, H, W), always the same."""
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(0))


def final_activation(trial: Trial) -> str | None:
    """`relu`, `softmax`, `log_softmax` or `sigmoid` where the network ends in one, else None.

    Looks at the last operation, then at the values: non-negative with exact zeros is a ReLU, non-negative with
    sums of 1 a softmax, exponentials with sums of 1 a log-softmax.
    """
    for name in ("log_softmax", "softmax", "sigmoid", "relu"):
        if trial.operation.strip("_") == name:
            return name
    values = trial.logits.double()
    if values.shape[1] < 2:
        return None
    ones = torch.ones(len(values), dtype=torch.float64)
    if bool((values >= 0).all()):
        if torch.allclose(values.sum(1), ones, atol=1e-4):
            return "softmax"
        return "relu" if bool((values == 0).any()) and bool((values > 0).any()) else None
    return "log_softmax" if torch.allclose(values.exp().sum(1), ones, atol=1e-4) else None


@contextmanager
def _observed(network: nn.Module, trial: Trial) -> Iterator[None]:
    with ExitStack() as stack:
        for name, module in network.named_modules():
            stack.callback(module.register_forward_pre_hook(_entering(trial, name)).remove)
            stack.callback(module.register_forward_hook(_leaving(trial, name)).remove)
        yield


def _entering(trial: Trial, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        trial.path.append(name)
        trial.received = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ()

    return hook


def _leaving(trial: Trial, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        trial.path.pop()
        if isinstance(module, nn.Linear | nn.Conv2d) and isinstance(output, Tensor):
            trial.weighted.append((name, module.out_features if isinstance(module, nn.Linear) else module.out_channels))

    return hook


class _LastOperation(Operations):
    """Remembers which operation made the newest tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._made: tuple[str, Any] = ("", None)

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it and remember."""
        result = func(*args, **kwargs)
        self._made = (operation_name(func), result)
        return result

    def of(self, tensor: Any) -> str:
        """The operation that made `tensor`, where it is the newest."""
        return self._made[0] if tensor is not None and self._made[1] is tensor else ""
