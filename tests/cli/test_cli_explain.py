"""`cutaway explain` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cutaway.lenses.attribution import METHODS
from cutaway.scope import Scope

Cutaway = Callable[..., Any]


def photo(stage: Path, name: str = "003.png") -> Path:
    return stage / "colours" / "1-红" / name


def test_one_method_gives_its_map_and_its_certificate(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("explain", run, photo(stage), "--method", "grad-cam", "--target", "红", "--seed", 2)
    assert told.code == 0, told.err
    folder = Path("pictures/explain-one-003")
    assert sorted(path.name for path in folder.iterdir()) == ["arrays.safetensors", "certificate.json", "grad-cam.png"]
    expected = Scope(str(run)).explain(str(photo(stage)), "grad-cam", "红", seed=2)
    assert torch.equal(load_file(folder / "arrays.safetensors")["values"], expected.attribution.values)
    assert "红, score" in told.out.splitlines()[0]
    assert "similarity after randomisation" in told.out
    assert str(folder / "grad-cam.png") in told.out
    assert json.loads((folder / "certificate.json").read_text("utf-8"))["seed"] == 2


def test_json_of_one_method(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("explain", run, photo(stage), "test:0", "-m", "saliency", "--out", "there", "--json")
    report = json.loads(told.out)
    assert (report["folder"], report["method"]) == ("there", "saliency")
    assert [row["image"] for row in report["images"]] == [str(photo(stage)), "test:0"]
    assert all((Path("there") / name).is_file() for name in report["files"])
    assert report["certificate"]["weights"]


def test_several_methods_are_ranked(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("explain", run, photo(stage), "-m", "saliency", "-m", "layer-cam", "--out", "there")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].split() == [
        *("method", "place", "deletion", "insertion", "road", "sensitivity", "randomisation", "seconds", "note")
    ]
    assert {"saliency", "layer-cam"} < {line.split()[0] for line in lines[1:7]}
    assert "best is deletion low, insertion high" in told.out
    assert Path("there/methods.png").is_file()


def test_all_methods_as_json(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("explain", run, photo(stage), "--method", "all", "--json")
    assert told.err == ""
    report = json.loads(told.out)
    assert set(METHODS) < {row["method"] for row in report["methods"]}
    assert report["best"] in METHODS


def test_a_layer_is_passed_on(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("explain", run, photo(stage), "--layer", "2", "--json")
    assert json.loads(told.out)["layer"] == "2"


def test_mistakes_are_one_line(cutaway: Cutaway, stage: Path, run: Path) -> None:
    for words, sentence in (
        (("--method", "gradcam"), "method 'gradcam' is not known; the nearest are 'grad-cam'"),
        (("--target", "rot"), "class 'rot' is not of this model; the nearest are"),
        (("--layer", "layer9"), "layer 'layer9' is not in Sequential"),
    ):
        told = cutaway("explain", run, photo(stage), *words)
        assert told.code == 2
        assert told.err.startswith(f"cutaway: {sentence}")
        assert told.out == ""
        assert len(told.err.splitlines()) == 1


def test_help(cutaway: Cutaway) -> None:
    told = cutaway("explain", "--help")
    assert told.out.startswith("Usage: cutaway explain")
    assert max(map(len, told.out.splitlines())) <= 80
