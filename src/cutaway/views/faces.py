"""What the contact sheet of a collection of faces shows, as plain data in one language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from cutaway.care.faces import Collection
from cutaway.care.faces.photograph import CROPPED, NOBODY, REFUSED, UNREADABLE, Crop, Photograph
from cutaway.data.decode import Undecodable, decode, glimpse, read
from cutaway.views.audit import Named
from cutaway.views.thumb import SIDE, Thumb, thumb
from cutaway.words import Words

# A sheet holds its pictures inside: so many of each kind are shown, and the page says how many there are.
CROPS, PROBLEMS = 120, 60
# A crop that reaches so far beyond its photograph is worth a look.
OUTSIDE = 0.1
_MOST_PIXELS = 4_000_000


@dataclass(frozen=True)
class ClassSheet:
    """A class: its crops, as many as are shown, and how many there are."""

    name: str
    crops: tuple[Named, ...]
    total: int


@dataclass(frozen=True)
class FacesView:
    """Everything on the sheet, in order."""

    title: str
    source: str
    destination: str
    figures: tuple[tuple[str, str], ...]
    problems: tuple[tuple[str, tuple[Named, ...], int], ...]
    classes: tuple[ClassSheet, ...]


def view_faces(found: Collection, words: Words) -> FacesView:
    """The sheet of a collection: first what needs a look, then every class."""
    return FacesView(
        title=found.destination.name,
        source=str(found.source),
        destination=str(found.destination),
        figures=tuple(_figures(found, words)),
        problems=tuple(_problems(found, words)),
        classes=tuple(_classes(found)),
    )


def _figures(found: Collection, words: Words) -> Iterator[tuple[str, str]]:
    outcomes = found.outcomes
    yield words("faces.figure.photographs"), f"{len(found.photographs):,}"
    yield words("faces.figure.crops"), f"{found.crops:,}"
    for outcome in (NOBODY, REFUSED, UNREADABLE):
        yield words(f"faces.outcome.{outcome}"), f"{outcomes.get(outcome, 0):,}"
    yield words("faces.figure.several"), f"{len(found.several):,}"


def _problems(found: Collection, words: Words) -> Iterator[tuple[str, tuple[Named, ...], int]]:
    """What a person should look at, kind by kind: title, pictures, how many there are."""
    for outcome in (NOBODY, REFUSED, UNREADABLE):
        some = [one for one in found.photographs if one.outcome == outcome]
        if some:
            shown = tuple(_whole(found, one, words) for one in some[:PROBLEMS])
            yield words(f"faces.outcome.{outcome}"), shown, len(some)
    if found.several:
        shown = tuple(_whole(found, one, words) for one in found.several[:PROBLEMS])
        yield words("faces.figure.several"), shown, len(found.several)
    beyond = [crop for one in found.photographs for crop in one.crops if crop.file and crop.outside > OUTSIDE]
    if beyond:
        shown = tuple(
            _crop(found, crop, words("faces.outside", share=f"{crop.outside:.0%}")) for crop in beyond[:PROBLEMS]
        )
        yield words("faces.cut_off"), shown, len(beyond)


def _whole(found: Collection, one: Photograph, words: Words) -> Named:
    """A photograph with what is to be said of it."""
    return Named(_seen(found.source / one.file, one.file), one.file, said(one, words))


def said(one: Photograph, words: Words) -> str:
    """Why a photograph gave no face, or how many it has."""
    if one.outcome == UNREADABLE:
        return one.reason
    if one.outcome == REFUSED:
        return ", ".join(
            words(f"faces.refused.{crop.refused}", side=f"{crop.side:.0f}", sharpness=f"{crop.sharpness:.0f}")
            for crop in one.crops
        )
    return words("faces.count", count=one.found) if one.outcome == CROPPED else one.reason


def _seen(path: Path, name: str) -> Thumb | None:
    """The image, or what can be seen of a damaged one; None for nothing."""
    try:
        content = read(path)
    except Undecodable:
        return None
    try:
        pixels: np.ndarray | None = decode(content, most=_MOST_PIXELS)
    except Undecodable:
        pixels = glimpse(content, SIDE)
    return None if pixels is None else thumb(pixels, name)


def _crop(found: Collection, crop: Crop, note: str = "") -> Named:
    return Named(_seen(found.destination / crop.file, crop.file), crop.file, note)


def _classes(found: Collection) -> Iterator[ClassSheet]:
    by_class: dict[str, list[Crop]] = {}
    for one in found.photographs:
        crops = by_class.setdefault(str(PurePosixPath(one.file).parent), [])
        crops += [crop for crop in one.crops if crop.file]
    for name, crops in by_class.items():
        share = max(1, CROPS // len(by_class))
        yield ClassSheet(name, tuple(_crop(found, crop) for crop in crops[:share]), len(crops))
