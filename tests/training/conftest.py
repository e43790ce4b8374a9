from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY_NETWORK = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, num_classes),
    )


def last_relu(num_classes=10, in_channels=3):
    return nn.Sequential(make(num_classes, in_channels), nn.ReLU())
"""


def write_images(folder: Path, classes: dict[str, tuple[int, int, int]], each: int, seed: int = 0) -> None:
    """Noisy 12x12 images whose mean colour tells their class."""
    generator = np.random.default_rng(seed)
    for name, colour in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = generator.normal(colour, 60, (12, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")


COLOURS = {"1-红": (200, 60, 60), "2-绿": (60, 200, 60), "10-蓝": (60, 60, 200)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "colours"
    write_images(folder, COLOURS, each=40)
    return folder


@pytest.fixture(scope="session")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("code") / "tiny.py"
    file.write_text(TINY_NETWORK)
    return f"{file}:make"
