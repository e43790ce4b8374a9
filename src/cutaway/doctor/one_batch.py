"""The first thing to try with a network that does not learn: the same few images over and over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cutaway.data import Dataset, Split
from cutaway.doctor.record import read_record
from cutaway.doctor.trials import data_of, permitted, train_like
from cutaway.runs import Run, claim_run_path, open_run
from cutaway.training import Diverged

_STEPS = 100
_IMAGES = 32
_VAL_IMAGES = 256
# What makes learning by heart harder on purpose is left out.
_PLAIN = {
    "epochs": 1,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "flip": "none",
    "shift": 0,
    "cutout": 0,
    "jitter": 0.0,
}


def try_one_batch(run: Run | str | Path, *, steps: int = _STEPS, trust: bool | str = False) -> Run:
    """Train a run's network anew on 32 of its training images, without regularisation, and return that training.

    A network that can learn at all knows them by heart soon; if it does not, neither the amount of data nor its labels
    are to blame. `diagnose` of the run that is returned says so (rule one-batch-not-learnt).

    Args:
        run: a run of Cutaway's own, which is only read.
        steps: how many.
        trust: whether code that this machine has not trained with may run; see `load_model`.

    Raises:
        InputError: a loop that was only watched, or data that changed since.
    """
    record = run if isinstance(run, Run) else open_run(run)
    known = read_record(record)
    data, size = _one_batch(data_of(known), int(known.recipe["seed"]), steps)
    path = claim_run_path(record.folder.path.parent / f"{record.name}-one-batch", "run")
    recipe = {**known.recipe, **_PLAIN, "batch_size": size}
    if known.first and max(known.first["modes"]["dropouts"], default=0.0) > 0:
        recipe["dropout"] = 0.0
    try:
        return train_like(known, data, permitted(known, trust), path, recipe, (), None)
    except Diverged:
        return open_run(path)


def _one_batch(data: Dataset, seed: int, steps: int) -> tuple[Dataset, int]:
    """The data set with as many different training images as a batch holds, each `steps` times; and how many."""
    train = data.splits["train"]
    rows = np.random.default_rng(seed).permutation(len(train))[:_IMAGES]
    splits = {"train": _part(train, np.tile(rows, steps)), "val": _part(data.splits["val"], np.arange(_VAL_IMAGES))}
    return replace(data, splits=splits), len(rows)


def _part(split: Split, rows: np.ndarray) -> Split:
    rows = rows[rows < len(split)]
    files = tuple(split.files[row] for row in rows) if split.files else None
    return Split(split.name, split.images.select(rows), split.labels[rows], files, None, split.hashes[rows])
