"""Facts about a data set that tell whether a network can learn from it: counts, duplicates, and a control of labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cutaway.data.part import Split

_SIDE = 8
_NEIGHBOURS = 5
_CONTROL_IMAGES = 600


def data_facts(splits: Mapping[str, Split], classes: int) -> dict[str, Any]:
    """Counts, exact duplicates, overlap with the training images and the label control, JSON-able."""
    hashes = np.concatenate([split.hashes for split in splits.values()])
    labels = np.concatenate([split.labels for split in splits.values()])
    pairs = np.unique(np.stack([hashes, labels.astype(np.uint64)], axis=1), axis=0)
    train = splits["train"]
    return {
        "counts": {name: np.bincount(split.labels, minlength=classes).tolist() for name, split in splits.items()},
        "distinct": {name: len(np.unique(split.hashes)) for name, split in splits.items()},
        "in_train": {
            name: int(np.isin(split.hashes, train.hashes).sum()) for name, split in splits.items() if name != "train"
        },
        "two_labels": len(pairs) - len(np.unique(pairs[:, 0])),
        "label_control": _control_of(train),
    }


def _control_of(split: Split) -> dict[str, float] | None:
    rows = np.unique(np.linspace(0, len(split) - 1, min(len(split), _CONTROL_IMAGES)).astype(np.int64))
    return label_control(split.images[rows], split.labels[rows]) if len(rows) > _NEIGHBOURS else None


def label_control(images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How often the nearest other images have an image's label, against what chance gives: no network is needed.

    Each image, shrunk to 8x8 and standardised, is classified by the vote of its five nearest among the others.
    `accuracy` at `chance` means that neighbours tell nothing of the labels: they are shuffled, or the classes differ in
    nothing that such a small image keeps.

    Args:
        images: any numbers (N, C, H, W).
        labels: int64 (N,).

    Returns:
        `images`, `accuracy`, `chance` (for labels in random order) and `deviation`, the standard deviation of chance.
    """
    features = _small(images)
    distances = np.square(features).sum(1)[:, None] - 2 * features @ features.T + np.square(features).sum(1)[None]
    np.fill_diagonal(distances, np.inf)
    nearest = labels[np.argsort(distances, axis=1, kind="stable")[:, :_NEIGHBOURS]]
    votes = (nearest[:, :, None] == np.arange(labels.max() + 1)).sum(1)
    hits = votes.argmax(1) == labels
    given, true = (np.bincount(each, minlength=labels.max() + 1) / len(labels) for each in (votes.argmax(1), labels))
    chance = float(given @ true)
    deviation = float(np.sqrt(chance * (1 - chance) / len(labels)))
    return {"images": len(labels), "accuracy": float(hits.mean()), "chance": chance, "deviation": deviation}


def _small(images: np.ndarray) -> np.ndarray:
    """Float32 (N, features): each image as an 8x8 mosaic, its own brightness and contrast taken out."""
    values: np.ndarray = images.astype(np.float32)
    for axis in (2, 3):
        edges = np.linspace(0, values.shape[axis], min(_SIDE, values.shape[axis]), endpoint=False).astype(np.int64)
        widths = np.diff(np.append(edges, values.shape[axis]))
        shape = [1, 1, 1, 1]
        shape[axis] = len(widths)
        values = np.add.reduceat(values, edges, axis=axis) / widths.reshape(shape)
    flat = values.reshape(len(values), -1)
    flat -= flat.mean(1, keepdims=True)
    scaled: np.ndarray = flat / (flat.std(1, keepdims=True) + 1e-6)
    return scaled
