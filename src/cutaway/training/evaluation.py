"""Evaluating a run: honest figures, with the split and its size beside each, once they are wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.data import Dataset, Split, load_recorded
from cutaway.errors import unknown
from cutaway.models import load_model
from cutaway.runs import Run, resolve, write_sealed_json
from cutaway.runs.sealed import SEAL, header
from cutaway.showing import Card, Shown, Table
from cutaway.training.measure import predict_split, report
from cutaway.training.mislabelled import label_issues
from cutaway.training.precision import Plan, choose_device
from cutaway.training.watcher import Watcher

_CELLS = 20  # classes up to which a notebook shows the confusion


class Evaluation(dict[str, Any], Shown):
    """What `evaluate` measured, by name."""

    def card(self) -> Card:
        """The figures with their split, each class, and the confusion of a few classes."""
        low, high = self["accuracy_interval"]
        facts = {
            "accuracy": f"{self['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})",
            "split": f"{self['split']}, {self['size']:,} images",
            "epoch": self["epoch"],
            "loss": self["loss"],
            "top 5": self["top5"],
            "calibration error": self["calibration_error"],
        }
        names = [row["class"] for row in self["classes"]]
        tables = [Table.of(self["classes"])]
        if len(names) <= _CELLS:
            rows = [(name, *cells) for name, cells in zip(names, self["confusion"], strict=True)]
            tables.append(Table(("true class, predicted:", *names), rows))
        return Card(f"{self['run']}, measured", (facts, *tables), self["warnings"])


def evaluate(
    run: str | Path,
    split: str = "test",
    *,
    data: Dataset | None = None,
    device: str = "auto",
    trust: bool | str = False,
    keep: bool = True,
    watch: Watcher | None = None,
) -> Evaluation:
    """Measure a run's network on a split and keep the result in the run folder.

    Args:
        run: `RUN` (its best epoch by the validation split), `RUN@7` or `RUN@last`.
        split: "test", "val" or "train".
        data: the data set, if it is loaded already.
        device: where to compute; in float32, so that every machine gives the same figures.
        trust: whether code that this machine has not trained with may run; see `load_model`.
        keep: whether the result is written into the run folder; else `keep_evaluation` can do it later.
        watch: hears of progress.

    Returns:
        accuracy (0..1) with its 95 % interval, top5, loss, per-class precision and recall, confusion (rows true,
        columns predicted), calibration, `split`, `size`, `epoch`, `warnings`, and `label_issues` (see `label_issues`).

    Raises:
        InputError: no such run, epoch or split, or other data than the run was trained on.
    """
    watch = watch or Watcher()
    record, which = resolve(run)
    epoch = record.epoch(which)
    dataset = load_recorded(record, data, progress=watch.work)
    if split not in dataset.splits:
        raise unknown("split", split, dataset.splits, f"in {dataset.source}")
    model = load_model(f"{record.folder.path}@{epoch}", trust=trust)
    plan = Plan(choose_device(device), channels_last=True, matrices=True)
    plan.place(model.network)
    part = dataset.splits[split]
    predictions = predict_split(model, part, plan, watch.work)
    result = Evaluation(report(predictions, dataset.classes))
    result |= {
        "label_issues": None if split == "train" else label_issues(predictions, part, dataset.classes),
        "run": record.name,
        "split": split,
        "epoch": epoch,
        "evaluated": datetime.now(UTC).isoformat(timespec="seconds"),
        "warnings": overlap_warnings(dataset, split),
        "weights": header(record.folder.weights(epoch)).get(SEAL, ""),
    }
    for warning in result["warnings"]:
        watch.note(warning)
    if keep:
        keep_evaluation(record, result)
    return result


def keep_evaluation(record: Run, result: Evaluation) -> None:
    """Write what was measured into the run folder, where pages and the doctor find it."""
    write_sealed_json(record.folder.evaluation(result["split"]), result)


def overlap_warnings(dataset: Dataset, split: str) -> list[str]:
    """Sentences about images of `split` that the training set holds too."""
    if split == "train":
        return ["this is the split the network learnt from: its accuracy says nothing about new images"]
    train = dataset.splits["train"]
    shared = shared_images(train, dataset.splits[split])
    if not shared:
        return []
    size = len(dataset.splits[split])
    return [
        f"{shared} of the {size} {split} images are in the training set too ({shared / size:.1%}): "
        "the accuracy is higher than it would be on new images"
    ]


def shared_images(first: Split, second: Split) -> int:
    """How many images of `second` have the same pixels as some image of `first`."""
    return int(np.isin(second.hashes, first.hashes).sum())
