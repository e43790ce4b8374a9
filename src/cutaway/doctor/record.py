"""A run's record as the rules read it: what was logged, and the few judgements that all rules share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from cutaway.runs import Run

# Before so many steps nobody can tell a network that does not learn from one that has not begun, and before
# SURE_STEPS a slow beginning is no reason to say so where nothing else is seen.
ENOUGH_STEPS = 40
SURE_STEPS = 100
_LEARNT_SHARE = 0.03
_DEAD_SHARE = 0.8
_LARGE_GRADIENT = 100.0
_LAYERS = ("Conv", "Linear")
Line = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What the rules look at.

    Attributes:
        info: `run.json`.
        steps, epochs: the two kinds of lines of `metrics.jsonl`.
        looked: check-ups of steps (with outputs and layers), oldest first.
        ends: check-ups of epochs' ends (with what the evaluation saw).
        broken: the check-up that says where the first number that is none came from, or None.
        vitals: the lines of `vitals.jsonl` about layers, one per layer and epoch.
        evaluations: by split, what `evaluate` measured.
        folder: the run folder, for commands.
    """

    info: Line
    steps: list[Line]
    epochs: list[Line]
    looked: list[Line]
    ends: list[Line]
    broken: Line | None
    vitals: list[Line]
    evaluations: dict[str, Line]
    folder: str = "RUN"

    @property
    def watched(self) -> bool:
        """Whether the loop was somebody else's, seen through a stethoscope."""
        return bool(self.info.get("watched"))

    @property
    def recipe(self) -> Line:
        """The recipe; a watched loop's has little in it."""
        return dict(self.info.get("recipe", {}))

    @cached_property
    def classes(self) -> int:
        """How many outputs the network has."""
        return int(self.looked[0]["logits"]["shape"][1]) if self.looked else len(self.info["data"]["classes"])

    @cached_property
    def chance(self) -> float:
        """ln of the number of classes: the cross-entropy of a network that says the same for each image."""
        return math.log(max(2, self.classes))

    @cached_property
    def first(self) -> Line | None:
        """The first check-up."""
        return self.looked[0] if self.looked else None

    @cached_property
    def last(self) -> Line | None:
        """The last check-up of a step."""
        return self.looked[-1] if self.looked else None

    @cached_property
    def last_step(self) -> int:
        """How many steps were made."""
        lines = [*self.steps[-1:], *self.epochs[-1:], *self.looked[-1:]]
        return max((int(line["step"]) for line in lines), default=0)

    @cached_property
    def losses(self) -> list[tuple[int, float]]:
        """(step, loss of that step), by step."""
        found = {line["step"]: line["loss"] for line in [*self.steps, *self.looked] if line.get("loss") is not None}
        return sorted(found.items())

    @cached_property
    def cross_entropies(self) -> list[tuple[int, float]]:
        """(step, cross-entropy): the losses, or where the loss is another one, what the check-ups computed."""
        found = [(c["step"], c["logits"]["cross_entropy"]) for c in self.looked if c["logits"].get("cross_entropy")]
        return self.losses if self.loss_is_cross_entropy or not found else found

    @cached_property
    def loss_is_cross_entropy(self) -> bool:
        """Whether the loss is what cross-entropy gives for the outputs, within what smoothing and weights change."""
        pairs = [
            (c["loss"], c["logits"]["cross_entropy"])
            for c in self.looked
            if c["loss"] is not None and c["logits"].get("cross_entropy") is not None
        ]
        wrong = [1 for loss, expected in pairs if abs(loss - expected) > 0.05 + 0.25 * expected]
        return not self.watched or len(wrong) * 2 <= len(pairs)

    @cached_property
    def final_loss(self) -> float | None:
        """The median cross-entropy of the last fifth of the record (at least three values)."""
        values = [loss for _, loss in self.cross_entropies]
        return median(values[-max(3, len(values) // 5) :]) if values else None

    @cached_property
    def majority(self) -> float:
        """The share of the most frequent class in what was trained on (1 / classes if that is not known)."""
        counts = self.train_counts
        return max(counts) / sum(counts) if sum(counts) else 1 / max(2, self.classes)

    @cached_property
    def train_counts(self) -> list[int]:
        """Training images of each class, as far as they were counted."""
        facts = self.info["data"].get("facts")
        if facts:
            return list(facts["counts"]["train"])
        seen = self.seen.get("counts", {})
        return [int(seen.get(str(label), 0)) for label in range(self.classes)]

    @cached_property
    def seen(self) -> Line:
        """What a stethoscope counted of the images, or nothing."""
        lines = [line["seen"] for line in [*self.looked, *self.ends] if line.get("seen")]
        return dict(max(lines, key=lambda line: (line["evaluated"], line["images"]))) if lines else {}

    @cached_property
    def label_control(self) -> Line | None:
        """How well neighbours tell labels (see `label_control`), or None."""
        control = (self.info["data"].get("facts") or {}).get("label_control") or self.seen.get("label_control")
        return dict(control) if control else None

    @cached_property
    def train_accuracy(self) -> float | None:
        """The latest running mean of the training accuracy."""
        lines = [line["accuracy"] for line in self.steps if line.get("accuracy") is not None]
        ended = [line["train_accuracy"] for line in self.epochs if line.get("train_accuracy") is not None]
        return max([*lines[-1:], *ended[-1:]], default=None)

    @cached_property
    def val_accuracy(self) -> float | None:
        """The best validation accuracy, or None."""
        return max((line["val_accuracy"] for line in self.epochs if line.get("val_accuracy") is not None), default=None)

    @cached_property
    def early(self) -> bool:
        """Whether there are too few steps to judge by the outcome."""
        return self.last_step < ENOUGH_STEPS

    @cached_property
    def learns(self) -> bool:
        """Whether the loss is clearly under chance and training answers clearly better than the commonest class."""
        if self.final_loss is None:
            return False
        better, fallen = (self.train_accuracy or 0.0) - self.majority, 1 - self.final_loss / self.baseline
        return self.broken is None and ((better > 0.02 and fallen > _LEARNT_SHARE) or (better > 0.06 and fallen > 0))

    @cached_property
    def baseline(self) -> float:
        """The cross-entropy of always giving the classes' shares: ln C for balanced classes, less for others."""
        shares = [count / sum(self.train_counts) for count in self.train_counts if count]
        return -sum(share * math.log(share) for share in shares) if len(shares) > 1 else self.chance

    @cached_property
    def fails(self) -> bool:
        """Whether, after enough steps, nothing is learnt."""
        return self.broken is not None or (not self.early and not self.learns)

    @cached_property
    def stuck(self) -> bool:
        """Whether, after enough steps, the loss stands at what a constant answer gives."""
        if self.final_loss is None or self.early or self.learns:
            return False
        return abs(self.final_loss - self.chance) < 0.04 * self.chance or self.final_loss < self.chance

    @cached_property
    def layers(self) -> list[str]:
        """Convolutions and linear layers in the order of the network."""
        return [line["layer"] for line in weighted(self.first)] if self.first else []

    def worst(self) -> str:
        """`warning` while something is learnt in spite of it or it is early, `error` when nothing is."""
        return "error" if self.fails else "warning"


def weighted(checkup: Line) -> list[Line]:
    """A check-up's convolutions and linear layers."""
    return [line for line in checkup["layers"] if line["kind"].startswith(_LAYERS)]


def dead(checkup: Line) -> list[Line]:
    """Those of them behind which most channels are 0 for every image (the outputs themselves left out)."""
    inner = [line for line in weighted(checkup) if line["activation"] != checkup["structure"]["last_layer"]]
    return [line for line in inner if (line["dead_fraction"] or 0) >= _DEAD_SHARE]


def exploding(checkup: Line) -> list[Line]:
    """Those that train whose gradient is large, and much larger than the weight."""
    lines = [line for line in trained(checkup) if line["gradient_norm"] and line["weight_norm"]]
    return [line for line in lines if line["gradient_norm"] > max(_LARGE_GRADIENT, 10 * line["weight_norm"])]


def trained(checkup: Line) -> Iterator[Line]:
    """Those of them that train and were reached."""
    return (line for line in weighted(checkup) if line["trains"] and line["reached"])


def read_record(run: Run) -> Record:
    """Read everything that the rules look at; a damaged record is an `InputError`."""
    info = run.info
    evaluations = {split: dict(found) for split in ("train", "val", "test") if (found := run.evaluation(split))}
    return make_record(
        dict(info),
        run.metrics("step"),
        run.metrics("epoch"),
        run.checkups(),
        run.vitals(),
        evaluations,
        str(run.folder.path),
    )


def make_record(
    info: Line,
    steps: list[Line],
    epochs: list[Line],
    checkups: list[Line],
    vitals: list[Line],
    evaluations: dict[str, Line],
    folder: str = "RUN",
) -> Record:
    """A record of the parts; a check-up that holds numbers which are none is left out."""
    return Record(
        info=info,
        steps=steps,
        epochs=epochs,
        looked=[line for line in checkups if "logits" in line and _whole(line)],
        ends=[_measured(line) for line in checkups if line.get("evaluation") or line.get("end_of_epoch")],
        broken=next((line for line in checkups if "first_bad" in line), None),
        vitals=vitals,
        evaluations=evaluations,
        folder=folder,
    )


def _whole(line: Line) -> bool:
    """Whether what went in and what came out is all finite; only the spread of a single image is None rightly."""
    logits, given = line["logits"], {key: value for key, value in line["input"].items() if key != "spread"}
    numbers = [each for value in given.values() for each in (value if isinstance(value, list) else [value])]
    return bool(logits["finite"]) and None not in [*numbers, logits.get("std"), logits.get("spread")]


def _measured(line: Line) -> Line:
    """The end of an epoch, without an evaluation that is not whole."""
    found = line.get("evaluation")
    return {**line, "evaluation": None} if found and not _whole(found) else line
