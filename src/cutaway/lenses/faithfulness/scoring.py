"""What every measure of faithfulness needs: a score a changed image, pixels in the order of their heat, a baseline."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.attribution.chunks import in_chunks
from cutaway.lenses.capture import need_finite
from cutaway.lenses.forward import Forward, opened
from cutaway.lenses.targets import Target
from cutaway.progress import Progress

Measure = Literal["probability", "score"]
Baseline = float | Literal["blur"] | Tensor
BLUR = 0.1  # standard deviation of the blurred baseline, as a share of the image's longer side


def measured(forward: Forward, images: Tensor, target: Target, measure: Measure) -> Tensor:
    """What the network makes of `images`: float32 (N,), without a graph.

    `probability` is the softmax of the class asked for. A difference of classes and a unit inside the network have
    none: there, and for `score`, it is the target's raw score.
    """
    with torch.no_grad():
        if measure == "score" or target.layer or target.minus:
            return forward.scores(images, target)[0].float()
        return target.scores({"": forward(images)[""].float().softmax(1)})


def measure_all(
    network: nn.Module,
    target: Target,
    make: Callable[[Tensor], Tensor],
    which: Tensor,
    *,
    measure: Measure,
    batch: int,
    label: str,
    progress: Progress | None,
) -> tuple[Tensor, tuple[str, ...]]:
    """The scores of many changed images, float32 (len(which),) on the CPU, and notes about the memory.

    Args:
        network: any classifier.
        target: of all N images.
        make: the changed images (B, C, H, W) numbered by the int64 (B,) it is given.
        which: int64 (M,), the original image of each changed one, for its target.
        measure: `probability` or `score`.
        batch: at most so many at once; halved when the memory is too small.
        label: names the work for `progress`.
        progress: called as (label, done, total), or None.
    """

    count = int(which.max()) + 1
    if len(target.plus) not in (1, count):
        raise InputError(f"{count} images need one target for all or {count}; found {len(target.plus)}")

    def piece(part: slice, _batch: int) -> Tensor:
        images = make(torch.arange(part.start, part.stop))
        found = measured(forward, images, target.of(which[part].tolist()), measure)
        need_finite(found, f"the score of {target.name(0)}", network, images)
        if progress:
            progress(label, part.stop, len(which))
        return found.cpu()

    with opened(network) as forward:
        scores, notes = in_chunks(len(which), batch, piece)
    return torch.cat(scores), notes


def checked(images: Tensor, heat: Tensor, name: str = "heat") -> Tensor:
    """`heat` as float32 (N, H, W) on the device of `images`, or one sentence about what is wrong with it."""
    expected = (len(images), *images.shape[2:])
    if tuple(heat.shape) != expected:
        raise InputError(f"{name} must be (N, H, W) like the images, {expected}; found {tuple(heat.shape)}")
    if not torch.isfinite(heat).all():
        raise InputError(f"{name} has values that are not finite; a map must be finite to be measured")
    return heat.detach().to(images.device).float()


def positions(heat: Tensor) -> Tensor:
    """Each pixel's place in the order of falling heat, int64 (N, H * W); of equal pixels the first comes first.

    >>> positions(torch.tensor([[[0.2, 0.9], [0.2, 0.5]]])).tolist()
    [[2, 0, 3, 1]]
    """
    order = heat.flatten(1).argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )


def hidden(images: Tensor, baseline: Baseline) -> Tensor:
    """What stands in for pixels that are taken away: the shape of `images`.

    Args:
        images: float (N, C, H, W).
        baseline: a number in the network's input space, a tensor that broadcasts to the images, or `blur`.
    """
    if isinstance(baseline, str):
        return blurred(images, BLUR * max(images.shape[2:]))
    filled = torch.as_tensor(baseline, dtype=images.dtype, device=images.device)
    return filled.expand_as(images)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """`images` (N, C, H, W) under a Gaussian of `sigma` pixels; beyond the border stands the border's pixel."""
    radius = math.ceil(3 * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = images.shape[1]
    padded = F.pad(images, (radius,) * 4, mode="replicate")
    down = F.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(down, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def shares(fractions: Sequence[float], what: str) -> tuple[float, ...]:
    """`fractions` as a tuple, each above 0 and below 1."""
    if not fractions or not all(0 < share < 1 for share in fractions):
        raise InputError(f"{what} must be shares above 0 and below 1; found {tuple(fractions)}")
    return tuple(fractions)
