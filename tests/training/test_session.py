from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from cutaway.data import load_data
from cutaway.models import load_model
from cutaway.training.recipe import Recipe
from cutaway.training.session import pixel_statistics
from cutaway.training.snapshots import probe_positions
from cutaway.training.stopping import listening
from cutaway.training.vitals import StepVitals


def test_signals_ask_and_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as stop:
        assert not stop.asked
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_probes_are_of_different_classes_and_always_the_same() -> None:
    labels = np.array([2, 2, 0, 1, 0, 1, 2])
    chosen = probe_positions(labels, 4)
    assert sorted(labels[chosen[:3]]) == [0, 1, 2]
    assert len(set(chosen.tolist())) == 4
    assert (chosen == probe_positions(labels, 4)).all()
    assert len(probe_positions(labels[:2], 8)) == 2


def test_update_ratio_by_hand() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    layer.weight.grad = torch.tensor([[0.0, 2.0]])
    vitals = StepVitals(layer)
    with torch.no_grad():
        layer.weight += torch.tensor([[0.5, 0.0]])
    [line] = vitals.lines(1, {})
    assert line["gradient_norm"] == 2.0
    assert line["weight_norm"] == 5.0
    assert line["update_ratio"] == pytest.approx(0.1)
    assert line["finite"]


def test_a_constant_colour_is_not_divided_by_zero(tmp_path: Path) -> None:
    from PIL import Image

    for number, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for each in range(10):
            pixels = np.zeros((12, 12, 3), np.uint8)
            pixels[..., 0] = number * 100 + each
            Image.fromarray(pixels).save(tmp_path / name / f"{each}.png")
    found = pixel_statistics(load_data(tmp_path).splits["train"])
    assert found.std[1] == found.std[2] == 1.0


def test_recipes_cover_every_model_family() -> None:
    assert Recipe().as_dict().keys() >= {"optimizer", "stem", "ema"}
    for name in ("vgg16", "vgg16_bn", "resnet18", "alexnet"):
        model = load_model(name, classes=3, shape=(1, 28, 28), seed=0)
        assert model.network(torch.zeros(2, 1, 28, 28)).shape == (2, 3)
