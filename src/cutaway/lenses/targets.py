"""Targets: the one number per image that a lens explains, ascends or measures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cutaway.errors import InputError, unknown
from cutaway.showing import Shown

TargetLike = int | str | tuple[int | str, int | str]
Targets = TargetLike | Sequence[TargetLike] | Tensor
"""One for all images, or a list (no tuple: that is a difference of two classes) or an int64 tensor of one for each."""

_UNIT = re.compile(r"(?P<layer>.+):(?P<channel>\d+)(?:@(?P<row>\d+),(?P<column>\d+))?")


@dataclass(frozen=True)
class Target(Shown):
    """A score per image: of a class, of the difference of two classes, or of a unit inside the network.

    Attributes:
        layer: the layer whose output is read; "" for the network's own output, the logits.
        plus: the class or channel of each image; one for all images if it has length 1.
        minus: what is subtracted, likewise; empty for nothing.
        place: row and column of one neuron of a map; None for the mean over the map.
        names: how each entry of `plus` is called, for people.
    """

    layer: str
    plus: tuple[int, ...]
    minus: tuple[int, ...] = ()
    place: tuple[int, int] | None = None
    names: tuple[str, ...] = ()

    def scores(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """Float (N,), in the graph: this target's score for each image.

        Args:
            outputs: what layers returned, with this target's `layer`: (N, K), (N, C, H, W) or tokens (N, T, C).
        """
        values = outputs[self.layer]
        score = self._pick(values, self.plus)
        return score - self._pick(values, self.minus) if self.minus else score

    def _pick(self, values: Tensor, index: tuple[int, ...]) -> Tensor:
        channels = values.shape[2] if values.ndim == 3 else values.shape[1]
        if max(index) >= channels:
            what = f"layer '{self.layer}' has {channels} channels" if self.layer else f"there are {channels} classes"
            raise InputError(f"target {max(index)} is out of range: {what}, numbered from 0")
        if len(index) not in (1, len(values)):
            raise InputError(f"{len(index)} targets for {len(values)} images; expected one for each, or one for all")
        chosen = torch.tensor(index, device=values.device).expand(len(values))
        rows = torch.arange(len(values), device=values.device)
        if values.ndim == 2:
            return values[rows, chosen]
        if values.ndim == 3:
            return values[rows, :, chosen].mean(1)
        maps = values[rows, chosen]
        if self.place is None:
            return maps.flatten(1).mean(1)
        row, column = self.place
        if row >= maps.shape[1] or column >= maps.shape[2]:
            size = f"{maps.shape[1]}x{maps.shape[2]}"
            raise InputError(f"place {row},{column} is outside the {size} maps of layer '{self.layer}'")
        return maps[:, row, column]

    def of(self, images: slice | Sequence[int]) -> Target:
        """The target of some of the images of a batch."""

        def some(values: tuple[int, ...]) -> tuple[int, ...]:
            if len(values) <= 1:
                return values
            return values[images] if isinstance(images, slice) else tuple(values[i] for i in images)

        names = self.names if len(self.names) <= 1 else tuple(_take(self.names, images))
        return replace(self, plus=some(self.plus), minus=some(self.minus), names=names)

    def name(self, image: int) -> str:
        """What the target of image `image` is called."""
        return self.names[image if len(self.names) > 1 else 0]


def _take(values: tuple[str, ...], images: slice | Sequence[int]) -> Sequence[str]:
    return values[images] if isinstance(images, slice) else [values[i] for i in images]


def parse_target(target: Targets, classes: Sequence[str] = ()) -> Target:
    """The target that a person means.

    Args:
        target: a class index or name; `"cat - dog"` or `("cat", "dog")` for a difference of two classes;
            `"layer3:17"` for a channel and `"layer3:17@4,5"` for one neuron; a list with one of them
            per image, or an int64 tensor (N,) of classes.
        classes: the names of the classes; empty if nobody knows them.

    Raises:
        InputError: a class that does not exist, or a list that mixes layers.

    >>> parse_target("dog", ["cat", "dog"]).plus, parse_target("layer3:17").layer
    ((1,), 'layer3')
    """
    if isinstance(target, Tensor):
        target = target.flatten().tolist()
    if isinstance(target, Sequence) and not isinstance(target, (str, tuple)):
        return _joined([parse_target(one, classes) for one in target])
    if isinstance(target, tuple):
        plus, minus = (_class_index(one, classes) for one in target)
        return Target("", (plus,), (minus,), names=(f"{_name(plus, classes)} - {_name(minus, classes)}",))
    if isinstance(target, int) or target in classes or target.isdigit():
        index = _class_index(target, classes)
        return Target("", (index,), names=(_name(index, classes),))
    unit = _UNIT.fullmatch(target)
    if unit:
        place = (int(unit["row"]), int(unit["column"])) if unit["row"] else None
        return Target(unit["layer"], (int(unit["channel"]),), place=place, names=(target,))
    first, sign, second = target.partition(" - ")
    if sign:
        return parse_target((first.strip(), second.strip()), classes)
    raise unknown("class", target, classes, "of this model")


def _joined(targets: list[Target]) -> Target:
    if not targets:
        raise InputError("a list of targets needs at least one target, found none")
    first = targets[0]
    for other in targets:
        same = (other.layer, other.place, bool(other.minus)) == (first.layer, first.place, bool(first.minus))
        if not same:
            raise InputError(
                f"targets of one batch must be of one kind (classes, differences or channels of one layer); "
                f"found {first.names[0]!r} and {other.names[0]!r}"
            )
    plus, minus = (tuple(index for target in targets for index in getattr(target, key)) for key in ("plus", "minus"))
    return replace(first, plus=plus, minus=minus, names=tuple(target.names[0] for target in targets))


def _class_index(target: int | str, classes: Sequence[str]) -> int:
    if isinstance(target, str) and target in classes:
        return list(classes).index(target)
    if isinstance(target, str) and not target.isdigit():
        raise unknown("class", target, classes, "of this model")
    index = int(target)
    if index < 0 or (classes and index >= len(classes)):
        last = f"0 to {len(classes) - 1}" if classes else "0 and above"
        raise InputError(f"class {index} does not exist; classes are numbered {last}")
    return index


def _name(index: int, classes: Sequence[str]) -> str:
    return classes[index] if classes else f"class {index}"
