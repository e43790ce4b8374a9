"""A healthy record by hand: a three-layer network of ten classes whose loss falls from ln 10 to 0.5 in 200 steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from cutaway.doctor.record import Record, make_record

STEPS = (1, 2, 5, 10, 20, 50, 100, 200)
LOSSES = (2.30, 2.28, 2.2, 2.0, 1.6, 1.1, 0.7, 0.5)
LAYERS = ("conv1", "conv2", "fc")


def layer(name: str) -> dict[str, Any]:
    """A layer of 100 inputs as Kaiming initialises it, moved by a thousandth of itself."""
    inner = name != "fc"
    return {
        "layer": name,
        "kind": "Conv2d" if inner else "Linear",
        "fan_in": 100,
        "trains": True,
        "gradient_norm": 0.5,
        "weight_norm": 5.0,
        "weight_std": 0.14,
        "update_ratio": 0.001,
        "finite": True,
        "reached": True,
        "output_scale": 1.0,
        "output_spread": 0.8,
        "zero_fraction": 0.5 if inner else None,
        "dead_fraction": 0.0 if inner else None,
        "saturated_fraction": 0.0 if inner else None,
        "activation": name.replace("conv", "relu") if inner else None,
    }


def pixels(images: int = 64) -> dict[str, Any]:
    """A standardised batch."""
    colours = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "low": [-1.9, -1.8, -1.6], "high": [2.0, 2.1, 2.2]}
    return {"shape": [images, 3, 8, 8], **colours, "min": -2.0, "max": 2.2, "spread": 0.9}


def checkup(step: int, loss: float) -> dict[str, Any]:
    """One check-up."""
    return {
        "kind": "checkup",
        "epoch": 1 + (step - 1) // 50,
        "step": step,
        "loss": loss,
        "input": pixels(),
        "labels": {"one_hot": False, "min": 0, "max": 9, "counts": [6] * 10, "equal_neighbours": 0.1},
        "logits": {
            "shape": [64, 10],
            "finite": True,
            "std": 1.5,
            "spread": 1.2,
            "min": -3.0,
            "max": 4.0,
            "zero_fraction": 0.0,
            "probabilities": False,
            "predicted_classes": 10,
            "largest_share": 0.2,
            "confidence": 0.5,
            "cross_entropy": loss,
            "squared_error": 3.0,
            "target": 1.0,
            "accuracy": 0.5,
        },
        "modes": {"training": True, "batch_norms": 0, "dropouts": [], "in_training": 0},
        "structure": {"activations": 2, "last_layer": "fc", "last_kind": "Linear"},
        "optimizer": {"kind": "SGD", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "missing": []},
        "fresh_gradient": 1.0,
        "optimizer_steps": step,
        "layers": [layer(name) for name in LAYERS],
    }


def seen() -> dict[str, Any]:
    """What a stethoscope counted in a shuffled loop of 600 different images, measured on 200 others."""
    control = {"images": 600, "accuracy": 0.6, "chance": 0.1, "deviation": 0.012}
    counts = {str(label): 60 for label in range(10)}
    overlap = {"evaluated": 200, "evaluated_in_training_set": 0, "same_order": False, "equal_neighbours": 0.1}
    return {"images": 600, "distinct": 600, "counts": counts, **overlap, "label_control": control}


def evaluation() -> dict[str, Any]:
    """A test split of 100 images, 80 right, with confidence to match."""
    confusion = [[8 if a == b else int((b - a) % 10 in (1, 3)) for b in range(10)] for a in range(10)]
    bins = [{"images": 100, "confidence": 0.82, "accuracy": 0.8}]
    classes = [{"class": f"class {label}"} for label in range(10)]
    figures = {"size": 100, "accuracy": 0.8, "calibration_error": 0.02}
    return {**figures, "calibration": bins, "confusion": confusion, "classes": classes}


class Hand:
    """The parts of a record, to be changed by a test; `record()` is what the rules read."""

    def __init__(self, watched: bool = False) -> None:
        facts = {
            "counts": {"train": [60] * 10, "val": [10] * 10, "test": [10] * 10},
            "distinct": {"train": 600, "val": 100, "test": 100},
            "in_train": {"val": 0, "test": 0},
            "two_labels": 0,
            "label_control": seen()["label_control"],
        }
        splits = {
            name: {"size": size, "fingerprint": name} for name, size in (("train", 600), ("val", 100), ("test", 100))
        }
        self.info: dict[str, Any] = {
            "status": "finished",
            "watched": watched,
            "data": {"source": "photos", "name": "photos", "classes": [f"class {n}" for n in range(10)], "options": {}},
            "model": {"spec": "vgg16", "options": {}},
            "recipe": {"learning_rate": 0.05, "batch_size": 64, "epochs": 4},
        }
        self.info["data"].update({"splits": {}, "facts": None} if watched else {"splits": splits, "facts": facts})
        self.looked = [checkup(step, loss) for step, loss in zip(STEPS, LOSSES, strict=True)]
        self.steps = [
            {"step": step, "loss": loss, "accuracy": 1 - loss / 2.5}
            for step, loss in ((10 * n, 2.3 - 0.09 * n) for n in range(1, 21))
        ]
        measured_loss = (1.3, 0.8, 0.62, 0.6)
        self.epochs = [
            self.epoch(n, 2.0 - 0.4 * n, 0.4 + 0.1 * n, measured_loss[n - 1], 0.4 + 0.09 * n) for n in range(1, 5)
        ]
        measured = {"training": False, "input": pixels(100), "logits": checkup(50, 1.1)["logits"]}
        self.ends = [
            {"epoch": 1, "step": 50, "evaluation": measured, "passes": {}, "seen": seen() if watched else None}
        ]
        self.broken: dict[str, Any] | None = None
        self.evaluations = {"test": evaluation()}

    @staticmethod
    def epoch(number: int, train_loss: float, train: float, val_loss: float, val: float) -> dict[str, Any]:
        """The line of an epoch of 50 steps."""
        figures = {"train_loss": train_loss, "train_accuracy": train, "val_loss": val_loss, "val_accuracy": val}
        return {"epoch": number, "step": 50 * number, **figures}

    def stuck(self, loss: float = math.log(10)) -> None:
        """Nothing is learnt: each loss is ln 10 and each accuracy a tenth."""
        for line in self.looked:
            line["loss"] = line["logits"]["cross_entropy"] = loss
        for line in self.steps:
            line.update(loss=loss, accuracy=0.1)
        self.epochs = [self.epoch(n, loss, 0.1, loss, 0.1) for n in range(1, 5)]

    def layers(self, name: str = "") -> Iterator[dict[str, Any]]:
        """Every line of a layer, or of all."""
        return (line for look in self.looked for line in look["layers"] if name in ("", line["layer"]))

    def each(self, part: str, **values: Any) -> None:
        """Set something in a part of each check-up."""
        for line in self.looked:
            line[part].update(values)

    def facts(self) -> dict[str, Any]:
        """What is known of the data before training."""
        found: dict[str, Any] = self.info["data"]["facts"]
        return found

    def record(self) -> Record:
        """The record."""
        broken = [self.broken] if self.broken else []
        checkups = deepcopy([*self.looked, *self.ends, *broken])
        return make_record(deepcopy(self.info), self.steps, self.epochs, checkups, [], self.evaluations)
