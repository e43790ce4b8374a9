"""A data set: its classes, its splits, and what is worth telling about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cutaway.data.facts import data_facts
from cutaway.data.part import Split
from cutaway.pictures.stills import png
from cutaway.showing import Card, Shown, Still, Table

_CLASSES, _IMAGES, _SIDE = 20, 8, 56  # what a notebook shows: classes, images of each, and pixels of their side


class Quarantined(NamedTuple):
    """A file that was left out, relative to the source folder, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class Dataset(Shown):
    """Everything `load_data` found.

    Attributes:
        source: as the user gave it.
        name: short, for the names of runs.
        classes: the names, by label.
        splits: "train", "val" and "test"; "test" is missing only where a folder has train/ and val/ alone.
        quarantine: the files that were left out.
        notes: sentences worth telling.
        split_seed: of the splits that were made here.
        options: the keyword arguments of `load_data` that load it again.
        given: the splits that came with the source; the others were made here.
    """

    source: str
    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...]
    split_seed: int
    options: dict[str, Any]
    given: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.splits["train"].images.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that change with any pixel, label, class name or split."""
        parts = [*self.classes, *(f"{name}:{split.fingerprint}" for name, split in sorted(self.splits.items()))]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()

    def card(self) -> Card:
        """Its splits, and images of its first classes."""
        sizes = {f"{name} images": len(split) for name, split in self.splits.items()}
        facts = {"classes": len(self.classes), "shape": "×".join(map(str, self.shape)), **sizes}
        facts |= {"files left out": len(self.quarantine) or None, "fingerprint": self.fingerprint}
        shown = self.classes[:_CLASSES]
        rows = [self._class_row(label) for label in range(len(shown))]
        some = f"the first {len(shown)} of {len(self.classes)} classes" if len(shown) < len(self.classes) else ""
        left_out = [f"{item.file} was left out: {item.reason}" for item in self.quarantine[:_CLASSES]]
        table = Table(("class", *self.splits, f"images of {next(iter(self.splits))}"), rows)
        return Card(f"Data set {self.source}", (facts, table, some), (*self.notes, *left_out))

    def _class_row(self, label: int) -> tuple[object, ...]:
        counts = [int((split.labels == label).sum()) for split in self.splits.values()]
        first = next(iter(self.splits.values()))
        found = first.images[np.flatnonzero(first.labels == label)[:_IMAGES]]
        strip = Still(png(_strip(found), level=4), f"images of {self.classes[label]}") if len(found) else ""
        return (self.classes[label], *counts, strip)

    def describe(self) -> dict[str, Any]:
        """What the run folder keeps of it, JSON-able."""
        return {
            "source": self.source,
            "name": self.name,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "fingerprint": self.fingerprint,
            "splits": {
                name: {"size": len(split), "fingerprint": split.fingerprint} for name, split in self.splits.items()
            },
            "facts": data_facts(self.splits, len(self.classes)),
            "split_seed": self.split_seed,
            "quarantine": [item._asdict() for item in self.quarantine],
            "notes": list(self.notes),
            "options": self.options,
        }


def _strip(images: np.ndarray) -> np.ndarray:
    """Images uint8 (N, C, H, W) side by side, (H, N * W, 3), enlarged or thinned out by a whole number."""
    side = max(images.shape[2:])
    zoom, every = max(1, _SIDE // side), max(1, side // _SIDE)
    colours = np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images
    tiles = np.repeat(np.repeat(colours[:, :, ::every, ::every], zoom, axis=2), zoom, axis=3)
    spaced = np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, 4)), constant_values=255)
    return np.concatenate(list(spaced.transpose(0, 2, 3, 1)), axis=1)
