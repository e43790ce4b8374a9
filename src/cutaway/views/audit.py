"""What the page of an audit shows, as plain data in one language."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cutaway.care.audit import Audit
from cutaway.care.findings import Finding, find, remedy
from cutaway.data.dataset import Quarantined
from cutaway.data.decode import Undecodable, glimpse, read
from cutaway.numerals import rounded
from cutaway.views.thumb import Thumb, thumb
from cutaway.words import Words

PAIRS, GROUPS, STRIP, BAD, KINDS, BINS = 48, 24, 12, 60, 8, 40


@dataclass(frozen=True)
class Named:
    """A picture, its name and a note."""

    picture: Thumb | None
    name: str
    note: str


@dataclass(frozen=True)
class Pair:
    """Two pictures side by side and what they have to do with each other."""

    left: Named
    right: Named
    note: str


@dataclass(frozen=True)
class Strip:
    """The extremes of one figure, and how all images spread over it: heights 0..1 of equal bins from low to high."""

    title: str
    note: str
    low: str
    high: str
    bins: tuple[float, ...]
    ends: tuple[tuple[str, tuple[Named, ...]], ...]


@dataclass(frozen=True)
class ClassRow:
    """A class, its images in each split, and how many training images it has for one of the largest class."""

    name: str
    counts: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class AuditView:
    """Everything on the page, in order.

    A finding comes with its sentence and the command that helps, or "". A list that was cut names its whole length
    beside it.
    """

    title: str
    source: str
    figures: tuple[tuple[str, str, str], ...]
    findings: tuple[tuple[Finding, str, str], ...]
    command: str
    splits: tuple[str, ...]
    classes: tuple[ClassRow, ...]
    majority: str
    leaking: tuple[Pair, ...]
    leaking_total: int
    near: tuple[Pair, ...]
    near_total: int
    groups: tuple[tuple[Named, ...], ...]
    groups_total: int
    strips: tuple[Strip, ...]
    kinds: tuple[tuple[str, int], ...]
    sizes: tuple[tuple[str, int], ...]
    bad: tuple[Named, ...]
    bad_total: int
    left_out: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]


def left_out(audited: Audit, words: Words) -> list[Quarantined]:
    """The files to leave out with the reason in words: the unreadable ones, then what the audit suggests."""
    items = list(audited.data.quarantine)
    for one in audited.suggestions:
        other = "" if one.instead_of is None else audited.names[one.instead_of]
        items.append(Quarantined(audited.names[one.image], words(f"audit.reason.{one.rule}", other=other)))
    return items


def view_audit(audited: Audit, words: Words, listed: Path | None) -> AuditView:
    """The page's content; `listed` is the list of what to leave out, if there is one."""
    data, leaking = audited.data, audited.leaking
    across = {frozenset((image, other)) for image, other, _ in leaking}
    near = sorted(audited.duplicates.near, key=lambda pair: pair[2])
    near = [pair for pair in near if frozenset(pair[:2]) not in across]
    return AuditView(
        title=data.name,
        source=data.source,
        figures=tuple(_figures(audited, words)),
        findings=tuple((one, one.sentence(words), remedy(audited, one, listed)) for one in find(audited)),
        command=f"cutaway train {shlex.quote(data.source)} --leave-out {shlex.quote(str(listed))}" if listed else "",
        splits=audited.splits,
        classes=tuple(_classes(audited)),
        majority=_majority(audited, words),
        leaking=tuple(_pair(audited, words, *pair) for pair in leaking[:PAIRS]),
        leaking_total=len(leaking),
        near=tuple(_pair(audited, words, *pair) for pair in near[:PAIRS]),
        near_total=len(near),
        groups=tuple(tuple(_named(audited, i, "") for i in group[:STRIP].tolist()) for group in _by_weight(audited)),
        groups_total=len(audited.duplicates.groups),
        strips=tuple(_strips(audited, words)),
        kinds=tuple(Counter(f"{h.format} {h.mode}" for h in audited.headers or ()).most_common(KINDS)),
        sizes=tuple(Counter(f"{h.width}×{h.height}" for h in audited.headers or ()).most_common(KINDS)),
        bad=tuple(_bad(Path(data.source).expanduser(), item) for item in data.quarantine[:BAD]),
        bad_total=len(data.quarantine),
        left_out=tuple(Counter(words(f"audit.rule.{one.rule}") for one in audited.suggestions).most_common()),
        notes=data.notes,
    )


