from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from cutaway.computing.twin import TOLERANCE, bf16_pays, fast_twin, fingerprint


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alive(network: nn.Module) -> nn.Module:
    """With batch norms that do something: random statistics, scales and shifts."""
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            if module.affine:
                with torch.no_grad():
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.3, generator=generator)
    return network


class Pair(nn.Module):
    """conv, then norm, and whatever a test does with them."""

    def __init__(self, *, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4) if norm is None else norm

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)))

    @staticmethod
    def head(x: Tensor) -> Tensor:
        return F.relu(x).flatten(1)


class ConvReadTwice(Pair):
    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.head(self.norm(y) + y)


class ConvReturned(Pair):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.head(self.norm(y)), y


class ConvChangedInPlace(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(F.relu(self.conv(x), inplace=True)))


class ConvCalledTwice(Pair):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)) + F.relu(self.conv(x + 1)))


class NormCalledTwice(Pair):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)) * self.norm(self.other(x)))


class NormFirst(Pair):
    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(F.relu(self.norm(x))))


class SharedWeight(Pair):
    """Two convolutions with one weight; only the first has a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(3, 4, 3, bias=False)
        self.other.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)) + self.other(x))


class SamePadding(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(F.pad(input, (0, 1, 0, 1)), self.weight, self.bias, self.stride)


class Standardised(nn.Conv2d):
    """Its output does not depend on the scale of its weight: a norm cannot be part of it."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight / self.weight.norm(), self.bias)


def outputs(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(images)


def test_a_folded_norm_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0), nn.Flatten())
    with torch.no_grad():
        network[0].weight.fill_(3)
        network[0].bias.fill_(1)
        network[1].running_mean.fill_(5)
        network[1].running_var.fill_(4)
        network[1].weight.fill_(10)
        network[1].bias.fill_(7)
    twin = fast_twin(network, torch.ones(1, 1, 2, 2))
    # (3 x + 1 - 5) / 2 * 10 + 7 = 15 x - 13
    assert twin.network is not None
    assert float(twin.network[0].weight) == 15
    assert float(twin.network[0].bias) == -13
    assert isinstance(twin.network[1], nn.Identity)


@pytest.mark.parametrize(("kind", "folded"), [
    (Pair, ("norm",)), (SharedWeight, ("norm",)), (ConvReadTwice, ()), (ConvReturned, ()), (ConvChangedInPlace, ()),
    (ConvCalledTwice, ()), (NormCalledTwice, ()), (NormFirst, ()),
])  # fmt: skip
def test_a_norm_is_folded_where_nobody_else_reads_the_convolution(kind: type[Pair], folded: tuple[str, ...]) -> None:
    network, images = alive(kind()), drawn(2, 3, 6, 6)
    twin = fast_twin(network, images)
    assert twin.folded == folded
    assert twin.network is not None
    expected, found = outputs(network, images), outputs(twin.network, images)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [
    nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, eps=0.1), nn.BatchNorm2d(4, momentum=None),
], ids=["not affine", "large eps", "cumulative"])  # fmt: skip
def test_every_kind_of_batch_norm(norm: nn.BatchNorm2d) -> None:
    network, images = alive(Pair(norm=norm)), drawn(2, 3, 6, 6)
    twin = fast_twin(network, images)
    assert twin.folded == ("norm",)
    torch.testing.assert_close(outputs(twin.network, images), outputs(network, images), rtol=1e-5, atol=1e-5)


def test_a_norm_of_the_batch_at_hand_is_no_constant() -> None:
    network = Pair(norm=nn.BatchNorm2d(4, track_running_stats=False))
    assert fast_twin(network, drawn(2, 3, 6, 6)).folded == ()


