"""The built-in networks: exact counts, torchvision's names and weights, every size and channel count."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from cutaway.errors import InputError
from cutaway.models import build, load_model, model_names
from cutaway.models.vgg import VGG

VGGS = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
RESNETS = ["resnet18", "resnet34", "resnet50"]


def parameters(network: nn.Module) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def meta(name: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        return build(name, **options)


def test_the_names() -> None:
    assert model_names() == ["alexnet", *RESNETS, *VGGS]


# (inputs * 9 + 1) * outputs for each of the thirteen convolutions, then the head of experiment 1.
VGG16_LAYERS = [
    *(1_792, 36_928, 73_856, 147_584, 295_168, 590_080, 590_080),
    *(1_180_160, 2_359_808, 2_359_808, 2_359_808, 2_359_808, 2_359_808),
    *(51_300, 10_100, 1_010),
]


def test_vgg16_has_the_parameters_of_experiment_1_layer_by_layer() -> None:
    network = meta("vgg16", classes=10, shape=(3, 32, 32))
    layers = [parameters(layer) for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert layers == VGG16_LAYERS
    assert parameters(network) == 14_777_098


@pytest.mark.parametrize(
    ("side", "head"),
    [
        (16, (512, 100, 100)),
        (28, (512, 100, 100)),
        (32, (512, 100, 100)),
        (63, (512, 100, 100)),
        (64, (2048, 512, 512)),
        (112, (4608, 512, 512)),
        (224, (25088, 4096, 4096)),
        (256, (32768, 4096, 4096)),
    ],
)
def test_the_head_of_a_vgg_follows_the_input(side: int, head: tuple[int, ...]) -> None:
    network = meta("vgg16", classes=10, shape=(3, side, side))
    assert isinstance(network, VGG)
    linears = [layer for layer in network.classifier if isinstance(layer, nn.Linear)]
    assert tuple(layer.in_features for layer in linears) == head
    assert linears[-1].out_features == 10
    with torch.device("meta"):
        assert network(torch.empty(2, 3, side, side)).shape == (2, 10)


def test_vgg16_at_224_has_the_parameters_of_experiment_1() -> None:
    assert parameters(meta("vgg16", classes=10, shape=(3, 224, 224))) == 134_301_514


@pytest.mark.parametrize("name", VGGS)
def test_a_vgg_at_224_has_torchvisions_tensors(name: str) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name)
    assert shapes(meta(name, classes=1000, shape=(3, 224, 224))) == shapes(theirs)


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnet_with_the_imagenet_stem_has_torchvisions_tensors_in_order(name: str) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name)
    ours = meta(name, classes=1000, shape=(3, 32, 32), stem="imagenet")
    assert list(shapes(ours).items()) == list(shapes(theirs).items())


def test_alexnet_at_64_and_above_has_torchvisions_tensors() -> None:
    with torch.device("meta"):
        theirs = models.alexnet()
    assert shapes(meta("alexnet", classes=1000, shape=(3, 64, 64))) == shapes(theirs)


@pytest.mark.parametrize(
    ("name", "side"), [("resnet18", 64), ("resnet50", 64), ("vgg11_bn", 224), ("alexnet", 96), ("resnet18", 65)]
)
def test_with_torchvisions_weights_the_output_is_torchvisions(name: str, side: int) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            # As after training: statistics that are not 0 and 1.
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    ours = build(name, classes=1000, shape=(3, side, side)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 48, 64), (1, 96, 96)])
def test_every_network_takes_every_size_and_one_channel(name: str, shape: tuple[int, int, int]) -> None:
    network = meta(name, classes=7, shape=shape)
    with torch.device("meta"):
        assert network(torch.empty(3, *shape)).shape == (3, 7)


@pytest.mark.parametrize(
    ("stem", "kernel", "stride", "first_map"), [("small", 3, 1, 28), ("half", 3, 2, 14), ("imagenet", 7, 2, 7)]
)
def test_the_stems_of_a_resnet(stem: str, kernel: int, stride: int, first_map: int) -> None:
    network = meta("resnet18", classes=10, shape=(1, 28, 28), stem=stem).eval()
    assert network.conv1.kernel_size == (kernel, kernel)
    assert network.conv1.stride == (stride, stride)
    seen: list[torch.Size] = []
    network.layer1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].shape))
    with torch.device("meta"):
        network(torch.empty(1, 1, 28, 28))
    assert seen[0][2:] == (first_map, first_map)


def test_the_default_stem_is_small_under_64_pixels() -> None:
    assert meta("resnet18", classes=2, shape=(3, 63, 200)).conv1.kernel_size == (3, 3)
    assert meta("resnet18", classes=2, shape=(3, 64, 64)).conv1.kernel_size == (7, 7)


def test_the_light_alexnet() -> None:
    at28, at32 = (meta("alexnet", classes=10, shape=(1, side, side)) for side in (28, 32))
    assert (at28.classifier[1].in_features, at32.classifier[1].in_features) == (2304, 4096)
    assert at28.features[0].kernel_size == (5, 5)
    # 5 convolutions and 3 linear layers, from the definition.
    convolutions = [(1, 64, 25), (64, 192, 9), (192, 384, 9), (384, 256, 9), (256, 256, 9)]
    linears = [(2304, 512), (512, 512), (512, 10)]
    expected = sum((i * k + 1) * o for i, o, k in convolutions) + sum((i + 1) * o for i, o in linears)
    assert parameters(at28) == expected


@pytest.mark.parametrize(
    ("name", "side", "default"), [("vgg16", 224, 0.5), ("vgg16", 32, 0.0), ("vgg16", 64, 0.0), ("alexnet", 28, 0.5)]
)
def test_dropout_has_the_architectures_default_and_can_be_set(name: str, side: int, default: float) -> None:
    def rates(dropout: float | None) -> set[float]:
        network = meta(name, classes=10, shape=(3, side, side), dropout=dropout)
        return {layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)}

    assert rates(None) == {default}
    assert rates(0.3) == {0.3}


def test_the_dropout_of_a_resnet_stands_before_its_linear_layer() -> None:
    network = build("resnet18", classes=10, shape=(1, 28, 28), dropout=0.9).train()
    caught: list[torch.Tensor] = []
    network.fc.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    network(torch.randn(4, 1, 28, 28))
    assert 0.8 < (caught[0] == 0).float().mean() < 0.99
    without = build("resnet18", classes=10, shape=(1, 28, 28))
    assert not any(isinstance(layer, nn.Dropout) for layer in without.modules())


def test_a_seed_fixes_the_weights_and_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (load_model("resnet18", classes=3, shape=(1, 28, 28), seed=5).network for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = load_model("resnet18", classes=3, shape=(1, 28, 28), seed=6).network
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("vgg17", {}, "model 'vgg17' is not known; the nearest are 'vgg19', 'vgg16', 'vgg13'"),
        ("resnet18", {"stem": "smal"}, "stem 'smal' is not known; the nearest are 'small', 'half', 'imagenet'"),
        ("vgg16", {"stem": "small"}, "model 'vgg16' has no stem to choose; leave out stem, or take a resnet"),
        ("vgg16", {"dropout": 1.5}, "dropout is a probability from 0 to below 1; found 1.5"),
        ("vgg16", {"classes": 0}, "a classifier needs at least one class"),
        (
            "vgg16",
            {"shape": (3, 0, 4)},
            r"the input's shape is channels, height, width, all at least 1; found (3, 0, 4)",
        ),
        (
            "vgg16",
            {"weights": "default"},
            "the built-in vgg16 has no weights of its own; take torchvision:vgg16, or --weights FILE",
        ),
        (
            "vgg16",
            {"shape": (1, 12, 12)},
            "images of 1x12x12 are too small for vgg16: they run out in layer features.23, which got 512x1x1; "
            "the smallest that work are 16x16",
        ),
        (
            "alexnet",
            {"shape": (3, 7, 40)},
            "images of 3x7x40 are too small for alexnet: they run out in layer features.12, which got 256x1x10; "
            "the smallest that work are 8x8",
        ),
    ],
)
def test_mistakes_are_one_sentence(spec: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_model(spec, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize(("name", "smallest"), [("vgg19", 16), ("alexnet", 8), ("resnet50", 1)])
def test_the_smallest_size_is_the_smallest(name: str, smallest: int) -> None:
    def runs(side: int) -> bool:
        try:
            load_model(name, classes=2, shape=(1, side, side))
        except InputError:
            return False
        return True

    assert [side for side in range(1, smallest + 2) if runs(side)] == [smallest, smallest + 1]


def test_the_defaults_and_the_description() -> None:
    model = load_model("resnet18", classes=("cat", "dog"), shape=(1, 28, 28), dropout=0.1)
    assert model.describe() == {
        "spec": "resnet18",
        "options": {"stem": "small", "dropout": 0.1},
        "classes": ["cat", "dog"],
        "preprocessing": None,
    }
    assert (model.name, model.head, model.warnings, model.notes) == ("resnet18", "fc", (), ())
    assert load_model("vgg11", shape=(3, 32, 32)).classes == tuple("0123456789")
