"""The architecture lens against hand-checked numbers, torchinfo, torch's FLOP counter and gradient support."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
import torch
import torchinfo
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models
from torchvision.models import regnet

from cutaway.errors import InputError
from cutaway.lenses.architecture import Row, Summary, summarize
from cutaway.models import build


def row(summary: Summary, name: str) -> Row:
    return next(row for row in summary.rows if row.name == name)


# Experiment 1: the figures of the write-up, layer by layer.


def test_vgg16_on_cifar_has_the_parameters_and_sizes_of_experiment_1() -> None:
    summary = summarize(build("vgg16", classes=10, shape=(3, 32, 32)), (3, 32, 32))
    per_layer = [row.parameters for row in summary.rows if row.parameters]
    expected = [1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160, 2359808, 2359808]
    assert per_layer == [*expected, 2359808, 2359808, 2359808, 51300, 10100, 1010]
    assert summary.parameters == 14_777_098
    assert "Forward/backward size  4.46 MB" in summary.text()
    assert "Parameter size         56.37 MB" in summary.text()


def test_vgg16_at_224_has_the_parameters_of_experiment_1() -> None:
    with torch.device("meta"):
        network = build("vgg16", classes=10, shape=(3, 224, 224))
    assert summarize(network, (3, 224, 224)).parameters == 134_301_514


# Multiply-adds and parameters, by hand.


def test_a_convolution_by_hand() -> None:
    # 8 filters of 3x3x3 and a bias at 16x16 places: 8 * (27 + 1) * 256.
    convolution = nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    summary = summarize(nn.Sequential(convolution), (3, 32, 32), batch=2)
    only = summary.rows[0]
    assert (only.name, only.kind, only.kernel) == ("0", "Conv2d", (3, 3))
    assert (only.input_shape, only.output_shape) == ((2, 3, 32, 32), (2, 8, 16, 16))
    assert only.parameters == summary.parameters == 8 * 28
    assert only.mult_adds == summary.mult_adds == 2 * 8 * 28 * 256
    assert only.output_bytes == 2 * 8 * 16 * 16 * 4
    assert summary.forward_backward_bytes == 2 * only.output_bytes
    assert summary.input_bytes == 2 * 3 * 32 * 32 * 4
    assert summary.parameter_bytes == 8 * 28 * 4


def test_groups_and_transposed_convolutions_count_each_weight_at_each_move() -> None:
    grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False)
    assert summarize(grouped, (4, 5, 5)).mult_adds == 8 * 2 * 9 * 25
    transposed = nn.ConvTranspose2d(4, 2, 2, stride=2, bias=True)
    assert summarize(transposed, (4, 5, 5)).mult_adds == 25 * (4 * 2 * 4) + 2 * 10 * 10


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 2, 3, padding=1)
        self.unused = nn.Linear(7, 3)

    def forward(self, maps: Tensor) -> Tensor:
        for _ in range(3):
            maps = self.convolution(maps)
        return nn.functional.conv2d(maps, self.convolution.weight, padding=1).flatten(1)


def test_parameters_count_once_and_multiply_adds_at_every_call() -> None:
    summary = summarize(Reused(), (2, 4, 4))
    calls = [row for row in summary.rows if row.name.startswith("convolution")]
    assert [row.name for row in calls] == ["convolution", "convolution#1", "convolution#2"]
    assert [row.parameters for row in calls] == [38, 0, 0]
    assert [row.shared for row in calls] == [False, True, True]
    assert [row.mult_adds for row in calls] == [38 * 16] * 3
    assert [row.receptive_field for row in calls] == [(3, 3), (5, 5), (7, 7)]
    # The functional call is the network's own.
    assert row(summary, "(network)").mult_adds == 36 * 16
    assert row(summary, "unused").parameters == 24
    assert not row(summary, "unused").called
    assert summary.parameters == 38 + 24 == sum(row.parameters for row in summary.rows)


def test_tensors_shared_by_two_layers_count_once() -> None:
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    summary = summarize(nn.Sequential(nn.Flatten(), one, other), (1, 2, 2))
    assert summary.parameters == 16 + 4 + 4
    assert [row.parameters for row in summary.rows] == [0, 20, 4]
    assert row(summary, "2").shared


def test_frozen_parameters_are_told_apart() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    network[0].requires_grad_(False)
    summary = summarize(network, (1, 4, 4))
    assert (summary.trainable, summary.frozen) == (27, 20)


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_by_hand(batch_first: bool) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)

        def forward(self, images: Tensor) -> Tensor:
            tokens = images.flatten(2).permute(0, 2, 1) if batch_first else images.flatten(2).permute(2, 0, 1)
            result: Tensor = self.attention(tokens, tokens, tokens, need_weights=False)[0]
            return result

    summary = summarize(Attention(), (8, 3, 3))
    tokens, width = 9, 8
    projections = tokens * (3 * width * (width + 1) + width * (width + 1))
    products = 2 * tokens * tokens * width
    assert summary.mult_adds == projections + products
    assert torch.backends.mha.get_fastpath_enabled()


# Totals against other tools, on every classifier of torchvision, without weights or memory (meta tensors).

# torchinfo takes a linear layer's multiply-adds once an image, however many tokens or pixels it is applied to, and
# does not see products inside attention: its totals for these are too small (1.7 % of ViT-B/16's).
TOKENS = ("convnext", "maxvit", "swin", "vit")
QUICK = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet0_5"),
    *(
        "mobilenet_v3_small",
        "regnet_y_400mf",
        "resnet18",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
        "vgg11_bn",
        "vit_b_16",
    ),
)
NAMES = models.list_models(module=models)
SWEEP = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything on the meta device, except RegNet's plan, which torchvision computes with tensors."""
    plan = regnet.BlockParams.from_init_params.__func__

    def on_cpu(cls: type, *args: object, **kwargs: object) -> object:
        with torch.device("cpu"):
            return plan(cls, *args, **kwargs)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def classifier(name: str) -> tuple[nn.Module, int]:
    options = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    side = 299 if name == "inception_v3" else 224
    return models.get_model(name, weights=None, **options).eval(), side


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", SWEEP)
def test_totals_equal_torchinfos(name: str) -> None:
    network, side = classifier(name)
    ours = summarize(network, (3, side, side), batch=2)
    theirs = torchinfo.summary(network, input_data=torch.empty(2, 3, side, side), verbose=0, device="meta")
    assert ours.parameters == theirs.total_params == sum(row.parameters for row in ours.rows)
    assert ours.trainable == theirs.trainable_params
    if name.startswith(TOKENS):
        assert ours.mult_adds > theirs.total_mult_adds
    else:
        assert ours.mult_adds == theirs.total_mult_adds


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", SWEEP)
def test_without_biases_and_norms_multiply_adds_are_half_of_torchs_flops(name: str) -> None:
    network, side = classifier(name)
    _strip(network)
    ours = summarize(network, (3, side, side), batch=2)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        network(torch.empty(2, 3, side, side))
    assert 2 * ours.mult_adds == flops.get_total_flops()


