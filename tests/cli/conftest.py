"""The program as a user types it, over one tiny run that all tests share; none of them may change it."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cutaway.cli import main

NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3, width=8):
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, 2, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 12, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, num_classes),
    )


def wide(num_classes=10, in_channels=3):
    return make(num_classes, in_channels, 20)


def flat(num_classes=10, in_channels=3):
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_channels, num_classes))


def pools(num_classes=10, in_channels=3):
    return nn.Sequential(nn.MaxPool2d(8), nn.MaxPool2d(8), make(num_classes, in_channels))
"""
COLOURS = {"1-红": (200, 60, 60), "2-绿": (60, 200, 60), "10-蓝": (60, 60, 200)}


@dataclass(frozen=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str


def typed(*words: object) -> Told:
    """Run `cutaway WORDS` in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as done:
            code = int(done.code or 0)
    return Told(code, out.getvalue(), err.getvalue())


def write_class(folder: Path, colour: tuple[int, int, int], count: int, side: int = 12) -> None:
    """`count` noisy images around one colour."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(sum(colour))
    for number in range(count):
        pixels = random.normal(colour, 50, (side, side, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


@pytest.fixture
def cutaway() -> Callable[..., Told]:
    return typed


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tiny.py`, `colours/` and `runs/one`, trained for two epochs."""
    folder = tmp_path_factory.mktemp("stage")
    (folder / "tiny.py").write_text(NETWORK)
    for name, colour in COLOURS.items():
        write_class(folder / "colours" / name, colour, 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUTAWAY_CACHE", str(folder / "cache"))
        words = ("--model", f"{folder}/tiny.py:make", "--epochs", 2, "--set", "precision=fp32", "--batch-size", 16)
        told = typed("train", folder / "colours", *words, "--runs", folder / "runs", "--run", "one")
    assert told.code == 0, told.err
    return folder


@pytest.fixture(autouse=True)
def _at_home(stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with the stage's cache."""
    monkeypatch.setenv("CUTAWAY_CACHE", str(stage / "cache"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(stage: Path) -> Path:
    return stage / "runs" / "one"


@pytest.fixture
def tiny(stage: Path) -> str:
    return f"{stage}/tiny.py:make"
