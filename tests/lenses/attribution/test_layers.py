"""The layer that is chosen by itself, channels that are last, and heads that are linear."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution.layers import good_layer, linear_head
from cutaway.lenses.capture import capture


class Block(nn.Module):
    """As in torchvision: a ReLU in place that is called twice, and an addition in place."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.conv1(x)))
        out += x
        return self.relu(out)


class Shrinking(nn.Module):
    """A block that halves the map at its end, on both of its ways."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.relu(self.conv(x)), 2) + F.avg_pool2d(x, 2)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.layer1, self.layer2 = nn.Sequential(Block(), Block()), nn.Sequential(nn.MaxPool2d(2), Block())
        self.head = nn.Linear(4, 3)
        self.unused = nn.Conv2d(4, 4, 1)
        self.aside: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        return self.head(x.mean((2, 3)))


class Aside(Residual):
    """Its last map is computed for nothing."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.stem(x)))
        self.aside = self.unused(x)
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """A small vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 4, stride=4)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(2)))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def grey(side: int) -> Tensor:
    return torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(0))


def plain(*, pools: int) -> nn.Sequential:
    """Each pool halves the map."""
    pairs = [
        [nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)] for _ in range(pools)
    ]
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *(layer for pair in pairs for layer in pair))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Dropout(), nn.Linear(4 * 49, 3))


def test_the_outermost_module_of_the_last_map() -> None:
    assert good_layer(Residual(), grey(8)) == "layer2"


@pytest.mark.parametrize(("side", "layer"), [(32, "0"), (16, "0.8"), (8, "0.5"), (6, "0.2")])
def test_the_deepest_of_at_least_four_places_a_side(side: int, layer: str) -> None:
    # Pools 3, 6 and 9 follow ReLUs 2, 5 and 8. At 32 the body ends in 4x4; at 16 the last 4x4 is before pool 9.
    assert good_layer(plain(pools=3), grey(side)) == layer


def test_no_map_of_four_places_a_side() -> None:
    network = plain(pools=1)
    assert good_layer(network, grey(3)) == "0"
    assert good_layer(network, grey(8), side=1) == "0"


def test_adaptive_pooling_makes_no_maps_of_its_own() -> None:
    # The 1x1 map that it blows up to 7x7 shows nothing.
    assert good_layer(plain(pools=3), grey(8)) == "0.5"


def test_a_map_that_the_logits_do_not_depend_on() -> None:
    assert good_layer(Aside(), grey(8)) == "layer2"


def test_a_whole_block_goes_before_its_parts() -> None:
    # The block ends in 3x3. Its first ReLU still has 6x6, but the way around the block does not lead through it.
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), Shrinking(), nn.Flatten(), nn.Linear(36, 3))
    assert good_layer(network, grey(6)) == "0"
    assert good_layer(network, grey(6), side=3) == "1"


def test_only_parts_to_choose_from() -> None:
    network = nn.Sequential(Shrinking(1), nn.Flatten(), nn.Linear(9, 3))
    assert good_layer(network, grey(6)) == "0.relu"


def test_networks_without_maps() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with pytest.raises(InputError, match=r"Sequential has no layer with maps .* for images of 1x8x8; choose a method"):
        good_layer(network, grey(8))


def test_vision_transformers() -> None:
    with pytest.raises(InputError, match=r"Tokens works on tokens \(1, 16, 8\) .*the last one with maps is 'patches'"):
        good_layer(Tokens(), grey(16))


def test_attention_pooling_at_the_end_is_no_transformer() -> None:
    network = nn.Sequential(
        *(Block() for _ in range(3)), nn.Flatten(2), nn.LayerNorm(64), nn.Flatten(), nn.Linear(256, 3)
    )
    assert good_layer(network, grey(8).expand(-1, 4, -1, -1)) == "2"


def test_the_network_is_left_as_it_was() -> None:
    network = Residual().train()
    network.layer1.eval()
    good_layer(network, grey(8))
    assert network.training
    assert not network.layer1.training
    assert not any(module._forward_hooks for module in network.modules())
    broken = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(3, 2, 3))
    with pytest.raises(RuntimeError):
        good_layer(broken, grey(8))
    assert broken.training
    assert not any(module._forward_hooks for module in broken.modules())


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [
        ("resnet18", 224, "layer4"),
        ("resnet18", 64, "layer3"),
        ("vgg11", 32, "features.14"),
        ("densenet121", 128, "features"),
        ("mobilenet_v2", 128, "features"),
        ("efficientnet_b0", 128, "features"),
        ("shufflenet_v2_x0_5", 128, "conv5"),
        ("mnasnet0_5", 128, "layers"),
        ("convnext_tiny", 128, "features"),
        ("googlenet", 128, "inception5b"),
        ("swin_t", 128, "permute"),
        ("regnet_y_400mf", 96, "trunk_output.block3"),
        ("inception_v3", 128, "Mixed_6e"),
    ],
)
def test_torchvision(name: str, side: int, layer: str) -> None:
    models = pytest.importorskip("torchvision.models")
    network = models.get_model(
        name, weights=None, **({"init_weights": False} if "ception" in name or name == "googlenet" else {})
    )
    assert good_layer(network, torch.randn(1, 3, side, side)) == layer


def heads() -> list[tuple[nn.Sequential, bool | None]]:
    """Networks, and whether their head is pooled; None where it is not linear in layer 0."""
    conv = nn.Conv2d(1, 4, 3)
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return [
        (nn.Sequential(conv, *pool, nn.Linear(4, 3)), True),
        (nn.Sequential(conv, *pool, nn.Dropout(), nn.Linear(4, 3, bias=False)), True),
        (nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 3, 1), nn.Flatten()), True),
        (nn.Sequential(conv, nn.Conv2d(4, 3, 1), *pool), True),
        (nn.Sequential(conv, nn.Flatten(), nn.Linear(144, 3)), False),
        (nn.Sequential(conv, nn.ReLU(), *pool, nn.Linear(4, 3)), None),
        (nn.Sequential(conv, *pool, nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), None),
        (nn.Sequential(conv, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)), None),
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_head_is_linear_if_its_numbers_are(number: int) -> None:
    torch.manual_seed(0)
    network, pooled = heads()[number]
    network.eval()
    maps = capture(network, grey(8), ["0"])["0"]
    logits = network(grey(8))
    head = linear_head(network, maps, logits)
    assert (None if head is None else head.pooled) is pooled
    if head is not None:
        features = maps.mean((2, 3)) if pooled else maps.flatten(1)
        assert torch.allclose(F.linear(features, head.weight, head.bias), logits, atol=1e-5)