def _figures(audited: Audit, words: Words) -> Iterator[tuple[str, str, str]]:
    data = audited.data
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in data.splits.items())
    yield words("audit.figure.images"), f"{len(audited):,}", sizes
    yield words("audit.figure.classes"), f"{len(data.classes)}", _majority(audited, words)
    channels, height, width = data.shape
    yield words("audit.figure.shape"), f"{channels}×{height}×{width}", words("audit.figure.shape_note")
    bad = words("audit.figure.bad_note", total=len(audited) + len(data.quarantine))
    yield words("audit.figure.bad"), f"{len(data.quarantine):,}", bad
    equal = sum(len(group) - 1 for group in audited.duplicates.groups)
    yield words("audit.figure.equal"), f"{equal:,}", words("audit.figure.equal_note")
    near = len({*audited.duplicates.near.first.tolist(), *audited.duplicates.near.second.tolist()})
    yield words("audit.figure.near"), f"{near:,}", words("audit.figure.near_note", bits=max(0, audited.duplicates.most))
    for leak in audited.leaks:
        share = f"{leak.near / leak.size:.1%}" if leak.size else "–"
        note = words("audit.figure.leak_note", near=leak.near, size=leak.size, exact=leak.exact)
        yield words("audit.figure.leak", split=leak.split), share, note


def _majority(audited: Audit, words: Words) -> str:
    name, share = audited.majority()
    return words("audit.majority", name=name, share=f"{share:.1%}", split=audited.splits[-1])


def _classes(audited: Audit) -> Iterator[ClassRow]:
    counts = audited.counts()
    train = counts[:, audited.splits.index("train")]
    for name, row, count in zip(audited.data.classes, counts, train, strict=True):
        yield ClassRow(name, tuple(row.tolist()), float(count / max(1, train.max())))


def _by_weight(audited: Audit) -> Sequence[np.ndarray]:
    """The groups of equal images: first those under two classes, then the largest."""
    clash = {int(group[0]) for group in audited.two_classes}
    order = sorted(audited.duplicates.groups, key=lambda group: (int(group[0]) not in clash, -len(group)))
    return order[:GROUPS]


def _name(audited: Audit, position: int) -> str:
    """A file's name, or for a built-in set the place with its class."""
    name = audited.names[position]
    return name if audited.headers else f"{name} {audited.data.classes[audited.labels[position]]}"


def _named(audited: Audit, position: int, note: str) -> Named:
    name = _name(audited, position)
    return Named(thumb(audited.image(position), name), name, note)


def _pair(audited: Audit, words: Words, first: int, second: int, bits: int) -> Pair:
    note = words("audit.pair.bits", bits=bits) if bits else words("audit.pair.equal")
    if audited.labels[first] != audited.labels[second]:
        note = words("audit.pair.clash", note=note)
    return Pair(_named(audited, first, ""), _named(audited, second, ""), note)


def _strips(audited: Audit, words: Words) -> Iterator[Strip]:
    measures = audited.measures
    yield _strip(audited, words, "brightness", measures.brightness, (True, True))
    yield _strip(audited, words, "contrast", measures.contrast, (True, False))
    yield _strip(audited, words, "sharpness", measures.sharpness, (True, False), logarithmic=True)
    if audited.headers and len({(h.height, h.width) for h in audited.headers}) > 1:
        sides = np.array([min(h.height, h.width) for h in audited.headers], float)
        aspects = np.array([h.width / h.height for h in audited.headers])
        yield _strip(audited, words, "side", sides, (True, True), logarithmic=True)
        yield _strip(audited, words, "aspect", aspects, (True, True), logarithmic=True)


def _strip(
    audited: Audit, words: Words, figure: str, values: np.ndarray, ends: tuple[bool, bool], logarithmic: bool = False
) -> Strip:
    order = np.argsort(values, kind="stable")
    chosen = {"least": order[:STRIP], "most": order[::-1][:STRIP]}
    shown = [
        (words(f"audit.{figure}.{end}"), tuple(_named(audited, int(i), rounded(float(values[i]))) for i in places))
        for wanted, (end, places) in zip(ends, chosen.items(), strict=True)
        if wanted
    ]
    scaled = np.log(np.maximum(values, 1e-3)) if logarithmic else values
    low, high = float(values.min()), float(values.max())
    heights = np.histogram(scaled, BINS)[0]
    return Strip(
        words(f"audit.{figure}.title"),
        words(f"audit.{figure}.note"),
        rounded(low),
        rounded(high),
        tuple((heights / heights.max()).round(3).tolist()),
        tuple(shown),
    )


def _bad(root: Path, item: Quarantined) -> Named:
    """A file that was left out, with what can still be seen of it."""
    try:
        pixels = glimpse(read(root / item.file), 64)
    except Undecodable:
        pixels = None
    return Named(None if pixels is None else thumb(pixels, item.file), item.file, item.reason)
