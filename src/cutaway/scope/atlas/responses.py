"""How every unit behaves over images of the split, and for which classes it speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.data.randomness import hash_array, key
from cutaway.lenses.forward import opened
from cutaway.lenses.responses import Histograms, LayerResponses, ResponseTotals, VoteTotals
from cutaway.runs.atlas import Arrays
from cutaway.scope.atlas.job import Job
from cutaway.scope.crew import Meter
from cutaway.scope.exemplar_chunks import computing
from cutaway.scope.sides import known_classes

IMAGES = 2048  # behind the statistics
VOTERS = 512  # images behind the votes
CLASSES = 16  # that are voted for, of more
_STREAM = 0xA71A5
_DISAGREE = "not to be relied on: some units answer an image more than the best that was found for them"
_CLOSE = 1e-3  # relative: other batches, other last bits


def write_responses(job: Job) -> None:
    """Statistics, histograms and votes of all layers."""
    missing = job.missing("responses")
    if not missing:
        return
    ids = drawn(len(job.part), IMAGES)
    voters = drawn(len(job.part), VOTERS)
    meter = Meter("measuring units", 2 * len(ids) + len(voters), 2 * len(ids) + len(voters), job.progress)
    with computing(job.subject.device, False):
        statistics, histograms = _watched(job, missing, ids, meter)
        classes = _classes(job, voters)
        votes = VoteTotals(job.subject.network, missing, classes)
        _pass(job, voters, (lambda _, images: votes.add(images)) if classes else lambda *_: None, meter)
    about = {"images": len(ids), "total": len(job.part), "classes": classes}
    parameters = {"images": len(ids), "vote_images": len(voters), "classes": classes}
    for layer in missing:
        found = statistics[layer]
        counts, edges = histograms.of(layer)
        voted = votes.votes(layer, found.std) if classes else torch.zeros(len(found.std), 0)
        arrays = {**_plain(found), "counts": counts.numpy(), "edges": edges.numpy(), "votes": voted.numpy()}
        arrays["responses"] = _by_class(job, found.by_label, classes).numpy()
        check = {"units": len(found.high), "above_exemplars": _above(job, layer, found)}
        notes = [_DISAGREE] if check["above_exemplars"] else []
        certificate = job.certificate("responses", parameters, check, notes)
        job.write("responses", layer, arrays, {**about, "active_of": found.active_of, "certificate": certificate})


def drawn(size: int, count: int) -> NDArray[np.int64]:
    """Positions of `count` of `size` images, rising: by a hash, so that the fewer are among the more."""
    return np.sort(np.argsort(hash_array(key(_STREAM), np.arange(size)), kind="stable")[:count])


def _watched(
    job: Job, layers: Sequence[str], ids: NDArray[np.int64], meter: Meter
) -> tuple[dict[str, LayerResponses], Histograms]:
    labels = torch.from_numpy(job.part.labels.astype(np.int64))
    count = max(len(job.labels), int(labels.max()) + 1)
    totals = ResponseTotals(job.subject.network, layers, count)
    _pass(job, ids, lambda rows, images: totals.add(images, labels[rows]), meter)
    statistics = totals.result()
    histograms = Histograms(job.subject.network, statistics)
    _pass(job, ids, lambda _, images: histograms.add(images), meter)
    return statistics, histograms


def _pass(job: Job, ids: NDArray[np.int64], add: Callable[[NDArray[np.int64], Tensor], None], meter: Meter) -> None:
    for rows, images in job.batches(ids):
        add(rows, images)
        meter.tick(len(rows))


def _classes(job: Job, ids: NDArray[np.int64]) -> list[int]:
    """The classes that are voted for: all, or those that the network names most often; none if it returns no logits."""
    counts: Tensor | None = None
    with opened(job.subject.network) as forward, torch.no_grad():
        for _, images in job.batches(ids):
            logits = forward.network(images)
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                return []
            if logits.shape[1] <= CLASSES:
                return list(range(logits.shape[1]))
            named = logits.argmax(1).bincount(minlength=logits.shape[1]).cpu()
            counts = named if counts is None else counts + named
    assert counts is not None  # a split has images
    return sorted(counts.argsort(descending=True, stable=True)[:CLASSES].tolist())


def _by_class(job: Job, by_label: Tensor, classes: Iterable[int]) -> Tensor:
    """Mean answers by label as mean answers by class, float32 (C, classes); NaN where no label is that class."""
    names, same = job.subject.classes, known_classes(job.subject, len(job.subject.classes), job.labels)
    columns = []
    for index in classes:
        name = names[index] if index < len(names) else ""
        label = index if same else job.labels.index(name) if name in job.labels else None
        columns.append(torch.full_like(by_label[:, 0], torch.nan) if label is None else by_label[:, label])
    return torch.stack(columns, 1) if columns else by_label[:, :0]


def _plain(found: LayerResponses) -> Arrays:
    names = ("mean", "std", "low", "high", "best_mean", "active")
    return {name: getattr(found, name).numpy() for name in names}


def _above(job: Job, layer: str, found: LayerResponses) -> int:
    """How many units answered one of these images more than the best of all that the exemplars' scan found: none."""
    best = (job.atlas.arrays("exemplars", layer, ["best.scores"]) or {})["best.scores"][:, 0]
    return int((found.high.numpy() > best + _CLOSE * np.abs(best).max()).sum())
