"""Integrated gradients: the gradient along the straight path from a baseline, with steps chosen to add up."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.attribution.gradient import pieces
from cutaway.lenses.attribution.line import Line, walking
from cutaway.lenses.attribution.method import Found, Job, Method, baseline_image, named
from cutaway.lenses.attribution.quick import quick

# Intervals of every path before any is halved.
FIRST = 8
# The sum of the intervals' own gaps, without regard to sign, may be so many times the tolerance: a path whose errors
# only cancel is not done.
CANCELLING = 10
# A gap below this share of the score is rounding, which no halving removes.
ROUNDING = 1e-6
# Bytes that the gradients of the paths walked together may take.
_MEMORY = 1 << 29
LABEL = "integrated-gradients"
# Mean gradients (N, C, H, W), scores of baseline and image (2, N), and steps (N,); all float32.
_Means = tuple[Tensor, Tensor, Tensor]


def integrated_gradients(
    job: Job,
    *,
    baseline: float | Tensor = 0.0,
    tolerance: float = 0.01,
    steps: int | None = None,
    limit: int = 256,
) -> Found:
    """The image less a baseline, times the mean gradient on the straight path between them (Sundararajan et al., 2017).

    The values of an image sum to F(x) - F(baseline), but for the error of the sum that stands for the integral:
    `completeness_gap`. The paper takes equal steps. Here the path is halved where it is rough: every interval knows
    what it should add up to, the difference of the scores at its ends, so the steps go where that does not hold.

    Args:
        baseline: what counts as no image, as the network expects it: a number (0 is the mean image of standardised
            inputs) or a tensor (C, H, W).
        tolerance: the largest completeness gap as a share of |F(x) - F(baseline)|.
        steps: fixes the number of steps, by Gauss and Legendre's rule; `tolerance` and `limit` then do not matter.
        limit: at most so many steps per image; a note says if the tolerance was not met.

    Raises:
        InputError: options out of range, or a score without a gradient.
    """
    if tolerance <= 0 or limit <= FIRST or (steps is not None and steps < 1):
        raise InputError(
            f"steps must be at least 1, tolerance above 0 and limit above {FIRST}; "
            f"found steps={steps}, tolerance={tolerance} and limit={limit}"
        )
    start = baseline_image(baseline, job.images.float())
    with quick(job) as (fast, notes), walking(fast, start) as line:
        walked = _refined(line, tolerance, limit) if steps is None else _fixed(line, steps)
        means, ends, counts = line.to_image(walked[0]), *walked[1:]
    values = means * (job.images.float() - start)
    check: dict[str, Tensor | float] = {**_check(values, ends, counts)}
    missed = steps is None and bool((torch.as_tensor(check["completeness_gap_relative"]) > tolerance).any())
    if missed:
        notes += (
            f"images whose completeness_gap_relative is above {tolerance:g} need a higher limit than {limit} steps",
        )
    return Found(values.contiguous(), check, notes, _described(baseline))


def _described(baseline: float | Tensor) -> dict[str, str]:
    """A baseline that is a tensor as a certificate can hold it."""
    if not isinstance(baseline, Tensor) or not baseline.ndim:
        return {}
    size = "x".join(map(str, baseline.shape))
    return {"baseline": f"a tensor {size} of mean {float(baseline.mean()):.6g}"}


def _check(values: Tensor, ends: Tensor, counts: Tensor) -> dict[str, Tensor]:
    change = ends[1] - ends[0]
    gap = values.flatten(1).sum(1) - change
    scale = change.abs().maximum(ROUNDING * ends.abs().amax(0))
    return {
        "score": ends[1],
        "baseline_score": ends[0],
        "completeness_gap": gap,
        # Where the image is the baseline both are zero.
        "completeness_gap_relative": torch.where(gap == 0, gap, gap / scale).abs(),
        "steps": counts,
    }


def gauss_legendre(steps: int) -> tuple[Tensor, Tensor]:
    """Places in (0, 1) and weights that sum to 1, float64 (steps,), exact for polynomials below degree 2 * steps."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((places + 1) / 2), torch.from_numpy(weights / 2)


def _fixed(line: Line, steps: int) -> _Means:
    """Means where the line is walked, scores of the ends, and steps."""
    job, means = line.job, torch.zeros_like(line.to)
    places, weights = (value.float().to(means.device) for value in gauss_legendre(steps))
    ends = means.new_empty((2, len(means)))
    for rows, some in pieces(job, steps, LABEL):
        images = list(range(rows.start, rows.stop))
        if some.start == 0:
            ends[:, rows] = _ends(line, rows)
        count = some.stop - some.start
        _, gradients = line.at(images * count, places[some].repeat_interleave(len(images)))
        for weight, part in zip(weights[some].tolist(), torch.split(gradients, len(images)), strict=True):
            means[rows].add_(part, alpha=weight)
    return means, ends, torch.full_like(ends[0], steps)


