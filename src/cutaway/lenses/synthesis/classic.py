"""The classic way: gradient steps on the pixels, kept natural by jitter, an L2 penalty, clamping and blur."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cutaway.lenses.synthesis.ascent import Ascent
from cutaway.lenses.synthesis.images import Space, generator
from cutaway.lenses.synthesis.robust import pixels_of
from cutaway.lenses.synthesis.walk import Climbed, Walk

_STEP, _STEP_IMAGE = 25.0, 3 * 224 * 224  # the length of a step, and the numbers in the image it was found for
_JITTER = 16.0
_BLUR_REACH = 4.0  # in standard deviations


def climb(
    ascent: Ascent,
    space: Space,
    walk: Walk,
    start: Tensor,
    *,
    jitter: int,
    l2: float,
    clamp: bool,
    blur: float,
    blur_every: int,
    step: float,
) -> Climbed:
    """Steps of constant length along each image's own gradient (Simonyan et al., 2014; Yosinski et al., 2015).

    Each step: roll the image at random, add `step` x g / |g| with g the gradient of the score minus 2 x `l2` x image,
    roll back, clamp to the valid range; the first step and every tenth after it end with a blur.

    Args:
        ascent: passes through the network, with an objective for each image.
        space: shape and range of the images.
        walk: how far.
        start: the first images (N, C, H, W).
        jitter: largest roll in pixels, in both directions of both axes; 0 for none.
        l2: weight of the penalty on the image's squares; 0 for none.
        clamp: whether pixels stay in their valid range.
        blur: standard deviation of the blur in pixels; 0 for none.
        blur_every: how many steps from one blur to the next.
        step: length of a step, in the network's units.
    """
    image, random, found = start, generator(walk.seed, "jitter"), Climbed(start)
    for number in range(1, walk.steps + 1):
        down, across = torch.randint(-jitter, jitter + 1, (2,), generator=random).tolist()
        image = image.roll((down, across), (2, 3))
        scores, gradient = ascent.gradient(image, lambda values: values)
        if number == walk.steps:
            found.notes = _outweighed(ascent.names, gradient, 2 * l2 * image)
        image = image + step * unit(gradient - 2 * l2 * image)
        image = image.roll((-down, -across), (2, 3))
        image = space.clamp(image) if clamp else image
        image = blurred(image, blur) if blur and (number - 1) % blur_every == 0 else image
        found.inputs = image
        found.step(walk, number, scores, lambda: found.inputs)
    return found


def _outweighed(names: Sequence[str], gradient: Tensor, pull: Tensor) -> list[str]:
    """A sentence for each image that the L2 penalty pulls more than its objective does: it fades."""
    weaker = gradient.flatten(1).norm(dim=1) < pull.flatten(1).norm(dim=1)
    return [
        f"the L2 penalty outweighs '{name}' at the end, so that its image fades; try a smaller l2, or none"
        for name, fades in zip(names, weaker.tolist(), strict=True)
        if fades
    ]


def default_step(space: Space) -> float:
    """25 at 3x224x224; noise of n numbers is sqrt(n) long, and a step the same part of that at any size."""
    return _STEP * math.sqrt(math.prod(space.shape) / _STEP_IMAGE)


def default_jitter(space: Space) -> int:
    """16 pixels at a side of 224, 2 at 28."""
    return round(pixels_of(_JITTER, *space.shape[1:]))


def unit(gradient: Tensor) -> Tensor:
    """Each image's gradient at length 1; zero stays zero."""
    size = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return gradient / torch.where(size > 0, size, torch.ones_like(size))


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of `sigma` pixels; beyond its border an image goes on as it ends."""
    reach = max(1, math.ceil(_BLUR_REACH * sigma))
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (places / sigma).square())
    kernel = kernel / kernel.sum()
    flat = images.reshape(-1, 1, *images.shape[2:])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.view(images.shape)
