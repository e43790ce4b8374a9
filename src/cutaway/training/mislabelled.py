"""Images whose label is probably wrong, by what a network answers that never learnt from them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from cutaway.data import Split
from cutaway.training.measure import Predictions


def label_issues(predictions: Predictions, split: Split, classes: Sequence[str]) -> list[dict[str, Any]] | None:
    """Images of a held-out split that the network puts into another class with confidence, the most certain first.

    Confident learning (Northcutt, Jiang and Chuang, 2021) by the package cleanlab: how many labels are wrong follows
    from how often each class is taken for each other one with at least the confidence that is usual for it, and which
    they are from the probability of the given label, the lowest first.

    Args:
        predictions: of the split, in its order.
        split: one that was not trained on: of images that were learnt by heart this says nothing.
        classes: their names.

    Returns:
        For each image `image` (such as "test:17"), `file`, `label` and `answer` (names) and `confidence` (0..1, the
        probability of the label); None where cleanlab is missing: `pip install 'cutaway[labels]'`.
    """
    if find_spec("cleanlab") is None:
        return None
    from cleanlab.filter import find_label_issues

    shares = predictions.logits.double().softmax(1).numpy()
    labels, answers = predictions.labels.numpy(), predictions.predicted.tolist()
    if len(np.unique(labels)) < 2:
        return []  # nothing that it could be confused with
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="cleanlab")  # of classes with few images
        found = find_label_issues(
            labels, shares, return_indices_ranked_by="self_confidence", filter_by="low_self_confidence", n_jobs=1
        )
    return [
        {
            "image": f"{split.name}:{row}",
            "file": split.files[row] if split.files else None,
            "label": classes[labels[row]],
            "answer": classes[answers[row]],
            "confidence": float(f"{shares[row, labels[row]]:.3g}"),
        }
        for row in found.tolist()
        if answers[row] != labels[row]
    ]
