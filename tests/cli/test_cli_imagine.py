"""`cutaway imagine`, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cutaway = Callable[..., Any]


def test_classes_units_and_layers_in_one_picture(cutaway: Cutaway, run: Path) -> None:
    told = cutaway("imagine", run, "-c", "红", "-c", 2, "-u", "0:3", "-u", "0:1@centre", "-l", "3", "--steps", 3)
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["红", "蓝"]
    assert lines[2].startswith("0:3: reached ")
    assert "noise max" in lines[2]
    folder = Path(lines[5]).parent
    assert {path.name for path in folder.iterdir()} == {"imagine.png", "arrays.safetensors", "certificate.json"}
    assert folder.name.startswith("imagine-one-")


def test_json_holds_the_numbers_and_the_certificate(cutaway: Cutaway, run: Path, tmp_path: Path) -> None:
    words = ("--style", "classic", "--without", "jitter", "--without", "clamp", "--steps", 2, "--json", "--out")
    told = cutaway("imagine", run, "--class", 0, *words, tmp_path / "here")
    found = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert found["images"][0]["target"] == "红"
    assert {"reached", "start", "noise_mean", "noise_max"} <= set(found["images"][0])
    parameters = found["certificate"]["parameters"]
    assert (parameters["jitter"], parameters["clamp"], parameters["l2"]) == (0, False, 1e-3)
    assert all((tmp_path / "here" / name).is_file() for name in found["files"])


@pytest.mark.parametrize(
    ("words", "method"),
    [(("-c", "绿"), "fool"), (("-u", "0:3"), "dream"), (("-l", "0"), "dream"), (("-l", "0", "--invert"), "invert")],
)
def test_from_an_image(cutaway: Cutaway, stage: Path, run: Path, words: tuple[str, ...], method: str) -> None:
    photo = stage / "colours" / "1-红" / "003.png"
    told = cutaway("imagine", run, "--from", photo, *words, "--steps", 3, "--out", "here")
    assert told.code == 0, told.err
    assert Path("here", f"{method}-before-and-after.png").is_file()
    assert "reached" in told.out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "nothing to imagine: give --class CLASS, --unit LAYER:CHANNEL or --layer NAME"),
        (("-c", "gelb"), "target 'gelb' is not among the classes and layers of this model"),
        (("-u", "3"), "--unit is '3', expected LAYER:CHANNEL such as layer3:17"),
        (("-u", "conv:1"), "layer 'conv' is not in Sequential; the nearest are"),
        (("-u", "0:99"), "target 99 is out of range: layer '0' has 8 channels"),
        (("-c", 0, "--style", "lucid"), "style 'lucid' is not one of classic, fourier, maco"),
        (("-c", 0, "--without", "blur"), "--without is for style classic, found style fourier"),
        (("-c", 0, "--style", "classic", "--without", "blurr"), "regulariser 'blurr' is not one of jitter, l2, clamp"),
        (("-c", 0, "-c", 1, "--from", "x.png"), "--from takes one target, found 2"),
        (("-c", 0, "--from", "x.png"), "there is no image file x.png"),
        (("-c", 0, "--from", "x.png", "--size", 9), "leave --size and --without out"),
        (("-c", 0, "--from", "x.png", "--invert"), "--invert needs the --layer whose features are kept"),
        (("-c", 0, "--invert"), "--invert needs an image: give --from IMAGE"),
    ],
)
def test_mistakes_are_one_line(cutaway: Cutaway, run: Path, words: tuple[Any, ...], sentence: str) -> None:
    told = cutaway("imagine", run, *words)
    assert told.code == 2
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