def _ends(line: Line, rows: slice) -> Tensor:
    """Scores (2, n) of the baseline and of the images of these rows."""
    job = line.job
    target, images = job.target.of(rows), job.images[rows].float()
    with torch.no_grad():
        return torch.stack([job.forward.scores(x, target)[0].float() for x in (line.start.expand_as(images), images)])


@dataclass
class _Path:
    """What is known on the way of one image from the baseline (place 0) to itself (place 1).

    Attributes:
        places, scores, slopes: where the network was asked, what the score was there, and how it grew along the path.
        gradients: (C, H, W) each.
    """

    places: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    slopes: list[float] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def add(self, place: float, score: float, slope: float, gradient: Tensor) -> None:
        """One more place, in order."""
        index = bisect(self.places, place)
        self.places.insert(index, place)
        self.scores.insert(index, score)
        self.slopes.insert(index, slope)
        self.gradients.insert(index, gradient)

    def gaps(self) -> NDArray[np.float64]:
        """For each interval: the sum that stands for its integral, less the true change in score."""
        slopes = np.array(self.slopes)
        steps: NDArray[np.float64] = np.diff(self.places) * (slopes[1:] + slopes[:-1]) / 2
        return steps - np.diff(self.scores)

    def next_places(self, tolerance: float, limit: int) -> list[float]:
        """Where to ask next: the middles of the roughest intervals; nowhere once the path is good enough."""
        if not self.places:
            return [i / FIRST for i in range(FIRST + 1)]
        gaps, change = self.gaps(), abs(self.scores[-1] - self.scores[0])
        sizes = np.abs(gaps)
        if abs(gaps.sum()) <= tolerance * change and sizes.sum() <= CANCELLING * tolerance * change:
            return []
        worst = np.argsort(-sizes, kind="stable")[: limit - len(self.places)]
        least = max(sizes.max() / 2, ROUNDING * np.abs(self.scores).max())
        return [(self.places[i] + self.places[i + 1]) / 2 for i in worst if sizes[i] > least]

    def mean(self) -> Tensor:
        """The mean gradient along the path by the trapezoid rule, (C, H, W)."""
        widths = np.diff(self.places) / 2
        weights = np.append(widths, 0) + np.insert(widths, 0, 0)
        total = torch.zeros_like(self.gradients[0])
        for weight, gradient in zip(weights, self.gradients, strict=True):
            total += gradient * float(weight)
        return total


def _refined(line: Line, tolerance: float, limit: int) -> _Means:
    job, means = line.job, torch.zeros_like(line.to)
    count = len(means)
    ends, steps = means.new_empty((2, count)), means.new_empty(count)
    # Few paths at a time: all their gradients are kept, since an interval that is halved weighs its ends anew.
    affordable = _MEMORY // (means[0].numel() * means.element_size() * limit)
    together = max(1, min(job.batch // (FIRST + 1), affordable))
    for first in range(0, count, together):
        group = range(first, min(first + together, count))
        for image, path in zip(group, _walk(line, group, tolerance, limit), strict=True):
            means[image], steps[image] = path.mean(), len(path.places)
            ends[:, image] = torch.tensor([path.scores[0], path.scores[-1]])
        if job.progress is not None:
            job.progress(LABEL, group.stop, count)
    return means, ends, steps


def _walk(line: Line, images: range, tolerance: float, limit: int) -> list[_Path]:
    """The paths of some images, each refined until it is good enough whatever the others are."""
    paths = {image: _Path() for image in images}
    while True:
        wanted = [(i, place) for i, path in paths.items() for place in path.next_places(tolerance, limit)]
        if not wanted:
            return list(paths.values())
        for some in range(0, len(wanted), line.job.batch):
            _visit(line, paths, wanted[some : some + line.job.batch])


def _visit(line: Line, paths: dict[int, _Path], wanted: list[tuple[int, float]]) -> None:
    rows = [image for image, _ in wanted]
    scores, gradients = line.at(rows, torch.tensor([place for _, place in wanted]))
    slopes = (gradients * line.way[rows]).flatten(1).sum(1)
    for (image, place), score, slope, gradient in zip(wanted, scores.tolist(), slopes.tolist(), gradients, strict=True):
        paths[image].add(place, score, slope, gradient.clone())


METHODS = named(
    [
        Method(
            name="integrated-gradients",
            compute=integrated_gradients,
            kind="pixels",
            summary="gradients summed up on the way from a baseline to the image",
            paper="Sundararajan et al. 2017",
            options={"baseline": 0.0, "tolerance": 0.01, "steps": None, "limit": 256},
        ),
    ]
)
