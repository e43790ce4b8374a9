"""A run folder as training leaves it, with names that try to break a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from cutaway.runs import Run, RunFolder, append_lines, write_sealed_json
from cutaway.runs.sealed import seal
from whole_records import epoch_line as plain_epoch_line
from whole_records import step_line, vital_line, whole_evaluation, whole_info

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
    (place / "arrays.safetensors").write_bytes(seal(save(snapshot_arrays(epoch)), names)[0])


def info() -> dict[str, Any]:
    splits = {"train": {"size": 800}, "val": {"size": 100}, "test": {"size": 120}}
    found = whole_info(status="finished")
    found["data"].update(source="/photos/<b>", name="fashion", classes=CLASSES, splits=splits)
    found["data"].update(
        quarantine=[{"file": "a<b>.jpg", "reason": "truncated"}], notes=["images of 2 sizes were resized"]
    )
    found["model"].update(classes=CLASSES, warnings=[])
    return {**found, "recipe": {"epochs": 4, "optimizer": "sgd", "learning_rate": 0.1, "flip": "random"}}


def epoch_line(epoch: int) -> dict[str, Any]:
    return plain_epoch_line(epoch, 0.9 if epoch == 2 else 0.2 * epoch, 2.1 / epoch, samples=800 * epoch)


def evaluation() -> dict[str, Any]:
    return whole_evaluation(CLASSES, confusion=[[30, 10, 0], [3, 33, 4], [0, 13, 27]], warnings=["5 shared"])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = RunFolder(tmp_path / "fashion-<i>-1")
    folder.create(info())
    for epoch in (1, 2, 3):
        append_lines(folder.metrics, [step_line(epoch, 10 * epoch - 5, 3.0 / epoch)])
        append_lines(folder.metrics, [epoch_line(epoch)])
        kinds = [("conv1", "Conv2d"), ("bn1", "BatchNorm2d"), ("fc", "Linear")]
        append_lines(folder.vitals, [vital_line(epoch, layer, kind) for layer, kind in kinds])
        write_snapshot(folder, epoch)
    write_sealed_json(folder.evaluation("test"), evaluation())
    return Run(folder)
