"""Models from run folders, and preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from cutaway.errors import InputError
from cutaway.models import Model, Preprocessing, load_model
from cutaway.runs import RunFolder, append_lines
from cutaway.training.state import write_weights
from whole_records import change_record, epoch_line, whole_info

GREY = Preprocessing((1, 28, 28), (0.286,), (0.353,))


def write_run(folder: Path, model: Model) -> dict[int, nn.Module]:
    """A run folder with two epochs, of which the first is the best; returns the network of each."""
    run = RunFolder(folder)
    run.create(whole_info(model=model.describe()))
    append_lines(run.metrics, [epoch_line(epoch, 1 / epoch, epoch) for epoch in (1, 2)])
    networks = {}
    for epoch in (1, 2):
        networks[epoch] = load_model(
            model.spec, classes=model.classes, shape=model.shape, seed=epoch, **model.options
        ).network
        write_weights(run.weights(epoch), networks[epoch].state_dict(), {"epoch": str(epoch), "run": run.info()["id"]})
    return networks


@pytest.fixture
def run(tmp_path: Path) -> tuple[str, dict[int, nn.Module]]:
    model = load_model(
        "resnet18", classes=("鞋", "bag"), shape=GREY.shape, stem="half", dropout=0.2, preprocessing=GREY
    )
    folder = tmp_path / "fashion-resnet18-1"
    return str(folder), write_run(folder, model)


@pytest.mark.parametrize(("suffix", "epoch"), [("", 1), ("@best", 1), ("@last", 2), ("@2", 2), ("@1", 1)])
def test_a_run_gives_the_model_it_saved(run: tuple[str, dict[int, nn.Module]], suffix: str, epoch: int) -> None:
    folder, networks = run
    model = load_model(folder + suffix)
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), networks[epoch].parameters(), strict=True))
    assert model.classes == ("鞋", "bag")
    assert (model.spec, model.shape, model.preprocessing) == ("resnet18", GREY.shape, GREY)
    assert model.options == {"stem": "half", "dropout": 0.2}
    assert model.notes == ()


def test_a_run_can_be_fine_tuned_for_other_classes(run: tuple[str, dict[int, nn.Module]]) -> None:
    folder, networks = run
    model = load_model(folder, classes=("a", "b", "c"), freeze=True)
    assert model.network.fc.out_features == 3
    assert torch.equal(model.network.conv1.weight, networks[1].conv1.weight)
    assert [name for name, p in model.network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


def test_a_run_of_ones_own_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))\n"
    )
    (tmp_path / "net.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    model = load_model("net.py:make", classes=3, shape=(3, 8, 8))
    model.preprocessing = Preprocessing((3, 8, 8), (0.5,) * 3, (0.25,) * 3)
    networks = write_run(tmp_path / "run", model)
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="code that this machine has not trained with"):
        load_model(str(tmp_path / "run"))
    again = load_model(str(tmp_path / "run"), trust=True)
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), networks[1].parameters(), strict=True))


def test_what_can_be_wrong_with_a_run(run: tuple[str, dict[int, nn.Module]], tmp_path: Path) -> None:
    folder, _ = run
    (tmp_path / "empty").mkdir()
    for spec, message in (
        (f"{folder}@7", "epoch 7 of fashion-resnet18-1 is not saved; saved are 1, 2"),
        (f"{tmp_path}/empty", "is not a run folder: it has no run.json"),
        (f"{tmp_path}/nowhere", "there is no run folder"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(spec)
    with pytest.raises(InputError, match="is a run and has its own weights; leave out --weights"):
        load_model(folder, weights="default")
    change_record(Path(folder) / "run.json", "model", "preprocessing", to=None)
    with pytest.raises(InputError, match=r"run\.json does not describe its model"):
        load_model(folder)


def test_a_checkpoint_of_another_architecture_names_the_difference(run: tuple[str, dict[int, nn.Module]]) -> None:
    folder, _ = run
    change_record(Path(folder) / "run.json", "model", "spec", to="resnet34")
    with pytest.raises(
        InputError, match=r"epoch-0001\.safetensors is of another architecture: .* tensors missing: layer"
    ):
        load_model(folder)


# Preprocessing.


def test_preprocessing_is_its_definition() -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    result = Preprocessing((3, 5, 6), mean, std)(pixels)
    assert result.dtype == torch.float32
    for n in range(4):
        for c in range(3):
            expected = (pixels[n, c].double() / 255 - mean[c]) / std[c]
            assert torch.allclose(result[n, c].double(), expected, atol=1e-6)


def test_preprocessing_keeps_the_memory_format_and_its_input() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8).to(memory_format=torch.channels_last)
    before = pixels.clone()
    result = Preprocessing((3, 4, 4), (0.5,) * 3, (0.5,) * 3)(pixels)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(pixels, before)


def test_preprocessing_survives_json() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(GREY.as_dict()))) == GREY


def test_preprocessing_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="images of 3x28x28 were given to a network for 1x28x28"):
        GREY(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    with pytest.raises(InputError, match="preprocessing for 3 channels needs as many means and standard deviations"):
        Preprocessing((3, 4, 4), (0.5,), (0.5,))


def test_the_shape_follows_a_given_preprocessing() -> None:
    assert load_model("resnet18", classes=2, preprocessing=GREY).network.conv1.in_channels == 1
