"""Adapting a foreign network to the images and classes at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cutaway.errors import InputError
from cutaway.models.model import Shape, text
from cutaway.models.probe import Trial, noise

_LARGEST = 512


def materialise(network: nn.Module, shape: Shape) -> None:
    """Give lazy layers their sizes by one forward pass in evaluation mode."""
    if not any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        return
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.no_grad():
        network(noise(shape, 2))
    for module, training in modes:
        module.training = training


def first_convolution(network: nn.Module) -> str | None:
    """The dotted name of the first convolution, or None."""
    return next((name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None)


def adapt_channels(network: nn.Module, channels: int, pretrained: bool) -> str | None:
    """Make the first convolution take `channels`, in place; returns a sentence if it did not before.

    Pretrained RGB kernels are summed over the colours for one channel: a grey image gives what the same image as
    RGB gave. Without weights the convolution is drawn anew.
    """
    name = first_convolution(network)
    layer = network.get_submodule(name) if name else None
    if not isinstance(layer, nn.Conv2d) or layer.in_channels == channels or layer.groups != 1:
        return None
    before = layer.in_channels
    if pretrained and (before, channels) != (3, 1):
        raise InputError(f"weights for {before} channels cannot be used with {channels}; only RGB weights for grey can")
    old, layer.in_channels = layer.weight, channels
    if pretrained:
        layer.weight = nn.Parameter(old.detach().sum(1, keepdim=True))
    else:
        layer.weight = nn.Parameter(old.new_empty(len(old), channels, *old.shape[2:]))
        layer.reset_parameters()
    return f"{name} takes {_plural(channels)} instead of {before}" + (", its RGB kernels summed" if pretrained else "")


def _plural(channels: int) -> str:
    return f"{channels} channel{'s' if channels > 1 else ''}"


def find_head(trial: Trial) -> str | None:
    """The dotted name of the layer that makes the logits: the last linear or convolution layer of as many outputs."""
    width = trial.logits.shape[1]
    return next((name for name, size in reversed(trial.weighted) if size == width), None)


def replace_head(network: nn.Module, name: str, classes: int) -> None:
    """Give the class layer `name` (linear or convolution) `classes` outputs, in place and drawn anew."""
    layer = network.get_submodule(name)
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        kind = type(layer).__name__
        raise InputError(f"the class layer {name} is a {kind}; only linear layers and convolutions can be resized")
    layer.weight = nn.Parameter(layer.weight.new_empty(classes, *layer.weight.shape[1:]))
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.new_empty(classes))
    if isinstance(layer, nn.Linear):
        layer.out_features = classes
    else:
        layer.out_channels = classes
    layer.reset_parameters()


def set_dropout(network: nn.Module, spec: str, dropout: float) -> None:
    """Set the probability of every dropout layer that is in use."""
    layers = [module for module in network.modules() if isinstance(module, nn.Dropout | nn.Dropout2d) and module.p > 0]
    if not layers:
        raise InputError(f"{spec} has no dropout to set; leave out dropout")
    for layer in layers:
        layer.p = dropout


def check_output(trial: Trial, spec: str, images: int) -> None:
    """An `InputError` unless the network returned logits (N, classes)."""
    logits: Any = trial.logits
    if not isinstance(logits, Tensor):
        raise InputError(
            f"{spec} returns a {type(logits).__name__}; a classifier returns one tensor of logits (N, classes)"
        )
    if logits.ndim != 2 or len(logits) != images:
        raise InputError(
            f"{spec} returns a tensor of {text(tuple(logits.shape))} for {images} images; expected {images} x classes"
        )


def explain_failure(trial: Trial, spec: str, shape: Shape, smallest: int | None) -> InputError:
    """Why the network did not run on images of `shape`: too small (then the smallest side that works), or an error."""
    where = f" in layer {trial.path[-1]}" if trial.path and trial.path[-1] else ""
    received = f", which got {text(trial.received[1:])}" if where and trial.received else ""
    if smallest is not None:
        return InputError(
            f"images of {text(shape)} are too small for {spec}: they run out{where}{received}; "
            f"the smallest that work are {smallest}x{smallest}"
        )
    reason = " ".join(str(trial.error).split()) or type(trial.error).__name__
    return InputError(f"{spec} does not run on images of {text(shape)}: it fails{where}{received} ({reason})")


def smallest_side(runs: Callable[[int], bool], shape: Shape) -> int | None:
    """The smallest side above the shorter one of `shape` for which `runs(side)`; None where up to 512 none does."""
    low, high = min(shape[1:]), min(shape[1:]) * 2
    while not runs(high):
        low, high = high, high * 2
        if low >= _LARGEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if runs(middle) else (middle, high)
    return high
