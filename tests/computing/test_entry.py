"""The first convolution done once: found where it is the only way in, and the same numbers behind it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.computing.entry import entering, find_entry

IMAGES = torch.randn(3, 2, 9, 7, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A convolution and a head; `way` says how else the image gets in."""

    def __init__(self, way: str = "", **options: object) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(2, 5, 3, **options)  # type: ignore[arg-type]  # whatever a test wants
        self.relu = nn.ReLU(inplace=True)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        before = x.square().mean((1, 2, 3)) if self.way == "before" else 0.0
        if self.way == "scaled":
            x = x * 2
        h = self.relu(self.first(x)).mean((2, 3)).sum(1)
        if self.way == "twice":
            h = h + self.first(x).sum((1, 2, 3))
        if self.way == "after":
            h = h + x.sum((1, 2, 3))
        return h + before


def frozen(net: nn.Module) -> nn.Module:
    return net.requires_grad_(False)


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"bias": False}, {"dilation": 2}])
def test_the_gradient_behind_it_pulled_back_is_the_gradient(options: dict[str, object]) -> None:
    net = frozen(Net(**options))
    entry = find_entry(net, IMAGES[:1])
    assert entry is not None
    assert torch.equal(entry(IMAGES), net.first(IMAGES))
    value = entry(IMAGES).requires_grad_()
    with entering(entry, value * 1):
        (behind,) = torch.autograd.grad(net(torch.zeros_like(IMAGES)).sum(), value)
    images = IMAGES.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(images).sum(), images)
    assert torch.allclose(entry.pull_back(behind, IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("way", ["before", "after", "twice", "scaled"])
def test_none_where_the_image_has_another_way_in(way: str) -> None:
    assert find_entry(frozen(Net(way)), IMAGES[:1]) is None


def test_functional_and_named_arguments_are_seen_too() -> None:
    weight = torch.randn(4, 2, 3, 3)
    entry = find_entry(lambda x: F.conv2d(weight=weight, input=x, padding=1).relu().sum(), IMAGES)
    assert entry is not None
    assert torch.equal(entry(IMAGES), F.conv2d(IMAGES, weight, padding=1))


def test_a_padded_copy_is_not_the_image() -> None:
    assert find_entry(frozen(Net(padding=1, padding_mode="circular")), IMAGES[:1]) is None


def test_nothing_is_left_behind_when_the_pass_fails() -> None:
    net = frozen(Net())
    entry = find_entry(net, IMAGES[:1])
    assert entry is not None
    expected = net(IMAGES)
    with pytest.raises(IndexError), entering(entry, torch.zeros(1)):
        net(IMAGES)
    assert torch.equal(net(IMAGES), expected)