def _strip(network: nn.Module) -> None:
    """Remove what torch's counter leaves out: biases, and scales of normalisation."""
    for module in network.modules():
        for name in ("bias", "in_proj_bias"):
            if name in module._parameters:
                module._parameters[name] = None
        if isinstance(module, nn.LayerNorm | _NormBase):
            module._parameters["weight"] = None


def test_the_sweep_is_of_all_classifiers() -> None:
    assert set(QUICK) < set(NAMES)
    assert len(NAMES) >= 80


# Receptive fields.


def support(
    network: nn.Module, layer: str, shape: tuple[int, int, int], unit: tuple[int, int]
) -> list[tuple[int, int]]:
    """First and last row, first and last column of the input on which one unit of a layer depends.

    The definition, by brute force: the gradient of the unit, in a network whose weights are all positive and whose
    maximum is replaced by a mean, so that nothing cancels and nothing is masked.
    """
    network = network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            network.set_submodule(name, nn.AvgPool2d(module.kernel_size, module.stride, module.padding))
    caught: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    images = torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    network(images)
    hook.remove()
    (gradient,) = torch.autograd.grad(caught[0][(0, 0, *unit)] if caught[0].ndim == 4 else caught[0][0, 0], images)
    touched = gradient[0].abs().sum(0) > 0
    lines = [touched.any(1).nonzero().flatten(), touched.any(0).nonzero().flatten()]
    return [(int(line[0]), int(line[-1])) for line in lines]


