"""Layers as found by one image, the boxes of their places, and the replay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import capture
from cutaway.lenses.exemplars import Scan, Surveyed, replay, score, survey


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2, padding=2, dilation=2),
        nn.Conv2d(5, 3, 1),
        nn.Flatten(),
        nn.LazyLinear(2),
    )


def test_by_default_every_convolution() -> None:
    found = survey(network(), torch.zeros(1, 2, 12, 20))
    assert list(found) == ["0", "3", "4"]
    assert [(layer.channels, layer.size) for layer in found.values()] == [(4, (12, 20)), (5, (3, 5)), (3, (3, 5))]
    assert found["0"].place(23) == (1, 3)


def test_boxes_by_hand() -> None:
    """3x3 at stride 1, then a pooling by 2, then five taps two apart at stride 2: 10 pixels, 4 apart, from -5."""
    found = survey(network(), torch.zeros(1, 2, 12, 20))
    assert found["0"].box(0, 0) == (-1, -1, 2, 2)
    assert found["0"].box(4, 7) == (3, 6, 6, 9)
    assert found["3"].box(0, 0) == (-5, -5, 7, 7)
    assert found["4"].box(1, 2) == (-1, 3, 11, 15)
    assert all(layer.exact for layer in found.values())


@pytest.mark.parametrize("layer", ["0", "3", "4"])
def test_nothing_outside_a_box_matters_and_its_edges_do(layer: str) -> None:
    net = network()
    found = survey(net, torch.zeros(1, 2, 12, 20))[layer]
    image = torch.randn(1, 2, 12, 20, generator=torch.Generator().manual_seed(1))
    net(image)  # makes the lazy layer
    row, column = found.size[0] // 2, found.size[1] // 2
    top, left, bottom, right = (max(0, edge) for edge in found.box(row, column))
    inside = torch.zeros(12, 20, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    gradient = _support(net, image, layer, row, column)
    assert not (gradient & ~inside).any()
    outside = torch.where(inside, image, torch.randn_like(image))
    maps = [capture(net, one, [layer])[layer][0, :, row, column] for one in (image, outside)]
    assert torch.equal(maps[0], maps[1])


def _support(net: nn.Module, image: Tensor, layer: str, row: int, column: int) -> Tensor:
    """Which pixels, bool (H, W), have a gradient for a place of a layer."""
    given = image.clone().requires_grad_()
    capture(net, given, [layer])[layer][0, :, row, column].sum().backward()
    assert given.grad is not None
    return given.grad[0].abs().sum(0) > 0


def test_branches_of_different_fields_get_their_hull() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow, self.wide = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 5, padding=2)
            self.joined = nn.Identity()

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.joined(torch.cat([self.narrow(images), self.wide(images)], 1))
            return out

    found = survey(Branches(), torch.zeros(1, 1, 9, 9), ["narrow", "joined"])
    assert found["narrow"].exact
    assert found["joined"].box(4, 4) == (2, 2, 7, 7)


def test_a_linear_layer_sees_everything() -> None:
    net = network()
    net(torch.zeros(1, 2, 12, 20))
    found = survey(net, torch.zeros(1, 2, 12, 20), ["6"])["6"]
    top, left, bottom, right = found.box(0, 0)
    assert (found.channels, found.size) == (2, (1, 1))
    assert top <= 0 <= 12 <= bottom
    assert left <= 0 <= 20 <= right


def test_what_cannot_be_followed_counts_as_the_whole_image() -> None:
    class Sorted(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sort(dim=3).values

    found = survey(nn.Sequential(Sorted()), torch.randn(1, 1, 6, 8), ["0"])["0"]
    assert found.box(2, 3) == (0, 0, 6, 8)
    assert not found.exact


def test_each_call_of_a_shared_convolution_is_a_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.shared(self.shared(images))
            return out

    found = survey(Twice(), torch.zeros(1, 1, 8, 8))
    assert {name: layer.box(0, 0) for name, layer in found.items()} == {
        "shared": (-1, -1, 2, 2),
        "shared#1": (-2, -2, 3, 3),
    }


def test_a_network_without_convolutions_is_told() -> None:
    with pytest.raises(InputError, match="Sequential has no convolution that runs; name the layers"):
        survey(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))


def test_a_layer_that_does_not_exist_is_told() -> None:
    with pytest.raises(InputError, match="layer 'conv9' is not in Sequential; the nearest are"):
        survey(network(), torch.zeros(1, 2, 12, 20), ["conv9"])


def test_a_replay_gives_the_stored_score() -> None:
    net, images = network(), torch.randn(30, 2, 12, 20, generator=torch.Generator().manual_seed(2))
    scan = Scan(net, ["0", "3", "4"], 3)
    scan.add(images, torch.arange(30))
    tables = scan.tables()
    checked = replay(net, tables, lambda index: images[index : index + 1])
    assert checked.checked == 3
    assert checked.gap < 1e-6
    again = [score(net, images[i : i + 1], "3", 2, p) for i, p in _first(tables["3"].best, 2)]
    assert again == pytest.approx(tables["3"].best.scores[2].tolist(), rel=1e-6)


def test_a_replay_finds_a_wrong_score() -> None:
    net, images = network(), torch.randn(8, 2, 12, 20)
    scan = Scan(net, ["0"], 2)
    scan.add(images, torch.arange(8))
    tables = scan.tables()
    checked = replay(net, tables, lambda index: images[index : index + 1] * 1.5)
    assert checked.equal == 0
    assert checked.gap > 0.05


def _first(table: object, channel: int) -> list[tuple[int, int]]:
    images, places = (getattr(table, name)[channel].tolist() for name in ("images", "places"))
    return list(zip(images, places, strict=True))


def test_a_layer_is_a_value() -> None:
    found = survey(network(), torch.zeros(1, 2, 12, 20), ["0"])["0"]
    assert found == Surveyed("0", 4, (12, 20), found.fields, True)
