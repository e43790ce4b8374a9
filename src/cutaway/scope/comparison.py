"""Two networks, or two epochs of one, side by side: similarity, units, gradients, activity, and where they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.computing.memory import is_out_of_memory
from cutaway.computing.small_maps import small_maps
from cutaway.data import Dataset, Split, load_data
from cutaway.errors import InputError, unknown
from cutaway.lenses import weights
from cutaway.lenses.activations import ActivationStatistics
from cutaway.lenses.agreement import Agreement
from cutaway.lenses.certificate import Certificate
from cutaway.lenses.matching import Matching
from cutaway.lenses.similarity import LEAST_IMAGES, Similarity
from cutaway.lenses.sparsity import GradientStatistics, gradient_statistics, spread
from cutaway.models.trust import concerning
from cutaway.pictures import Picture
from cutaway.progress import Progress
from cutaway.runs import means_run
from cutaway.scope import juxtaposed
from cutaway.scope.result import Result
from cutaway.scope.sides import Passes, Side, batches, drawn, known_classes, layers_of, pairs_of, run_both
from cutaway.scope.subject import Subject, SubjectLike
from cutaway.showing import Table

GRADIENT_IMAGES = 256  # a backward pass costs two forward ones, and a mean gradient settles early
SHOWN = 24  # disagreements that are kept with their pixels


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
    """Two networks on the same images; "the first" is A and "the second" is B.

    Attributes:
        names: what A and B are called.
        classes: of the data; of the networks, where theirs are others.
        similarity: CKA between all layers of A and all layers of B, with its standard error.
        matchings: for pairs of layers, which unit of B is which unit of A.
        gradients: for A and B, layer -> length and sparsity of the loss's gradient; empty without true classes.
        activity: for A and B, activation -> zeros, dead and saturated channels.
        agreement: predictions of both for every image; None if their classes are not the same.
        views: what the pictures of single layers and images show.
        certificate: how it was measured.
    """

    names: tuple[str, str]
    classes: tuple[str, ...]
    similarity: Similarity
    matchings: tuple[Matching, ...]
    gradients: tuple[dict[str, GradientStatistics], dict[str, GradientStatistics]]
    activity: tuple[dict[str, ActivationStatistics], dict[str, ActivationStatistics]]
    agreement: Agreement | None
    views: juxtaposed.Views
    certificate: Certificate

    @property
    def cka(self) -> Tensor:
        """Float64 (N, M): rows are the layers of A, columns those of B."""
        return self.similarity.cka

    @property
    def layers_a(self) -> tuple[str, ...]:
        """The N layers of A."""
        return self.similarity.layers_a

    @property
    def layers_b(self) -> tuple[str, ...]:
        """The M layers of B."""
        return self.similarity.layers_b

    def picture(self) -> Picture:
        """The similarity matrix."""
        return juxtaposed.matrix(self.similarity, self.names)

    def pictures(self) -> dict[str, Picture]:
        """The similarity matrix; disagreements; kernels, gradients and maps of one layer side by side."""
        found = {"similarity": self.picture()}
        if self.agreement is not None and len(self.agreement.disagreeing):
            found["disagreements"] = juxtaposed.disagreements(
                self.agreement, self.views.pixels, self.classes, self.names
            )
        return {**found, **juxtaposed.layer_pictures(self.views, self.names)}

    def arrays(self) -> dict[str, Tensor]:
        """CKA and its error, correlation and partner of each matched pair of layers, and every image's predictions."""
        found = {"cka": self.similarity.cka, "cka_error": self.similarity.error}
        for pair in self.matchings:
            end = f"{pair.layer_a}={pair.layer_b}"
            found |= {f"correlation {end}": pair.correlation, f"partner {end}": pair.partner}
        if self.agreement is not None:
            names = ("positions", "labels", "predicted_a", "predicted_b", "probability_a", "probability_b")
            found |= {name: getattr(self.agreement, name) for name in names}
        return {**found, **self.views.arrays()}

    def layer_rows(self, side: int) -> list[dict[str, Any]]:
        """Of A (0) or B (1), one row a layer: its most similar layer in the other, gradient, dead and saturated units.

        Numbers that do not exist are None: a gradient without true classes, activity of a layer that none follows.
        """
        cka = self.cka if side == 0 else self.cka.T
        layers, others = (self.layers_a, self.layers_b)[:: 1 if side == 0 else -1]
        by_source: dict[str, ActivationStatistics] = {}
        for found in self.activity[side].values():
            by_source.setdefault(found.source, found)
        return [
            _row(layer, cka[index], others, self.gradients[side].get(layer), by_source.get(layer))
            for index, layer in enumerate(layers)
        ]

    def numbers(self) -> Sequence[Table]:
        """The layers of A and of B."""
        return tuple(Table.of(self.layer_rows(side)) for side in (0, 1))

    def figures(self) -> dict[str, Any]:
        """All its numbers except the arrays, JSON-able."""
        agreement = self.agreement
        return {
            "models": list(self.names),
            "agreement": None if agreement is None else _agreement_figures(agreement),
            "gradient_spread": [spread(list(side.values())) if side else None for side in self.gradients],
            "layers": [self.layer_rows(0), self.layer_rows(1)],
            "units": [
                {
                    "layers": [pair.layer_a, pair.layer_b],
                    "mean_correlation": pair.mean,
                    "same_number": pair.same_place,
                }
                for pair in self.matchings
            ],
            "certificate": self.certificate.as_dict(),
        }


