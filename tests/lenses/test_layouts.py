"""Channels that come last are found, and every lens reads them as channels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cutaway.lenses.activations import feature_maps
from cutaway.lenses.exemplars.scan import Scan
from cutaway.lenses.exemplars.survey import survey
from cutaway.lenses.forward import opened
from cutaway.lenses.layouts import channels_last_shapes
from cutaway.lenses.targets import parse_target

IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Swap(nn.Module):
    """Channels to the end, or from there."""

    def __init__(self, source: int, place: int) -> None:
        super().__init__()
        self.way = source, place

    def forward(self, x: Tensor) -> Tensor:
        return x.movedim(*self.way)


def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """The same function, with the maps of layer 2 once last and once first."""
    torch.manual_seed(0)
    first, norm, second = nn.Conv2d(1, 4, 3), nn.LayerNorm(4), nn.Linear(4, 5)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    pointwise = nn.Conv2d(4, 5, 1)
    pointwise.load_state_dict({"weight": second.weight[..., None, None], "bias": second.bias})
    last_one = nn.Sequential(first, Swap(1, -1), norm, second, nn.LayerNorm(5), Swap(-1, 1), head)
    turned = nn.Sequential(Swap(1, -1), nn.LayerNorm(5), Swap(-1, 1))
    first_one = nn.Sequential(
        first, Swap(1, -1), norm, nn.Sequential(Swap(-1, 1), pointwise), turned, nn.Identity(), head
    )
    return last_one.eval(), first_one.eval()


def test_the_shapes_are_those_of_layer_normalisations() -> None:
    last, _ = networks()
    assert channels_last_shapes(last, IMAGES) == {(6, 6, 4), (6, 6, 5)}
    assert channels_last_shapes(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), IMAGES) == frozenset()


def test_where_the_channels_are_normalised_in_front_they_are_in_front() -> None:
    class Norm2d(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.movedim(1, -1)).movedim(-1, 1)

    assert channels_last_shapes(nn.Sequential(nn.Conv2d(1, 4, 3), Norm2d(4)), IMAGES) == frozenset()


@pytest.mark.parametrize("target", [1, "3:2", "3:2@1,4"])
def test_scores_and_gradients_are_those_of_the_same_network_with_channels_first(target: int | str) -> None:
    found = []
    for net in networks():
        with opened(net) as forward:
            images = IMAGES.clone().requires_grad_()
            scores, outputs = forward.scores(images, parse_target(target), ["3"])
            found.append((scores, outputs["3"], *torch.autograd.grad(scores.sum(), images)))
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine, other, atol=1e-6)


def test_what_is_put_in_their_place_flows_on() -> None:
    for net in networks():
        with opened(net) as forward, torch.no_grad():
            found = forward(IMAGES, ["3"], edit=lambda _name, value: value.flip(3))["3"]
            assert torch.allclose(found, feature_maps(net, IMAGES, ["3"])["3"].flip(3), atol=1e-6)
            assert forward(IMAGES, ["3"], edit=lambda _name, value: value * 0)[""].unique(dim=0).shape[0] == 1


def test_feature_maps_and_exemplars() -> None:
    found = []
    for net in networks():
        scan = Scan(net, ["3"], 2)
        scan.add(IMAGES, torch.arange(3))
        maps, best = feature_maps(net, IMAGES, ["3"])["3"], scan.tables()["3"].best
        found.append((maps, best.scores, best.images, best.places))
        seen = survey(net, IMAGES[:1], ["3"])["3"]
        assert (seen.channels, seen.size) == (5, (6, 6))
        assert seen.box(2, 3) == (2, 3, 5, 6)
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine.float(), other.float(), atol=1e-6)
