"""Passes with gradients: right in spite of operations in place, no further than needed, and without a trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import parse_target

torch.manual_seed(0)
IMAGES = torch.randn(3, 1, 6, 6)


class Small(nn.Module):
    """A convolution whose output is changed in place, a block that is used twice, and a head."""

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4, 2)
        self.calls: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append("conv")
        x = self.relu(self.norm(self.conv(x)))
        for _ in range(2):
            self.calls.append("again")
            y = self.again(x)
            y += x
            x = F.relu(y, inplace=self.relu.inplace)
        self.calls.append("head")
        return self.head(x.mean((2, 3)))


def pair() -> tuple[Small, Small]:
    """The same network, working in place and not."""
    one, other = Small(True), Small(False)
    other.load_state_dict(one.state_dict())
    return one, other


@pytest.mark.parametrize("layer", ["conv", "norm", "relu", "again", "again#1"])
def test_gradients_in_spite_of_operations_in_place(layer: str) -> None:
    gradients = []
    for network in pair():
        with opened(network) as forward:
            scores, outputs = forward.scores(IMAGES, parse_target(1), [layer])
            assert torch.isfinite(scores).all()
            # The images ask for nothing here, so the graph begins at the layer only with `start`.
            scores, outputs = forward.scores(IMAGES, parse_target(1), [layer], start=layer)
            gradients.append(torch.autograd.grad(scores.sum(), outputs[layer])[0])
    assert torch.equal(*gradients)
    assert float(gradients[0].abs().sum()) > 0


def test_the_gradient_is_that_of_finite_differences() -> None:
    network = Small().double()
    images = IMAGES.double()
    with opened(network) as forward:
        values = forward(images, ["again"], output=False)["again"]
        scores, outputs = forward.scores(images, parse_target(0), ["again"], start="again")
        (gradient,) = torch.autograd.grad(scores.sum(), outputs["again"])
        step = torch.zeros_like(values)
        step[1, 2, 1, 3] = 1e-6
        up, _ = forward.scores(images, parse_target(0), ["again"], edit=lambda _, value: value + step)
        down, _ = forward.scores(images, parse_target(0), ["again"], edit=lambda _, value: value - step)
    assert float((up - down).sum() / 2e-6) == pytest.approx(float(gradient[1, 2, 1, 3]), rel=1e-6)


def test_values_are_what_the_layer_returned() -> None:
    network = Small()
    truth = network.eval().conv(IMAGES)
    with opened(network) as forward:
        assert torch.equal(forward(IMAGES, ["conv"])["conv"], truth)


def test_before_the_start_no_graph_is_kept() -> None:
    with opened(Small()) as forward:
        outputs = forward(IMAGES, ["relu", "again"], start="again")
    assert not outputs["relu"].requires_grad
    assert outputs["again"].is_leaf
    assert outputs[""].grad_fn is not None


def test_it_stops_at_the_deepest_layer() -> None:
    network = Small()
    with opened(network) as forward:
        forward(IMAGES, ["conv"], output=False)
        assert network.calls == ["conv"]
        found = forward(IMAGES, ["again"], output=True)
    assert list(found) == ["again", ""]
    assert network.calls[1:] == ["conv", "again", "again", "head"]


def test_images_may_require_gradients_and_are_not_changed() -> None:
    class Overwriting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2.0).flatten(1)

    images = IMAGES.clone().requires_grad_()
    with opened(Overwriting()) as forward:
        scores, _ = forward.scores(images, parse_target(0))
        (gradient,) = torch.autograd.grad(scores.sum(), images)
    assert torch.equal(images, IMAGES)
    assert gradient[:, 0, 0, 0].tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_the_callers_modes_and_with_frozen_weights(mode: Any) -> None:
    network = Small().requires_grad_(False)
    with mode(), opened(network) as forward:
        scores, outputs = forward.scores(IMAGES, parse_target(0), ["conv"], start="conv")
        (gradient,) = torch.autograd.grad(scores.sum(), outputs["conv"])
    assert gradient.abs().sum() > 0


def test_tuples_and_dicts_are_taken_apart_and_put_together() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return x * 2, {"b": x * 3}

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two = Two()

        def forward(self, x: Tensor) -> Tensor:
            first, rest = self.two(x)
            return (first + rest["b"]).flatten(1)

    with opened(Whole()) as forward:
        found = forward(IMAGES, ["two", "two[1.b]"])
        changed = forward(IMAGES, ["two"], edit=lambda _, value: value * 0)
    assert torch.equal(found["two"], IMAGES * 2)
    assert torch.equal(found["two[1.b]"], IMAGES * 3)
    assert torch.equal(changed[""], (IMAGES * 3).flatten(1))


def test_sentences() -> None:
    class Maps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    class Several(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    cases = [
        (Maps(), [], r"Maps returns \(3, 1, 6, 6\), expected logits"),
        (Several(), [], r"Several returns 2 tensors, expected one"),
        (Small(), ["conf"], r"layer 'conf' is not in Small; the nearest are 'conv'"),
        (Small(), ["again#2"], r"layer 'again#2' was not reached .* called 2 times"),
    ]
    for network, layers, sentence in cases:
        with opened(network) as forward, pytest.raises(InputError, match=sentence):
            forward(IMAGES, layers)


def test_nothing_is_left_when_the_network_raises() -> None:
    class Failing(Small):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise RuntimeError("broken")

    network = Failing()
    with pytest.raises(RuntimeError, match="broken"), opened(network) as forward:
        forward(IMAGES, ["conv", "relu"], start="conv")
    assert network.training
    assert all(value.requires_grad for value in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.is_grad_enabled()
