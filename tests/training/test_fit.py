from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cutaway.data import load_data
from cutaway.errors import InputError
from cutaway.models import load_model
from cutaway.runs import Run, list_runs, only_trainer, open_run
from cutaway.training import Diverged, Interrupted, Watcher, evaluate, resume, train
from cutaway.training.session import pixel_statistics

QUICK = {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, "precision": "fp32", "flip": "random", "shift": 1}


def start(folder: Path, spec: str, runs: Path, watch: Watcher | None = None, **recipe: Any) -> Run:
    return train(folder, spec, recipe={**QUICK, **recipe}, runs=runs, name="run", device="cpu", watch=watch)


def weights(run: Run) -> dict[int, dict[str, torch.Tensor]]:
    return {epoch: load_file(run.weights(epoch)) for epoch in run.epochs}


def same(a: dict[int, dict[str, torch.Tensor]], b: dict[int, dict[str, torch.Tensor]]) -> bool:
    return a.keys() == b.keys() and all(
        a[epoch].keys() == b[epoch].keys() and all(torch.equal(a[epoch][name], b[epoch][name]) for name in a[epoch])
        for epoch in a
    )


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second")} for line in lines]


class StopAfter(Watcher):
    """Sends this process the signal after a number of steps."""

    def __init__(self, steps: int, number: int = signal.SIGINT) -> None:
        self.left, self.number = steps, number

    def step(self, loss: float, accuracy: float) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(image_folder: Path, tiny_spec: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    os.environ["CUTAWAY_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")
    return start(image_folder, tiny_spec, tmp_path_factory.mktemp("runs"), ema=0.9)


def test_the_run_folder_is_complete(whole: Run) -> None:
    info = whole.info
    assert info["status"] == "finished"
    assert info["data"]["classes"] == ["红", "绿", "蓝"]
    assert info["model"]["classes"] == ["红", "绿", "蓝"]
    assert info["recipe"]["epochs"] == 3
    assert info["environment"]["torch"] == torch.__version__
    assert whole.epochs == [1, 2, 3]
    assert [line["epoch"] for line in whole.metrics("epoch")] == [1, 2, 3]
    assert len(whole.metrics("step")) == whole.metrics("epoch")[-1]["step"] // 10
    assert {line["layer"] for line in whole.vitals()} >= {"0", "1", "3", "8"}
    for epoch in (1, 2, 3):
        names = {path.name for path in whole.folder.snapshot(epoch).iterdir()}
        assert names == {"arrays.safetensors", "maps.png", "kernels.png", "gradients.png"}
    assert not [path for path in whole.folder.path.rglob("*") if path.suffix in (".pkl", ".pth", ".pt", ".tmp")]


def test_it_learns_and_the_best_epoch_is_the_validations(whole: Run) -> None:
    lines = whole.metrics("epoch")
    assert lines[-1]["train_loss"] < lines[0]["train_loss"]
    best = max(lines, key=lambda line: (line["val_accuracy"], -line["val_loss"]))
    assert whole.best_epoch == best["epoch"]


def test_vitals_by_hand(whole: Run) -> None:
    for line in whole.vitals():
        assert line["finite"]
        assert line["gradient_norm"] > 0
        assert 0 < line["update_ratio"] < 1
    relu_after_norm = next(line for line in whole.vitals() if line["layer"] == "3")
    assert 0 <= relu_after_norm["zero_fraction"] <= 1
    assert relu_after_norm["dead_fraction"] == len(relu_after_norm["dead_channels"]) / 16


@pytest.mark.parametrize("seed", range(4))
def test_interrupted_at_any_step_it_continues_exactly(
    whole: Run, image_folder: Path, tiny_spec: str, tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)
    number = generator.choice([signal.SIGINT, signal.SIGTERM])
    with pytest.raises(Interrupted):
        start(image_folder, tiny_spec, tmp_path, StopAfter(generator.randint(1, 17), number), ema=0.9)
    path = tmp_path / "run"
    assert open_run(path).info["status"] == "interrupted"
    if generator.random() < 0.5:
        try:
            resume(path, watch=StopAfter(2))
        except Interrupted:
            assert open_run(path).info["status"] == "interrupted"
    run = resume(path)
    assert run.info["status"] == "finished"
    assert same(weights(run), weights(whole))
    assert timeless(run.metrics()) == timeless(whole.metrics())
    assert run.vitals() == whole.vitals()


def test_resuming_a_finished_run_changes_nothing(whole: Run) -> None:
    before = weights(whole)
    assert same(weights(resume(whole.folder.path)), before)


SCRIPT = """
import sys, json
from cutaway.training import resume, train
path, data, spec, recipe = sys.argv[1:5]
import pathlib
print("ready", flush=True)
if list(pathlib.Path(path).glob("checkpoints/state*.safetensors")):
    resume(path)
else:
    import shutil
    shutil.rmtree(path, ignore_errors=True)
    folder = pathlib.Path(path)
    train(data, spec, recipe=json.loads(recipe), runs=folder.parent, name=folder.name, device="cpu")
"""


def spawn(path: Path, data: Path, spec: str, recipe: dict[str, Any], **limits: Any) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", SCRIPT, str(path), str(data), spec, json.dumps(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **limits
    )


