"""Small repairs of a network's structure, by name, so that a run folder can say which were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from cutaway.computing.torch_inside import Dropout, Norm
from cutaway.errors import InputError, unknown
from cutaway.models.model import Shape
from cutaway.restoring import untouched

_ACTIVATIONS = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Sigmoid,
    nn.Tanh,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Softmax,
    nn.LogSoftmax,
)
_PASSING = (nn.Identity, nn.Flatten, Dropout)


def apply_changes(network: nn.Module, names: Iterable[str], shape: Shape) -> None:
    """Make the changes of `CHANGES` that are named, in place; one that does not fit the network is an `InputError`.

    `batch-norm` puts a batch norm behind every convolution (Ioffe and Szegedy, 2015); `no-last-activation` takes away
    the activation that makes the outputs.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2), nn.ReLU())
    >>> apply_changes(network, ["batch-norm", "no-last-activation"], (3, 4, 4))
    >>> [type(layer).__name__ for layer in network]
    ['Sequential', 'ReLU', 'Flatten', 'Linear', 'Identity']
    """
    for name in names:
        if name not in CHANGES:
            raise unknown("change", name, CHANGES)
        CHANGES[name](network, shape)


def _add_batch_norm(network: nn.Module, shape: Shape) -> None:
    if any(isinstance(module, Norm) for module in network.modules()):
        raise InputError("change 'batch-norm': the network has batch norms already; leave the change out")
    convolutions = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Conv2d)
    ]
    if not convolutions:
        raise InputError("change 'batch-norm': the network has no convolution to put one behind; leave the change out")
    for parent, name, child in convolutions:
        norm = nn.BatchNorm2d(child.out_channels).to(child.weight.device)
        setattr(parent, name, nn.Sequential(child, norm))


def _remove_last_activation(network: nn.Module, shape: Shape) -> None:
    name, calls = _last_called(network, shape)
    module = network.get_submodule(name) if name else network
    if not isinstance(module, _ACTIVATIONS) or not name:
        raise InputError(
            f"change 'no-last-activation': the outputs come from '{name}' ({type(module).__name__}), which is no "
            "activation module; an activation that is a function must be taken out of the code"
        )
    if calls > 1:
        raise InputError(
            f"change 'no-last-activation': '{name}' serves {calls} places; give the last one its own module"
        )
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())


def _last_called(network: nn.Module, shape: Shape) -> tuple[str, int]:
    """The name of the last layer that computes, and how often it is called in one pass."""
    calls: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if not isinstance(module, _PASSING):
                calls.append(name)

        return hook

    device = next((value.device for value in network.parameters()), torch.device("cpu"))
    with untouched(network), torch.no_grad(), ExitStack() as stack:
        network.eval()
        for name, module in network.named_modules():
            if not list(module.children()):
                stack.enter_context(module.register_forward_hook(noting(name)))
        network(torch.zeros(1, *shape, device=device))
    return (calls[-1], Counter(calls)[calls[-1]]) if calls else ("", 0)


CHANGES: dict[str, Callable[[nn.Module, Shape], None]] = {
    "batch-norm": _add_batch_norm,
    "no-last-activation": _remove_last_activation,
}
