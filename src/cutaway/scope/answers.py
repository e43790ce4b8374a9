"""What a network says of every image of a split."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutaway.data import Split
from cutaway.lenses.weights import logits
from cutaway.progress import Progress
from cutaway.scope.microscope import Scope

_BATCH = 128


def answers(scope: Scope, split: Split, progress: Progress | None = None) -> dict[str, NDArray[Any]]:
    """Pass a split once.

    Returns:
        `labels` int64 (N,), the true classes; `predicted` int64 (N,); `probability` float32 (N,), of the predicted one.

    Raises:
        InputError: a network that does not say how its input is standardised.
    """
    predicted, probability, done = [], [], 0
    for batch in scope.batches(split, _BATCH):
        best = logits(scope.network, batch).softmax(1).max(1)
        predicted.append(best.indices.cpu().numpy())
        probability.append(best.values.float().cpu().numpy())
        done += len(batch)
        if progress:
            progress(f"{split.name} split", done, len(split))
    return {
        "labels": np.asarray(split.labels),
        "predicted": np.concatenate(predicted),
        "probability": np.concatenate(probability),
    }
