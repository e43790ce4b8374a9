"""What an audit has to say, most serious first: a rule, how serious it is, and the figures of its sentence."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cutaway.care.audited import Audited
from cutaway.data.duplicates import BLANK
from cutaway.words import Words

SEVERITIES = ("error", "warning", "note")
_MANY_BAD = 0.05
_LARGEST_TO_SMALLEST = 3.0
_LONG = 2.0
_DARK, _BRIGHT = 16.0, 240.0
_OF_USUAL_SHARPNESS = 0.05
_TOO_ALIKE = 8
_LEAVING_OUT = ("leak_exact", "leak_near", "two_classes", "equal", "near", "bad", "blank")


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a data set.

    Attributes:
        rule: its name; the sentence is `audit.finding.RULE` in the catalogue of texts.
        severity: "error" makes figures wrong, "warning" makes a network worse, "note" is to be known.
        values: what stands in the sentence.
    """

    rule: str
    severity: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def sentence(self, words: Words) -> str:
        """The finding in words."""
        return words(f"audit.finding.{self.rule}", **self.values)


def find(audited: Audited) -> list[Finding]:
    """All findings, the most serious first."""
    found = [*_leaks(audited), *_copies(audited), *_files(audited), *_classes(audited), *_looks(audited)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def remedy(audited: Audited, finding: Finding, listed: Path | None) -> str:
    """The command that trains without what was found, where there is one; `listed` is the list of what to leave out."""
    data, train = audited.data, f"cutaway train {shlex.quote(audited.data.source)}"
    if finding.rule == "leak_near" and finding.values["split"] not in data.given:
        return f"{train} --keep-together"
    return f"{train} --leave-out {shlex.quote(str(listed))}" if listed and finding.rule in _LEAVING_OUT else ""


def _leaks(audited: Audited) -> Iterator[Finding]:
    for leak in audited.leaks:
        if leak.exact:
            yield Finding("leak_exact", "error", {"count": leak.exact, "size": leak.size, "split": leak.split})
        if leak.near > leak.exact:
            share = f"{leak.near / leak.size:.1%}"
            values = {"count": leak.near, "size": leak.size, "split": leak.split, "share": share}
            yield Finding("leak_near", "warning", values)


def _copies(audited: Audited) -> Iterator[Finding]:
    duplicates = audited.duplicates
    if audited.two_classes:
        yield Finding("two_classes", "error", {"count": len(audited.two_classes)})
    if duplicates.groups:
        copies = sum(len(group) - 1 for group in duplicates.groups)
        yield Finding("equal", "warning", {"count": copies, "groups": len(duplicates.groups)})
    if len(duplicates.near):
        yield Finding("near", "warning", {"count": len(duplicates.near), "bits": duplicates.most})
    if duplicates.most < _TOO_ALIKE:
        yield Finding("too_alike", "note", {"bits": max(0, duplicates.most)})


def _files(audited: Audited) -> Iterator[Finding]:
    bad, total = len(audited.data.quarantine), len(audited) + len(audited.data.quarantine)
    if bad:
        yield Finding("bad", "error" if bad > _MANY_BAD * total else "warning", {"count": bad, "total": total})
    headers = audited.headers or ()
    sizes = np.array([(header.height, header.width) for header in headers]).reshape(-1, 2)
    if len(np.unique(sizes, axis=0)) > 1:
        _, height, width = audited.data.shape
        yield Finding("sizes", "note", {"count": len(np.unique(sizes, axis=0)), "height": height, "width": width})
        if small := int((sizes.min(axis=1) < min(height, width)).sum()):
            yield Finding("enlarged", "warning", {"count": small, "side": min(height, width)})
        if long := int((sizes.max(axis=1) > _LONG * sizes.min(axis=1)).sum()):
            yield Finding("long", "note", {"count": long})
    if 0 < (grey := sum(header.grey for header in headers)) < len(headers):
        yield Finding("grey", "note", {"count": grey, "total": len(headers)})
    if turned := sum(header.turned for header in headers):
        yield Finding("turned", "note", {"count": turned})


def _classes(audited: Audited) -> Iterator[Finding]:
    """What keeps a set from being trained on, or makes its accuracy mean little."""
    classes, counts = audited.data.classes, audited.counts()
    if len(classes) == 1:
        yield Finding("one_class", "error", {"name": classes[0]})
    needed, distinct = _distinct(audited)
    few = [name for name, count in zip(classes, distinct, strict=True) if count < needed]
    if few:
        yield Finding("few", "error", {"names": ", ".join(few), "needed": needed})
    given = [number for number, name in enumerate(audited.splits) if name in audited.data.given]
    if absent := [name for name, row in zip(classes, counts, strict=True) if (row[given] == 0).any()]:
        yield Finding("absent", "error", {"names": ", ".join(absent)})
    yield from _balance(audited)


def _distinct(audited: Audited) -> tuple[int, list[int]]:
    """How many distinct images a class needs for the splits that are made here, and how many each has."""
    made = [name for name in audited.splits if name not in audited.data.given]
    parts = [audited.data.splits[name] for name in {"train", *made}]
    labels, hashes = (np.concatenate([getattr(part, key) for part in parts]) for key in ("labels", "hashes"))
    needed = len({"train", *made})
    return needed, [len(np.unique(hashes[labels == label])) for label in range(len(audited.data.classes))]


def _balance(audited: Audited) -> Iterator[Finding]:
    train = audited.counts()[:, audited.splits.index("train")]
    most, least = int(train.argmax()), int(train.argmin())
    if train[most] >= _LARGEST_TO_SMALLEST * train[least]:
        name, share = audited.majority()
        ratio = f"{train[most] / max(1, train[least]):.1f}"
        values = {"name": name, "ratio": ratio, "smallest": audited.data.classes[least]}
        yield Finding("imbalance", "warning", {**values, "share": f"{share:.1%}", "split": audited.splits[-1]})


def _looks(audited: Audited) -> Iterator[Finding]:
    measures = audited.measures
    counted = {
        "blank": measures.contrast < BLANK,
        "dark": (measures.brightness < _DARK) & (measures.contrast >= BLANK),
        "bright": (measures.brightness > _BRIGHT) & (measures.contrast >= BLANK),
        "blurred": measures.sharpness < _OF_USUAL_SHARPNESS * np.median(measures.sharpness),
    }
    for rule, which in counted.items():
        if which.any():
            yield Finding(rule, "warning" if rule == "blank" else "note", {"count": int(which.sum())})
