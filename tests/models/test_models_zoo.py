"""torchvision's and timm's networks, adapted; their weights without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from cutaway.errors import InputError
from cutaway.models import load_model


@pytest.mark.parametrize(
    ("name", "shape", "head"),
    [
        ("resnet18", (1, 28, 28), "fc"),
        ("squeezenet1_1", (3, 64, 64), "classifier.1"),
        ("inception_v3", (1, 75, 75), "fc"),
        ("googlenet", (3, 32, 32), "fc"),
        ("densenet121", (1, 32, 32), "classifier"),
        ("mobilenet_v3_small", (1, 32, 32), "classifier.3"),
        ("efficientnet_b0", (3, 32, 32), "classifier.1"),
        ("vit_b_32", (1, 64, 64), "heads.head"),
        ("swin_t", (3, 64, 64), "head"),
        ("convnext_tiny", (1, 32, 32), "classifier.2"),
        ("shufflenet_v2_x0_5", (1, 32, 32), "fc"),
    ],
)
def test_torchvisions_networks_are_adapted(name: str, shape: tuple[int, int, int], head: str) -> None:
    model = load_model(f"torchvision:{name}", classes=("a", "b", "c"), shape=shape)
    assert model.head == head
    assert model.shape == shape
    assert model.network.training
    # In training mode too: auxiliary heads would return more than logits.
    assert model.network(torch.randn(2, *shape)).shape == (2, 3)
    assert model.preprocessing is None
    assert f"the class layer {head} gives 3 logits instead of 1000" in model.notes


def test_squeezenet_is_warned_of_because_it_ends_in_a_relu() -> None:
    (warning,) = load_model("torchvision:squeezenet1_1", classes=10, shape=(3, 64, 64)).warnings
    assert "ends in a ReLU" in warning
    assert "let it return" not in warning


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_timms_networks_are_adapted(name: str) -> None:
    pytest.importorskip("timm")
    model = load_model(f"timm:{name}", classes=3, shape=(1, 64, 64))
    assert model.network(torch.randn(2, 1, 64, 64)).shape == (2, 3)
    assert model.network.get_submodule(model.head).out_features == 3
    assert (model.preprocessing, model.notes, model.warnings) == (None, (), ())


def test_unknown_names_bring_the_nearest() -> None:
    with pytest.raises(
        InputError, match="model 'renset18' is not among torchvision's classifiers; the nearest are 'resnet18'"
    ):
        load_model("torchvision:renset18")
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="model 'renset18' is not in timm; the nearest are 'resnet18'"):
        load_model("timm:renset18")


def test_too_small_images_name_the_smallest_that_work() -> None:
    with pytest.raises(InputError) as raised:
        load_model("torchvision:alexnet", classes=2, shape=(3, 32, 32))
    assert str(raised.value).endswith("features.12, which got 256x1x1; the smallest that work are 63x63")


def test_dropout_is_set_where_a_network_has_it() -> None:
    network = load_model("torchvision:mobilenet_v3_small", classes=2, shape=(3, 32, 32), dropout=0.4).network
    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.4]
    with pytest.raises(InputError, match="torchvision:resnet18 has no dropout to set"):
        load_model("torchvision:resnet18", classes=2, shape=(3, 32, 32), dropout=0.4)


# Default weights, with a download that is not one.


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A ResNet-18 whose tensors torchvision "downloads"."""
    torch.manual_seed(2)
    network = models.resnet18().eval()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_args, **_kwargs: network.state_dict()
    )
    return network


def test_default_weights_bring_their_head_classes_and_preprocessing(published: nn.Module) -> None:
    model = load_model("torchvision:resnet18", weights="default")
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.network.eval()(images), published(images))
    assert (model.classes[0], len(model.classes), model.shape) == ("tench", 1000, (3, 224, 224))
    assert model.preprocessing is not None
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)


def test_default_weights_on_grey_images_give_what_rgb_gave(published: nn.Module) -> None:
    model = load_model("torchvision:resnet18", weights="default", shape=(1, 64, 64))
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        ours, theirs = model.network.eval()(grey), published(grey.expand(-1, 3, -1, -1))
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert "conv1 takes 1 channel instead of 3, its RGB kernels summed" in model.notes
    with pytest.raises(InputError, match="weights for 3 channels cannot be used with 2; only RGB weights for grey can"):
        load_model("torchvision:resnet18", weights="default", shape=(2, 64, 64))


def test_default_weights_can_be_fine_tuned(published: nn.Module) -> None:
    model = load_model("torchvision:resnet18", weights="default", classes=3, shape=(3, 64, 64), freeze=True)
    assert [name for name, p in model.network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert torch.equal(model.network.layer1[0].conv1.weight, published.layer1[0].conv1.weight)
    assert model.warnings == ()


def test_inceptions_change_of_scale_becomes_its_preprocessing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.warns(FutureWarning):
        published = models.googlenet(aux_logits=True).eval()
    published.transform_input = True
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_args, **_kwargs: published.state_dict()
    )
    model = load_model("torchvision:googlenet", weights="default", shape=(3, 64, 64))
    assert model.preprocessing is not None
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    imagenet = models.GoogLeNet_Weights.DEFAULT.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (imagenet.mean, imagenet.std))
    with torch.no_grad():
        ours = model.network.eval()(model.preprocessing(pixels))
        theirs = published((pixels / 255 - mean) / std)
    assert torch.allclose(ours, theirs, atol=1e-4)
    # The same tensors as a file, auxiliary classifiers and all.
    save_file(published.state_dict(), tmp_path / "googlenet.safetensors")
    from_file = load_model("torchvision:googlenet", weights=tmp_path / "googlenet.safetensors", shape=(3, 64, 64))
    assert from_file.preprocessing == model.preprocessing
    with torch.no_grad():
        assert torch.equal(from_file.network.eval()(model.preprocessing(pixels)), ours)


def test_without_a_network_default_weights_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_args: object, **_kwargs: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    specs = ["torchvision:resnet18"]
    try:
        monkeypatch.setattr("timm.create_model", offline)
        specs.append("timm:resnet18")
    except ImportError:
        assert specs
    for spec in specs:
        with pytest.raises(InputError) as raised:
            load_model(spec, weights="default")
        assert str(raised.value) == (
            f"the default weights of {spec} were neither in the local cache nor could they be fetched "
            "(Name or service not known); give them as a file: --weights FILE"
        )


def test_weights_from_a_file_for_torchvision(tmp_path: Path) -> None:
    donor = models.resnet18(num_classes=6)
    save_file(donor.state_dict(), tmp_path / "w.safetensors")
    model = load_model("torchvision:resnet18", shape=(3, 64, 64), weights=tmp_path / "w.safetensors")
    assert len(model.classes) == 6
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), donor.parameters(), strict=True))
    assert model.preprocessing is not None


def test_old_densenet_files_load(tmp_path: Path) -> None:
    donor = models.densenet121()
    old = {}
    for name, tensor in donor.state_dict().items():
        for part in ("norm", "conv"):
            name = (
                name.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
                if "denselayer" in name
                else name
            )
        old[name] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet.pth")
    model = load_model("torchvision:densenet121", shape=(3, 32, 32), weights=tmp_path / "densenet.pth")
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), donor.parameters(), strict=True))
