"""The user's own networks: found, called, adapted, and warned about."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.models import Preprocessing, load_model
from cutaway.models.foreign import last_layer_warning
from cutaway.models.probe import attempt, final_activation, noise

SOURCE = """
import torch
from torch import nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=3, ending="raw"):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, num_classes)
        self.ending = ending

    def forward(self, x):
        x = self.fc(self.features(x).mean((2, 3)))
        if self.ending == "relu":
            return functional.relu(x)
        return torch.softmax(x, 1) if self.ending == "softmax" else x

def rgb():
    return Net()

def relu(num_classes):
    return Net(num_classes, ending="relu")

def softmax(classes, in_chans):
    return Net(classes, in_chans, ending="softmax")

def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))

def pools():
    layers = [nn.Conv2d(3, 4, 3, padding=1)]
    layers += [nn.MaxPool2d(2) for _ in range(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))

def fixed_size():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10))

def maps():
    return nn.Conv2d(3, 10, 1)

def pair():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x
    return Pair()

def fails():
    raise RuntimeError("no luck")

def nothing():
    return None

def needs(depth):
    return Net()

network = nn.Linear(2, 2)
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    path = tmp_path / "net.py"
    path.write_text(SOURCE)
    return str(path)


def test_a_factory_is_called_with_classes_and_channels_where_it_takes_them(net: str) -> None:
    model = load_model(f"{net}:Net", classes=("a", "b", "c"), shape=(1, 16, 16))
    assert model.classes == ("a", "b", "c")
    assert (model.network.fc.out_features, model.network.features[0].in_channels) == (3, 1)
    assert (model.head, model.name, model.warnings, model.notes) == ("fc", "Net", (), ())
    assert model.preprocessing is None


def test_a_factory_without_arguments_is_adapted(net: str) -> None:
    model = load_model(f"{net}:rgb", classes=4, shape=(1, 16, 16))
    assert model.network(torch.zeros(2, 1, 16, 16)).shape == (2, 4)
    assert model.notes == (
        "features.0 takes 1 channel instead of 3",
        "the class layer fc gives 4 logits instead of 10",
    )


STATED = """
from torch import nn
from cutaway.models import Preprocessing


def make(num_classes=4):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, num_classes))
    network.preprocessing = Preprocessing((3, 2, 2), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    network.classes = ("ant", "bee", "cow", "dog")
    return network
"""


def test_a_network_may_say_its_own_classes_and_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "stated.py").write_text(STATED)
    model = load_model(f"{tmp_path}/stated.py:make")
    assert model.classes == ("ant", "bee", "cow", "dog")
    assert model.shape == (3, 2, 2)
    assert model.preprocessing == Preprocessing((3, 2, 2), (0.5,) * 3, (0.25,) * 3)


def test_other_classes_and_another_size_go_before_what_a_network_says(tmp_path: Path) -> None:
    (tmp_path / "stated.py").write_text(STATED)
    model = load_model(f"{tmp_path}/stated.py:make", classes=("a", "b"), shape=(3, 2, 2))
    assert (model.classes, len(model.network(torch.zeros(1, 3, 2, 2))[0])) == (("a", "b"), 2)


def test_the_default_of_a_factory_counts_where_nobody_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def make(num_classes=7, in_channels=1): return nn.Sequential(nn.Conv2d(in_channels, 2, 1), nn.Flatten(), "
        "nn.LazyLinear(num_classes))\n"
        "def asks(num_classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))\n"
    )
    assert len(load_model(f"{tmp_path}/own.py:make", shape=(1, 4, 4)).classes) == 7
    assert len(load_model(f"{tmp_path}/own.py:asks", shape=(1, 4, 4)).classes) == 10


def test_without_classes_the_network_keeps_its_own_count(net: str) -> None:
    assert len(load_model(f"{net}:rgb", shape=(3, 16, 16)).classes) == 10


