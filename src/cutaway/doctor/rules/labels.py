"""Labels and the splits they lie in: range, balance, meaning, duplicates, leaks."""

from __future__ import annotations

import shlex

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import SURE_STEPS, Record
from cutaway.doctor.rule import Said, rule, say

_NOT_LEARNT = ("stuck-at-chance", "constant-prediction", "underfitting", "overfitting", "rate-too-low")


@rule("label-range")
def label_range(record: Record) -> Said | None:
    """Labels that do not run from 0 to the number of outputs - 1."""
    counts = record.train_counts
    total = sum(counts)
    if not record.looked or total < 20 * record.classes:
        return None
    outputs, empty = record.classes, [label for label, count in enumerate(counts[: record.classes]) if not count]
    highest = max(c["labels"]["max"] for c in record.looked)
    if highest >= outputs:
        title, cause = f"label {highest} needs {highest + 1} outputs; there are {outputs}", "labels out of range"
    elif empty:
        title = f"{len(empty)} of {outputs} outputs never occur as a label: {empty[0]} first"
        start = "labels count from 1 instead of 0" if empty == [0] else "the network has outputs that no class uses"
        cause = f"{start}; such an output can only be wrong, and class names may be off by one"
    else:
        return None
    return say(
        "warning" if highest < outputs else "error",
        title,
        cause=cause,
        remedy="in your loop: number the classes 0, 1, ... and give the network as many outputs",
        outputs=outputs,
        unused=len(empty),
        highest=highest,
    )


@rule(
    "imbalanced-classes", explains=("labels-without-meaning", "constant-prediction", "stuck-at-chance", "underfitting")
)
def imbalanced_classes(record: Record) -> Said | None:
    """One class has many more images than others, and answering it always looks good."""
    counts = [count for count in record.train_counts if count]
    total = sum(counts)
    if len(counts) < 2 or total < 20 * len(counts):
        return None
    share, ratio = max(counts) / total, max(counts) / min(counts)
    if ratio < 8 and share < min(0.85, 3 / len(counts) + 0.15):
        return None
    names = record.info["data"]["classes"]
    biggest = record.train_counts.index(max(counts))
    best = record.val_accuracy if record.val_accuracy is not None else record.train_accuracy
    useless = not record.early and best is not None and best < share + 0.02
    return say(
        "error" if useless else "warning",
        f"'{names[biggest]}' is {share:.0%} of the training images, {ratio:.0f} times the smallest class"
        + (f"; the accuracy of {best:.1%} is what always saying it would reach" if useless else ""),
        cause="the smallest classes hardly count in the loss, so that the network may leave them out",
        remedy="in your loop: WeightedRandomSampler, or F.cross_entropy(..., weight=1 / counts)"
        if record.watched
        else f"add images of the small ones; each by itself: cutaway evaluate {shlex.quote(record.folder)}",
        chart=line_chart("class", "training images", list(zip(names, record.train_counts, strict=False))),
        majority=share,
        ratio=ratio,
        accuracy=best,
    )


@rule("evaluated-on-training-data", explains=("leak", "duplicates"))
def evaluated_on_training_data(record: Record) -> Said | None:
    """The images that are measured are those that were learnt from."""
    facts, seen = record.info["data"].get("facts"), record.seen
    splits = record.info["data"]["splits"]
    shares = {
        name: count / splits[name]["size"]
        for name, count in (facts or {}).get("in_train", {}).items()
        if name in splits
    }
    if seen.get("evaluated"):
        shares["evaluation"] = seen["evaluated_in_training_set"] / seen["evaluated"]
    if "train" in record.evaluations:
        shares["evaluation of train"] = 1.0
    name, share = max(shares.items(), key=lambda pair: pair[1], default=("", 0.0))
    if share < 0.5:
        return None
    only_asked = name == "evaluation of train"
    return say(
        "note" if only_asked else "error",
        f"{share:.0%} of the images of the {name} split are in the training set",
        cause="the figure says how well the images were learnt by heart, and nothing of new ones"
        + ("" if only_asked else ": the evaluation got the training set"),
        remedy="give the evaluation its own images: a folder with train/, val/ and test/, or one that Cutaway splits",
        share=share,
        accuracy=record.val_accuracy,
    )


