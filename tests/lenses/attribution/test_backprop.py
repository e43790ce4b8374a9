"""Guided backpropagation and deconvolution against a backward pass written by hand, for every way to write a ReLU."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import backprop, gradient
from cutaway.lenses.attribution.method import Found, Job
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import TargetLike, parse_target

METHODS = list(backprop.METHODS)
IMAGES = torch.randn(3, 1, 2, 3, generator=torch.Generator().manual_seed(1))

RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp by place": lambda x: torch.clamp(x, 0.0),
    "clamp_": lambda x: x.clamp_(min=0),
    "clip": lambda x: x.clip(0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "F.threshold": lambda x: F.threshold(x, 0, 0),
    "nn.Threshold in place": nn.Threshold(0, 0, inplace=True),
    "by keyword": lambda x: F.relu(input=x, inplace=False),
}
RELU6S: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "clamp to 6": lambda x: x.clamp(0, 6),
    "hardtanh_": lambda x: F.hardtanh_(x, 0.0, 6.0),
}


class Chain(nn.Module):
    """Linear layers with one kind of ReLU between them; weights that reach beyond 6 and below 0."""

    def __init__(self, relu: Callable[[Tensor], Tensor], widths: tuple[int, ...] = (6, 7, 5, 4)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=2.0)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = self.relu(layer(x))
        return self.layers[-1](x)


@torch.no_grad()
def by_hand(net: Chain, image: Tensor, target: int, method: str, high: float = float("inf")) -> Tensor:
    """One image, one number after the other."""
    values, inputs = image.flatten().tolist(), []
    for layer in net.layers[:-1]:
        before = [float(row @ torch.tensor(values)) + float(b) for row, b in zip(layer.weight, layer.bias, strict=True)]
        inputs.append(before)
        values = [min(max(value, 0.0), high) for value in before]
    back = net.layers[-1].weight[target].tolist()
    for layer, before in zip(reversed(net.layers[:-1]), reversed(inputs), strict=True):
        for i, value in enumerate(before):
            open_here = method == "deconvolution" or 0 < value < high
            back[i] = max(back[i], 0.0) if open_here else 0.0
        back = (torch.tensor(back) @ layer.weight).tolist()
    return torch.tensor(back).view(image.shape)


def find(net: nn.Module, images: Tensor, method: str, target: TargetLike, batch: int = 32) -> Found:
    with opened(net) as forward:
        return backprop.METHODS[method].compute(Job(forward, images, parse_target(target), batch=batch))


def plain_gradient(net: nn.Module, images: Tensor, target: TargetLike) -> Tensor:
    with opened(net) as forward:
        return gradient.METHODS["saliency"].compute(Job(forward, images, parse_target(target))).values


@pytest.mark.parametrize("kind", RELUS)
@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_write_a_relu(method: str, kind: str) -> None:
    net = Chain(RELUS[kind])
    found = find(net, IMAGES, method, 2)
    expected = torch.stack([by_hand(net, image, 2, method) for image in IMAGES])
    assert torch.allclose(found.values, expected, rtol=1e-5, atol=1e-4)
    assert found.check["relus"] == 2
    assert not found.notes


@pytest.mark.parametrize("kind", RELU6S)
@pytest.mark.parametrize("method", METHODS)
def test_every_way_to_write_a_relu6(method: str, kind: str) -> None:
    net = Chain(RELU6S[kind])
    expected = torch.stack([by_hand(net, image, 1, method, high=6.0) for image in IMAGES])
    assert torch.allclose(find(net, IMAGES, method, 1).values, expected, rtol=1e-5, atol=1e-4)
    # Something does lie beyond 6, so that the bound is tested.
    assert (net.layers[0](IMAGES.flatten(1)) > 6).any()


@pytest.mark.parametrize("method", METHODS)
def test_the_rule_differs_from_the_gradient(method: str) -> None:
    net = Chain(nn.ReLU())
    assert not torch.allclose(find(net, IMAGES, method, 2).values, plain_gradient(net, IMAGES, 2), atol=0.1)


def test_one_unit_by_hand() -> None:
    # Score: relu(x0) - relu(x1) + relu(x2) with x = (1, 1, -1). A negative gradient never passes, an input that is
    # off passes in deconvolution only.
    net = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(3, 1, bias=False))
    net[2].weight.data = torch.tensor([[1.0, -1.0, 1.0]])
    image = torch.tensor([1.0, 1.0, -1.0]).view(1, 1, 1, 3)
    assert plain_gradient(net, image, 0).flatten().tolist() == [1.0, -1.0, 0.0]
    assert find(net, image, "guided-backprop", 0).values.flatten().tolist() == [1.0, 0.0, 0.0]
    assert find(net, image, "deconvolution", 0).values.flatten().tolist() == [1.0, 0.0, 1.0]


class Residual(nn.Module):
    """One ReLU for all, used again and again, sums in place, and a part of a tensor that is rectified in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.relu = nn.ReLU(inplace)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        skip = x = self.relu(self.first(x))
        x = self.norm(self.second(x))
        if self.inplace:
            x += skip
            x -= 0.3
            x[:, :2].relu_()
        else:
            x = x + skip - 0.3
            x = torch.cat([x[:, :2].relu(), x[:, 2:]], 1)
        return self.head(torch.relu(x).mean((2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_in_place_and_reused_give_the_same_as_not(method: str) -> None:
    images = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    expected = find(Residual(inplace=False), images, method, 1)
    found = find(Residual(inplace=True), images, method, 1)
    assert torch.allclose(found.values, expected.values, atol=1e-7)
    assert found.check["relus"] == expected.check["relus"] == 3


def test_in_place_still_changes_the_value_for_other_readers() -> None:
    class Reader(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1) * 1.0
            other = x
            x.relu_()
            return other

    with opened(Reader()) as forward:
        values = backprop.RuledForward(forward.network, guided=True)(IMAGES)[""]
    assert torch.equal(values, IMAGES.flatten(1).clamp(min=0))


def test_the_scores_are_those_of_the_network() -> None:
    net = Residual(inplace=True)
    images = torch.randn(2, 1, 6, 6)
    with opened(net) as forward:
        expected = forward(images)[""]
        assert torch.equal(backprop.RuledForward(net, guided=True)(images)[""], expected)


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act, self.head = nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.first(x.flatten(1)).relu()))


@pytest.mark.parametrize("method", METHODS)
def test_other_activations_keep_their_gradient_and_a_note_says_so(method: str) -> None:
    found = find(Mixed(), IMAGES, method, 1)
    assert found.notes == ("only ReLUs follow the rule: silu kept the plain gradient",)


@pytest.mark.parametrize("activation", [nn.SiLU(), nn.GELU(), nn.Hardswish(), nn.LeakyReLU(0.1), nn.ELU()])
@pytest.mark.parametrize("method", METHODS)
def test_a_network_of_other_activations_is_refused(method: str, activation: nn.Module) -> None:
    name = {"SiLU": "silu", "GELU": "gelu", "Hardswish": "hardswish", "LeakyReLU": "leaky_relu", "ELU": "elu"}
    message = f"{method} changes the gradient at ReLUs and Chain has none but {name[type(activation).__name__]}; choose"
    with pytest.raises(InputError, match=message):
        find(Chain(activation), IMAGES, method, 0)


def test_a_network_without_activations_is_refused() -> None:
    with pytest.raises(
        InputError, match="guided-backprop changes the gradient at ReLUs and Sequential has none; choose"
    ):
        find(nn.Sequential(nn.Flatten(), nn.Linear(6, 2)), IMAGES, "guided-backprop", 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_before_the_first_relu_has_its_plain_gradient(method: str) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    found = find(net, IMAGES, method, "0:1")
    assert torch.equal(found.values, plain_gradient(net, IMAGES, "0:1"))
    assert found.notes == ("there is no ReLU before layer '0', so this is the plain gradient",)


def test_clamps_that_are_no_relu_stay_as_they_are() -> None:
    class Clamps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            index = torch.tensor([-1, 2]).clamp(min=0)
            x = x.flatten(1).clamp(-0.5, 0.5).clamp(max=0.4)
            x = x.clamp(torch.zeros(6) - 1)
            return -F.threshold(x, 0.1, -0.2).relu()[:, index]

    found = find(Clamps(), IMAGES, "guided-backprop", 0)
    assert found.check["relus"] == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_as_many_batches_of_one_in_any_chunks(method: str) -> None:
    net = Residual(inplace=True)
    images = torch.randn(5, 1, 6, 6)
    whole = find(net, images, method, 2).values
    assert torch.allclose(find(net, images, method, 2, batch=2).values, whole, atol=1e-6)
    for i in range(5):
        assert torch.allclose(find(net, images[i : i + 1], method, 2).values[0], whole[i], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_stays_behind(method: str) -> None:
    net = Residual(inplace=True)
    images = torch.randn(2, 1, 6, 6)
    before = plain_gradient(net, images, 0)
    with torch.no_grad():
        find(net, images, method, 0)
    with pytest.raises(InputError):
        find(net, images, method, 7)
    assert torch.equal(plain_gradient(net, images, 0), before)
    assert net.training
    assert net.relu.inplace
    assert all(value.grad is None for value in net.parameters())


def test_values_that_are_not_finite_are_passed_on_and_reported() -> None:
    net = Chain(nn.ReLU())
    net.layers[1].weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"is not finite; layer 'layers\.1' is the first"):
        find(net, IMAGES, "deconvolution", 0)


PEERS = {"guided-backprop": "GuidedBackprop", "deconvolution": "Deconvolution"}


def peer(net: nn.Module, images: Tensor, method: str, target: int) -> Tensor:
    attr = pytest.importorskip("captum.attr")
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        result = getattr(attr, PEERS[method])(net).attribute(images.clone().requires_grad_(), target)
    return result.detach()


@pytest.mark.parametrize("method", METHODS)
def test_captum_agrees_where_each_relu_is_a_module_of_its_own(method: str) -> None:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2)]
    net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.randn(2, 1, 8, 8)
    assert torch.allclose(find(net, images, method, 1).values, peer(net, images, method, 1), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_captum_leaves_a_functional_relu_as_it_is(method: str) -> None:
    # It hooks modules of type nn.ReLU only, and says nothing: what it returns here is the plain gradient.
    net = Chain(F.relu).eval()
    theirs = peer(net, IMAGES, method, 2)
    assert torch.allclose(theirs, plain_gradient(net, IMAGES, 2), atol=1e-5)
    assert not torch.allclose(theirs, find(net, IMAGES, method, 2).values, atol=0.1)
