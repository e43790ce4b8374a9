"""What each verb prints and writes."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from cutaway import load_data, load_model
from cutaway.lenses import feature_maps, gradients, kernels
from whole_records import change_record

Cutaway = Callable[..., Any]
CLASSES = ["红", "绿", "蓝"]


def photo(stage: Path) -> Path:
    return stage / "colours" / "1-红" / "003.png"


def as_input(file: Path, model: Any) -> torch.Tensor:
    pixels = torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())
    return model.preprocessing(pixels[None])


@pytest.mark.parametrize("verb", ["demo", "train", "resume", "evaluate", "runs", "summary", "predict", "maps"])
def test_every_verb_has_help_within_80_columns(cutaway: Cutaway, verb: str) -> None:
    told = cutaway(verb, "--help")
    assert told.code == 0
    assert told.out.startswith(f"Usage: cutaway {verb}")
    assert max(map(len, told.out.splitlines())) <= 80


def test_without_words_it_shows_the_verbs_in_the_order_of_work(cutaway: Cutaway) -> None:
    told = cutaway()
    listed = told.out.partition("Commands:")[2]
    verbs = [line.split()[0] for line in listed.splitlines() if line.strip()]
    assert told.code == 0
    assert "..." not in listed
    assert verbs[:4] == ["demo", "train", "resume", "evaluate"]
    assert {"predict", "maps", "kernels", "gradients", "curves", "runs", "summary"} < set(verbs)


def test_version(cutaway: Cutaway) -> None:
    import cutaway as package

    assert cutaway("--version").out == f"{package.__version__}\n"


def test_training_says_one_line_an_epoch_and_no_control_characters(
    cutaway: Cutaway, stage: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    told = cutaway("train", stage / "colours", "-m", tiny, "--epochs", 3, "--set", "precision=fp32", "--lr", 0.01)
    assert told.code == 0
    epochs = [line for line in told.err.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == ["1/3", "2/3", "3/3"]
    assert max(map(len, epochs)) <= 80
    assert not [sign for sign in told.err + told.out if sign != "\n" and not sign.isprintable()]
    assert "on the validation split (12 images)" in told.out
    assert told.out.endswith("next: cutaway evaluate runs/colours-tiny-1\n")
    assert Path("runs/colours-tiny-1/index.html").is_file()


def test_training_with_json_prints_json_alone(cutaway: Cutaway, stage: Path, tiny: str) -> None:
    told = cutaway("train", stage / "colours", "-m", tiny, "--epochs", 1, "--set", "precision=fp32", "--json")
    line = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert line["run"] == "runs/colours-tiny-1"
    assert (line["epoch"], line["best_epoch"]) == (1, 1)
    assert 0 <= line["val_accuracy"] <= 1


def test_options_set_and_file_meet_in_the_recipe(cutaway: Cutaway, stage: Path, tiny: str) -> None:
    Path("mine.toml").write_text('optimizer = "adam"\nepochs = 5\nclip = 2\nprecision = "fp32"\n')
    words = ("--recipe", "mine.toml", "--set", "clip=1", "--epochs", 1, "--batch-size", 24, "--seed", 7, "--json")
    assert cutaway("train", stage / "colours", "-m", tiny, *words).code == 0
    recipe = json.loads(Path("runs/colours-tiny-1/run.json").read_text())["recipe"]
    found = {key: recipe[key] for key in ("optimizer", "clip", "epochs", "batch_size", "seed")}
    assert found == {"optimizer": "adam", "clip": 1, "epochs": 1, "batch_size": 24, "seed": 7}


def test_resuming_a_finished_run_says_so(cutaway: Cutaway, run: Path) -> None:
    copy = shutil.copytree(run, "again")
    told = cutaway("resume", copy)
    assert told.code == 0
    assert told.err == "again is finished; there is nothing left to train\n"
    assert "best epoch" in told.out
    assert cutaway("resume", copy, "--json").err == ""


def test_an_interrupted_run_tells_the_command_that_continues_it(
    cutaway: Cutaway, stage: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutaway.training import fit

    class Asked(fit.StopRequest):
        def __init__(self) -> None:
            self.number = signal.SIGINT

    words = ("-m", tiny, "--epochs", 2, "--set", "precision=fp32", "--batch-size", 16, "--run", "two words")
    with monkeypatch.context() as patch:
        patch.setattr("cutaway.training.stopping.StopRequest", Asked)
        told = cutaway("train", stage / "colours", *words)
    assert told.code == 130
    assert told.out == ""
    assert told.err.endswith("interrupted, nothing is lost; next: cutaway resume 'runs/two words'\n")
    assert json.loads(Path("runs/two words/run.json").read_text())["status"] == "interrupted"
    done = cutaway("resume", "runs/two words")
    assert done.code == 0
    assert json.loads(Path("runs/two words/run.json").read_text())["status"] == "finished"
    whole, parts = (
        load_file(f / "checkpoints" / "epoch-0002.safetensors")
        for f in (stage / "runs" / "one", Path("runs/two words"))
    )
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_a_loss_that_is_no_number_ends_with_code_1(
    cutaway: Cutaway, stage: Path, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cutaway.training import Diverged

    def diverge(*_: object, **__: object) -> None:
        raise Diverged("the loss became nan at step 3")

    monkeypatch.setattr("cutaway.training.train", diverge)
    told = cutaway("train", stage / "colours", "-m", tiny)
    assert (told.code, told.out, told.err) == (1, "", "cutaway: the loss became nan at step 3\n")


def test_evaluate_prints_the_split_and_its_size_beside_the_figures(cutaway: Cutaway, run: Path) -> None:
    copy = shutil.copytree(run, Path("one"))
    told = cutaway("evaluate", copy)
    assert told.code == 0
    assert "% on the test split (12 images)" in told.out
    assert "95% interval" in told.out
    assert [line.split()[0] for line in told.out.splitlines()[-4:]] == ["class", *CLASSES]
    assert "test split" in (copy / "index.html").read_text()
    result = json.loads(cutaway("evaluate", f"{copy}@1", "--split", "val", "--json").out)
    assert (result["split"], result["size"], result["epoch"]) == ("val", 12, 1)
    assert np.array(result["confusion"]).sum() == 12


def test_runs(cutaway: Cutaway, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = cutaway("runs", stage / "runs")
    head, row = told.out.splitlines()
    assert head.split() == ["run", "status", "model", "epochs", "val", "accuracy"]
    assert row.split()[:4] == ["one", "finished", "tiny.py:make", "2/2"]
    assert row.endswith("of 12")
    (line,) = json.loads(cutaway("runs", stage / "runs", "--json").out)
    assert line["data"] == "colours"
    shutil.copytree(stage / "runs" / "one", f"runs/{'long-' * 20}1")
    monkeypatch.setenv("COLUMNS", "80")
    narrow = cutaway("runs").out.splitlines()
    assert max(map(len, narrow)) <= 80
    assert "…" in narrow[1]


def test_summary(cutaway: Cutaway, run: Path) -> None:
    assert "14,777,098" in cutaway("summary", "vgg16", "--input", "3x32x32").out
    found = json.loads(cutaway("summary", run, "--json").out)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["0"]["parameters"] == 8 * 3 * 9 + 8
    grey = json.loads(cutaway("summary", "resnet18", "--input", "1x28x28", "--classes", 3, "--json").out)
    assert grey["rows"][-1]["output_shape"] == [1, 3]


def test_predict_ranks_the_classes(cutaway: Cutaway, run: Path, stage: Path) -> None:
    told = cutaway("predict", run, photo(stage), "test:0", "--top", 2)
    names = [line for line in told.out.splitlines() if not line.startswith(" ")]
    assert names == [str(photo(stage)), "test:0"]
    assert len(told.out.splitlines()) == 6
    first, _ = json.loads(cutaway("predict", run, photo(stage), "test:0", "--json").out)
    model = load_model(str(run))
    logits = model.network.eval()(as_input(photo(stage), model))[0]
    assert [row["class"] for row in first["classes"]] == [model.classes[i] for i in logits.argsort(descending=True)]
    assert [row["logit"] for row in first["classes"]] == pytest.approx(sorted(logits.tolist(), reverse=True), abs=1e-6)
    assert sum(row["probability"] for row in first["classes"]) == pytest.approx(1)


def test_predict_names_what_it_cannot_read_and_ranks_the_rest(cutaway: Cutaway, run: Path, stage: Path) -> None:
    Path("bad.png").write_text("no image")
    told = cutaway("predict", run, photo(stage), "bad.png", "gone.png", "--top", 1)
    assert [line for line in told.out.splitlines() if not line.startswith(" ")] == [str(photo(stage))]
    assert told.code == 2
    assert "bad.png cannot be read: a text file, not an image; there is no image file gone.png" in told.err
    first, second, _ = json.loads(cutaway("predict", run, photo(stage), "bad.png", "gone.png", "--json").out)
    assert first["classes"]
    assert second == {"image": "bad.png", "error": "bad.png cannot be read: a text file, not an image"}
    assert cutaway("predict", run, "bad.png", "gone.png").out == ""


def test_maps_are_what_the_lens_gives(cutaway: Cutaway, run: Path, stage: Path) -> None:
    told = cutaway("maps", run, photo(stage), "--json")
    answer = json.loads(told.out)
    folder = Path(answer["folder"])
    assert folder == Path("pictures/maps-one-003")
    assert {"network.png", "maps-0.png", "maps-3.png", "arrays.safetensors", "certificate.json"} == set(answer["files"])
    assert {path.name for path in folder.iterdir()} == set(answer["files"])
    model = load_model(str(run))
    expected = feature_maps(model.network, as_input(photo(stage), model), ["0", "3"])
    arrays = load_file(folder / "arrays.safetensors")
    assert arrays.keys() == expected.keys()
    assert all(torch.equal(arrays[name], value) for name, value in expected.items())
    assert json.loads((folder / "certificate.json").read_text())["parameters"]["images"] == [str(photo(stage))]


def test_maps_of_chosen_layers_and_channels(cutaway: Cutaway, run: Path) -> None:
    told = cutaway("maps", f"{run}@last", "val:2", "-l", "3", "--layer", "4", "--channels", 5, "--out", "here")
    assert told.out.splitlines()[0] == "here/network.png"
    assert told.out.splitlines()[1] == "beside it: maps-3.png, maps-4.png, arrays.safetensors, certificate.json"
    assert {path.name for path in Path("here").glob("*.png")} == {"network.png", "maps-3.png", "maps-4.png"}
    data = load_data(run.parents[1] / "colours")
    model = load_model(f"{run}@last")
    images = model.preprocessing(torch.from_numpy(data.splits["val"].images[[2]]))
    expected = feature_maps(model.network, images, ["3"])["3"]
    assert torch.equal(load_file("here/arrays.safetensors")["3"], expected)


def test_kernels_are_the_weights(cutaway: Cutaway, run: Path) -> None:
    assert cutaway("kernels", run, "--out", "k").code == 0
    arrays = load_file("k/arrays.safetensors")
    network = load_model(str(run)).network
    assert set(arrays) == {"0", "3"}
    assert all(torch.equal(value, kernels(network, name)) for name, value in arrays.items())
    assert Image.open("k/kernels-0.png").size[0] > 20


@pytest.mark.parametrize(("target", "index"), [("绿", 1), ("2", 2)])
def test_gradients_are_what_the_lens_gives(cutaway: Cutaway, run: Path, stage: Path, target: str, index: int) -> None:
    assert cutaway("gradients", run, photo(stage), "--target", target, "--out", "g").code == 0
    model = load_model(str(run))
    expected = gradients(model.network, as_input(photo(stage), model), torch.tensor([index]), ["0", "3"])
    arrays = load_file("g/arrays.safetensors")
    assert arrays.keys() == expected.keys()
    assert all(torch.allclose(arrays[name], value, atol=1e-7) for name, value in expected.items())
    assert json.loads(Path("g/certificate.json").read_text())["parameters"]["target"] == [CLASSES[index]]


def test_gradients_take_the_predicted_class_by_default(cutaway: Cutaway, run: Path, stage: Path) -> None:
    cutaway("gradients", run, photo(stage), "--out", "g")
    (first,) = json.loads(cutaway("predict", run, photo(stage), "--json").out)
    assert json.loads(Path("g/certificate.json").read_text())["parameters"]["target"] == [first["classes"][0]["class"]]


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_curves(cutaway: Cutaway, run: Path, suffix: str, start: bytes) -> None:
    if suffix == "pdf":
        pytest.importorskip("reportlab", reason="pip install 'cutaway[papers]'")
    told = cutaway("curves", run, "--out", f"figures/curves.{suffix}")
    assert told.out == f"figures/curves.{suffix}\n"
    assert Path(told.out.strip()).read_bytes().startswith(start)


def test_looking_needs_no_training_images_for_a_file(cutaway: Cutaway, run: Path, stage: Path) -> None:
    copy = shutil.copytree(run, Path("moved"))
    change_record(copy / "run.json", "data", "source", to="gone")
    assert cutaway("predict", copy, photo(stage)).code == 0
    assert cutaway("predict", copy, "test:0").code == 2