def test_killed_at_random_moments_it_continues_exactly(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    # A state is written almost at every step, so that some kills strike while one is being written.
    recipe = {**QUICK, "epochs": 12, "save_every": 0.001}
    reference = train(image_folder, tiny_spec, recipe=recipe, runs=tmp_path, name="whole", device="cpu")
    killed, generator = 0, random.Random(0)
    path = tmp_path / "killed"
    while killed < 3:
        process = spawn(path, image_folder, tiny_spec, recipe)
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 60
        while not (path / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        killed += 1
    run = resume(path)
    assert same(weights(run), weights(reference))
    assert timeless(run.metrics()) == timeless(reference.metrics())
    assert not list(path.rglob("*.tmp"))


def test_a_full_disk_loses_nothing(whole: Run, image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    def small_files_only() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    recipe = {**QUICK, "ema": 0.9}
    with pytest.raises(Interrupted):
        start(image_folder, tiny_spec, tmp_path, StopAfter(2), ema=0.9)
    process = spawn(tmp_path / "run", image_folder, tiny_spec, recipe, preexec_fn=small_files_only)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert f"the disk is full; free some space, then `cutaway resume {tmp_path / 'run'}` goes on" in errors
    assert open_run(tmp_path / "run").status == "interrupted"
    run = resume(tmp_path / "run")
    assert same(weights(run), weights(whole))


def test_a_damaged_state_is_named_and_the_previous_used(
    whole: Run, image_folder: Path, tiny_spec: str, tmp_path: Path
) -> None:
    class Notes(Watcher):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, sentence: str) -> None:
            self.notes.append(sentence)

    with pytest.raises(Interrupted):
        start(image_folder, tiny_spec, tmp_path, StopAfter(9), ema=0.9)
    state = tmp_path / "run" / "checkpoints" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-5] + b"xxxxx")
    watch = Notes()
    run = resume(tmp_path / "run", watch=watch)
    assert any("state.safetensors is damaged" in note and "previous" in note for note in watch.notes)
    assert same(weights(run), weights(whole))


def test_two_processes_cannot_train_one_run(whole: Run) -> None:
    with only_trainer(whole.folder), pytest.raises(InputError, match="is being trained by another process"):
        resume(whole.folder.path)