def compare(
    a: SubjectLike,
    b: SubjectLike,
    data: Dataset | str | Path,
    *,
    split: str = "test",
    layers: Sequence[str] | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    images: int | None = 2000,
    batch: int = 128,
    seed: int = 0,
    trust: bool | str = False,
    progress: Progress | None = None,
) -> Comparison:
    """Compare two networks, or two epochs of one, on the same images; each image passes once through each.

    Args:
        a: a `Scope`, or what makes one: a `Model`, a module, `runs/faces-1@3`.
        b: likewise; it may expect another size, other channels and another standardisation.
        data: a data set, or what `load_data` takes; the data of a run that is compared are split as they were for it.
        split: which images: "train", "val" or "test".
        layers: dotted names; each network's own among them. None for all convolutions and linear layers.
        pairs: layers whose units are matched, (of A, of B); None for layers of the same name and kind.
        images: how many images of the split, drawn at random; None for all.
        batch: about how many images at a time; the estimate needs four at least. Halved when memory is too small.
        seed: which images, and in which order.
        trust: for runs that are given by their name: whether code that this machine has not trained with may run;
            see `load_model`. A factory makes the networks of those whose code is one's own.
        progress: called as progress(label, done, total).

    Raises:
        InputError: a split or layer that does not exist, fewer than four images, a network that does not say how its
            input is standardised or returns no logits, values that are not finite.
    """
    first, second = opened(a, trust), opened(b, trust)
    if not isinstance(data, Dataset):
        data = shared_data(first, second, data, progress)
    if split not in data.splits:
        raise unknown("split", split, data.splits, f"in {data.source}")
    if batch < LEAST_IMAGES:
        raise InputError(f"batch is {batch}; CKA needs at least {LEAST_IMAGES} images in a batch")
    part, notes = data.splits[split], list[str]()
    while True:
        chunks = drawn(len(part), images, batch, seed)
        own = layers_of(first, second, layers)
        sides = Side(first, own[0]), Side(second, own[1])
        try:
            with small_maps():
                passes = run_both(*sides, part, chunks, pairs or pairs_of(*sides), progress)
            break
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem) or batch // 2 < LEAST_IMAGES:
                raise
            notes.append(f"not enough memory for batches of {batch}: halved")
            batch //= 2
    return _Finish(*sides, data, part, chunks, passes, notes).comparison(seed, batch)


def opened(model: SubjectLike, trust: bool | str, weights: str | None = None) -> Subject:
    """A subject of one of two models, with those of the weights and of what is trusted that are about it."""
    if isinstance(model, Subject):
        return model
    if not isinstance(model, (str, Path)):
        return Subject(model)
    return Subject(model, weights=None if means_run(model) else weights, trust=concerning(str(model), trust))


def shared_data(a: Subject, b: Subject, source: str | Path, progress: Progress | None = None) -> Dataset:
    """The data that two networks are compared on: as one of them was trained on them, if it was."""
    known = (side.dataset(source, progress) for side in (a, b))
    return next((found for found in known if found), None) or load_data(source, progress=progress)


