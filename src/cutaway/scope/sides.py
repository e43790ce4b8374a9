"""The passes behind a comparison: the same images through two networks, each seeing them as it expects them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway.data import Split
from cutaway.errors import InputError, unknown
from cutaway.lenses.activations import ActivationTotals
from cutaway.lenses.capture import find_module, module_name, tensors_in
from cutaway.lenses.matching import Correlation, Matching, placed
from cutaway.lenses.similarity import LEAST_IMAGES, LayerGrams, Similarity, SimilarityTotal, run_once
from cutaway.lenses.weights import weight_names
from cutaway.progress import Progress
from cutaway.scope.subject import Subject

_MOST_PAIRS = 16


class Side:
    """One of two networks that are compared, with what is added up of its passes."""

    def __init__(self, subject: Subject, layers: Sequence[str] | None) -> None:
        self.subject = subject
        self.network: nn.Module = subject.network
        self.layers = layers
        subject.need_preprocessing()
        self.activity = ActivationTotals(self.network)
        self.logits: list[Tensor] = []
        self.units: dict[str, Tensor] = {}

    def prepare(self, pixels: Tensor) -> Tensor:
        """Pixels of the data, uint8 (n, C, H, W), as this network expects them, on its device."""
        return self.subject.prepare(pixels.numpy())

    def run(self, pixels: Tensor, matched: Sequence[str], first: bool) -> LayerGrams:
        """One pass: Gram matrices, activity and logits, and the answers of the units of `matched`."""
        grams = LayerGrams(len(pixels), first)
        self.units = {}

        def keep(name: str, value: Tensor) -> None:
            if name in matched:
                last = isinstance(find_module(self.network, module_name(name)), nn.Linear)
                self.units[name] = placed(value, len(pixels), last=last)

        with self.activity.watching():
            returned = run_once(self.network, self.prepare(pixels), self.layers, grams, keep)
        self.logits.append(self._logits(returned))
        return grams

    def _logits(self, returned: Any) -> Tensor:
        found = [value for _, value in tensors_in(returned)]
        if not found or found[0].ndim != 2:
            shape = tuple(found[0].shape) if found else type(returned).__name__
            raise InputError(f"{self.subject.name} returns {shape}, expected logits (N, classes)")
        return found[0].float().cpu()


@dataclass(frozen=True)
class Passes:
    """What the passes of both networks gave."""

    similarity: Similarity
    matchings: tuple[Matching, ...]
    logits_a: Tensor
    logits_b: Tensor


def run_both(
    a: Side,
    b: Side,
    split: Split,
    chunks: Sequence[NDArray[np.int64]],
    pairs: Sequence[tuple[str, str]],
    progress: Progress | None = None,
) -> Passes:
    """Every batch once through each network; `chunks` are the positions in the split of each batch's images."""
    total, correlations = SimilarityTotal(), [Correlation(*pair) for pair in pairs]
    matched_a, matched_b = [first for first, _ in pairs], [second for _, second in pairs]
    for batch, pixels in enumerate(batches(split, chunks)):
        total.add(a.run(pixels, matched_a, not batch), b.run(pixels, matched_b, not batch))
        for correlation in correlations:
            first, second = correlation.layers
            if first in a.units and second in b.units:
                correlation.add(a.units[first], b.units[second])
        if progress:
            progress("comparing", batch + 1, len(chunks))
    matchings = tuple(correlation.result() for correlation in correlations if correlation.count)
    return Passes(total.result(), matchings, torch.cat(a.logits), torch.cat(b.logits))


def batches(split: Split, chunks: Sequence[NDArray[np.int64]]) -> Iterator[Tensor]:
    """The pixels of each batch, uint8 (n, C, H, W)."""
    return (torch.from_numpy(pixels) for pixels in split.images.stream(chunks))


def drawn(size: int, images: int | None, batch: int, seed: int) -> list[NDArray[np.int64]]:
    """Positions of `images` of `size` images, drawn without replacement, in batches of nearly equal size.

    The estimate of CKA takes every batch for a random sample; a split may be sorted by class.

    >>> [len(chunk) for chunk in drawn(100, 30, 8, 0)]
    [8, 8, 7, 7]
    """
    count = size if images is None else min(images, size)
    if count < LEAST_IMAGES:
        raise InputError(f"a comparison needs at least {LEAST_IMAGES} images; found {count}")
    order = np.random.default_rng(seed).permutation(size)[:count]
    return list(np.array_split(order, max(1, min(round(count / batch), count // LEAST_IMAGES))))


def layers_of(a: Subject, b: Subject, layers: Sequence[str] | None) -> tuple[list[str] | None, list[str] | None]:
    """The layers of either network among those that were named; a name must exist in one of them."""
    if layers is None:
        return None, None
    names = [dict(subject.network.named_modules(remove_duplicate=False)) for subject in (a, b)]
    for layer in layers:
        if module_name(layer) not in {**names[0], **names[1]}:
            known = [name for name in {**names[0], **names[1]} if name]
            raise unknown("layer", layer, known, f"in {a.name} nor in {b.name}")
    chosen = [[layer for layer in layers if module_name(layer) in known] for known in names]
    for subject, own in zip((a, b), chosen, strict=True):
        if not own:
            raise InputError(f"none of the layers {', '.join(layers)} is in {subject.name}; name one of its layers too")
    return chosen[0], chosen[1]


def pairs_of(a: Side, b: Side) -> list[tuple[str, str]]:
    """Which layers' units are matched where nobody says so.

    Layers of the same name and kind, at most 16 of them, evenly spaced; if there is none, the first and the last
    convolution of either network.
    """
    modules_a, modules_b = (dict(side.network.named_modules(remove_duplicate=False)) for side in (a, b))
    names_a, names_b = (side.layers or weight_names(side.network) for side in (a, b))
    same = [
        (name, name)
        for name in names_a
        if name in names_b and type(modules_a[module_name(name)]) is type(modules_b[module_name(name)])
    ]
    if not same:
        first, second = (
            [name for name in names if isinstance(modules[module_name(name)], nn.Conv2d)]
            for names, modules in ((names_a, modules_a), (names_b, modules_b))
        )
        return list(dict.fromkeys([(first[0], second[0]), (first[-1], second[-1])])) if first and second else []
    places = np.unique(np.linspace(0, len(same) - 1, min(_MOST_PAIRS, len(same))).round().astype(int))
    return [same[place] for place in places]


def known_classes(subject: Subject, count: int, classes: Sequence[str]) -> bool:
    """Whether the network's logits, `count` of them, mean these classes."""
    unnamed = not subject.classes or all(name.isdigit() for name in subject.classes)
    return count == len(classes) and (unnamed or tuple(subject.classes) == tuple(classes))