@rule("leak")
def leak(record: Record) -> Said | None:
    """Some images that are measured are in the training set too."""
    facts, splits = record.info["data"].get("facts") or {}, record.info["data"]["splits"]
    shares = {name: count / splits[name]["size"] for name, count in facts.get("in_train", {}).items() if name in splits}
    if record.seen.get("evaluated"):
        shares["evaluation"] = record.seen["evaluated_in_training_set"] / record.seen["evaluated"]
    name, share = max(shares.items(), key=lambda pair: pair[1], default=("", 0.0))
    if not 0.005 < share < 0.5:
        return None
    return say(
        "error" if share > 0.05 else "warning",
        f"{share:.1%} of the {name} images are in the training set too, to the last pixel",
        cause="copies were spread over the splits; the accuracy is higher than on new images",
        remedy="put all images into one folder of class folders: Cutaway keeps copies in one split",
        share=share,
    )


@rule("duplicates")
def duplicates(record: Record) -> Said | None:
    """The training set holds the same images several times."""
    facts, splits = record.info["data"].get("facts") or {}, record.info["data"]["splits"]
    size, distinct = splits.get("train", {}).get("size", 0), facts.get("distinct", {}).get("train", 0)
    if not distinct:
        size, distinct = record.seen.get("images", 0), record.seen.get("distinct", 0)
    share = 1 - distinct / size if size >= 50 else 0.0
    if share < 0.02:
        return None
    return say(
        "warning" if share >= 0.1 else "note",
        f"{size - distinct} of {size} training images are exact copies of others ({share:.1%})",
        cause="the set was collected or copied twice; an epoch is shorter than it looks and copies count double",
        remedy=f"cutaway audit {shlex.quote(record.info['data']['source'] or 'DATA')}",
        copies=size - distinct,
        share=share,
    )


@rule("two-labels")
def two_labels(record: Record) -> Said | None:
    """The same image lies in two classes."""
    facts, splits = record.info["data"].get("facts") or {}, record.info["data"]["splits"]
    count, total = facts.get("two_labels", 0), sum(facts.get("distinct", {}).values())
    if not count or not splits:
        return None
    share = count / max(1, total)
    return say(
        "error" if share > 0.05 and record.fails else "warning",
        f"{count} distinct images are filed under more than one class ({share:.1%})",
        cause="they were labelled twice, and no network can be right about them",
        remedy=f"cutaway audit {shlex.quote(record.info['data']['source'] or 'DATA')}",
        images=count,
        share=share,
    )


@rule("labels-without-meaning", explains=_NOT_LEARNT)
def labels_without_meaning(record: Record) -> Said | None:
    """The images tell nothing about the labels: they are shuffled, or belong to other images."""
    control = record.label_control
    if control is None or record.last_step < SURE_STEPS or control["images"] < 100:
        return None
    beyond = (control["accuracy"] - control["chance"]) / control["deviation"] if control["deviation"] else 9.9
    held_out = record.val_accuracy if record.val_accuracy is not None else record.majority
    blind = held_out < record.majority + 0.06 and (record.fails or (record.train_accuracy or 0) > record.majority + 0.1)
    if beyond > 2.5 or not blind:
        return None
    return say(
        "error",
        f"the nearest images share a label in {control['accuracy']:.1%}, and chance gives {control['chance']:.1%}",
        cause="the labels are shuffled, or belong to other images (sorted differently, or off by some places)",
        remedy="look at some images with their labels: "
        + ("show images[:9] with labels[:9] of a batch" if record.watched else train_again(record, epochs=1)),
        neighbours=control["accuracy"],
        chance=control["chance"],
        validation=record.val_accuracy,
    )