def test_changed_data_is_refused(whole: Run, image_folder: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "colours"
    shutil.copytree(image_folder, other)
    next((other / "1-红").iterdir()).unlink()
    with pytest.raises(InputError, match="is not what run was trained on: its content changed"):
        resume(whole.folder.path, data=load_data(other))
    with pytest.raises(InputError, match="its content changed"):
        evaluate(whole.folder.path, data=load_data(other))


def test_a_state_of_another_architecture_is_refused(whole: Run) -> None:
    other = load_model("resnet18", classes=3, shape=(3, 12, 12), preprocessing=pixel_statistics(_train(whole)))
    with pytest.raises(InputError, match=r"tensors"):
        resume(whole.folder.path, model=other)


def _train(run: Run) -> Any:
    described = run.info["data"]
    return load_data(described["source"], **described["options"]).splits["train"]


def test_divergence_names_step_layer_and_last_good_state(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    with pytest.raises(Diverged) as caught:
        start(
            image_folder,
            tiny_spec,
            tmp_path,
            learning_rate=900.0,
            optimizer="sgd",
            warmup=0,
            weight_decay=9.0,
            epochs=40,
        )
    text = str(caught.value)
    assert "the loss became" in text
    assert "at step" in text
    assert "layer '" in text
    assert "state.safetensors" in text
    assert open_run(tmp_path / "run").info["status"] == "diverged"


def test_patience_stops_early(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    run = start(image_folder, tiny_spec, tmp_path, learning_rate=0.0, ema=0.0, epochs=60, patience=2)
    ended = len(run.metrics("epoch"))
    assert run.best_epoch is not None
    assert ended == run.best_epoch + 2 < 60


def test_every_recipe_option_trains(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    run = start(
        image_folder,
        tiny_spec,
        tmp_path,
        epochs=1,
        optimizer="adamw",
        learning_rate=0.001,
        schedule="triangular",
        initialisation="orthogonal",
        label_smoothing=0.1,
        clip=1.0,
        cutout=3,
        jitter=0.2,
        flip="alternating",
        precision="bf16",
    )
    assert math.isfinite(run.metrics("epoch")[-1]["train_loss"])


def test_evaluate_names_split_and_size(whole: Run) -> None:
    result = evaluate(whole.folder.path)
    assert (result["split"], result["size"]) == ("test", 12)
    assert result["warnings"] == []
    assert result["accuracy_interval"][0] <= result["accuracy"] <= result["accuracy_interval"][1]
    assert np.sum(result["confusion"]) == 12
    assert whole.evaluation("test") == result
    assert "says nothing about new images" in evaluate(whole.folder.path, "train")["warnings"][0]
    with pytest.raises(InputError, match=r"split 'tset' is not in .*nearest are 'test'"):
        evaluate(whole.folder.path, "tset")
    with pytest.raises(InputError, match=r"epoch 9 of run is not saved; saved are 1, 2, 3"):
        evaluate(f"{whole.folder.path}@9")


def test_evaluate_of_an_epoch_repeats_its_validation(whole: Run) -> None:
    line = whole.metrics("epoch")[1]
    assert evaluate(f"{whole.folder.path}@2", "val")["accuracy"] == pytest.approx(line["val_accuracy"], abs=1e-6)


def test_overlap_of_test_and_training_images_is_said(tiny_spec: str, tmp_path: Path) -> None:
    import shutil

    from coloured import write_images
    from training.conftest import COLOURS

    write_images(tmp_path / "data" / "train", COLOURS, each=20)
    write_images(tmp_path / "data" / "test", COLOURS, each=5, seed=1)
    for name in COLOURS:
        shutil.copy(tmp_path / "data" / "train" / name / "000.png", tmp_path / "data" / "test" / name / "again.png")
    run = start(tmp_path / "data", tiny_spec, tmp_path / "runs", epochs=1)
    [warning] = evaluate(run.folder.path)["warnings"]
    assert warning.startswith(("3 of the 18 test images are in the training set", "2 of the 18", "1 of the 18"))


def test_a_last_relu_is_trained_with_a_warning(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    class Notes(Watcher):
        said = ""

        def note(self, sentence: str) -> None:
            self.said += sentence + "\n"

    watch = Notes()
    start(image_folder, tiny_spec.replace(":make", ":last_relu"), tmp_path, watch, epochs=1)
    assert "ReLU" in watch.said


def test_a_taken_name_is_refused_before_anything_is_written(whole: Run, image_folder: Path, tiny_spec: str) -> None:
    with pytest.raises(InputError, match="exists already"):
        train(image_folder, tiny_spec, runs=whole.folder.path.parent, name="run")
    assert [run.name for run in list_runs(whole.folder.path.parent)] == ["run"]


def test_pixel_statistics_against_numpy(image_folder: Path) -> None:
    split = load_data(image_folder).splits["train"]
    pixels = split.images[np.arange(len(split))].astype(np.float64) / 255
    found = pixel_statistics(split)
    assert found.mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-5)
    assert found.std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-5)


def test_a_stop_is_heard_where_an_epoch_is_one_step(image_folder: Path, tiny_spec: str, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        start(image_folder, tiny_spec, tmp_path, StopAfter(2), batch_size=4096, epochs=5)
    assert len(open_run(tmp_path / "run").metrics("epoch")) == 2
    assert len(resume(tmp_path / "run").metrics("epoch")) == 5