def test_the_spec_means_the_same_file_from_any_folder(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = load_model("net.py:rgb", shape=(3, 8, 8))
    assert model.spec == f"{net}:rgb"


def test_a_package(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_networks").mkdir()
    (tmp_path / "our_networks" / "small.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    model = load_model("our_networks.small:Net", classes=2, shape=(1, 8, 8))
    assert model.spec == "our_networks.small:Net"
    assert sys.path == path


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "parts_of_mine.py").write_text("from torch import nn\ndef head(n): return nn.Linear(4, n)\n")
    main = "from torch import nn\nfrom parts_of_mine import head\n"
    main += "def make(n=3): return nn.Sequential(nn.Flatten(), head(n))\n"
    (tmp_path / "main.py").write_text(main)
    assert len(load_model(f"{tmp_path}/main.py:make", shape=(1, 2, 2)).classes) == 3


def test_lazy_layers_get_their_sizes(net: str) -> None:
    model = load_model(f"{net}:lazy", classes=5, shape=(1, 8, 8))
    assert model.network[0].in_channels == 1
    assert model.network(torch.zeros(2, 1, 8, 8)).shape == (2, 5)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Nett", "factory 'Nett' is not in {net}; the nearest are 'Net', "),
        ("fails", "{net}:fails raised RuntimeError: no luck"),
        ("nothing", "{net}:nothing returned a NoneType; a factory returns a torch.nn.Module"),
        ("network", "{net}:network is a Linear; name a function (or a class) that makes the network"),
        ("needs", "{net}:needs raised TypeError: needs() missing 1 required positional argument: 'depth'"),
        ("pair", "{net}:pair returns a tuple; a classifier returns one tensor of logits (N, classes)"),
        ("maps", "{net}:maps returns a tensor of 8x10x8x8 for 8 images; expected 8 x classes"),
    ],
)
def test_what_can_be_wrong_with_a_factory_is_one_sentence(net: str, factory: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        load_model(f"{net}:{factory}", shape=(3, 8, 8))
    assert str(raised.value).startswith(message.format(net=net))
    assert "\n" not in str(raised.value)


def test_what_can_be_wrong_with_the_place(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\ndef make(:\n")
    raising = tmp_path / "raising.py"
    raising.write_text("raise OSError('gone')")
    for spec, message in (
        (f"{tmp_path}/none.py:make", f"there is no file {tmp_path}/none.py; a model's spec is FILE.py:FACTORY"),
        (f"{broken}:make", f"{broken} cannot be imported: line 2 is not valid Python (invalid syntax)"),
        (f"{raising}:make", f"{raising} cannot be imported: it raised OSError: gone"),
        ("no_such_package.x:make", "no_such_package.x cannot be imported: there is no module 'no_such_package' here"),
    ):
        with pytest.raises(InputError) as raised:
            load_model(spec, shape=(3, 8, 8))
        assert str(raised.value).startswith(message)


def test_too_small_images_name_the_layer_and_the_smallest_size(net: str) -> None:
    with pytest.raises(InputError) as raised:
        load_model(f"{net}:pools", shape=(3, 9, 12))
    expected = f"images of 3x9x12 are too small for {net}:pools: they run out in layer 4, which got 4x1x1; "
    assert str(raised.value) == expected + "the smallest that work are 16x16"


def test_images_of_a_wrong_size_name_the_layer_and_the_reason(net: str) -> None:
    with pytest.raises(InputError) as raised:
        load_model(f"{net}:fixed_size", shape=(3, 9, 9))
    text = str(raised.value)
    assert text.startswith(
        f"{net}:fixed_size does not run on images of 3x9x9: it fails in layer 1, which got 243 (mat1"
    )


def test_options_that_a_foreign_network_has_not(net: str) -> None:
    with pytest.raises(InputError, match="has no dropout to set; leave out dropout"):
        load_model(f"{net}:rgb", shape=(3, 8, 8), dropout=0.5)
    with pytest.raises(InputError, match="has no stem to choose"):
        load_model(f"{net}:rgb", shape=(3, 8, 8), stem="small")
    with pytest.raises(InputError, match="is your own code and has no default weights"):
        load_model(f"{net}:rgb", shape=(3, 8, 8), weights="default")


# The last layer.


def test_a_relu_at_the_end_is_warned_of_with_its_loss(net: str) -> None:
    model = load_model(f"{net}:relu", classes=10, shape=(3, 8, 8))
    assert len(model.warnings) == 1
    assert "ends in a ReLU" in model.warnings[0]
    assert "the loss can stick at ln 10 = 2.3026" in model.warnings[0]
    # The definition: all logits zero give this loss, and no gradient comes back through the ReLU.
    logits = torch.full((4, 10), -1.0, requires_grad=True)
    loss = nn.functional.cross_entropy(torch.relu(logits), torch.arange(4))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(10))
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_softmax_at_the_end_is_warned_of_with_its_floor(net: str) -> None:
    (warning,) = load_model(f"{net}:softmax", classes=10, shape=(1, 8, 8)).warnings
    assert "ends in a softmax" in warning
    # The definition: the best that probabilities can do is 1 for the right class.
    floor = nn.functional.cross_entropy(torch.eye(10), torch.arange(10)).item()
    assert f"= {floor:.4f}" in warning


class Ending(nn.Module):
    def __init__(self, ending: str) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 5)
        self.ending = ending

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(images.flatten(1))
        if self.ending == "clamped":
            return logits * (logits > 0)
        if self.ending == "normalised":
            return logits.exp() / logits.exp().sum(1, keepdim=True)
        if self.ending == "shifted":
            return logits - logits.logsumexp(1, keepdim=True)
        function = getattr(torch, self.ending, None)
        if self.ending in ("softmax", "log_softmax"):
            return function(logits, 1)
        return function(logits) if function else logits


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ("raw", None),
        ("relu", "relu"),
        ("relu_", "relu"),
        ("clamped", "relu"),
        ("softmax", "softmax"),
        ("normalised", "softmax"),
        ("log_softmax", "log_softmax"),
        ("shifted", "log_softmax"),
        ("sigmoid", "sigmoid"),
        ("abs", None),
        ("tanh", None),
    ],
)
def test_the_last_activation_is_found_as_module_function_or_arithmetic(ending: str, expected: str | None) -> None:
    torch.manual_seed(0)
    assert final_activation(attempt(Ending(ending), noise((1, 2, 2), 8))) == expected


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.Softmax(1), "softmax"),
        (nn.LogSoftmax(1), "log_softmax"),
        (nn.Identity(), None),
    ],
)
def test_the_last_activation_is_found_as_a_layer(layer: nn.Module, expected: str | None) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), layer)
    assert final_activation(attempt(network, noise((1, 2, 2), 8))) == expected


