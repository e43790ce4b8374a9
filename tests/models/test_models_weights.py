"""Weights from files, and the differences that are told."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cutaway.errors import InputError
from cutaway.models import build, freeze_backbone, load_model, train_mode

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    torch.manual_seed(1)
    return build("resnet18", classes=4, shape=SHAPE)


def equal(one: nn.Module, other: nn.Module, without: str = "none") -> bool:
    theirs = other.state_dict()
    return all(
        torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items() if not name.startswith(without)
    )


@pytest.mark.parametrize("form", ["safetensors", "plain", "state_dict", "model", "module", "compiled", "both"])
def test_every_form_of_file_loads(form: str, donor: nn.Module, tmp_path: Path) -> None:
    state = dict(donor.state_dict())
    forms = {
        "plain": state,
        "state_dict": {"epoch": 3, "state_dict": state},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "module": {f"module.{name}": tensor for name, tensor in state.items()},
        "compiled": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        "both": {"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    }
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(forms[form], path)
    model = load_model("resnet18", classes=4, shape=SHAPE, weights=path)
    assert equal(model.network, donor)
    assert model.notes == ("the mean and deviation of ImageNet are taken to be those of the weights",)


def test_the_count_of_classes_follows_the_file(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    model = load_model("resnet18", shape=SHAPE, weights=tmp_path / "w.safetensors")
    assert model.classes == ("0", "1", "2", "3")
    assert equal(model.network, donor)


def test_a_head_of_another_size_is_left_out_and_said(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    model = load_model("resnet18", classes=7, shape=SHAPE, weights=tmp_path / "w.safetensors")
    assert equal(model.network, donor, without="fc.")
    assert model.network.fc.weight.shape == (7, 512)
    assert (
        f"fc starts anew: in the file {tmp_path}/w.safetensors it has other sizes (fc.weight 4x512 for 7x512)"
        in model.notes
    )


def test_the_features_of_a_vgg_load_at_another_size(tmp_path: Path) -> None:
    big = build("vgg11", classes=5, shape=(3, 64, 64))
    save_file(big.state_dict(), tmp_path / "w.safetensors")
    model = load_model("vgg11", classes=5, shape=SHAPE, weights=tmp_path / "w.safetensors", freeze=True)
    assert equal(model.network.features, big.features)
    assert model.notes[0].startswith("classifier starts anew")
    # What starts anew must learn, though only the class layer was to.
    learning = [name for name, p in model.network.named_parameters() if p.requires_grad]
    assert {name.split(".")[0] for name in learning} == {"classifier"}
    # Building it again, without the weights, as resuming does, leaves the same layers trainable.
    again = load_model("vgg11", classes=5, shape=SHAPE, **model.options)
    assert [name for name, p in again.network.named_parameters() if p.requires_grad] == learning
    assert (model.pretrained, again.pretrained, again.warnings) == (True, False, ())


def test_rgb_kernels_are_summed_for_grey_images(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    model = load_model("resnet18", classes=4, shape=(1, 32, 32), weights=tmp_path / "w.safetensors")
    grey = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        ours, theirs = model.network.eval()(grey), donor.eval()(grey.expand(-1, 3, -1, -1))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert "the RGB kernels of conv1 were summed over the colours for one-channel images" in model.notes
    assert model.preprocessing is not None
    assert model.preprocessing.mean == pytest.approx([0.449], abs=1e-3)


def test_another_architecture_names_the_tensors_that_differ(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError) as raised:
        load_model("resnet50", classes=4, shape=SHAPE, weights=tmp_path / "w.safetensors")
    text = str(raised.value)
    assert text.startswith(f"the file {tmp_path}/w.safetensors is of another architecture: ")
    assert "layer1.0.conv1.weight (64x64x3x3, expected 64x64x1x1)" in text
    assert "tensors missing: layer1.0.conv3.weight, " in text
    assert "\n" not in text
    save_file(build("resnet34", classes=4, shape=SHAPE).state_dict(), tmp_path / "deep.safetensors")
    with pytest.raises(InputError, match=r"tensors unexpected: layer1\.2\.bn1\.bias, .* more"):
        load_model("resnet18", classes=4, shape=SHAPE, weights=tmp_path / "deep.safetensors")


def test_another_stem_is_told_by_shape(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"1 tensors of another shape: conv1.weight \(64x3x3x3, expected 64x3x7x7\)$"):
        load_model("resnet18", classes=4, shape=SHAPE, stem="imagenet", weights=tmp_path / "w.safetensors")


class Payload:
    """What an unpickler would run."""

    ran = False

    def __reduce__(self) -> tuple[object, ...]:
        return (setattr, (Payload, "ran", True))


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Payload()}, path)
    with pytest.raises(InputError, match="cannot be read without running code from the file"):
        load_model("resnet18", classes=4, shape=SHAPE, weights=path)
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(InputError, match="cannot be read without running code from the file"):
        load_model("resnet18", classes=4, shape=SHAPE, weights=path)
    assert not Payload.ran


def test_files_that_are_none(tmp_path: Path) -> None:
    missing, damaged, empty = tmp_path / "no.pth", tmp_path / "bad.safetensors", tmp_path / "empty.pt"
    damaged.write_bytes(b"\x00" * 100)
    empty.write_bytes(b"")
    other = tmp_path / "other.pth"
    torch.save({"epoch": 3, "loss": 0.5}, other)
    tensor = tmp_path / "tensor.pth"
    torch.save(torch.zeros(3), tensor)
    for path, message in (
        (missing, f"weights {missing}: there is no such file"),
        (damaged, f"weights {damaged} are damaged or no safetensors file"),
        (empty, f"weights {empty} cannot be read"),
        (other, f"weights {other}: expected a state dict (names to tensors), found a dict with epoch, loss"),
        (tensor, f"weights {tensor}: expected a state dict (names to tensors), found a Tensor"),
    ):
        with pytest.raises(InputError) as raised:
            load_model("resnet18", weights=path)
        assert str(raised.value).startswith(message)


def test_a_refused_file_leaves_the_network_unchanged(donor: nn.Module, tmp_path: Path) -> None:
    from cutaway.models.weights import fit_weights

    network = build("resnet18", classes=4, shape=SHAPE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tensors = {name: tensor for name, tensor in donor.state_dict().items() if name != "layer4.1.conv2.weight"}
    with pytest.raises(InputError, match=r"1 tensors missing: layer4\.1\.conv2\.weight$"):
        fit_weights(network, tensors, "it", ["fc"], "conv1")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


# Frozen backbones.


def test_freezing_leaves_the_class_layer_and_its_statistics_alone(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    model = load_model("resnet18", classes=2, shape=SHAPE, weights=tmp_path / "w.safetensors", freeze=True)
    network = model.network
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert model.options["freeze"] == "fc"
    assert model.warnings == ()
    train_mode(network)
    statistics = network.bn1.running_mean.clone()
    network(torch.randn(4, *SHAPE) + 3)
    assert torch.equal(network.bn1.running_mean, statistics)
    assert network.training
    assert network.fc.training


def test_train_mode_trains_everything_that_is_not_frozen() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False), nn.Dropout())
    network.eval()
    train_mode(network)
    assert all(module.training for module in network.modules())
    freeze_backbone(network, ["1"])
    assert [module.training for module in train_mode(network).modules()] == [True, True, True, False, True]


def test_freezing_random_weights_is_warned_of() -> None:
    (warning,) = load_model("resnet18", classes=2, shape=SHAPE, freeze=True).warnings
    assert "the frozen layers have random weights" in warning


def test_freezing_up_to_an_unknown_layer_names_the_nearest_and_freezes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(InputError, match="layer 'fc' is not in the network that is to be frozen up to it; the nearest"):
        freeze_backbone(network, ["fc"])
    assert all(parameter.requires_grad for parameter in network.parameters())
