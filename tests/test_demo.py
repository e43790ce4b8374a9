"""The demonstration, with a tiny network and few images in place of the real ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cutaway import demo
from cutaway.data import Dataset, load_data
from cutaway.data import shapes as drawn
from cutaway.demo import run_demo
from cutaway.errors import InputError
from cutaway.training import Watcher, train

NETWORK = """
from torch import nn


def make(num_classes, in_channels):
    pool = nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, num_classes))
"""
NOWHERE = "fashion-mnist was found nowhere: the network refused; give --data-dir"


class Listener(Watcher):
    """Keeps every sentence."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dataset:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(drawn, "SIZES", {"train": 80, "val": 20, "test": 20})
    return load_data("shapes", size=12)


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, few_shapes: Dataset) -> list[Any]:
    """Every training of a ResNet-18 becomes one of a tiny network; what was asked for is kept."""
    (tmp_path / "tiny.py").write_text(NETWORK)
    asked: list[Any] = []

    def tiny(data: Dataset, model: str, *, recipe: dict[str, Any], **rest: Any) -> Any:
        asked.append((data, model, dict(recipe)))
        chosen = {**recipe, "precision": "fp32", "batch_size": 40}
        return train(data, f"{tmp_path / 'tiny.py'}:make", recipe=chosen, **rest)

    monkeypatch.setattr(demo, "train", tiny)
    return asked


def source(few_shapes: Dataset, *, fashion: Callable[[], Dataset]) -> Callable[..., Dataset]:
    """A `load_data` that knows `fashion-mnist` and `shapes`."""
    return lambda name, **_: fashion() if name == "fashion-mnist" else few_shapes


def refused() -> Dataset:
    raise InputError(NOWHERE)


def test_it_trains_measures_and_writes_the_page(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, trained: list[Any]
) -> None:
    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=lambda: few_shapes))
    page, result = run_demo(tmp_path / "runs", epochs=1)
    assert page.read_text(encoding="utf-8").startswith("<!")
    assert page.parent.parent == tmp_path / "runs"
    assert (result["split"], result["size"]) == ("test", 20)
    assert "test split" in page.read_text(encoding="utf-8")
    assert [(model, recipe) for _, model, recipe in trained] == [("resnet18", {"epochs": 1})]


def test_without_fashion_mnist_it_says_why_and_uses_shapes(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, trained: list[Any]
) -> None:
    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=refused))
    monkeypatch.setattr(demo.shutil, "which", lambda name: None)
    watch = Listener()
    run_demo(tmp_path / "runs", watch=watch)
    assert watch.notes[:2] == [
        NOWHERE,
        "Fashion-MNIST cannot be had here: the demonstration uses the built-in shapes instead",
    ]
    assert trained[0][0].name == "shapes"
    assert trained[0][2]["epochs"] > 1


@pytest.mark.parametrize("code", [0, 100])
def test_debians_package_is_tried_where_no_password_is_needed(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return subprocess.CompletedProcess(command, code)

    def fashion() -> Dataset:
        return few_shapes if commands and code == 0 else refused()

    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=fashion))
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(demo.os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo.subprocess, "run", run)
    watch = Listener()
    run_demo(tmp_path / "runs", epochs=1, watch=watch)
    assert [command[:2] for command in commands] == [["apt-get", "update"], ["apt-get", "install"]]
    assert "installing Debian's package dataset-fashion-mnist instead" in watch.notes
    assert any("shapes instead" in note for note in watch.notes) == (code != 0)


def test_nothing_is_installed_for_a_user_who_is_not_root(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=refused))
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(demo.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: pytest.fail("nothing may be run"))
    run_demo(tmp_path / "runs", epochs=1)


@pytest.mark.parametrize("error", [OSError("no such program"), subprocess.TimeoutExpired("apt-get", 180)])
def test_an_installer_that_hangs_or_fails_is_told(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=refused))
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(demo.os, "geteuid", lambda: 0)
    monkeypatch.setattr(demo.subprocess, "run", run)
    watch = Listener()
    run_demo(tmp_path / "runs", epochs=1, watch=watch)
    assert any(note.startswith("apt-get did not work") for note in watch.notes)


def test_the_verb(
    tmp_path: Path, few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cutaway.cli import main

    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=lambda: few_shapes))
    monkeypatch.setattr("typer.launch", lambda _: pytest.fail("no browser without a terminal"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        main(["demo", "--epochs", "1", "--runs", "here"])
    told = capsys.readouterr()
    assert not done.value.code
    assert "% on the test split (20 images)" in told.out
    assert told.out.splitlines()[-1].startswith("pictures: here/shapes-tiny-1/index.html")


def test_the_verb_stops_well(
    few_shapes: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cutaway.cli import main
    from cutaway.training import Interrupted

    def stopped(*_: Any, **__: Any) -> None:
        raise Interrupted(Path("runs/fashion-mnist-resnet18-1"))

    monkeypatch.setattr(demo, "load_data", source(few_shapes, fashion=lambda: few_shapes))
    monkeypatch.setattr(demo, "train", stopped)
    with pytest.raises(SystemExit) as done:
        main(["demo"])
    assert done.value.code == 130
    assert capsys.readouterr().err.endswith("next: cutaway resume runs/fashion-mnist-resnet18-1\n")
