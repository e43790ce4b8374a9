"""What a network answers to a whole split, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.data import Split
from cutaway.errors import InputError
from cutaway.models import Model
from cutaway.restoring import untouched
from cutaway.training.precision import Plan

Work = Callable[[str, int, int], None]

_BATCH = 256
_BINS = 15
_RESAMPLES = 2_000


@dataclass(frozen=True)
class Predictions:
    """Logits float32 (N, classes) and labels int64 (N,), on the CPU."""

    logits: Tensor
    labels: Tensor

    @property
    def predicted(self) -> Tensor:
        """The class with the highest logit, int64 (N,)."""
        return self.logits.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Which images were classified rightly, bool (N,)."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0..1."""
        return float(self.correct.double().mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats, without label smoothing."""
        return float(F.cross_entropy(self.logits, self.labels))


def prepared(model: Model, images: Tensor, plan: Plan) -> Tensor:
    """uint8 (B, C, H, W) to the network's float32 input, on the plan's device and in its layout."""
    if model.preprocessing is None:
        raise InputError(f"{model.spec} does not say how its input is standardised; train it, or give its weights")
    ready = model.preprocessing(images.to(plan.device, non_blocking=True))
    return ready.contiguous(memory_format=plan.memory_format)


def predict_split(model: Model, split: Split, plan: Plan, work: Work | None = None) -> Predictions:
    """Run the network over a split in eval mode; it is left as it was. `work` hears of (label, done, total)."""
    logits, labels = [], []
    with untouched(model.network), torch.inference_mode():
        model.network.eval()
        for batch in split.batches(np.arange(len(split)), _BATCH):
            images = prepared(model, batch.images, plan)
            with plan.computing():
                logits.append(model.network(images).float().cpu())
            labels.append(batch.labels)
            if work:
                work(f"{split.name} split", int(batch.ids[-1]) + 1, len(split))
    return Predictions(torch.cat(logits).clone(), torch.cat(labels))


def report(predictions: Predictions, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its interval, top-5, loss, per-class precision and recall, confusion and calibration."""
    count = len(classes)
    confusion = confusion_matrix(predictions, count)
    low, high = bootstrap_interval(predictions.correct.numpy())
    return {
        "size": len(predictions.labels),
        "accuracy": predictions.accuracy,
        "accuracy_interval": [low, high],
        "top5": top_k_accuracy(predictions, 5) if count > 5 else None,
        "loss": predictions.loss,
        "calibration_error": calibration(predictions)["error"],
        "calibration": calibration(predictions)["bins"],
        "classes": [_class_row(name, index, confusion) for index, name in enumerate(classes)],
        "confusion": confusion.tolist(),
    }


def confusion_matrix(predictions: Predictions, count: int) -> np.ndarray:
    """int64 (count, count): rows are true classes, columns predicted ones."""
    cells = predictions.labels * count + predictions.predicted
    return np.bincount(cells.numpy(), minlength=count * count).reshape(count, count)


def _class_row(name: str, index: int, confusion: np.ndarray) -> dict[str, Any]:
    hits, true, given = int(confusion[index, index]), int(confusion[index].sum()), int(confusion[:, index].sum())
    return {
        "class": name,
        "images": true,
        "precision": hits / given if given else None,
        "recall": hits / true if true else None,
    }


def top_k_accuracy(predictions: Predictions, k: int) -> float:
    """Share of images whose class is among the `k` highest logits."""
    best = predictions.logits.topk(k, dim=1).indices
    return float((best == predictions.labels[:, None]).any(1).double().mean())


def calibration(predictions: Predictions) -> dict[str, Any]:
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017), and the bins."""
    confidence = predictions.logits.softmax(1).amax(1).double().numpy()
    correct = predictions.correct.numpy()
    which = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    bins, error = [], 0.0
    for number in range(_BINS):
        inside = which == number
        if not inside.any():
            continue
        row = {
            "from": number / _BINS,
            "to": (number + 1) / _BINS,
            "images": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
        }
        bins.append(row)
        error += row["images"] / len(correct) * abs(row["confidence"] - row["accuracy"])
    return {"error": error, "bins": bins}


def bootstrap_interval(correct: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the accuracy: percentiles over 2,000 resamples of the images.

    Resampling right and wrong answers with replacement draws the number of right ones from a binomial distribution,
    so that is drawn directly.
    """
    size = len(correct)
    hits = np.random.default_rng(seed).binomial(size, float(np.mean(correct)), _RESAMPLES)
    low, high = np.percentile(hits / size, [2.5, 97.5])
    return float(low), float(high)
