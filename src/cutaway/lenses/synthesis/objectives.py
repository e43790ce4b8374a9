"""Objectives: what an imagined image is asked to do, one number per image."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import InputError, unknown
from cutaway.lenses.targets import Target, TargetLike, parse_target

_CENTRE = re.compile(r"(?P<unit>.+:\d+)@cent(?:re|er)")


@dataclass(frozen=True)
class Objective:
    """What one image is made to do.

    Attributes:
        name: for people; it also chooses the noise that the image starts from.
        layer: the layer whose output is read; "" for the network's own output, the logits.
        score: float (n,) of that output (n, ...), in the graph; higher is better.
    """

    name: str
    layer: str
    score: Callable[[Tensor], Tensor]


ObjectiveLike = Objective | Target | TargetLike


def objective(spec: ObjectiveLike, classes: Sequence[str] = (), network: nn.Module | None = None) -> Objective:
    """The objective that a person means.

    Args:
        spec: what `parse_target` understands (a class, `"cat - dog"`, a channel `"layer3:17"`, a neuron
            `"layer3:17@4,5"`); besides `"layer3:17@centre"` for the neuron in the middle of the map, and the name of
            a layer alone for all of it (DeepDream); or a `Target`, of which the first image's is taken.
        classes: the names of the classes; empty if nobody knows them.
        network: whose layers may be named alone.

    Raises:
        InputError: a class or layer that does not exist.

    >>> objective("layer3:17").layer, objective(1, ["cat", "dog"]).name
    ('layer3', 'dog')
    """
    if isinstance(spec, Objective):
        return spec
    if isinstance(spec, Target):
        return of_target(spec)
    if not isinstance(spec, str) or spec in classes or spec.isdigit():
        return of_target(parse_target(spec, classes))
    centre = _CENTRE.fullmatch(spec)
    if centre:
        return _middle(parse_target(centre["unit"]), spec)
    layers = [name for name, _ in network.named_modules() if name] if network is not None else []
    if spec in layers:
        return whole_layer(spec)
    if ":" not in spec and " - " not in spec:
        raise unknown("target", spec, [*classes, *layers], "among the classes and layers of this model")
    return of_target(parse_target(spec, classes))


def of_target(target: Target, image: int = 0) -> Objective:
    """The score of a target: a class, a difference of two classes, a channel's mean or one neuron."""
    one = target.of([image])
    return Objective(target.name(image), target.layer, lambda value: one.scores({one.layer: value}))


def _middle(target: Target, name: str) -> Objective:
    """One neuron in the middle of a map; of an even number of places the one below and right of the middle."""
    (channel,) = target.plus

    def score(value: Tensor) -> Tensor:
        place = (value.shape[2] // 2, value.shape[3] // 2) if value.ndim == 4 else None
        return Target(target.layer, (channel,), place=place).scores({target.layer: value})

    return Objective(name, target.layer, score)


def direction(layer: str, vector: Tensor, name: str = "") -> Objective:
    """The mean over a layer's places of its output along a direction: `mean(a) . v / |v|`.

    Args:
        layer: its output has C channels: (n, C), (n, C, H, W) or tokens (n, T, C).
        vector: float (C,); its length does not matter.
        name: for people; by default the layer's name and `:direction`.
    """
    if vector.ndim != 1 or not vector.is_floating_point() or not vector.any():
        raise InputError(f"a direction is a float vector (C,) that is not zero; found {tuple(vector.shape)}")
    unit = vector.detach() / vector.detach().norm()

    def score(value: Tensor) -> Tensor:
        mean = value.mean((2, 3)) if value.ndim == 4 else value.mean(1) if value.ndim == 3 else value
        if mean.shape[1] != len(unit):
            raise InputError(f"a direction of {len(unit)} numbers does not fit '{layer}' with {mean.shape[1]} channels")
        return torch.mv(mean, unit.to(device=mean.device, dtype=mean.dtype).clone())

    return Objective(name or f"{layer}:direction", layer, score)


def whole_layer(layer: str) -> Objective:
    """Everything a layer says, louder: the mean square of its output (DeepDream; Mordvintsev et al., 2015)."""
    return Objective(layer, layer, lambda value: value.flatten(1).square().mean(1))


def match(layer: str, features: Tensor, name: str = "") -> Objective:
    """Minus the squared relative error to `features` (1, ...): `-|a - features|^2 / |features|^2` (1 if that is 0)."""
    scale = float(features.detach().square().sum()) or 1.0

    def score(value: Tensor) -> Tensor:
        return -(value - features).flatten(1).square().sum(1) / scale

    return Objective(name or f"inversion of {layer or 'the logits'}", layer, score)


def scores(objectives: Sequence[Objective], outputs: Mapping[str, Tensor]) -> Tensor:
    """Float (N,), in the graph: the score of image i by objective i; it depends on no other image.

    Args:
        objectives: N of them.
        outputs: by layer, each of N images.
    """
    # Split once: the gradient of a slice would be a whole layer of zeros for every image.
    pieces = {layer: torch.split(outputs[layer], 1) for layer in {one.layer for one in objectives}}
    found = [one.score(pieces[one.layer][image]) for image, one in enumerate(objectives)]
    return torch.cat([_full(value) for value in found])


def _full(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