class Branches(nn.Module):
    """A skip, two branches of different reach, concatenation, and a spatial gate-free tail."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.short = nn.Conv2d(4, 4, 1)
        self.long = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=2, dilation=2))
        self.both = nn.Conv2d(8, 4, (3, 5), padding=(1, 2))
        self.skip = nn.Identity()
        self.tail = nn.Conv2d(4, 4, 2, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        joined = self.both(torch.cat([self.short(maps), self.long(maps)], 1))
        return self.tail(self.skip(joined + maps))


class Dilated(nn.Sequential):
    def __init__(self) -> None:
        layers = [nn.Conv2d(1 if rate == 1 else 3, 3, 3, padding=rate, dilation=rate) for rate in (1, 2, 4)]
        super().__init__(*layers, nn.ReLU(), nn.AvgPool2d(3, 2))


class TokenMixer(nn.Module):
    """As in ConvNeXt: a linear layer on channels, between two permutations."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 7, padding=3, groups=3)
        self.linear = nn.Linear(3, 3)
        self.last = nn.Conv2d(3, 3, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.linear(self.depthwise(images).permute(0, 2, 3, 1))
        return self.last(maps.permute(0, 3, 1, 2))


class Gated(nn.Module):
    """Squeeze and excitation: after the gate every unit sees the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.last = nn.Conv2d(4, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        return self.last(maps * self.gate(maps))


class Windowed(nn.Module):
    """As in Swin: windows of 4x4 pixels, mixed within themselves, added to the maps, put together again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.mix = nn.Linear(16, 16)
        self.out = nn.Identity()
        self.together = nn.Conv2d(2, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        count, channels, height, width = maps.shape
        windows = maps.view(count, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 1, 3, 5)
        mixed = self.mix(windows.reshape(-1, channels, 16)).reshape(windows.shape)
        back = mixed.permute(0, 3, 1, 4, 2, 5).reshape(maps.shape)
        return self.together(self.out(back + maps))


class Tokens(nn.Module):
    """As in a vision transformer without a class token, up to its attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 4, 5, stride=4, padding=2)
        self.mlp = nn.Linear(4, 4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.patch(images)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens + self.mlp(nn.functional.layer_norm(tokens, (4,)) + tokens)
        return self.again(tokens.transpose(1, 2).unflatten(2, maps.shape[2:]))


def vgg() -> nn.Module:
    return build("vgg11", classes=2, shape=(1, 96, 96))


def resnet() -> nn.Module:
    return build("resnet18", classes=2, shape=(1, 96, 96), stem="small")


CASES = [
    *((Branches, layer, (1, 64, 64), (6, 6)) for layer in ("stem", "short", "long.0", "long.1", "both", "tail")),
    *((Dilated, layer, (1, 48, 48), (9, 9)) for layer in "01234"),
    *((TokenMixer, layer, (3, 32, 32), (6, 6)) for layer in ("depthwise", "last")),
    (Windowed, "together", (1, 32, 32), (9, 9)),
    *((Tokens, layer, (1, 40, 40), (4, 4)) for layer in ("patch", "again")),
    *((vgg, layer, (1, 96, 96), (5, 5)) for layer in ("features.5", "features.10")),
    *(
        (resnet, layer, (1, 96, 96), (11, 11))
        for layer in ("layer1.1.conv2", "layer2.1.conv1", "layer2.0.downsample.0")
    ),
    (Gated, "last", (1, 20, 20), (4, 9)),
]


@pytest.mark.parametrize(("make", "layer", "shape", "unit"), CASES)
def test_receptive_field_and_jump_equal_gradient_support(
    make: type[nn.Module], layer: str, shape: tuple[int, int, int], unit: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = make()
    found = row(summarize(network, shape), layer)
    here, next_ = support(network, layer, shape, unit), support(network, layer, shape, (unit[0] + 1, unit[1] + 1))
    assert found.receptive_field == tuple(last - first + 1 for first, last in here)
    # A unit that sees everything has no neighbour to step to: its field does not move.
    assert tuple(jump or 0 for jump in found.jump) == tuple(b[0] - a[0] for a, b in zip(here, next_, strict=True))


def test_published_receptive_fields() -> None:
    # Araujo, Norris and Sim (2019), "Computing receptive fields of convolutional neural networks", table 1.
    with torch.device("meta"):
        networks = {"alexnet": models.alexnet(), "vgg16": models.vgg16(), "resnet50": models.resnet50()}
        fields = {name: summarize(network, (3, 512, 512)) for name, network in networks.items()}
    assert row(fields["alexnet"], "features.12").receptive_field == (195, 195)
    assert row(fields["vgg16"], "features.30").receptive_field == (212, 212)
    # Their ResNet strides in the first 1x1 convolution of a block and has 483; torchvision's strides in the 3x3.
    assert row(fields["resnet50"], "layer4.2.conv3").receptive_field == (427, 427)


def test_the_field_of_a_linear_layer_joins_those_of_all_units() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.Flatten(), nn.Linear(2 * 4 * 7, 3))
    linear = row(summarize(network, (1, 10, 16)), "2")
    # Four units of 3 pixels, two apart, cover 3 + 3 * 2; the tenth row is not seen.
    assert linear.receptive_field == (9, 15)
    assert linear.jump == (None, None)


def test_attention_sees_the_whole_image_and_patches_only_themselves() -> None:
    with torch.device("meta"):
        summary = summarize(models.vit_b_16(), (3, 224, 224))
    assert row(summary, "conv_proj").receptive_field == (16, 16)
    # The class token sees nothing yet: there is no one number.
    assert row(summary, "encoder.layers.encoder_layer_0.ln_1").receptive_field == (None, None)
    assert row(summary, "encoder.layers.encoder_layer_0.self_attention").receptive_field == (224, 224)
    assert row(summary, "heads.head").receptive_field == (224, 224)


class Odd(nn.Module):
    """Operations whose fields have no exact description here."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.after = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.first(images)
        if self.kind == "shifted":
            maps = torch.roll(maps, 3, 2)
        if self.kind == "enlarged":
            maps = nn.functional.interpolate(maps, scale_factor=2)
        if self.kind == "pieced":
            canvas = torch.zeros_like(maps)
            canvas[:, :, :4] = maps[:, :, :4]
            maps = canvas
        if self.kind == "sorted":
            maps = maps.sort(2).values
        return self.after(maps)


@pytest.mark.parametrize("kind", ["shifted", "enlarged", "pieced", "sorted"])
def test_an_unknown_field_is_none_and_never_a_guess(kind: str) -> None:
    after = row(summarize(Odd(kind), (1, 8, 8)), "after")
    assert after.receptive_field[0] is None
    assert after.mult_adds > 0


def test_fields_go_through_a_dynamic_forward() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.convolution(images)
            return self.convolution(maps) if bool(maps.mean() < torch.inf) else maps

    assert summarize(Dynamic(), (1, 8, 8)).rows[-1].receptive_field == (5, 5)


# Behaviour.


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten())
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    generator = torch.get_rng_state()
    summarize(network, (1, 5, 5), batch=3)
    assert [module.training for module in network.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_network_that_fails_is_left_as_it_was_and_explained() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(7, 3))
    with pytest.raises(InputError, match=r"the network does not run on images of 1x5x5: .*shapes cannot be multiplied"):
        summarize(network, (1, 5, 5))
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_text_is_an_aligned_table_with_the_totals_below() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    assert summarize(network, (1, 5, 5)).text() == GOLDEN


GOLDEN = """\
Layer  Kind     Input  Output  Kernel  Field  Step  Parameters  Multiply-adds  Memory MB
----------------------------------------------------------------------------------------
0      Conv2d   1x5x5   2x3x3     3x3    3x3   1x1          20            180       0.00
1      ReLU     2x3x3   2x3x3       -    3x3   1x1           -              -       0.00
2      Flatten  2x3x3      18       -    3x3     -           -              -       0.00
3      Linear      18       3       -    5x5     -          57             57       0.00
----------------------------------------------------------------------------------------
Parameters             77 (trainable 77, frozen 0)
Multiply-adds          237
Input size             0.00 MB
Forward/backward size  0.00 MB
Parameter size         0.00 MB
Total size             0.00 MB"""


def test_as_dict_is_plain_data() -> None:
    values = summarize(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2)).as_dict()
    assert values["parameters"] == 15
    assert values["frozen"] == 0
    assert values["rows"][1]["name"] == "1"
    assert values["rows"][1]["output_shape"] == (1, 3)
