"""What is kept is what was given, whatever happens to its memory later, and a copy is made only where it must be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.lenses.capture import capture
from cutaway.lenses.keeper import Keeper


def give_out(value: Tensor) -> Tensor:
    return torch.mul(torch.full_like(value, 3.0), 2.0, out=value)


def set_item(value: Tensor) -> Tensor:
    value[..., 0] = 7.0
    return value


def add_to(value: Tensor) -> Tensor:
    value += 1.0
    return value


def behind_the_back(value: Tensor) -> Tensor:
    torch._foreach_add_([value], 1.0)
    return value


def through_a_view(value: Tensor) -> Tensor:
    value.view(-1).mul_(2.0)
    return value


CHANGES: list[Callable[[Tensor], Tensor]] = [
    give_out,
    set_item,
    add_to,
    through_a_view,
    behind_the_back,
    torch.relu_,
    lambda value: value.clamp_(min=0),
    lambda value: F.relu(value, True),
    lambda value: F.relu(value, inplace=True),
    lambda value: F.hardtanh_(value),
    lambda value: nn.ReLU(inplace=True)(value),
    lambda value: nn.SiLU(inplace=True)(value),
    lambda value: value.copy_(torch.ones_like(value)),
    lambda value: value.zero_(),
]


class Changing(nn.Module):
    """A layer, and then something that changes what it returned."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 2, 1)
        self.change = change
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.change(self.layer(x))


IMAGES = torch.linspace(-2, 2, 9).reshape(1, 1, 3, 3)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("gradients", [False, True])
@torch.no_grad()
def test_a_change_in_place_does_not_reach_what_is_kept(change: Callable[[Tensor], Tensor], gradients: bool) -> None:
    if gradients and change is give_out:
        pytest.skip("torch has no gradients for out=")
    network = Changing(change)
    truth = network.layer(IMAGES).clone()
    for _ in range(3):  # the first time it is watched, later it is known
        with torch.set_grad_enabled(gradients):
            assert torch.equal(capture(network, IMAGES, None)["layer"], truth)


def test_later_passes_are_single() -> None:
    network = Changing(torch.relu_)
    for passes in (1, 2, 3):
        capture(network, IMAGES)
        assert network.passes == passes


@torch.no_grad()
def test_nothing_is_copied_without_need() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU())
    returned: list[Tensor] = []
    network[0].register_forward_hook(lambda module, args, output: returned.append(output))
    assert capture(network, IMAGES)["0"] is returned[0]


@torch.no_grad()
def test_what_is_copied_is_the_layer_that_is_overwritten_and_no_other() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True))
    returned: dict[int, Tensor] = {}
    for index in range(3):
        network[index].register_forward_hook(lambda m, a, output, index=index: returned.update({index: output}))
    maps = capture(network, IMAGES)
    assert maps["0"] is returned[0]
    assert maps["1"] is not returned[1]
    assert maps["2"] is returned[2]


@torch.no_grad()
def test_a_network_that_behaves_otherwise_the_second_time() -> None:
    network = Changing(lambda value: value * 1.0)
    truth = network.layer(IMAGES).clone()
    capture(network, IMAGES)
    network.change = torch.relu_
    assert torch.equal(capture(network, IMAGES)["layer"], truth)
    network.change = behind_the_back
    assert torch.equal(capture(network, IMAGES)["layer"], truth)


@torch.no_grad()
def test_what_belongs_to_others_is_copied() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, 2))
            self.register_buffer("table", torch.ones(1, 2))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return x, self.weight.view(2), self.table

    network = Odd()
    images = torch.ones(1, 1, 1, 1)
    maps = capture(network, images, [""])
    for value in (images, network.weight, network.table):
        value.fill_(5.0)
    assert all(bool((value == 1).all()) for value in maps.values())


def test_inside_inference_mode_where_nothing_counts_changes() -> None:
    network = Changing(torch.relu_)
    with torch.inference_mode():
        truth = network.layer(IMAGES).clone()
        assert torch.equal(capture(network, IMAGES)["layer"], truth)


def test_a_copy_that_comes_too_late_is_noticed() -> None:
    network = Changing(lambda value: behind_the_back(value).relu_())
    truth = network.layer(IMAGES).detach().clone()
    for _ in range(2):
        with torch.no_grad():
            assert torch.equal(capture(network, IMAGES)["layer"], truth)


def test_two_names_of_one_memory_are_both_rescued() -> None:
    kept = Keeper(set())
    value = torch.tensor([-1.0, 2.0])
    with kept.watching():
        kept.keep("one", value)
        kept.keep("other", value.view(2, 1))
        value.relu_()
    assert kept.found["one"].tolist() == [-1.0, 2.0]
    assert kept.found["other"].tolist() == [[-1.0], [2.0]]
    assert kept.copied == {"one", "other"}
    assert not kept.overwritten()


def test_the_counter_tells_what_the_watch_did_not_see() -> None:
    kept = Keeper(set())
    value = torch.ones(2)
    kept.keep("value", value)
    value.add_(1)
    assert kept.overwritten()
