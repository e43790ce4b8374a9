"""Every lens on torchvision's classifiers: it works, or says in one sentence why it cannot, and leaves no trace.

Seven architectures of as many kinds in every run of the suite; all of them with `-m slow` (about an hour on two cores,
and 12 GB for the largest).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.activations import activation_statistics, feature_maps
from cutaway.lenses.architecture import summarize
from cutaway.lenses.attribution import METHODS, explain
from cutaway.lenses.capture import capture
from cutaway.lenses.exemplars import Scan
from cutaway.lenses.faithfulness import deletion
from cutaway.lenses.similarity import similarity
from cutaway.lenses.synthesis import Request, Space, imagine
from cutaway.lenses.synthesis.objectives import objective
from cutaway.lenses.targets import parse_target
from cutaway.lenses.weights import conv_names, gradients, kernels
from no_trace import differences, state_of

ALL = torchvision.models.list_models(module=torchvision.models)
FEW = ["alexnet", "resnet18", "densenet121", "googlenet", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1"]
SIDES = {"inception_v3": 96}
# Classes are few so that the head, whose size has nothing to do with lenses, costs nothing.
CLASSES = 10
LITTLE = {"samples": 4, "steps": 4, "window": 32, "cells": 4}


def build(name: str) -> tuple[nn.Module, int]:
    """The network with random weights, and a side of images that it takes."""
    torch.manual_seed(0)
    side = SIDES.get(name, 224 if name.startswith(("vit", "maxvit")) else 64)
    extra = {"image_size": 64} if name.startswith("vit") and not name.endswith("14") else {}
    extra = {"image_size": 56} if name.endswith("14") else extra
    side = extra.get("image_size", side)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **extra)
    return network, side


def looks(side: int) -> dict[str, Callable[[nn.Module], Any]]:
    """Every lens by name, with little work."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    several = images.repeat(2, 1, 1, 1) + torch.arange(4.0).view(4, 1, 1, 1) / 4
    found: dict[str, Callable[[nn.Module], Any]] = {
        "capture": lambda network: capture(network, images),
        "summary": lambda network: summarize(network, (3, side, side)),
        "feature maps": lambda network: feature_maps(network, images),
        "kernels": lambda network: [kernels(network, layer) for layer in conv_names(network)],
        "gradients": lambda network: gradients(network, images, torch.tensor([0, 1])),
        "statistics": lambda network: activation_statistics(network, [images]),
        "similarity": lambda network: similarity(network, network, [(several, several)]),
        "exemplars": lambda network: Scan(network, reached(network, images), 2).add(images, torch.arange(2)),
        "deletion": lambda network: deletion(network, images, images.mean(1), parse_target(1), steps=4),
        "class image": lambda network: synthesis(network, side, 3),
        "unit image": lambda network: synthesis(network, side, f"{reached(network, images)[-1]}:1"),
    }
    for name, method in METHODS.items():
        options = {key: value for key, value in LITTLE.items() if key in method.options}
        found[name] = lambda network, name=name, options=options: explain(network, images, name, 1, **options)
    return found


def reached(network: nn.Module, images: Tensor) -> list[str]:
    return [name for name in feature_maps(network, images) if name in conv_names(network)]


def synthesis(network: nn.Module, side: int, target: int | str) -> Any:
    space = Space((3, side, side), (0.5,) * 3, (0.25,) * 3)
    return imagine(network, [objective(target)], space, "fourier", Request(steps=2))


def look_through(name: str) -> dict[str, str]:
    """Every lens on one architecture: "" where it works, else its sentence."""
    network, side = build(name)
    said = {}
    before = state_of(network)
    for lens, look in looks(side).items():
        try:
            check_finite(look(network))
            said[lens] = ""
        except InputError as error:
            said[lens] = str(error)
            assert len(said[lens].splitlines()) == 1, lens
        assert differences(before, state_of(network)) == [], lens
    return said


def check_finite(found: Any) -> None:
    values = getattr(found, "values", None)
    if isinstance(values, Tensor):
        assert bool(values.isfinite().all())


@pytest.mark.parametrize("name", FEW)
def test_lenses_on_a_few_architectures(name: str) -> None:
    said = {lens: why for lens, why in look_through(name).items() if why}
    # CAM is for networks with global average pooling and one linear layer at the end, and no other.
    assert set(said) <= {"cam"}, said


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_lenses_on_every_architecture(name: str) -> None:
    said = {lens: why for lens, why in look_through(name).items() if why}
    print(f"\n{name}: " + ("all work" if not said else "".join(f"\n  {lens}: {why}" for lens, why in said.items())))
    pictures_only = {"capture", "summary", "gradients", "statistics", "saliency", "integrated-gradients", "occlusion"}
    assert not pictures_only & set(said), said
