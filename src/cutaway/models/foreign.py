"""Foreign networks: torchvision's, timm's and the user's own, tried out and adapted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from cutaway.errors import InputError
from cutaway.models import zoo
from cutaway.models.adapt import (
    adapt_channels,
    check_output,
    explain_failure,
    find_head,
    materialise,
    replace_head,
    set_dropout,
    smallest_side,
)
from cutaway.models.factories import call_factory
from cutaway.models.model import Preprocessing, Shape, text
from cutaway.models.probe import Trial, attempt, final_activation, noise
from cutaway.models.trust import Code, is_own_code

_DEFAULT_SHAPE = (3, 224, 224)
_IMAGES = 8


@dataclass(frozen=True)
class Made:
    """A network that takes images of `shape` and returns `count` logits, made by its layer `head`.

    `classes` and `preprocessing` are those of the library's own weights, or what the user's network says of itself in
    its attributes `classes` and `preprocessing` (() and None if it says nothing). `code` is what was run for it.
    """

    network: nn.Module
    shape: Shape
    head: str
    count: int
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    code: Code


def make(
    spec: str,
    *,
    shape: Shape | None,
    classes: int | None,
    pretrained: bool,
    dropout: float | None,
    code: Code | None = None,
) -> Made:
    """The network of a foreign `spec`, with its own head still, and what a few noise images showed about it.

    With `code`, none of the user's own files is run but those.
    """
    found, ran = _found(spec, shape=shape, classes=classes, pretrained=pretrained, dropout=dropout, code=code)
    network = found.network
    _materialise(network, spec, found.shape)
    if dropout is not None and not spec.startswith("timm:"):
        set_dropout(network, spec, dropout)
    note = adapt_channels(network, found.shape[0], pretrained)
    trial = _tried(network, spec, found.shape)
    head = find_head(trial)
    count = int(trial.logits.shape[1])
    warning = last_layer_warning(spec, final_activation(trial), classes or count)
    preprocessing = _stated(network) if is_own_code(spec) else None
    if not is_own_code(spec) or preprocessing is not None:
        preprocessing = zoo.standardisation(found.shape, found.mean, found.std)
    notes = (note,) if note else ()
    return Made(network, found.shape, head or "", count, found.classes, preprocessing, warning, notes, ran)


def fit_head(made: Made, count: int) -> tuple[str, ...]:
    """Give the network `count` logits; returns a sentence if it had another count."""
    if made.count == count:
        return ()
    if not made.head:
        raise InputError(
            f"the network returns {made.count} logits for {count} classes, and no linear layer to replace was found"
        )
    replace_head(made.network, made.head, count)
    return (f"the class layer {made.head} gives {count} logits instead of {made.count}",)


def last_layer_warning(spec: str, activation: str | None, classes: int) -> tuple[str, ...]:
    """What an activation after the class layer does to a cross-entropy loss, in one sentence."""
    stuck, floor = math.log(classes), math.log(1 + (classes - 1) / math.e)
    effects = {
        "relu": (
            "a ReLU, which sets negative logits and their gradients to zero: the loss can stick at "
            f"ln {classes} = {stuck:.4f}, where all logits are zero"
        ),
        "softmax": (
            "a softmax, and cross-entropy applies its own: gradients are flattened and the loss cannot fall below "
            f"ln(1 + {classes - 1}/e) = {floor:.4f}"
        ),
        "sigmoid": (
            "a sigmoid, which keeps logits between 0 and 1: gradients are flattened and the loss cannot fall below "
            f"ln(1 + {classes - 1}/e) = {floor:.4f}"
        ),
        "log_softmax": "a log-softmax: the loss is the same, but what is shown as logits are log-probabilities",
    }
    if activation is None:
        return ()
    way_out = "; let it return the class layer's output as it is" if is_own_code(spec) else ""
    return (f"{spec} ends in {effects[activation]}{way_out}",)


def _found(
    spec: str,
    *,
    shape: Shape | None,
    classes: int | None,
    pretrained: bool,
    dropout: float | None,
    code: Code | None,
) -> tuple[zoo.Found, Code]:
    library, _, name = spec.partition(":")
    if library == "torchvision":
        return zoo.from_torchvision(name, shape=shape, pretrained=pretrained), {}
    if library == "timm":
        return zoo.from_timm(name, classes=classes, shape=shape, pretrained=pretrained, dropout=dropout), {}
    if pretrained:
        raise InputError(
            f"{spec} is your own code and has no default weights; give a file, or load them in the factory"
        )
    return _own(spec, shape, classes, code)


def _own(spec: str, shape: Shape | None, classes: int | None, code: Code | None) -> tuple[zoo.Found, Code]:
    """The user's network, with what it says of its input and classes, if it does."""
    network, ran = call_factory(spec, classes=classes, channels=shape[0] if shape else None, code=code)
    stated, names = _stated(network), getattr(network, "classes", ())
    known = tuple(map(str, names)) if isinstance(names, (list, tuple)) else ()
    if stated is None:
        return zoo.Found(network, shape or _DEFAULT_SHAPE, classes=known), ran
    return zoo.Found(network, shape or stated.shape, stated.mean, stated.std, known), ran


def _stated(network: nn.Module) -> Preprocessing | None:
    found = getattr(network, "preprocessing", None)
    return found if isinstance(found, Preprocessing) else None


def _materialise(network: nn.Module, spec: str, shape: Shape) -> None:
    try:
        materialise(network, shape)
    except Exception as error:  # lazy layers in a user's network, whose forward may raise anything
        raise InputError(f"{spec} does not run on images of {text(shape)}: {' '.join(str(error).split())}") from error


def _tried(network: nn.Module, spec: str, shape: Shape) -> Trial:
    trial = attempt(network, noise(shape, _IMAGES))
    if trial.error is not None:
        smallest = smallest_side(lambda side: attempt(network, noise((shape[0], side, side), 1)).error is None, shape)
        raise explain_failure(trial, spec, shape, smallest)
    check_output(trial, spec, _IMAGES)
    return trial
