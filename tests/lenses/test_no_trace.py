"""No lens changes a network: whatever state it is in, whichever lens looks, wherever the pass breaks off."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.activations import activation_statistics, feature_maps
from cutaway.lenses.attribution import METHODS, explain
from cutaway.lenses.capture import capture
from cutaway.lenses.similarity import similarity
from cutaway.lenses.synthesis import Request, Space, imagine
from cutaway.lenses.synthesis.objectives import objective
from cutaway.lenses.weights import gradients
from no_trace import differences, state_of

IMAGES = torch.randn(2, 1, 10, 10, generator=torch.Generator().manual_seed(0))
SMALL = {"samples": 3, "steps": 2}


class Net(nn.Module):
    """A little of everything that lenses stumble over; it raises in its `broken`-th operation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.broken = -1

    def forward(self, x: Tensor) -> Tensor:
        for index, step in enumerate(self.steps()):
            if index == self.broken:
                raise RuntimeError("broken here")
            x = step(x)
        return x

    def steps(self) -> list[Callable[[Tensor], Tensor]]:
        return [
            self.conv,
            self.norm,
            self.relu,
            self.residual,
            lambda x: F.relu(x, inplace=True),
            lambda x: F.max_pool2d(x, 2),
            lambda x: self.relu(self.mix(x)),
            self.drop,
            lambda x: x.mean((2, 3)),
            self.head,
        ]

    def residual(self, x: Tensor) -> Tensor:
        out = self.mix(x)
        out += x
        return out


def synthesis(network: nn.Module, style: str) -> Any:
    space = Space((1, 10, 10), (0.5,), (0.25,))
    return imagine(network, [objective("mix:1"), objective(2)], space, style, Request(steps=2))


def looks() -> dict[str, Callable[[nn.Module], Any]]:
    """Every lens by name, with little work."""
    found: dict[str, Callable[[nn.Module], Any]] = {
        "capture": lambda network: capture(network, IMAGES),
        "feature maps": lambda network: feature_maps(network, IMAGES, ["relu#1"]),
        "gradients": lambda network: gradients(network, IMAGES, torch.tensor([0, 1])),
        "statistics": lambda network: activation_statistics(network, [IMAGES]),
        "similarity": lambda network: similarity(network, network, [(IMAGES.repeat(3, 1, 1, 1),) * 2]),
    }
    for style in ("classic", "fourier", "maco"):
        found[style] = lambda network, style=style: synthesis(network, style)
    for name, method in METHODS.items():
        options = {key: value for key, value in SMALL.items() if key in method.options}
        found[name] = lambda network, name=name, options=options: explain(network, IMAGES, name, 1, **options)
    return found


LOOKS = looks()
MODES: dict[str, Callable[[], Any]] = {
    "plain": nullcontext,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@st.composite
def networks(draw: st.DrawFn) -> Net:
    """The network in any state a user may have left it in."""
    torch.manual_seed(draw(st.integers(0, 3)))
    network = Net()
    for module in network.modules():
        module.training = draw(st.booleans())
    for value in network.parameters():
        value.requires_grad_(draw(st.booleans()))
        value.grad = torch.ones_like(value) if draw(st.booleans()) else None
    if draw(st.booleans()):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this form
    network.broken = draw(st.integers(-1, 9))
    return network


@pytest.mark.parametrize("name", LOOKS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(network=networks(), mode=st.sampled_from(list(MODES)))
def test_a_lens_leaves_no_trace(name: str, network: Net, mode: str) -> None:
    before = state_of(network)
    with MODES[mode]():
        inside = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        error = raised(LOOKS[name], network)
        assert inside == (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
    assert differences(before, state_of(network)) == []
    # An error is the network's own, or a lens's sentence (such as: no gradient under these flags).
    assert error is None or isinstance(error, InputError) or (network.broken >= 0 and "broken here" in str(error))


def raised(look: Callable[[nn.Module], Any], network: nn.Module) -> Exception | None:
    try:
        look(network)
    except (RuntimeError, InputError) as error:
        return error
    return None


@pytest.mark.parametrize("name", LOOKS)
def test_every_lens_works_on_this_network(name: str) -> None:
    network = Net()
    try:
        LOOKS[name](network)
    except InputError as error:
        pytest.fail(f"{name}: {error}")
