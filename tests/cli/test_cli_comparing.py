"""`cutaway compare`: two epochs of a run, what it prints and what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

Cutaway = Callable[..., Any]


def test_two_epochs_of_a_run(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("compare", f"{run}@1", f"{run}@last", "--data", stage / "colours", "--out", "pictures/two")
    assert told.code == 0, told.err
    assert told.err == ""
    assert told.out.startswith("A: one@1\nB: one@last\nmeasured on 12 of the 12 images of the test split\naccuracy: A ")
    assert "most similar" in told.out
    assert "McNemar p" in told.out
    for name in ("similarity.png", "maps.png", "kernels.png", "gradients.png", "certificate.json"):
        assert Path("pictures/two", name).is_file(), name
    arrays = load_file("pictures/two/arrays.safetensors")
    assert arrays["cka"].shape == (3, 3)
    assert arrays["predicted_a"].shape == (12,)


def test_with_json_it_prints_json_alone(cutaway: Cutaway, stage: Path, run: Path) -> None:
    words = ("--data", stage / "colours", "--split", "val", "--images", 8, "--layer", "0", "--json")
    told = cutaway("compare", run, run, *words)
    found = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert found["models"] == ["one (A)", "one (B)"]
    assert found["agreement"]["agree"] == 1
    assert [row["layer"] for row in found["layers"][0]] == ["0"]
    assert found["certificate"]["check"]["self_similarity_gap"] < 1e-6
    assert found["certificate"]["parameters"]["images"] == 8
    assert Path(found["folder"]) == Path("pictures/compare-one-one")
    assert torch.allclose(load_file(Path(found["folder"]) / "arrays.safetensors")["cka"], torch.ones(1, 1).double())


def test_mistakes_are_one_line(cutaway: Cutaway, stage: Path, run: Path, tiny: str) -> None:
    for words, sentence in (
        ((run, run, "--data", stage / "colours", "--layer", "conv"), "layer 'conv' is not in"),
        ((run, run, "--data", stage / "colours", "--split", "all"), "split 'all' is not in"),
        ((run, tiny, "--data", stage / "colours"), "does not say how its input is standardised"),
        ((run, run, "--data", "nothing-here"), "nothing-here"),
    ):
        told = cutaway("compare", *words)
        assert told.code == 2
        assert sentence in told.err
        assert len(told.err.splitlines()) == 1
    assert not Path("pictures").exists()
