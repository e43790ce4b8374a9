"""Small noisy images whose mean colour tells their class, and networks to train on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NETWORKS = """
from torch import nn


def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def last_relu(num_classes=10, in_channels=3):
    network = make(num_classes, in_channels)
    nn.init.constant_(network[-1].bias, -3.0)
    return nn.Sequential(*network, nn.ReLU())


def dead(num_classes=10, in_channels=3):
    network = make(num_classes, in_channels)
    nn.init.constant_(network[2].bias, -10.0)
    return network
"""
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200), "grey": (128, 128, 128)}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTAWAY_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images of 12x12 for each of four classes."""
    folder, generator = tmp_path_factory.mktemp("data") / "colours", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = generator.normal(colour, 40, (12, 12, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the networks."""
    file = tmp_path_factory.mktemp("code") / "networks.py"
    file.write_text(NETWORKS)
    return file
