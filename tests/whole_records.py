"""Whole records of a run, as training writes them, to be changed by a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cutaway.runs.sealed import read_sealed_json, write_sealed_json


def whole_info(**changes: Any) -> dict[str, Any]:
    """`run.json` without its version, id and seal."""
    splits = {name: {"size": size, "fingerprint": name} for name, size in (("train", 80), ("val", 10), ("test", 12))}
    data = {
        "source": "photos",
        "name": "photos",
        "classes": ["cat", "狗", "bird"],
        "shape": [1, 6, 6],
        "fingerprint": "0" * 32,
        "splits": splits,
        "facts": None,
        "split_seed": 0,
        "quarantine": [],
        "notes": [],
        "options": {},
    }
    preprocessing = {"shape": [1, 6, 6], "mean": [0.5], "std": [0.25]}
    info = {
        "status": "training",
        "started": "2026-03-01T12:00:00+00:00",
        "data": data,
        "model": {
            "spec": "resnet18",
            "options": {"stem": "small"},
            "classes": data["classes"],
            "preprocessing": preprocessing,
        },
        "recipe": {"epochs": 4, "optimizer": "sgd", "learning_rate": 0.1, "batch_size": 8},
        "plan": {"device": "cpu", "bf16": False, "channels_last": False, "matrices": False, "reason": "a test"},
        "environment": {"cutaway": "0.1.0", "torch": "2.9.0", "threads": 1, "python": "3.11", "machine": "x86_64"},
    }
    return {**info, **changes}


def step_line(epoch: int, step: int, loss: float | None = 1.0) -> dict[str, Any]:
    """A line of `metrics.jsonl` about a step."""
    return {"kind": "step", "epoch": epoch, "step": step, "samples": 8 * step, "loss": loss, "accuracy": 0.5, "lr": 0.1}


def epoch_line(epoch: int, accuracy: float | None = 0.5, loss: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    """A line of `metrics.jsonl` about an epoch of ten steps."""
    line = {
        "kind": "epoch",
        "epoch": epoch,
        "step": 10 * epoch,
        "samples": 80 * epoch,
        "seconds": 30.0 * epoch,
        "train_loss": 2 / epoch,
        "train_accuracy": min(1.0, 0.2 * epoch),
        "val_loss": loss,
        "val_accuracy": accuracy,
        "lr": 0.1,
    }
    return {**line, **changes}


def vital_line(epoch: int, layer: str = "conv1", kind: str = "Conv2d") -> dict[str, Any]:
    """A line of `vitals.jsonl` about a layer."""
    health = {"zero_fraction": 0.5, "dead_fraction": 0.1, "dead_channels": [3, epoch], "finite": True}
    norms = {"gradient_norm": 0.1 * epoch, "weight_norm": 4.0, "update_ratio": 0.001}
    return {"epoch": epoch, "layer": layer, "kind": kind, **norms, **health}


def whole_evaluation(names: list[str], **changes: Any) -> dict[str, Any]:
    """`evaluation-test.json` without its seal: 40 images a class, 30 of them right."""
    count = len(names)
    confusion = [
        [30 if true == given else 10 if given == (true + 1) % count else 0 for given in range(count)]
        for true in range(count)
    ]
    found = {
        "size": 40 * count,
        "accuracy": 0.75,
        "accuracy_interval": [0.7, 0.8],
        "top5": None,
        "loss": 0.9,
        "calibration_error": 0.02,
        "calibration": [{"from": 0.8, "to": 0.9, "images": 40 * count, "confidence": 0.8, "accuracy": 0.75}],
        "classes": [{"class": name, "images": 40, "precision": 0.5, "recall": None} for name in names],
        "confusion": confusion,
        "label_issues": None,
        "run": "one",
        "split": "test",
        "epoch": 2,
        "evaluated": "2026-03-01T13:00:00+00:00",
        "warnings": [],
    }
    return {**found, **changes}


def change_record(path: Path, *keys: str, to: Any) -> None:
    """Change a value of a JSON record, and give it the seal that fits."""
    value, _ = read_sealed_json(path)
    inner = value
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    write_sealed_json(path, value)