def test_convolutions_of_other_classes_are_folded_if_the_outputs_stay() -> None:
    padded, standardised = Pair(), Pair()
    padded.conv, standardised.conv = SamePadding(3, 4, 3, bias=False), Standardised(3, 4, 3)
    images = drawn(2, 3, 6, 6)
    assert fast_twin(alive(padded), images).folded == ("norm",)
    twin = fast_twin(alive(standardised), images)
    assert twin.folded == ()
    assert twin.error < 1e-4


@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm,
                                  nn.utils.parametrizations.spectral_norm])  # fmt: skip
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
def test_weights_that_are_computed_are_left_alone(wrap: object) -> None:
    network = alive(Pair())
    wrap(network.conv)  # type: ignore[operator]  # one of three functions
    images = drawn(2, 3, 6, 6)
    twin = fast_twin(network, images)
    assert twin.folded == ()
    torch.testing.assert_close(outputs(twin.instead_of(network), images), outputs(network, images))


def test_a_network_with_hooks_has_no_twin_and_keeps_their_effect() -> None:
    network = alive(Pair())
    images = drawn(2, 3, 6, 6)
    assert fast_twin(network, images).network is not None
    handle = network.norm.register_forward_hook(lambda _module, _args, output: output * 2)
    assert fast_twin(network, images).network is None
    assert fast_twin(network, images).instead_of(network) is network
    handle.remove()
    assert fast_twin(network, images).network is not None


def test_what_cannot_be_copied_has_no_twin() -> None:
    network = alive(Pair())
    network.uncopied = drawn(3).requires_grad_() * 2
    twin = fast_twin(network, drawn(2, 3, 6, 6))
    assert twin.network is None
    assert "no copy: RuntimeError" in twin.reason


def test_a_network_that_never_answers_the_same_has_no_twin() -> None:
    network = nn.Sequential(Pair(), nn.Dropout(0.5))
    network[1].forward = lambda x: F.dropout(x, 0.5, training=True)
    twin = fast_twin(network, drawn(2, 3, 6, 6))
    assert twin.network is None
    assert "differ" in twin.reason


def test_other_number_formats_and_wrong_images_have_no_twin() -> None:
    assert "float64" in fast_twin(Pair().double(), drawn(1, 3, 6, 6).double()).reason
    assert "no pass to compare with" in fast_twin(Pair(), drawn(1, 5, 6, 6)).reason


def test_layers_that_a_lens_reads_return_the_same() -> None:
    network, images = alive(nn.Sequential(Pair(), nn.Linear(64, 2))), drawn(2, 3, 6, 6)
    kept = fast_twin(network, images, keep=["0.conv#1"])
    assert kept.folded == ()
    assert fast_twin(network, images).folded == ("0.norm",)
    found: dict[str, Tensor] = {}
    for name in "0.conv", "0.norm":
        for key, each in (
            ("original", network),
            ("kept", kept.network),
            ("folded", fast_twin(network, images).network),
        ):
            with each.get_submodule(name).register_forward_hook(
                lambda _module, _args, output, key=f"{key} {name}": found.update({key: output.clone()})
            ):
                outputs(each, images)
    for key in "kept 0.conv", "kept 0.norm", "folded 0.norm":
        torch.testing.assert_close(found[key], found["original " + key.split()[1]])


