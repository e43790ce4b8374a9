"""The straight line from a baseline to each image: scores and gradients at any place of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cutaway.computing.entry import Entry, entering, find_entry
from cutaway.computing.low_backward import low_backward
from cutaway.lenses.attribution.gradient import checked_gradient
from cutaway.lenses.attribution.method import Job

# Largest difference of a gradient, as a share of its length, that computing it in bfloat16 may make.
TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class Line:
    """The lines of a job's images, walked in the image itself or behind the network's first convolution.

    Both give the same numbers but for rounding, since a convolution of a straight line is a straight line; behind it,
    it need not run at every place, and the mean of the gradients is pulled back to the image once.

    Attributes:
        job: passes, images and targets.
        start: the baseline, (C, H, W).
        entry: the first convolution, if the image reaches the score through it alone.
        from_, to: the lines' ends where they are walked, (1, ...) and (N, ...).
        low: how gradients are computed in bfloat16, or None.
        difference: what that changes in a gradient of the first image, as a share of its length; 0 without.
    """

    job: Job
    start: Tensor
    entry: Entry | None
    from_: Tensor
    to: Tensor
    low: low_backward | None = None
    difference: float = 0.0

    @property
    def way(self) -> Tensor:
        """From the baseline to each image, where the line is walked: (N, ...)."""
        return self.to - self.from_

    def at(self, rows: Sequence[int], places: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (K,) and gradients (K, ...), where the line is walked, at K places in 0..1 of the images `rows`."""
        places = places.to(self.to).view(-1, 1, 1, 1)
        points = torch.lerp(self.from_, self.to[list(rows)], places).requires_grad_()
        target = self.job.target.of(rows)
        with self.low or nullcontext():
            if self.entry is None:
                return checked_gradient(self.job.forward, points, points, target)
            images = torch.lerp(self.start, self.job.images[list(rows)].float(), places)
            with entering(self.entry, points):
                return checked_gradient(self.job.forward, images, points, target)

    def to_image(self, gradients: Tensor) -> Tensor:
        """Gradients for all images, (N, ...), where the line is walked, as gradients for the pixels, (N, C, H, W)."""
        return gradients if self.entry is None else self.entry.pull_back(gradients, self.job.images.float())


@contextmanager
def walking(job: Job, start: Tensor) -> Iterator[Line]:
    """The lines from `start` (C, H, W) to the job's images, by the fastest way that gives the same numbers."""
    images = job.images.float()
    with torch.no_grad():
        entry = _entry(job, images[:1])
        from_, to = (start[None], images) if entry is None else (entry(start[None]), entry(images))
        line = Line(job, start, entry, from_, to)
    yield _lowered(line) if job.low else line


def _entry(job: Job, image: Tensor) -> Entry | None:
    return find_entry(lambda x: job.forward.scores(x, job.target.of([0]))[0], image)


def _lowered(line: Line) -> Line:
    """The same line with gradients in bfloat16, if the first image's hardly change, half-way and at its end."""
    low, places = replace(line, low=low_backward()), torch.tensor([0.5, 1.0])
    exact, found = (one.at([0, 0], places)[1].flatten(1) for one in (line, low))
    lengths = exact.norm(dim=1).clamp_min(1e-30)
    difference = float(((found - exact).norm(dim=1) / lengths).max())
    return replace(low if difference <= TOLERANCE else line, difference=difference)