@dataclass
class _Finish:
    """What is left to do once the passes are made."""

    a: Side
    b: Side
    data: Dataset
    split: Split
    chunks: list[NDArray[np.int64]]
    passes: Passes
    notes: list[str]

    def comparison(self, seed: int, batch: int) -> Comparison:
        """The result."""
        classes, labels = self._classes()
        agreement = None
        positions = torch.from_numpy(np.concatenate(self.chunks))
        if classes:
            agreement = Agreement.of(positions, labels, self.passes.logits_a, self.passes.logits_b)
        labelled = bool(classes) and bool((labels >= 0).all())
        gradients = tuple(self._gradients(side) if labelled else {} for side in (self.a, self.b))
        return Comparison(
            names=self._names(),
            classes=classes or self.data.classes,
            similarity=self.passes.similarity,
            matchings=self.passes.matchings,
            gradients=(gradients[0], gradients[1]),
            activity=(self.a.activity.result(), self.b.activity.result()),
            agreement=agreement,
            views=self._views(agreement, labelled),
            certificate=self.a.subject.certify(self._certificate(seed, batch)),
        )

    def _names(self) -> tuple[str, str]:
        first, second = (Path(side.subject.name).name or side.subject.name for side in (self.a, self.b))
        return (first, second) if first != second else (f"{first} (A)", f"{second} (B)")

    def _classes(self) -> tuple[tuple[str, ...], Tensor]:
        """The classes both networks tell apart, () if theirs differ; and each image's, -1 if it is none of them."""
        labels = torch.from_numpy(self.split.labels[np.concatenate(self.chunks)])
        counts = self.passes.logits_a.shape[1], self.passes.logits_b.shape[1]
        subjects = self.a.subject, self.b.subject
        if all(
            known_classes(subject, count, self.data.classes) for subject, count in zip(subjects, counts, strict=True)
        ):
            return self.data.classes, labels
        if counts[0] == counts[1] and subjects[0].classes == subjects[1].classes:
            self.notes.append("the networks' classes are not those of the data: there is no accuracy and no gradient")
            return subjects[0].classes or tuple(map(str, range(counts[0]))), torch.full_like(labels, -1)
        self.notes.append("the networks do not tell the same classes apart: their answers are not compared")
        return (), labels

    def _gradient_batches(self, side: Side) -> Iterator[tuple[Tensor, Tensor]]:
        count = max(1, GRADIENT_IMAGES // len(self.chunks[0]))
        for positions, pixels in zip(self.chunks[:count], batches(self.split, self.chunks[:count]), strict=True):
            yield side.prepare(pixels), torch.from_numpy(self.split.labels[positions])

    def _gradients(self, side: Side) -> dict[str, GradientStatistics]:
        weighted = set(weights.weight_names(side.network))
        chosen = None if side.layers is None else [layer for layer in side.layers if layer in weighted]
        if chosen == []:
            return {}
        with small_maps():
            return gradient_statistics(side.network, self._gradient_batches(side), chosen)

    def _views(self, agreement: Agreement | None, labelled: bool) -> juxtaposed.Views:
        rows = agreement.disagreeing[:SHOWN] if agreement is not None else torch.zeros(0, dtype=torch.int64)
        positions = np.concatenate(self.chunks)
        shown = positions[rows.numpy()]
        pixels = torch.from_numpy(self.split.images[shown])
        image = int(shown[0]) if len(shown) else int(positions[0])
        batch = next(self._gradient_batches(self.a)), next(self._gradient_batches(self.b))
        pair = next((pair for pair in self.passes.matchings if pair.correlation.ndim == 2), None)
        prepared = [side.prepare(torch.from_numpy(self.split.images[[image]])) for side in (self.a, self.b)]
        return juxtaposed.look(
            (self.a.network, self.b.network),
            pair,
            (prepared[0], prepared[1]),
            batch if labelled else None,
            pixels,
            f"{self.split.name}:{image}",
        )

    def _certificate(self, seed: int, batch: int) -> Certificate:
        found, subject = self.passes.similarity, self.b.subject
        error = found.error[found.error.isfinite()]
        same = self.a.network is self.b.network and found.layers_a == found.layers_b
        gap = (found.cka.diagonal() - 1).abs().nan_to_num().max() if same else torch.tensor(0.0)
        return Certificate(
            "CKA",
            {
                "estimator": "linear kernel, unbiased HSIC a batch, mean over batches",
                "models": [self.a.subject.name, subject.name],
                "weights_b": subject.fingerprint(),
                "device_b": str(subject.device),
                "data": self.data.source,
                "fingerprint": self.split.fingerprint,
                "split": self.split.name,
                "images": found.images,
                "of": len(self.split),
                "batches": found.batches,
                "batch": batch,
                "gradient_images": min(len(self.chunks), max(1, GRADIENT_IMAGES // len(self.chunks[0])))
                * len(self.chunks[0]),
            },
            seed,
            {
                "self_similarity_gap": max(found.self_gap, float(gap)),
                "largest_standard_error": float(error.max()) if len(error) else None,
            },
            tuple(self.notes),
        )


def _row(
    layer: str,
    cka: Tensor,
    others: Sequence[str],
    gradient: GradientStatistics | None,
    activity: ActivationStatistics | None,
) -> dict[str, Any]:
    finite = cka.nan_to_num(-math.inf)
    best = int(finite.argmax())
    alike = bool(cka.isfinite().any())
    relative = None if gradient is None or math.isnan(gradient.relative) else gradient.relative
    return {
        "layer": layer,
        "most_similar": others[best] if alike else None,
        "cka": float(cka[best]) if alike else None,
        "gradient_norm": gradient.norm if gradient else None,
        "relative_gradient": relative,
        "gradient_sparsity": gradient.sparsity if gradient else None,
        "gradient_near_zero": gradient.near_zero if gradient else None,
        "channels": activity.channels if activity else None,
        "dead": len(activity.dead_channels) if activity else None,
        "zero_fraction": activity.zero_fraction if activity else None,
        "saturated": len(activity.saturated_channels) if activity else None,
        "saturated_fraction": activity.saturated_fraction if activity else None,
    }


def _agreement_figures(found: Agreement) -> dict[str, Any]:
    known = found.accuracies is not None
    return {
        "images": len(found),
        "agree": found.share,
        "accuracy": list(found.accuracies) if found.accuracies else None,
        "right": found.counts if known else None,
        "mcnemar_p": found.p_value if known else None,
        "disagreements": found.positions[found.disagreeing].tolist(),
    }
