"""Wires and the weights along them, against what a change of one channel does to another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.lenses import wiring as wires
from cutaway.lenses.capture import capture
from cutaway.lenses.connections import NOBODY, Connections
from cutaway.lenses.wiring import IMAGE, Wire, wiring


def plain() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 4, 5),
    )
    return randomised(net)


def randomised(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.normal_(module.weight)
    return net.eval()


class Branches(nn.Module):
    """A sum, a concatenation, a cut and a gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.gate = nn.Conv2d(4, 8, 1)
        self.third = nn.Conv2d(8, 2, 3, padding=1, groups=2)
        self.last = nn.Linear(2, 3)

    def forward(self, images: Tensor) -> Tensor:
        first = F.relu(self.first(images))
        both = first - 2.0 * self.norm(self.second(first))
        joined = torch.cat([both, first], 1)
        gate = torch.sigmoid(self.gate(joined[:, 2:6]).mean((2, 3), keepdim=True))
        logits: Tensor = self.last(F.adaptive_avg_pool2d(self.third(joined * gate), 1).flatten(1))
        return logits


class Shuffled(nn.Module):
    """Channels change places in a way that is not followed."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        value: Tensor = self.two(self.one(images)[:, [2, 0, 3, 1]])
        return value


def connections(net: nn.Module, size: int = 10) -> Connections:
    return Connections(net, wiring(net, torch.zeros(1, 3, size, size)))


def test_wires_of_a_plain_network() -> None:
    wires = wiring(plain(), torch.zeros(1, 3, 10, 10))
    assert {name: [(wire.source, wire.channels, wire.repeat) for wire in found] for name, found in wires.items()} == {
        "0": [(IMAGE, 3, 1)],
        "4": [("0", 4, 1)],
        "7": [("4", 6, 4)],
    }


def test_wires_of_branches() -> None:
    wires = wiring(randomised(Branches()), torch.zeros(1, 3, 6, 6))
    assert {(wire.source, wire.first, wire.start) for wire in wires["third"]} == {
        ("first", 0, 0),
        ("second", 0, 0),
        ("first", 4, 0),
    }
    assert {(wire.source, wire.first, wire.start, wire.channels) for wire in wires["gate"]} == {
        ("first", 0, 2, 2),
        ("second", 0, 2, 2),
        ("first", 2, 0, 2),
    }
    assert [(wire.source, wire.channels) for wire in wires["last"]] == [("third", 2)]
    assert {wire.source: wire.scale.tolist()[0] for wire in wires["third"] if wire.first == 0}["first"] == 1.0


def test_what_is_not_followed_is_not_guessed() -> None:
    wires = wiring(Shuffled(), torch.zeros(1, 3, 4, 4))
    assert wires["two"] == ()
    found = Connections(Shuffled(), wires).incoming("two", 3)
    assert found.layers.shape == (2, 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_mean_over_the_map_keeps_channels(layout: torch.memory_format) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    wires = wiring(net, torch.zeros(1, 3, 6, 6).contiguous(memory_format=layout))
    assert [(wire.source, wire.channels) for wire in wires["3"]] == [("0", 4)]


def test_the_network_and_the_image_are_left_as_they_were() -> None:
    net, image = plain().train(), torch.randn(1, 3, 10, 10)
    before = image.clone()
    wiring(net, image)
    assert net.training
    assert torch.equal(image, before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_weight_is_what_an_even_rise_does() -> None:
    """Without bends between, one more at every place of a channel is `weight` more at every place of the unit."""
    net = randomised(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)))
    found = connections(net).incoming("2", 4)
    images = torch.randn(2, 3, 9, 9)
    for source in range(4):
        change = rise(net, "0", source, lambda: capture(net, images, ["2"])["2"])
        at = found.channels == source
        torch.testing.assert_close(found.weights[at], change.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def rise(net: nn.Module, layer: str, channel: int, look: Callable[[], Tensor]) -> Tensor:
    """The change of what `look` returns if one channel of a layer answers one more."""

    def hook(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        return output + F.one_hot(torch.tensor(channel), output.shape[1]).view(1, -1, 1, 1)

    before = look()
    with net.get_submodule(layer).register_forward_hook(hook):
        return look() - before


def test_the_strongest_stand_first_and_both_sides_agree() -> None:
    net = plain()
    found = connections(net)
    incoming, outgoing = found.incoming("4", 9), found.outgoing("0", 9)
    kernel = net[4].weight.detach()
    scale = net[1].weight.detach() / (net[1].running_var + net[1].eps).sqrt()
    lengths = kernel.flatten(2).norm(dim=2) * scale.abs()
    torch.testing.assert_close(incoming.norms, lengths.sort(1, descending=True).values)
    torch.testing.assert_close(outgoing.norms, lengths.T.sort(1, descending=True).values)
    sums = kernel.sum((2, 3)) * scale
    for unit in range(6):
        for place, source in enumerate(incoming.channels[unit].tolist()):
            torch.testing.assert_close(incoming.weights[unit, place], sums[unit, source])
    assert {found.names[layer] for layer in incoming.layers.unique().tolist()} == {"0"}


def test_a_flattened_map_is_one_weight_a_channel() -> None:
    net = plain()
    found = connections(net).outgoing("4", 5)
    weight = net[7].weight.detach().view(5, 6, 4)
    torch.testing.assert_close(found.norms, weight.norm(dim=2).T.sort(1, descending=True).values)


def test_groups_have_only_their_own_inputs() -> None:
    net = randomised(Branches())
    found = Connections(net, wiring(net, torch.zeros(1, 3, 6, 6)))
    incoming = found.incoming("third", 20)
    for unit, sources in enumerate(({"first", "second"}, {"first"})):
        row = incoming.layers[unit]
        assert {found.names[layer] for layer in row[row != NOBODY].tolist()} == sources
    kernels = found.kernels("third", 4)
    assert sorted(kernels.inputs[0].tolist()) == [0, 1, 2, 3]
    assert sorted(kernels.inputs[1].tolist()) == [4, 5, 6, 7]
    assert kernels.total == 8


def test_kernels_are_the_weights_strongest_first() -> None:
    net = plain()
    found = connections(net).kernels("4", 2)
    weight = net[4].weight.detach()
    lengths = weight.flatten(2).norm(dim=2)
    assert torch.equal(found.inputs, lengths.argsort(dim=1, descending=True, stable=True)[:, :2])
    for unit in range(6):
        torch.testing.assert_close(found.values[unit], weight[unit, found.inputs[unit]])
    torch.testing.assert_close(found.norms, weight.flatten(1).norm(dim=1))


@pytest.mark.parametrize("name", [name for name, rule in wires._RULES.items() if rule is wires._norm])
def test_a_batch_norm_of_any_library_scales(name: str) -> None:
    """Those of cuDNN and MIOpen, which run on other machines, name their arguments in their own way."""
    x, ones = torch.ones(1, 2, 1, 1), torch.ones(2, dtype=torch.float64)
    values = {"input": x, "weight": torch.tensor([2.0, 6.0]), "running_var": torch.tensor([3.0, 8.0])}
    overload = getattr(torch.ops.aten, name).default
    known = [argument.name for argument in overload._schema.arguments]
    given = {**values, **{key: 1.0 for key in ("eps", "epsilon") if key in known}}
    step = wires._Step(given, {id(x): (Wire("before", 0, 0, ones),)}, x, 0)
    (wire,) = wires._RULES[name](step)
    assert wire.scale.tolist() == [1.0, 2.0]
