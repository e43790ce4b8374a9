"""Imagined images through the microscope: what people ask for, what is saved, and the certificate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from cutaway.errors import InputError
from cutaway.lenses.synthesis import direction
from cutaway.models import Preprocessing
from cutaway.scope import Scope

CLASSES = ("cat", "dog", "horse")
INPUT = Preprocessing((1, 8, 8), (0.5,), (0.25,))


def scope(known: bool = True) -> Scope:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(4, 3))
    return Scope(network, classes=CLASSES, preprocessing=INPUT if known else None)


IMAGES = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_targets_of_all_kinds_in_one_batch(tmp_path: Path) -> None:
    seen = scope()
    wanted = ["dog", 2, "cat - dog", "0:1", "1:3@2,2", direction("0", torch.ones(4))]
    found = seen.imagine(wanted, steps=4, seed=5)
    assert found.targets == ("dog", "horse", "cat - dog", "0:1", "1:3@2,2", "0:direction")
    assert len(found) == 6
    assert found.images.dtype == torch.uint8
    torch.testing.assert_close(found.inputs, (found.pixels - 0.5) / 0.25, atol=1e-5, rtol=1e-5)
    files = found.save(tmp_path)
    assert [path.name for path in files] == ["imagine.png", "arrays.safetensors", "certificate.json"]
    arrays = load_file(tmp_path / "arrays.safetensors")
    assert set(arrays) == {"pixels", "inputs", "objectives", "history"}
    assert torch.equal(arrays["history"], found.history)
    told = json.loads((tmp_path / "certificate.json").read_text())
    assert (told["method"], told["seed"]) == ("imagine", 5)
    assert told["parameters"]["targets"] == list(found.targets)
    assert set(told["check"]) == {"reached", "start", "noise_mean", "noise_max"}
    assert told["check"]["reached"] == pytest.approx(found.objectives.tolist())
    assert told["weights"]


def test_the_same_target_and_seed_give_the_same_image_beside_anything() -> None:
    alone, beside = scope().imagine("dog", steps=3), scope().imagine(["0:1", "dog"], steps=3)
    torch.testing.assert_close(alone.pixels[0], beside.pixels[1], atol=1e-3, rtol=1e-3)
    unit = scope().unit("0", 1).imagine(steps=3)
    torch.testing.assert_close(unit.pixels[0], beside.pixels[0], atol=1e-3, rtol=1e-3)


def test_classic_keeps_frames_and_draws_them(tmp_path: Path) -> None:
    found = scope().imagine(["dog", "cat"], "classic", steps=4, keep=2)
    assert found.kept == (2, 4)
    assert torch.equal(found.frames[-1], found.pixels)
    assert set(found.pictures()) == {"imagine", "imagine step by step"}
    assert "frames" in found.arrays()
    found.save(tmp_path)
    with Image.open(tmp_path / "imagine.png") as picture:
        assert np.asarray(picture).std() > 5


def test_the_best_real_image_joins_the_certificate() -> None:
    found = scope().imagine(["dog", "cat"], steps=2, real=[1.5, 2])
    assert found.certificate.check["real"] == [1.5, 2.0]
    with pytest.raises(InputError, match="real has 1 numbers, expected one for each of the 2 targets"):
        scope().imagine(["dog", "cat"], steps=2, real=[1.5])


def test_sizes_and_what_nobody_knows() -> None:
    assert tuple(scope().imagine("0:1", steps=1, size=6).pixels.shape) == (1, 1, 6, 6)
    assert tuple(scope().imagine("0:1", steps=1, size=(6, 9)).pixels.shape) == (1, 1, 6, 9)
    unknown = scope(known=False)
    found = unknown.imagine("0:1", steps=1, size=7)
    assert tuple(found.pixels.shape) == (1, 1, 7, 7)
    assert found.certificate.notes[0].startswith("nobody said how pixels become this network's input: mean 0.5")
    with pytest.raises(InputError, match="Sequential does not say its input size; give one, such as size=64"):
        unknown.imagine("0:1", steps=1)
    with pytest.raises(InputError, match=r"size is \(1, 2, 3, 4\), expected a side, \(height, width\)"):
        scope().imagine("0:1", size=(1, 2, 3, 4))
    with pytest.raises(InputError, match="does not take images of 1x2x2"):
        scope().imagine("0:1", size=2)
    with pytest.raises(InputError, match="the network has no convolution to tell its channels"):
        Scope(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))).imagine(0, size=2)


def test_a_spectrum_may_be_of_real_images() -> None:
    found = scope().imagine("0:1", "maco", steps=2, spectrum=IMAGES)
    assert found.certificate.parameters["spectrum"] == "2 images"


def test_inversion_dream_and_fooling_begin_with_images() -> None:
    seen = scope()
    inverted = seen.invert(IMAGES, "0", steps=60)
    assert inverted.certificate.check["error"] == pytest.approx((-inverted.objectives).sqrt().tolist())
    assert max(inverted.certificate.check["error"]) < 0.6
    dreamt = seen.dream(IMAGES, "0:1", steps=4, step=0.02)
    assert dreamt.targets == ("image 0, 0:1", "image 1, 0:1")
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    seen = Scope(linear, classes=CLASSES, preprocessing=INPUT)
    fooled = seen.fool(IMAGES, ["dog", "horse"], steps=400)
    assert (fooled.objectives > 0).all()
    assert [seen.predict(image[None])[0][0]["class"] for image in fooled.inputs] == ["dog", "horse"]
    assert set(fooled.certificate.check) >= {"l2", "linf", "steps"}
    for found, method in ((inverted, "invert"), (dreamt, "dream"), (fooled, "fool")):
        assert found.certificate.method == method
        assert list(found.pictures()) == [f"{method} before and after", method]
        assert found.originals is not None
        torch.testing.assert_close(found.arrays()["originals"], IMAGES.float() / 255, atol=1e-5, rtol=0)


def test_mistakes_name_the_nearest() -> None:
    with pytest.raises(InputError, match=r"target 'dgo' is not among the classes and layers .* 'dog'"):
        scope().imagine("dgo")
    with pytest.raises(InputError, match=r"class 3 does not exist; classes are numbered 0 to 2"):
        scope().imagine(3)
    with pytest.raises(InputError, match="style 'clasic' is not one of"):
        scope().imagine("dog", "clasic")
    with pytest.raises(InputError, match="option 'rat' is not one of smooth, rate; the nearest are 'rate'"):
        scope().invert(IMAGES, "0", rat=1)
    with pytest.raises(InputError, match="layer 'conv' is not in Sequential"):
        scope().invert(IMAGES, "conv")