def test_the_original_is_left_as_it_was() -> None:
    network = alive(Pair()).train()
    network.conv.weight.requires_grad_(False)
    network.norm.eval()
    before = copy.deepcopy(network.state_dict())
    state = torch.get_rng_state()
    for dtype in TOLERANCE:
        fast_twin(network, drawn(2, 3, 6, 6), dtype=dtype)
    assert network.training
    assert not network.norm.training
    assert not network.conv.weight.requires_grad
    assert network.norm.weight.requires_grad
    assert network.conv.weight.is_contiguous()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_twin_is_remembered_until_anything_changes() -> None:
    network, images = (
        alive(nn.Sequential(nn.Conv2d(3, 40, 5, padding=2), nn.BatchNorm2d(40), nn.Flatten())),
        drawn(1, 3, 6, 6),
    )

    def twin() -> nn.Module | None:
        return fast_twin(network, images).network

    last = twin()
    assert twin() is last
    network[0].weight.data[3, 0, 0, 0] += 1e-3  # hidden from the version counter
    changes = [
        lambda: None,
        lambda: network[0].weight.data.copy_(network[0].weight.data[torch.randperm(40)]),
        lambda: network[0].weight.data.copy_(network[0].weight.data.flip(3)),
        lambda: network[1].running_mean.add_(1e-3),
        lambda: setattr(network[0], "dilation", (2, 2)),
        lambda: setattr(network[0], "padding", (4, 4)),
        lambda: network.insert(1, nn.ReLU()),
        lambda: network.load_state_dict({name: value + 1 for name, value in network.state_dict().items()}),
    ]
    for index, change in enumerate(changes):
        change()
        assert twin() is not last, index
        last = twin()
    network.train()
    assert twin() is last


def test_the_fingerprint_reads_every_weight() -> None:
    network = nn.Linear(100, 60)
    seen = {fingerprint(network)}
    for place in range(0, 6000, 71):
        network.weight.data.view(-1)[place] += 1e-2
        seen.add(fingerprint(network))
    assert len(seen) == 86


def test_nothing_is_remembered_of_a_network_that_is_gone() -> None:
    network = alive(Pair())
    fast_twin(network, drawn(1, 3, 6, 6))
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_gradients_are_the_originals() -> None:
    network = alive(nn.Sequential(Pair(), nn.Linear(64, 2))).eval()
    images = drawn(2, 3, 6, 6).requires_grad_()
    twin = fast_twin(network, images.detach()).network
    (expected,) = torch.autograd.grad(network(images)[:, 1].sum(), images)
    (found,) = torch.autograd.grad(twin(images)[:, 1].sum(), images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_used_where_it_is_near_enough() -> None:
    network, images = alive(nn.Sequential(Pair(), nn.Linear(64, 2))), drawn(2, 3, 6, 6)
    twin = fast_twin(network, images, dtype=torch.bfloat16)
    assert twin.dtype == torch.bfloat16
    assert 0 < twin.error < 2e-2
    steep = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Softmax(1))
    with torch.no_grad():
        steep[0].weight.fill_(1e3)
    assert (
        fast_twin(steep, torch.tensor([1.0, 1.001, 1.002, 0.5]).view(1, 1, 2, 2), dtype=torch.bfloat16).dtype
        == torch.float32
    )


def test_whether_bfloat16_pays_is_measured_once() -> None:
    assert bf16_pays("cpu") is bf16_pays("cpu")


@pytest.mark.parametrize("name", [
    "alexnet", "vgg11_bn", "resnet18", "resnext50_32x4d", "squeezenet1_1", "densenet121", "googlenet", "mobilenet_v2",
    "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_x_400mf", "convnext_tiny",
    "swin_t",
])  # fmt: skip
def test_torchvision_networks(name: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    network, images = alive(get_model(name, weights=None, num_classes=5, **options)).eval(), drawn(2, 3, 64, 64)
    twin = fast_twin(network, images)
    assert twin.network is not None, twin.reason
    norms = {name for name, module in network.named_modules() if type(module) is nn.BatchNorm2d}
    assert set(twin.folded) == {norm for norm in norms if _stands_behind_a_convolution(name, norm)}
    other = drawn(2, 3, 64, 64, seed=9)
    expected = outputs(network, other)
    with twin.computing():
        found = outputs(twin.network, other)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    assert [name for name, _ in network.named_modules()] == [name for name, _ in twin.network.named_modules()]


def _stands_behind_a_convolution(network: str, norm: str) -> bool:
    """All but those of a DenseNet before a convolution, and of GoogLeNet's heads that are for training alone."""
    return norm.endswith(("norm0", "norm2")) if network == "densenet121" else not norm.startswith("aux")
