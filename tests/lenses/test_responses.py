"""Statistics, histograms and votes of units against sums over all maps at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cutaway.lenses.capture import capture
from cutaway.lenses.responses import BINS, Histograms, LayerResponses, ResponseTotals, VoteTotals

LAYERS = ["0", "4"]


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(24, 4),
    )
    net[1].running_mean.normal_()
    net[4].bias.data[2] = -100.0  # a dead unit
    return net.eval().requires_grad_(False)


def pictures(count: int = 17) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def labels(count: int = 17) -> Tensor:
    return torch.arange(count) % 2  # the third label has no image


def statistics(batch: int = 5) -> dict[str, LayerResponses]:
    totals = ResponseTotals(network(), LAYERS, 3)
    for start in range(0, 17, batch):
        totals.add(pictures()[start : start + batch], labels()[start : start + batch])
    return totals.result()


@pytest.mark.parametrize("batch", [5, 17])
def test_statistics_are_those_of_all_maps(batch: int) -> None:
    found = statistics(batch)
    assert list(found) == LAYERS
    for layer, maps in capture(network(), pictures(), LAYERS).items():
        one, flat = found[layer], maps.transpose(0, 1).flatten(1)
        torch.testing.assert_close(one.mean, flat.mean(1))
        torch.testing.assert_close(one.std, flat.std(1, correction=0), rtol=1e-4, atol=1e-5)
        assert torch.equal(one.low, flat.amin(1))
        assert torch.equal(one.high, flat.amax(1))
        torch.testing.assert_close(one.best_mean, maps.mean((2, 3)).amax(0))
        for label in (0, 1):
            torch.testing.assert_close(one.by_label[:, label], maps[labels() == label].mean((0, 2, 3)))
        assert one.by_label[:, 2].isnan().all()


def test_active_is_counted_behind_the_activation() -> None:
    found = statistics()
    behind = capture(network(), pictures(), ["2", "5"])
    for layer, activation in (("0", "2"), ("4", "5")):
        expected = (behind[activation] > 0).float().mean((0, 2, 3))
        torch.testing.assert_close(found[layer].active, expected)
        assert found[layer].active_of == activation
    assert found["4"].active[2] == 0


def test_a_layer_without_an_activation_behind_it_counts_itself() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    totals = ResponseTotals(net, ["0"], 1)
    totals.add(pictures(3), torch.zeros(3, dtype=torch.int64))
    maps = capture(net, pictures(3), ["0"])["0"]
    found = totals.result()["0"]
    torch.testing.assert_close(found.active, (maps > 0).float().mean((0, 2, 3)))
    assert found.active_of == "0"


def test_every_place_is_in_one_bin() -> None:
    found = Histograms(network(), statistics())
    for start in range(0, 17, 4):
        found.add(pictures()[start : start + 4])
    for layer, maps in capture(network(), pictures(), LAYERS).items():
        counts, edges = found.of(layer)
        assert counts.shape == (maps.shape[1], BINS)
        assert (counts.sum(1) == maps[:, 0].numel()).all()
        for channel, values in enumerate(maps.transpose(0, 1).flatten(1)):
            low, high = edges[channel, 0], edges[channel, -1]
            assert (low, high) == (values.min(), values.max())
            expected = torch.histc(values.double(), BINS, float(low), float(high)).long()
            # A value on an edge may fall to either side of it.
            assert (counts[channel] - expected).abs().sum() <= 2


def test_a_vote_is_what_a_raised_answer_does_to_the_logit() -> None:
    net, images, classes = network().double(), pictures().double(), [0, 2, 3]
    votes = VoteTotals(net, LAYERS, classes)
    votes.add(images[:9])
    votes.add(images[9:])
    deviation, step = {"0": torch.rand(5) + 0.5, "4": torch.rand(6) + 0.5}, 1e-7
    for layer in LAYERS:
        found = votes.votes(layer, deviation[layer])
        for channel in range(len(found)):
            raised = _logits(net, images, layer, channel, step * float(deviation[layer][channel]))
            change = (raised - _logits(net, images, layer, channel, 0.0)).mean(0) / step
            expected = (change - change.mean())[classes]
            torch.testing.assert_close(found[channel].double(), expected, rtol=1e-3, atol=1e-5)


def _logits(net: nn.Module, images: Tensor, layer: str, channel: int, raised: float) -> Tensor:
    """Logits where one unit answers `raised` more at every place."""

    def raise_it(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, channel] += raised
        return output

    with net.get_submodule(layer).register_forward_hook(raise_it), torch.no_grad():
        found: Tensor = net(images)
    return found


def test_the_network_is_left_as_it_was() -> None:
    net = network().train().requires_grad_()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    totals = ResponseTotals(net, LAYERS, 3)
    totals.add(pictures(), labels())
    Histograms(net, totals.result()).add(pictures())
    VoteTotals(net, LAYERS, [0]).add(pictures())
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value.grad is None and value.requires_grad for value in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
