"""A network together with all that is needed to use it on an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cutaway.data.pixels import fitted
from cutaway.errors import InputError
from cutaway.showing import Card, Shown

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Preprocessing(Shown):
    """How a decoded image becomes the network's input: scaled to 0..1, then standardised per channel.

    `shape` is (C, H, W); `mean` and `std` have one number per channel, on the scale 0..1.

    >>> half = Preprocessing((1, 1, 2), mean=(0.5,), std=(0.5,))
    >>> half(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
    [[[[-1.0, 1.0]]]]
    """

    shape: Shape
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.shape[0]:
            raise InputError(
                f"preprocessing for {self.shape[0]} channels needs as many means and standard deviations, "
                f"not {len(self.mean)} and {len(self.std)}"
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Float32 (N, C, H, W) of uint8 `images` (N, C, H, W): (x / 255 - mean) / std."""
        if tuple(images.shape[1:]) != self.shape:
            raise InputError(
                f"images of {text(tuple(images.shape[1:]))} were given to a network for {text(self.shape)}"
            )
        mean, std = (
            torch.tensor(values, device=images.device).view(-1, 1, 1) * 255 for values in (self.mean, self.std)
        )
        return (images.float() - mean) / std

    def prepare(self, images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Float32 (N, *shape) on `device` of uint8 `images` (N, C, H, W) of any size, grey or colour."""
        return self(torch.from_numpy(fitted(images, self.shape)).to(device))

    def pixels(self, values: Tensor) -> Tensor:
        """The inverse: uint8 (N, C, H, W) on the CPU of the network's input float (N, C, H, W), clipped to 0..255."""
        mean, std = (torch.tensor(each, device=values.device).view(-1, 1, 1) for each in (self.mean, self.std))
        scaled = (values.detach().float() * std + mean) * 255
        return scaled.round().clamp(0, 255).to(torch.uint8).cpu()

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: shape, mean, std."""
        return {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `as_dict`."""
        channels, height, width = values["shape"]
        return cls((channels, height, width), tuple(values["mean"]), tuple(values["std"]))


@dataclass
class Model(Shown):
    """A network with its class names, its input and how it was made.

    `network` maps float images (N, C, H, W) to raw logits (N, len(classes)). `spec` and `options` build it again.
    `preprocessing` is None while nobody knows it: before training on data whose mean and deviation decide it.
    `head` is the dotted name of the layer that makes the logits. `pretrained` says that the weights come from a
    file, a run or a library, and must not be initialised again. `warnings` are sentences a user must see
    before training; `notes` say what was adapted. `code` has the hashes of the user's own files that made it.
    """

    network: nn.Module
    spec: str
    classes: tuple[str, ...]
    shape: Shape
    preprocessing: Preprocessing | None = None
    head: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pretrained: bool = False
    code: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Short and fit for a folder's name: `resnet18` of `torchvision:resnet18`, `make` of `net.py:make`."""
        return self.spec.rpartition(":")[2].replace("/", "-")

    def card(self) -> Card:
        """What it is made of and what it takes."""
        parameters = list(self.network.parameters())
        frozen = sum(tensor.numel() for tensor in parameters if not tensor.requires_grad)
        facts = {
            "classes": self.classes,
            "input": "×".join(map(str, self.shape)),
            "standardised": self.preprocessing or "by the data it will be trained on",
            "parameters": sum(tensor.numel() for tensor in parameters),
            "frozen": frozen or None,
            "weights": "from elsewhere" if self.pretrained else "not trained",
            "options": self.options,
        }
        return Card(f"Model {self.spec}", (facts,), (*self.warnings, *self.notes))

    def describe(self) -> dict[str, Any]:
        """JSON-able for `run.json`: spec, options, classes, preprocessing (None while unknown)."""
        preprocessing = self.preprocessing.as_dict() if self.preprocessing else None
        return {
            "spec": self.spec,
            "options": self.options,
            "classes": list(self.classes),
            "preprocessing": preprocessing,
            **({"code": self.code} if self.code else {}),
        }


def text(shape: tuple[int, ...]) -> str:
    """A shape as people write it.

    >>> text((3, 32, 32))
    '3x32x32'
    """
    return "x".join(str(side) for side in shape) or "a single number"
