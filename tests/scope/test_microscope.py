"""One model with its plain lenses: whatever it is made from, it sees the same, and nothing changes in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cutaway
from cutaway.errors import InputError
from cutaway.lenses.weights import gradients
from cutaway.models import Preprocessing, load_model
from cutaway.scope import Scope

CLASSES = ("cat", "dog", "horse")
INPUT = Preprocessing((1, 8, 8), (0.5,), (0.25,))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, 3))


def scope() -> Scope:
    return Scope(network(), classes=CLASSES, preprocessing=INPUT)


IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_it_is_public_and_opens_what_load_model_opens() -> None:
    assert cutaway.Scope is Scope
    named = cutaway.Scope("resnet18", classes=CLASSES, preprocessing=INPUT)
    assert named.classes == CLASSES
    assert named.shape == (1, 8, 8)
    model = load_model("resnet18", classes=CLASSES, shape=(1, 8, 8))
    assert Scope(model).network is model.network
    assert Scope(model).name == "resnet18"
    with pytest.raises(InputError, match="found int"):
        Scope(3)  # type: ignore[arg-type]  # what a user may try


def test_wrappers_are_looked_through() -> None:
    inner = network()
    assert Scope(nn.DataParallel(inner)).network is inner
    assert Scope(torch.compile(inner)).network is inner  # type: ignore[arg-type]  # torch calls the result a callable


def test_predictions_are_ranked() -> None:
    view = scope()
    rows = view.predict(IMAGES)[1]
    logits = view.network.eval()(IMAGES)[1].detach()
    assert [row["class"] for row in rows] == [CLASSES[index] for index in logits.argsort(descending=True)]
    assert [row["logit"] for row in rows] == pytest.approx(logits.sort(descending=True).values.tolist())
    assert sum(row["probability"] for row in rows) == pytest.approx(1)


def test_feature_maps() -> None:
    view = scope()
    found = view.feature_maps(IMAGES, ["0", "2"])
    values = view.network.eval()[:2](IMAGES).detach()
    assert torch.equal(found.maps["2"], values.relu())
    assert torch.equal(found.maps["0"], view.network[0](IMAGES).detach())
    pictures = ["network image 0", "network image 1"]
    pictures += [f"maps {layer} image {image}" for image in (0, 1) for layer in ("0", "2")]
    assert list(found.pictures()) == pictures
    assert found.certificate.weights
    assert found.certificate.versions["torch"] == torch.__version__
    unit = view.unit("2", 1)
    assert torch.equal(unit.maps(IMAGES), found.maps["2"][:, 1])
    assert unit.target == "2:1"


def test_kernels_and_gradients() -> None:
    view = scope()
    assert torch.equal(view.kernels().kernels["0"], view.network[0].weight)
    found = view.gradients(IMAGES, ["dog", "cat"], "0")
    truth = gradients(view.network, IMAGES, torch.tensor([1, 0]), ["0"])["0"]
    assert torch.equal(found.kernels["0"], truth)
    assert found.certificate.parameters["target"] == ["dog", "cat"]
    assert "gradients" in found.picture().caption
    predicted = [rows[0]["class"] for rows in view.predict(IMAGES)]
    assert view.gradients(IMAGES).certificate.parameters["target"] == predicted
    with pytest.raises(InputError, match="needs the right class of each image"):
        view.gradients(IMAGES, "0:1")
    with pytest.raises(InputError, match="2 images need one target for all or 2; found 3"):
        view.gradients(IMAGES, [0, 1, 2])


def test_layers_and_statistics() -> None:
    view = scope()
    assert [row.name for row in view.layers().rows][:2] == ["0", "1"]
    with pytest.raises(InputError, match="does not say its input size"):
        Scope(network()).layers()
    assert len(Scope(network()).layers((1, 8, 8)).rows) >= 4


def test_values_that_are_not_finite_are_found_where_they_begin() -> None:
    view = scope()
    with torch.no_grad():
        view.network[1].weight[0] = float("nan")
    for act in (lambda: view.predict(IMAGES), lambda: view.feature_maps(IMAGES, "2")):
        with pytest.raises(InputError, match="layer '1' is the first to return NaN or infinity"):
            act()
    with pytest.raises(InputError, match="the images are not: they hold NaN"):
        scope().predict(IMAGES * float("nan"))


def test_outputs_that_are_no_logits() -> None:
    with pytest.raises(InputError, match=r"returns \(2, 4, 6, 6\), expected logits"):
        Scope(nn.Sequential(nn.Conv2d(1, 4, 3))).predict(IMAGES)


def test_results_are_saved_and_shown(tmp_path: Path) -> None:
    files = scope().kernels().save(tmp_path)
    assert [path.name for path in files] == ["kernels-0.png", "arrays.safetensors", "certificate.json"]
    assert "<img" in scope().feature_maps(IMAGES[:1], "0")._repr_html_()


def test_the_fingerprint_follows_the_weights() -> None:
    one, other = network(), network()
    view = Scope(one)
    first = view.fingerprint()
    assert first == Scope(other).fingerprint()
    with torch.no_grad():
        one[0].weight[0, 0, 0, 0] += 1
    second = view.fingerprint()
    one[0].weight.data[0, 0, 0, 0] -= 3  # no version counter knows of it
    assert len({first, second, view.fingerprint()}) == 3
    other.train()(IMAGES)  # batch norm moves its buffers
    assert Scope(other).fingerprint() != first


def test_the_fingerprint_is_of_bytes_names_and_shapes() -> None:
    def of(**tensors: Tensor) -> str:
        module = nn.Module()
        for name, value in tensors.items():
            module.register_buffer(name, value)
        return Scope(module).fingerprint()

    zeros = torch.zeros(4)
    different = {of(a=zeros), of(b=zeros), of(a=zeros.reshape(2, 2)), of(a=-zeros), of(a=zeros.half())}
    assert len(different) == 5
    assert of(a=torch.zeros(0), b=torch.tensor(3)) == of(a=torch.zeros(0), b=torch.tensor(3))
