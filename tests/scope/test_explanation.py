"""`Scope.explain`: the pixels, the map, the check with scrambled weights, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cutaway.errors import InputError
from cutaway.lenses.attribution import explain as attribute
from cutaway.lenses.faithfulness import scrambled, spearman
from cutaway.models import Preprocessing
from cutaway.scope import Scope
from cutaway.scope.explanation import CHECK


def microscope(seed: int = 0) -> Scope:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return Scope(network, classes=["cat", "dog", "hen"], preprocessing=Preprocessing((1, 12, 12), (0.4,), (0.2,)))


def photographs(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 1, 12, 12), dtype=np.uint8)


def test_it_is_the_attribution_of_the_standardised_images() -> None:
    scope, pixels = microscope(), photographs()
    found = scope.explain(pixels, "grad-cam", target="dog")
    images = (torch.from_numpy(pixels).float() / 255 - 0.4) / 0.2
    alone = attribute(scope.network, images, "grad-cam", 1)
    assert torch.allclose(found.attribution.values, alone.values, atol=1e-6)
    assert torch.equal(found.pixels, torch.from_numpy(pixels))
    assert torch.allclose(found.heat, alone.heat(), atol=1e-6)
    assert found.attribution.target.names == ("dog",)


def test_without_a_target_each_image_has_its_prediction() -> None:
    scope, pixels = microscope(), photographs(4)
    found = scope.explain(pixels)
    with torch.no_grad():
        logits = scope.network.eval()(scope.inputs(pixels).values)
    assert list(found.attribution.target.plus) == logits.argmax(1).tolist()
    assert torch.allclose(found.attribution.scores, logits.amax(1), atol=1e-5)


def test_the_certificate_holds_the_check_with_scrambled_weights() -> None:
    scope, pixels = microscope(), photographs()
    found = scope.explain(pixels, "input-x-gradient", target=2, seed=3)
    twin = scrambled(scope.network, 3)
    other = attribute(twin, scope.inputs(pixels).values[:1], "input-x-gradient", 2)
    expected = spearman(found.attribution.heat(signed=True)[:1], other.heat(signed=True))
    assert found.certificate.check[CHECK] == pytest.approx(float(expected), abs=1e-5)
    assert found.certificate.weights
    assert found.certificate.parameters["images"] == ["image 0", "image 1"]
    assert CHECK not in scope.explain(pixels, "saliency", check=False).certificate.check


def test_the_scrambled_copy_is_kept_and_made_again_when_weights_change(monkeypatch: pytest.MonkeyPatch) -> None:
    import cutaway.scope.explanation as module

    made = []
    monkeypatch.setattr(module, "scrambled", lambda *given: made.append(given) or scrambled(*given))
    scope, pixels = microscope(), photographs(1)
    scope.explain(pixels)
    scope.explain(pixels, "saliency")
    assert len(made) == 1
    with torch.no_grad():
        scope.network[0].weight.mul_(2)
    scope.explain(pixels)
    assert len(made) == 2


def test_what_cannot_be_checked_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    import cutaway.scope.explanation as module

    def broken(network: nn.Module, seed: int) -> nn.Module:
        raise InputError("it cannot be copied")

    monkeypatch.setattr(module, "scrambled", broken)
    found = microscope().explain(photographs(1))
    assert found.certificate.notes[-1] == "not checked with scrambled weights: it cannot be copied"
    assert CHECK not in found.certificate.check


def test_it_is_saved_with_its_values(tmp_path: Path) -> None:
    found = microscope().explain(photographs(), "integrated-gradients", target="cat")
    files = found.save(tmp_path)
    assert [path.name for path in files] == ["integrated-gradients.png", "arrays.safetensors", "certificate.json"]
    arrays = load_file(tmp_path / "arrays.safetensors")
    assert torch.equal(arrays["values"], found.attribution.values)
    assert torch.equal(arrays["heat"], found.heat)
    assert torch.equal(arrays["scores"], found.attribution.scores)
    certificate = json.loads((tmp_path / "certificate.json").read_text("utf-8"))
    assert certificate["method"] == "integrated-gradients"
    assert CHECK in certificate["check"]


def test_many_images_take_several_pictures() -> None:
    pictures = microscope().explain(photographs(9), "saliency", check=False).pictures()
    assert list(pictures) == ["saliency 0", "saliency 8"]
    assert pictures["saliency 0"].pixels.shape[0] > 4 * pictures["saliency 8"].pixels.shape[0]


def test_signed_methods_have_a_signed_scale_and_magnitudes_not() -> None:
    scope, pixels = microscope(), photographs(1)
    kinds = {name: scope.explain(pixels, name, check=False).picture().scale.kind for name in ("saliency", "grad-cam")}
    assert kinds == {"saliency": "magnitude", "grad-cam": "magnitude"}
    assert scope.explain(pixels, "input-x-gradient", check=False).picture().scale.kind == "signed"


def test_the_network_is_left_as_it_was() -> None:
    scope = microscope()
    scope.network.train()
    before = {name: value.clone() for name, value in scope.network.state_dict().items()}
    scope.explain(photographs())
    assert all(torch.equal(before[name], value) for name, value in scope.network.state_dict().items())
    assert all(module.training for module in scope.network.modules())


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(InputError, match="method 'gradcam' is not known; the nearest are 'grad-cam'"):
        microscope().explain(photographs(), "gradcam")
