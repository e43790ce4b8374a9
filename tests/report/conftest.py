"""A run folder as training leaves it, with names that try to break a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from cutaway.runs import Run, RunFolder, append_lines

CLASSES = ["T-shirt", "<script>alert(1)</script>", "运动鞋"]


def snapshot_arrays(epoch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(epoch)
    maps = random.normal(size=(3, 30, 6, 6)).astype(np.float16)
    maps[:, 0] = 0
    return {
        "maps/conv1": maps,
        "channels/conv1": np.arange(30) * 2,
        "maps/layer1.conv": random.random((3, 4, 3, 3)).astype(np.float16),
        "channels/layer1.conv": np.arange(4),
        "kernels/conv1": random.normal(size=(60, 1, 3, 3)).astype(np.float32),
        "gradients/conv1": random.normal(size=(60, 1, 3, 3)).astype(np.float32),
        "images": random.integers(0, 256, (3, 1, 6, 6), dtype=np.uint8),
    }


def write_snapshot(folder: RunFolder, epoch: int) -> None:
    place = folder.snapshot(epoch)
    place.mkdir(parents=True)
    names = {"labels": json.dumps(CLASSES), "layers": json.dumps(["conv1", "layer1.conv"])}
    save_file(snapshot_arrays(epoch), place / "arrays.safetensors", names)


def info() -> dict[str, Any]:
    splits = {"train": {"size": 800}, "val": {"size": 100}, "test": {"size": 120}}
    data = {"source": "/photos/<b>", "name": "fashion", "classes": CLASSES, "shape": [1, 6, 6], "splits": splits}
    bad = [{"file": "a<b>.jpg", "reason": "truncated"}]
    return {
        "status": "finished",
        "data": {**data, "quarantine": bad, "notes": ["images of 2 sizes were resized"]},
        "model": {"spec": "resnet18", "options": {"stem": "small"}, "warnings": []},
        "recipe": {"epochs": 4, "optimizer": "sgd", "learning_rate": 0.1, "flip": True},
    }


def epoch_line(epoch: int) -> dict[str, Any]:
    shares = {"train_accuracy": 0.2 * epoch, "val_accuracy": 0.9 if epoch == 2 else 0.2 * epoch}
    sizes = {"step": 10 * epoch, "samples": 800 * epoch, "seconds": 30.0 * epoch}
    return {"kind": "epoch", "epoch": epoch, **sizes, "train_loss": 2 / epoch, "val_loss": 2.1 / epoch, **shares}


def vital_line(epoch: int, layer: str, kind: str) -> dict[str, Any]:
    health = {"zero_fraction": 0.5, "dead_fraction": 0.1, "dead_channels": [3, epoch], "finite": True}
    norms = {"gradient_norm": 0.1 * epoch, "weight_norm": 4.0, "update_ratio": 0.001}
    return {"epoch": epoch, "layer": layer, "kind": kind, **norms, **health}


def evaluation() -> dict[str, Any]:
    rows = [{"class": name, "images": 40, "precision": 0.5, "recall": None} for name in CLASSES]
    figures = {"size": 120, "accuracy": 0.75, "accuracy_interval": [0.7, 0.8], "split": "test", "epoch": 2}
    return {**figures, "classes": rows, "confusion": [[30, 10, 0], [3, 33, 4], [0, 13, 27]], "warnings": ["5 shared"]}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = RunFolder(tmp_path / "fashion-<i>-1")
    folder.create(info())
    for epoch in (1, 2, 3):
        append_lines(folder.metrics, [{"kind": "step", "epoch": epoch, "step": 10 * epoch - 5, "loss": 3.0 / epoch}])
        append_lines(folder.metrics, [epoch_line(epoch)])
        kinds = [("conv1", "Conv2d"), ("bn1", "BatchNorm2d"), ("fc", "Linear")]
        append_lines(folder.vitals, [vital_line(epoch, layer, kind) for layer, kind in kinds])
        write_snapshot(folder, epoch)
    folder.evaluation("test").write_text(json.dumps(evaluation()), encoding="utf-8")
    return Run(folder)
