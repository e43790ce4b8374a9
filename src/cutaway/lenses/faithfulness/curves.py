"""Deletion and insertion: how the score falls, or rises, while pixels go or come in the order of their heat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import images_for
from cutaway.lenses.faithfulness.scoring import Baseline, Measure, checked, hidden, measure_all, positions
from cutaway.lenses.targets import Target
from cutaway.progress import Progress
from cutaway.showing import Shown


@dataclass(frozen=True, eq=False)
class Curve(Shown):
    """A score while pixels are changed.

    Attributes:
        kind: `deletion` or `insertion`.
        fractions: float32 (S + 1,), the share of pixels changed, from 0 to 1.
        scores: float32 (N, S + 1), the score at each of them.
        area: float32 (N,), the area under each curve by the trapezoid rule.
        notes: what a reader must know, such as a batch that was halved.
    """

    kind: Literal["deletion", "insertion"]
    fractions: Tensor
    scores: Tensor
    area: Tensor
    notes: tuple[str, ...] = ()


def deletion(
    network: nn.Module,
    images: Tensor,
    heat: Tensor,
    target: Target,
    *,
    steps: int = 32,
    baseline: Baseline = 0.0,
    measure: Measure = "probability",
    batch: int = 32,
    progress: Progress | None = None,
) -> Curve:
    """The score while the pixels are taken away, the hottest first. The smaller the area, the better the map.

    Petsiuk, Das and Saenko, 2018 (RISE), who take away single pixels; here there are `steps` equal parts.

    Args:
        network: any classifier.
        images: float (N, C, H, W), as it expects them.
        heat: float (N, H, W), larger where a pixel speaks more for the target; of equal pixels the first goes first.
        target: whose score is measured.
        steps: the number of parts; with as many as pixels each goes alone.
        baseline: what stands where a pixel was: a number or tensor in the network's input space, or `blur`.
        measure: `probability` (softmax) or `score` (raw); differences and units have only a score.
        batch: at most so many images at once.
        progress: called as (label, done, total), or None.

    Raises:
        InputError: a heat of another shape or not finite, or less than one step.
    """
    return _curve("deletion", network, images, heat, target, steps, baseline, measure, batch, progress)


def insertion(
    network: nn.Module,
    images: Tensor,
    heat: Tensor,
    target: Target,
    *,
    steps: int = 32,
    baseline: Baseline = "blur",
    measure: Measure = "probability",
    batch: int = 32,
    progress: Progress | None = None,
) -> Curve:
    """The score while the pixels come back into the baseline, the hottest first. The larger the area, the better.

    Petsiuk, Das and Saenko, 2018 (RISE). The baseline is the image blurred (a Gaussian of a tenth of its side), so
    that a pixel which comes back makes no sharp edge of its own. Arguments and errors as for `deletion`.
    """
    return _curve("insertion", network, images, heat, target, steps, baseline, measure, batch, progress)


def _curve(
    kind: Literal["deletion", "insertion"],
    network: nn.Module,
    images: Tensor,
    heat: Tensor,
    target: Target,
    steps: int,
    baseline: Baseline,
    measure: Measure,
    batch: int,
    progress: Progress | None,
) -> Curve:
    if steps < 1:
        raise InputError(f"a {kind} curve needs at least one step; found {steps}")
    images = images_for(network, images)
    place = positions(checked(images, heat))
    filled = hidden(images, baseline)
    counts = _counts(place.shape[1], steps).to(images.device)
    first, second = (images, filled) if kind == "deletion" else (filled, images)
    which = torch.arange(len(images)).repeat_interleave(len(counts))

    def make(numbers: Tensor) -> Tensor:
        image, step = which[numbers].to(images.device), numbers.to(images.device) % len(counts)
        changed = (place[image] < counts[step, None]).view(-1, 1, *images.shape[2:])
        return torch.where(changed, second[image], first[image])

    scores, notes = measure_all(
        network, target, make, which, measure=measure, batch=batch, label=kind, progress=progress
    )
    scores = scores.view(len(images), -1)
    fractions = counts.cpu().float() / place.shape[1]
    return Curve(kind, fractions, scores, torch.trapezoid(scores, fractions, dim=1), notes)


def _counts(pixels: int, steps: int) -> Tensor:
    """How many pixels are changed at each of the `steps` + 1 points: int64, from 0 to all of them.

    >>> _counts(10, 4).tolist()
    [0, 2, 5, 7, 10]
    """
    return torch.arange(steps + 1) * pixels // steps