def test_a_relu_is_found_though_all_logits_are_positive_or_zero() -> None:
    for bias in (9.0, -9.0):
        network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU())
        nn.init.constant_(network[1].bias, bias)
        assert final_activation(attempt(network, noise((1, 2, 2), 8))) == "relu"


def test_logits_that_start_at_zero_are_no_relu() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    nn.init.zeros_(network[1].weight)
    nn.init.zeros_(network[1].bias)
    assert final_activation(attempt(network, noise((1, 2, 2), 8))) is None


def test_the_effects_of_other_endings() -> None:
    assert last_layer_warning("net.py:make", None, 10) == ()
    assert "ln(1 + 9/e) = 1.4612" in last_layer_warning("net.py:make", "sigmoid", 10)[0]
    assert "log-probabilities" in last_layer_warning("net.py:make", "log_softmax", 10)[0]


# A trial leaves no trace.


class Counting(nn.Module):
    """Changes its buffers in every way, even in evaluation mode."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("replaced", torch.zeros(1))
        self.fails = fails

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = self.replaced + 1
        self.norm.train()
        maps = self.norm(images) + torch.rand(1)
        if self.fails:
            raise RuntimeError("as asked")
        return self.dropout(maps).flatten(1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_trial_leaves_flags_buffers_hooks_and_generator_as_they_were(fails: bool) -> None:
    network = Counting(fails)
    network.norm.eval()
    replaced, state = network.replaced, torch.get_rng_state()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trial = attempt(network, noise((1, 3, 3), 4))
    assert (trial.error is not None) == fails
    assert [module.training for module in network.modules()] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.replaced is replaced
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())
