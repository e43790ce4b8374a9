"""The straight line from a baseline to each image: scores and gradients at any place of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cutaway.computing.entry import Entry, entering, find_entry
from cutaway.lenses.attribution.gradient import checked, gradient_of
from cutaway.lenses.attribution.method import Job


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
    """

    job: Job
    start: Tensor
    entry: Entry | None
    from_: Tensor
    to: Tensor

    @property
    def way(self) -> Tensor:
        """From the baseline to each image, where the line is walked: (N, ...)."""
        return self.to - self.from_

    def at(self, rows: list[int], places: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (K,) and gradients (K, ...), where the line is walked, at K places in 0..1 of the images `rows`."""
        places, target = places.to(self.to).view(-1, 1, 1, 1), self.job.target.of(rows)
        forward, images = self.job.forward, self.job.images[rows].float()
        ends = self.to[rows[:1]] if len(set(rows)) == 1 else self.to[rows]
        caught: list[Tensor] = []
        anchor = torch.zeros((), device=places.device, requires_grad=True)
        points: Tensor = _Points.apply(anchor, self.from_, ends, places, caught)
        images = points if self.entry is None else torch.lerp(self.start, images, places)
        with nullcontext() if self.entry is None else entering(self.entry, points):
            scores, _ = forward.scores(images, target)
            gradient_of(scores, anchor, forward)
        return checked(forward, images.detach(), target, scores, caught[0] if caught else None)

    def to_image(self, gradients: Tensor) -> Tensor:
        """Gradients for all images, (N, ...), where the line is walked, as gradients for the pixels, (N, C, H, W)."""
        return gradients if self.entry is None else self.entry.pull_back(gradients, self.job.images.float())


class _Points(torch.autograd.Function):
    """Points on the way, which a network may work on in place; their gradient is caught on its way back."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, from_: Tensor, to: Tensor, places: Tensor, caught: list[Tensor]) -> Tensor:
        ctx.caught = caught
        return torch.lerp(from_, to, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ctx.caught.append(gradients[0])
        return gradients[0].new_zeros(()), None, None, None, None


@contextmanager
def walking(job: Job, start: Tensor) -> Iterator[Line]:
    """The lines from `start` (C, H, W) to the job's images, by the fastest way that gives the same numbers."""
    images = job.images.float()
    with torch.no_grad():
        entry = _entry(job, images[:1])
        from_, to = (start[None], images) if entry is None else (entry(start[None]), entry(images))
    yield Line(job, start, entry, from_, to)


def _entry(job: Job, image: Tensor) -> Entry | None:
    return find_entry(lambda x: job.forward.scores(x, job.target.of([0]))[0], image)
