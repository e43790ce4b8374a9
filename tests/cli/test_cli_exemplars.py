"""`cutaway exemplars`: what it prints, what it leaves, and that it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cutaway.scope import exemplar_workers

Cutaway = Callable[..., Any]


def test_every_convolution_of_a_run(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("exemplars", run, stage / "colours", "-k", 4)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[0].endswith("images of the training split of colours")
    assert "  0: 8 units, maps 6x6, each place sees 3×3 px" in told.out
    assert "replayed: " in told.out
    folder = Path("pictures/exemplars-one-colours")
    assert {path.name for path in folder.glob("*.*")} >= {
        "exemplars-0.png",
        "exemplars-3.png",
        "arrays.safetensors",
        "certificate.json",
    }
    assert load_file(folder / "arrays.safetensors")["3/best.scores"].shape == (12, 4)


def test_a_unit_is_drawn_and_told(cutaway: Cutaway, stage: Path, run: Path) -> None:
    words = ("--unit", "3:5", "--split", "test", "--out", "out", "--precision", "bf16", "--processes", 1, "--batch", 4)
    told = cutaway("exemplars", run, stage / "colours", *words)
    assert told.code == 0, told.err
    assert "\n3:5\n" in told.out
    assert Path("out/unit-3-5.png").is_file()
    assert not Path("out/exemplars-0.png").exists()


def test_with_json_it_prints_json_alone(cutaway: Cutaway, stage: Path, run: Path) -> None:
    told = cutaway("exemplars", run, stage / "colours", "--unit", "0:2", "-k", 3, "--json")
    found = json.loads(told.out)
    assert (told.code, told.err) == (0, "")
    assert found["layers"][0] | {"highest": 0, "constant": 0} == {
        "layer": "0",
        "units": 8,
        "constant": 0,
        "map": [6, 6],
        "field": [3, 3],
        "field_exact": True,
        "highest": 0,
    }
    best = found["units"][0]["best"]
    assert len(best) == 3
    assert set(best[0]) == {"score", "image", "place", "box", "name"}
    assert best[0]["name"].partition("/")[0] in {"1-红", "2-绿", "10-蓝"}
    assert found["certificate"]["check"]["replay_gap"] < 1e-6


def test_ctrl_c_keeps_what_is_done(cutaway: Cutaway, stage: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    words = ("exemplars", run, stage / "colours", "--out", "out", "--processes", 1)
    with monkeypatch.context() as patch:
        patch.setattr(exemplar_workers._Chunks, "join", interrupted)
        told = cutaway(*words)
    assert told.code == 130
    assert "what was scanned is kept in out: the same command goes on" in told.err
    assert list(Path("out").rglob("pilot.safetensors"))
    assert cutaway(*words).code == 0
    assert [path.name for path in Path("out").glob("scan-*/[!.]*")] == ["all.safetensors"]


def test_mistakes_are_one_line(cutaway: Cutaway, stage: Path, run: Path, tiny: str) -> None:
    for words, sentence in (
        ((run, stage / "colours", "--layer", "conv"), "layer 'conv' is not in"),
        ((run, stage / "colours", "--unit", "3"), "a unit is LAYER:CHANNEL"),
        ((run, stage / "colours", "--unit", "3:99"), "layer '3' has no channel 99; they are numbered 0 to 11"),
        ((run, stage / "colours", "--split", "all"), "split 'all' is not in"),
        ((run, stage / "colours", "--precision", "fp8"), "precision 'fp8' is not known"),
        ((tiny, stage / "colours"), "does not say how its input is standardised"),
        ((run, "nothing-here"), "nothing-here"),
    ):
        told = cutaway("exemplars", *words)
        assert told.code == 2
        assert sentence in told.err
        assert len(told.err.splitlines()) == 1
    assert not Path("pictures").exists()
