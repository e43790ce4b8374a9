"""The built-in networks by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from cutaway.errors import InputError, unknown
from cutaway.models.alexnet import AlexNet
from cutaway.models.model import Shape
from cutaway.models.resnet import STEMS, ResNet, Stem, default_stem
from cutaway.models.vgg import VGG

_VGGS: dict[str, Callable[..., nn.Module]] = {
    f"vgg{depth}{'_bn' if norm else ''}": partial(VGG, depth, batch_norm=norm)
    for depth in (11, 13, 16, 19)
    for norm in (False, True)
}
_RESNETS: dict[str, Callable[..., nn.Module]] = {f"resnet{depth}": partial(ResNet, depth) for depth in (18, 34, 50)}
_FACTORIES: dict[str, Callable[..., nn.Module]] = {"alexnet": AlexNet, **_RESNETS, **_VGGS}


def model_names() -> list[str]:
    """The names of the built-in networks.

    >>> model_names()[:4]
    ['alexnet', 'resnet18', 'resnet34', 'resnet50']
    """
    return list(_FACTORIES)


def build(name: str, *, classes: int, shape: Shape, stem: str | None = None, dropout: float | None = None) -> nn.Module:
    """A built-in network with random weights for images of `shape` (C, H, W); it returns raw logits (N, classes).

    `stem` (ResNets only) is `small`, `half` or `imagenet`, by default `small` under 64 pixels, else `imagenet`.
    `dropout` in 0..1 replaces the network's own. Weights are torch's defaults, drawn from the global generator.
    """
    if name not in _FACTORIES:
        raise unknown("model", name, model_names())
    arguments: dict[str, Any] = {"shape": shape, "classes": classes, "dropout": dropout}
    if name in _RESNETS:
        arguments["stem"] = _checked_stem(stem) if stem is not None else default_stem(shape)
    elif stem is not None:
        raise InputError(f"model '{name}' has no stem to choose; leave out stem, or take a resnet")
    return _FACTORIES[name](**arguments)


def settled_options(name: str, *, shape: Shape, stem: str | None, dropout: float | None) -> dict[str, Any]:
    """What `build` needs beside shape and classes to make the same network again: JSON-able, defaults filled in."""
    stem = stem or (default_stem(shape) if name in _RESNETS else None)
    return {key: value for key, value in (("stem", stem), ("dropout", dropout)) if value is not None}


def heads(name: str) -> tuple[str, ...]:
    """Dotted names: the class layer, then the container that depends on the input's size, if there is one."""
    return ("fc",) if name in _RESNETS else ("classifier.6", "classifier")


def _checked_stem(stem: str) -> Stem:
    if stem not in STEMS:
        raise unknown("stem", stem, STEMS)
    return stem
