"""`cutaway atlas`: what it prints, where it puts it, and that it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutaway.runs import open_run
from cutaway.runs.atlas import find_atlas
from cutaway.scope.atlas import make

Cutaway = Callable[..., Any]


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, which an atlas is written into."""
    shutil.copytree(run, tmp_path / "own")
    return tmp_path / "own"


def test_the_atlas_of_a_run_lies_in_it(cutaway: Cutaway, stage: Path, own: Path) -> None:
    told = cutaway("atlas", own, stage / "colours", "--steps", 2, "-k", 4)
    assert (told.code, told.err) == (0, "")
    run = open_run(own)
    found = find_atlas(run, run.epoch("best"))
    assert found is not None
    lines = told.out.splitlines()
    assert Path(lines[0]).resolve() == found.path.resolve()
    assert lines[1].startswith("20 units of 2 layers, 20 imagined; ")
    assert lines[2].endswith("images of the training split of colours")
    assert found.info["epoch"] == run.epoch("best")
    assert found.classes == ("红", "绿", "蓝")


def test_with_json_it_prints_json_alone(cutaway: Cutaway, stage: Path, own: Path) -> None:
    told = cutaway("atlas", f"{own}@1", stage / "colours", "--layer", "3", "--no-images", "--split", "test", "--json")
    assert (told.code, told.err) == (0, "")
    found = json.loads(told.out)
    assert (found["layers"], found["imagined"], found["epoch"]) == ({"3": 12}, {"3": 0}, 1)
    assert found["data"]["split"] == "test"
    assert Path(found["folder"]).parent.name == "epoch-0001"


def test_ctrl_c_keeps_what_is_done(cutaway: Cutaway, stage: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    words = ("atlas", own, stage / "colours", "--steps", 2)
    with monkeypatch.context() as patch:
        patch.setattr(make, "write_imagined", interrupted)
        told = cutaway(*words)
    assert told.code == 130
    assert f"what is done is kept in {own}/atlas/epoch-000" in told.err
    assert list(own.rglob("responses/*.safetensors"))
    assert not list(own.rglob("imagined/*"))
    assert cutaway(*words).code == 0
    assert len(list(own.rglob("imagined/*/*.safetensors"))) == 2


def test_mistakes_are_one_line(cutaway: Cutaway, stage: Path, run: Path, tiny: str) -> None:
    for words, sentence in (
        ((run, stage / "colours", "--layer", "conv"), "layer 'conv' is not in"),
        ((run, stage / "colours", "--split", "all"), "split 'all' is not in"),
        ((run, stage / "colours", "--steps", "0"), "greater than or equal to 1"),
        ((f"{run}@9", stage / "colours"), "epoch 9 of one is not saved"),
        ((tiny, stage / "colours"), "does not say how its input is standardised"),
        ((run, "nothing-here"), "nothing-here"),
    ):
        told = cutaway("atlas", *words)
        assert told.code == 2
        assert told.err.count("\n") == 1
        assert sentence in told.err
