"""After the training: what was measured, on what, and how far it can be believed."""

from __future__ import annotations

import shlex
from collections import Counter

from cutaway.doctor.commands import train_again
from cutaway.doctor.finding import line_chart
from cutaway.doctor.record import Record
from cutaway.doctor.rule import Said, rule, say

_FIT_TO_JUDGE = 0.7
_MANY_WRONG = 0.03
_SHOWN = 9


@rule("test-set-used-for-choosing")
def test_set_used_for_choosing(record: Record) -> Said | None:
    """The split that chooses the epoch is the one that is reported."""
    splits = record.info["data"]["splits"]
    if "val" not in splits or "test" not in splits:
        return None
    if splits["val"]["fingerprint"] != splits["test"]["fingerprint"]:
        return None
    return say(
        "error",
        "the validation split and the test split are the same images",
        cause="the epoch was chosen by the images that it is then judged by: the figure is too good",
        remedy="leave val/ out, and Cutaway takes the validation images from train/",
        images=splits["test"]["size"],
    )


@rule("over-confident")
def over_confident(record: Record) -> Said | None:
    """The network is surer than it is right."""
    found = [(name, record.evaluations[name]) for name in ("test", "val") if name in record.evaluations]
    if not found or found[0][1]["calibration_error"] < 0.08:
        return None
    name, measured = found[0]
    bins = measured["calibration"]
    confidence = sum(row["images"] * row["confidence"] for row in bins) / measured["size"]
    if confidence < measured["accuracy"]:
        return None
    return say(
        "warning",
        f"on the {name} split it is {confidence:.1%} sure and {measured['accuracy']:.1%} right "
        f"(calibration error {measured['calibration_error']:.3f})",
        cause="trained until the training images are certain; the probabilities of new images are too high",
        remedy=train_again(record, label_smoothing=0.1),
        chart=line_chart("confidence", "accuracy", [(row["confidence"], row["accuracy"]) for row in bins]),
        confidence=confidence,
        accuracy=measured["accuracy"],
        calibration_error=measured["calibration_error"],
    )


@rule("mislabelled-images", explains=("confused-classes",))
def mislabelled_images(record: Record) -> Said | None:
    """Held-out images whose label is probably wrong, and the two classes that most of them stand between."""
    measured = [found for found in record.evaluations.values() if found["accuracy"] >= _FIT_TO_JUDGE]
    issues = [issue for found in measured for issue in found.get("label_issues") or ()]
    if not issues:
        return None
    share = len(issues) / sum(found["size"] for found in measured if found.get("label_issues") is not None)
    between = Counter(tuple(sorted((issue["label"], issue["answer"]))) for issue in issues)
    (first, second), count = between.most_common(1)[0]
    shown = shlex.join(issue["image"] for issue in sorted(issues, key=lambda issue: issue["confidence"])[:_SHOWN])
    return say(
        "warning" if share >= _MANY_WRONG and len(issues) >= _SHOWN else "note",
        f"{len(issues)} held-out images ({share:.1%}) probably have the wrong label, {count} of them between "
        f"'{first}' and '{second}'",
        cause="images lie in the wrong folder, or show both; training images of these classes will do so as often",
        remedy=f"cutaway explain {shlex.quote(record.folder)} {shown}",
        images=len(issues),
        share=share,
        first=first,
        second=second,
        between=count,
    )


@rule("confused-classes")
def confused_classes(record: Record) -> Said | None:
    """Two classes are taken for each other so often that their labels are worth a look."""
    found = [record.evaluations[name] for name in ("test", "val") if name in record.evaluations]
    if not found:
        return None
    confusion, names = found[0]["confusion"], [row["class"] for row in found[0]["classes"]]
    pairs = [
        ((confusion[a][b] + confusion[b][a]) / max(1, sum(confusion[a]) + sum(confusion[b])), a, b)
        for a in range(len(names))
        for b in range(a)
    ]
    share, a, b = max(pairs, default=(0.0, 0, 0))
    rest = sorted(value for value, *_ in pairs)
    if share < 0.1 or share < 3 * (rest[len(rest) // 2] + 0.01):
        return None
    return say(
        "note",
        f"{share:.0%} of '{names[b]}' and '{names[a]}' are taken for each other, much more than any other pair",
        cause="the two look alike, or some images lie in the wrong folder",
        remedy=f"cutaway audit {shlex.quote(record.info['data']['source'] or 'DATA')}"
        if found[0].get("label_issues") is not None
        else f"pip install 'cutaway[labels]' && cutaway evaluate {shlex.quote(record.folder)}",
        share=share,
        first=names[b],
        second=names[a],
    )
