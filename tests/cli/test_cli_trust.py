"""Every verb that opens a run: a stranger's code is one sentence with a way out, and the way out works."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from shlex import split
from typing import Any

import pytest

from cutaway.runs import Run
from hostile_runs import KINDS, KNOWN, NO_CODE, library, trained_here, write_code

Cutaway = Callable[..., Any]

OPEN = {
    "predict": "predict RUN test:0",
    "maps": "maps RUN test:0",
    "kernels": "kernels RUN",
    "gradients": "gradients RUN test:0",
    "explain": "explain RUN test:0",
    "imagine": "imagine RUN --class 0 --steps 1",
    "exemplars": "exemplars RUN DATA -k 1 --processes 1",
    "atlas": "atlas RUN DATA -k 1 --no-images",
    "compare, first": "compare RUN OTHER --data DATA --split train",
    "compare, second": "compare OTHER RUN --data DATA --split train",
    "summary": "summary RUN",
    "evaluate": "evaluate RUN",
    "resume": "resume RUN",
    "train": "train DATA --model RUN --epochs 1 --set precision=fp32",
    "doctor": "doctor RUN --try",
}
LOOK = ("runs RUNS", "doctor RUN", "curves RUN", "report RUN")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained_here(tmp_path_factory.mktemp("mine"))


@pytest.fixture
def gift(mine: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cutaway: Cutaway) -> Callable[[str], Cutaway]:
    """Makes a received run of a kind, and what types a line about it."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(kind: str) -> Cutaway:
        run = {**KINDS, "library": library}[kind](mine, tmp_path, tmp_path / "mark")
        places = {"RUN": run, "RUNS": run.parent, "DATA": mine.info["data"]["source"], "OTHER": mine.folder.path}

        def type_line(line: str, *more: object) -> Any:
            return cutaway(*(places.get(word, word) for word in split(line)), *more)

        return type_line

    return make


QUICK = ("beside", "on_path", "other_module", "installed")
HOSTILE = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in KNOWN]


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_verb_runs_anything(gift: Callable[[str], Cutaway], tmp_path: Path, kind: str) -> None:
    type_line = gift(kind)
    for verb, line in OPEN.items():
        told = type_line(line)
        assert told.code == 2, (verb, told)
        said = [text for text in told.err.splitlines() if text.startswith("cutaway: ")]
        assert len(said) == 1, (verb, told)
        assert kind in NO_CODE or "--trust" in said[0] or "there is no such file" in said[0], (verb, told)
        assert "Traceback" not in told.err
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("line", LOOK)
def test_what_needs_no_network_is_shown(gift: Callable[[str], Cutaway], tmp_path: Path, line: str) -> None:
    told = gift("claimed")(line)
    assert (told.code, told.err) == (0, "")
    assert not (tmp_path / "mark").exists()


WAYS_OUT = [verb for verb in OPEN if verb != "doctor"]


@pytest.mark.parametrize("verb", WAYS_OUT)
def test_whoever_trusts_it_runs_it(gift: Callable[[str], Cutaway], tmp_path: Path, verb: str) -> None:
    told = gift("beside")(OPEN[verb], "--trust")
    assert told.code == 0, told.err
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize("verb", [verb for verb in WAYS_OUT if verb != "train"])
def test_another_factory_may_be_named(gift: Callable[[str], Cutaway], tmp_path: Path, verb: str) -> None:
    write_code(tmp_path / "own")
    told = gift("beside")(OPEN[verb], "--model", f"{tmp_path}/own/net.py:make")
    assert told.code == 0, told.err
    assert not (tmp_path / "mark").exists()


def test_beginning_with_a_run_whose_code_is_gone(gift: Callable[[str], Cutaway], tmp_path: Path) -> None:
    type_line = gift("beside")
    (tmp_path / "runs" / "gift" / "net.py").unlink()
    told = type_line(OPEN["train"])
    weights = told.err.rpartition("--weights ")[2].strip()
    assert told.err.strip().endswith(f"begin with its weights: --model FILE.py:FACTORY --weights {weights}")
    write_code(tmp_path / "own")
    words = ("--epochs", 1, "--set", "precision=fp32", "--weights", weights)
    told = type_line("train DATA", "--model", f"{tmp_path}/own/net.py:make", *words)
    assert told.code == 0, told.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("summary resnet18 --model net.py:make", "resnet18 is no run, whose network another factory could make"),
        ("compare resnet18 resnet18 --data DATA --model net.py:make", "with code of its own, which none of these is"),
        ("summary RUN --model net.py:make", "resnet18, which no factory makes; leave out net.py:make"),
    ],
)
def test_a_factory_is_not_left_out_in_silence(gift: Callable[[str], Cutaway], line: str, said: str) -> None:
    told = gift("library")(line) if "RUN" in line else gift("beside")(line)
    assert (told.code, told.out) == (2, "")
    assert said in told.err


def test_a_report_without_the_network_says_why(gift: Callable[[str], Cutaway], tmp_path: Path) -> None:
    told = gift("beside")("report RUN")
    text = Path(told.out.strip()).read_text("utf-8")
    assert "its record does not say what stood in that code" in text
    assert "--trust` shows its layers" in text
