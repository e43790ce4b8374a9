"""Bad input: one sentence with the way out, exit code 2, and nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from whole_records import change_record

Cutaway = Callable[..., Any]


def files(folder: Path | str = ".") -> dict[str, int]:
    return {str(path): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def refuse(cutaway: Cutaway, *words: object) -> str:
    """The one line of a refusal, after checking all that holds for each of them."""
    before = files()
    told = cutaway(*words)
    assert told.code == 2, told.err
    assert told.out == ""
    # Notes about the data may stand before it.
    *notes, line = told.err.splitlines()
    assert line.startswith("cutaway: ")
    assert not [note for note in notes if note.startswith((" ", "cutaway", "Traceback"))]
    assert files() == before
    return str(line)


MISTAKES = [
    ("train shapes --model resnet81", ["'resnet81'", "'resnet18'"]),
    ("train fashion-mnsit", ["'fashion-mnsit'", "'fashion-mnist'"]),
    ("train COLOURS -m TINY --optimizer adma", ["'adma'", "'adam'"]),
    ("train COLOURS -m TINY --set optimizer=sdg", ["'sdg'", "'sgd'"]),
    ("train COLOURS -m TINY --set learning_rat=1", ["'learning_rat'", "'learning_rate'"]),
    ("train COLOURS -m TINY --set clip", ["'clip'", "key=value"]),
    ("train COLOURS -m TINY --epochs 0", ["epochs is 0", "1 to 100000"]),
    ("train COLOURS -m TINY --set epochs=many", ["'many'", "whole number"]),
    ("train COLOURS -m TINY --recipe none.toml", ["none.toml"]),
    ("train COLOURS -m TINY --device gpu", ["'gpu'", "cpu"]),
    ("train COLOURS -m TINY --channels 2", ["1 (grey) or 3 (colour)", "2"]),
    ("train COLOURS -m TINY --size 0", ["0"]),
    ("train COLOURS -m tiny.py:make", ["tiny.py", "FILE.py:FACTORY"]),
    ("train COLOURS -m TINE", ["'mak'", "'make'"]),
    ("train COLOURS -m TINY --weights none.pth", ["none.pth"]),
    ("train COLOURS -m TINY --runs STAGE/runs --run one", ["exists already", "cutaway resume"]),
    ("train COLOURS -m vgg16 --size 8", ["too small for vgg16", "16x16"]),
    ("train COLOURS -m POOLS", ["too small", "layer"]),
    ("maps RUN test:0 --layer 33", ["'33'", "nearest", "'3'"]),
    ("maps RUN test:99", ["test:99", "test 0 to 11"]),
    ("maps RUN tset:0", ["tset:0", "test:0"]),
    ("maps RUN test:0 --channels 0", ["--channels", "cutaway maps --help"]),
    ("kernels RUN --layer 4", ["4"]),
    ("kernels RUN -l conv9", ["'conv9'"]),
    ("gradients RUN test:0 --target 绿色", ["'绿色'", "'绿'"]),
    ("gradients RUN test:0 --target 3", ["class 3 does not exist", "0 to 2"]),
    ("predict RUN nothing.png", ["nothing.png", "test:0"]),
    ("predict TINY test:0", ["give a run"]),
    ("evaluate RUN@9", ["epoch 9", "1, 2"]),
    ("evaluate RUN@best1", ["best1", "last"]),
    ("evaluate RUN --split tets", ["'tets'", "'test'"]),
    ("evaluate COLOURS", ["not a run folder", "cutaway runs"]),
    ("resume nowhere", ["nowhere", "cutaway runs"]),
    ("curves RUN --out curves.bmp", ["curves.bmp", ".svg"]),
    ("runs nowhere", ["nowhere", "cutaway train"]),
    ("summary vgg16 --input 3x32", ["'3x32'", "3x32x32"]),
    ("summary torchvision:resnet19", ["resnet19", "resnet18"]),
    ("trian shapes", ["'trian'", "'train'"]),
    ("train", ["DATA", "cutaway train --help"]),
    ("train shapes --epochs two", ["--epochs", "cutaway train --help"]),
    ("train shapes --epoch 2", ["--epoch"]),
]


@pytest.mark.parametrize(("command", "said"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_one_sentence(cutaway: Cutaway, stage: Path, run: Path, command: str, said: list[str]) -> None:
    places = {
        "COLOURS": stage / "colours",
        "RUN": run,
        "TINY": f"{stage}/tiny.py:make",
        "TINE": f"{stage}/tiny.py:mak",
        "POOLS": f"{stage}/tiny.py:pools",
        "STAGE": stage,
    }
    words = []
    for word in command.split():
        for name, place in places.items():
            word = str(place) + word.removeprefix(name) if word.split("@")[0].split("/")[0] == name else word
        words.append(word)
    line = refuse(cutaway, *words)
    assert [part for part in said if part not in line] == []


def picture(path: Path, side: int = 12, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), shade, np.uint8)).save(path)


def test_an_empty_folder(cutaway: Cutaway, tiny: str) -> None:
    Path("photos").mkdir()
    assert "photos has no class folders with images" in refuse(cutaway, "train", "photos", "-m", tiny)


def test_one_class_only(cutaway: Cutaway, tiny: str) -> None:
    for number in range(5):
        picture(Path(f"photos/cat/{number}.png"), shade=number)
    line = refuse(cutaway, "train", "photos", "-m", tiny)
    assert "cat" in line
    assert "one class" in line


def test_no_readable_image(cutaway: Cutaway, tiny: str) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        Path("photos", name, "1.jpg").write_text("hello")
    line = refuse(cutaway, "train", "photos", "-m", tiny)
    assert "no readable image" in line
    assert "a text file, not an image" in line


def test_images_of_mixed_size_are_resized_and_bad_ones_named(cutaway: Cutaway, tiny: str) -> None:
    for name, base in (("cat", 0), ("dog", 100)):
        for number in range(20):
            picture(Path(f"photos/{name}/{number}.png"), side=10 + number % 3, shade=base + number)
    Path("photos/cat/torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    told = cutaway("train", "photos", "-m", tiny, "--epochs", 1, "--set", "precision=fp32")
    assert told.code == 0
    assert "images of 3 sizes were resized to 11x11" in told.err
    assert "left out cat/torn.jpg: " in told.err


def test_more_bad_files_than_a_screen_bears_are_counted(cutaway: Cutaway, tiny: str) -> None:
    for name, base in (("cat", 0), ("dog", 100)):
        for number in range(20):
            picture(Path(f"photos/{name}/{number}.png"), shade=base + number)
    for number in range(13):
        Path(f"photos/cat/bad-{number}.jpg").write_text("hello")
    line = refuse(cutaway, "train", "photos", "-m", tiny)
    assert "13" in line
    words = ("--max-bad", 0.5, "--epochs", 1, "--set", "precision=fp32")
    told = cutaway("train", "photos", "-m", tiny, *words)
    assert told.code == 0
    assert told.err.count("left out") == 10
    assert "3 more bad files are listed in run.json" in told.err


def test_a_recipe_file_names_key_and_line(cutaway: Cutaway, stage: Path, tiny: str) -> None:
    Path("mine.toml").write_text("# mine\nepochs = 1\nlearning_rat = 0.1\n")
    line = refuse(cutaway, "train", stage / "colours", "-m", tiny, "--recipe", "mine.toml")
    assert "'learning_rat'" in line
    assert "mine.toml line 3" in line
    Path("mine.toml").write_text("epochs = 1\nmomentum = 2\n")
    line = refuse(cutaway, "train", stage / "colours", "-m", tiny, "--recipe", "mine.toml")
    assert "mine.toml line 2: momentum is 2" in line


def test_a_checkpoint_of_another_architecture_names_the_tensors(cutaway: Cutaway, stage: Path, run: Path) -> None:
    copy = shutil.copytree(run, Path("other"))
    change_record(copy / "run.json", "model", "spec", to=f"{stage}/tiny.py:wide")
    for words in (("predict", copy, "test:0", "--trust"), ("resume", copy, "--trust")):
        told = cutaway(*words)
        assert told.code == 2
        line = told.err.splitlines()[-1]
        assert "0.weight" in line
        assert "(8, 3, 3, 3)" in line or "8x3x3x3" in line
        assert "20" in line


def test_a_network_without_convolutions(cutaway: Cutaway, stage: Path) -> None:
    words = ("-m", f"{stage}/tiny.py:flat", "--epochs", 1, "--set", "precision=fp32")
    assert cutaway("train", stage / "colours", *words).code == 0
    run = "runs/colours-tiny-1"
    for command in (("maps", run, "test:0"), ("kernels", run), ("gradients", run, "test:0")):
        assert "has no 2-D convolution; name the layers to look at" in refuse(cutaway, *command)
    told = cutaway("gradients", run, "test:0", "-l", "2", "--out", "here")
    assert told.out == "here/arrays.safetensors\nbeside it: certificate.json\n"


def test_weights_of_another_architecture(cutaway: Cutaway, stage: Path, run: Path) -> None:
    weights = run / "checkpoints" / "epoch-0001.safetensors"
    line = refuse(cutaway, "train", stage / "colours", "-m", f"{stage}/tiny.py:wide", "--weights", weights)
    assert "0.weight" in line


def test_a_file_where_a_folder_is_wanted(cutaway: Cutaway, stage: Path, run: Path, tiny: str) -> None:
    Path("runs").write_text("no folder")
    line = refuse(cutaway, "train", stage / "colours", "-m", tiny, "--set", "precision=fp32")
    assert "runs: Not a directory" in line
    assert "Not a directory" in refuse(cutaway, "kernels", run, "--out", "runs/here")


def test_a_full_disk(cutaway: Cutaway, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    line = refuse(cutaway, "kernels", run, "--out", "here")
    assert "the disk is full" in line
    assert "here" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(cutaway: Cutaway, run: Path) -> None:
    Path("locked").mkdir(mode=0o500)
    assert "read-only" in refuse(cutaway, "kernels", run, "--out", "locked/here")


def test_a_damaged_run_record(cutaway: Cutaway, run: Path) -> None:
    copy = shutil.copytree(run, Path("damaged"))
    (copy / "run.json").write_text('{"schema_version": 1,')
    assert "run.json is damaged" in refuse(cutaway, "evaluate", copy)
    (copy / "run.json").write_text('{"schema_version": 99}')
    assert "update Cutaway" in refuse(cutaway, "evaluate", copy)
