"""What had better be left out of a set before it is trained on, and why: a suggestion for a person to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutaway.care.leaks import two_classes
from cutaway.data.duplicates import BLANK, Duplicates

TWO_CLASSES, BLANK_IMAGE, EQUAL, NEAR = "two-classes", "blank", "equal", "near"


@dataclass(frozen=True)
class Suggestion:
    """One image to leave out: its position, the rule, and the position of the image that stays instead, if one does."""

    image: int
    rule: str
    instead_of: int | None = None


def suggest(duplicates: Duplicates, labels: np.ndarray, contrast: np.ndarray, rank: np.ndarray) -> list[Suggestion]:
    """Images to leave out, so that none is there twice.

    Equal images under two classes all go, because at most one of the labels is right. Of equal images the one with
    the lowest `rank` stays. Then images come by in the order of their rank, and each that nearly equals one that has
    stayed goes: whatever is left out has a near duplicate among what is kept.

    Args:
        duplicates: as found.
        labels: int (N,).
        contrast: (N,), to know blank images, which all go.
        rank: int (N,), all different.
    """
    found = {int(image): Suggestion(int(image), BLANK_IMAGE) for image in np.flatnonzero(contrast < BLANK)}
    for group in two_classes(duplicates, labels):
        for image in group.tolist():
            found.setdefault(image, Suggestion(image, TWO_CLASSES, next(i for i in group.tolist() if i != image)))
    kept = _one_of_each(duplicates, rank, found)
    for leader, image in sorted(kept.items(), key=lambda item: int(rank[item[1]])):
        stays = [other for other in duplicates.neighbours.get(leader, {}) if other in kept and kept[other] not in found]
        earlier = [kept[other] for other in stays if rank[kept[other]] < rank[image]]
        if earlier and image not in found:
            found[image] = Suggestion(image, NEAR, min(earlier, key=lambda other: int(rank[other])))
    return [found[image] for image in sorted(found)]


def _one_of_each(duplicates: Duplicates, rank: np.ndarray, found: dict[int, Suggestion]) -> dict[int, int]:
    """By leader, the image that stays of those equal to it; the others go to `found`."""
    kept = {int(leader): int(leader) for leader in np.unique(duplicates.leader)}
    for group in duplicates.groups:
        best = int(group[np.argmin(rank[group])])
        kept[int(group[0])] = best
        for image in group.tolist():
            if image != best:
                found.setdefault(image, Suggestion(image, EQUAL, best))
    return kept
