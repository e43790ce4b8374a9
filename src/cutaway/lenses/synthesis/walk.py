"""The way up: how many steps, what is kept of them, and the loop that styles with an optimizer share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cutaway.lenses.synthesis.ascent import Ascent, Penalty
from cutaway.lenses.synthesis.images import Parametrisation, generator
from cutaway.lenses.synthesis.robust import Robustness


def _no_tick(step: int) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Walk:
    """How far to go.

    Attributes:
        steps: how many.
        seed: of the noise and of every random choice.
        keep: keep a frame every so many steps; 0 for none.
        tick: called with the number of steps done.
    """

    steps: int
    seed: int = 0
    keep: int = 0
    tick: Callable[[int], None] = _no_tick


@dataclass
class Climbed:
    """What a way up gives.

    Attributes:
        inputs: the last images (n, C, H, W), as the network expects them.
        history: scores (n,) of each step, as they were before it, under that step's transformation.
        frames: images (n, C, H, W) that were kept on the way, after the steps in `kept`.
        kept: numbers of these steps, from 1.
        notes: sentences a reader must know.
    """

    inputs: Tensor
    history: list[Tensor] = field(default_factory=list)
    frames: list[Tensor] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def step(self, walk: Walk, number: int, scores: Tensor, inputs: Callable[[], Tensor]) -> None:
        """Record step `number`, from 1."""
        self.history.append(scores.detach())
        if walk.keep and number % walk.keep == 0:
            self.frames.append(inputs().detach().clone())
            self.kept.append(number)
        walk.tick(number)


def optimise(
    ascent: Ascent,
    images: Parametrisation,
    walk: Walk,
    *,
    robust: Robustness | None = None,
    views: int = 1,
    penalty: Penalty | None = None,
) -> Climbed:
    """Adam on the numbers behind the images.

    Args:
        ascent: passes through the network, with an objective for each image.
        images: what the numbers are.
        walk: how far.
        robust: the random views through which the network looks; None for the image itself.
        views: how many of them a step.
        penalty: of the images, subtracted from the scores.
    """
    numbers = ascent.place(images.start(ascent.names, walk.seed))
    optimizer = torch.optim.Adam([numbers], lr=images.rate)
    random = generator(walk.seed, "views")
    found, weight = Climbed(numbers), None
    for number in range(1, walk.steps + 1):
        scores, gradient = _step(ascent, images, numbers, robust, random, views, penalty)
        # Adam does not care for the size of a gradient, except when it is near its epsilon: one size for all images.
        weight = _inverse_size(gradient) if weight is None else weight
        numbers.grad = -gradient * weight
        optimizer.step()
        found.step(walk, number, scores, lambda: images.inputs(numbers))
    found.inputs = images.inputs(numbers).detach()
    return found


def _step(
    ascent: Ascent,
    images: Parametrisation,
    numbers: Tensor,
    robust: Robustness | None,
    random: torch.Generator,
    views: int,
    penalty: Penalty | None,
) -> tuple[Tensor, Tensor]:
    """Scores and gradient, averaged over the views."""

    def seen(values: Tensor) -> Tensor:
        inputs = images.inputs(values)
        return robust(inputs, random) if robust else inputs

    parts = [ascent.gradient(numbers, seen, penalty) for _ in range(views)]
    scores, gradients = (torch.stack(each).mean(0) for each in zip(*parts, strict=True))
    return scores, gradients


def _inverse_size(gradient: Tensor) -> Tensor:
    """One over the root mean square of each image's gradient, (n, 1, ...); 1 where it is zero."""
    size = gradient.flatten(1).square().mean(1).sqrt()
    size = torch.where(size > 0, size, torch.ones_like(size))
    return (1 / size).view(-1, *[1] * (gradient.ndim - 1))
