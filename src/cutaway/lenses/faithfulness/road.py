"""ROAD: pixels are replaced by what their neighbours say, so that taking them away leaves no edges of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import images_for
from cutaway.lenses.faithfulness.scoring import Measure, checked, measure_all, positions, shares
from cutaway.lenses.targets import Target
from cutaway.progress import Progress
from cutaway.showing import Shown

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
_SIDE, _CORNER = 1 / 6, 1 / 12  # how much a pixel's neighbours count, by Rong et al.
_MULTIPLE = 16  # images are padded to a multiple of this, so that four coarser grids fit on top


@dataclass(frozen=True, eq=False)
class Road(Shown):
    """Scores while pixels are imputed in both orders.

    Attributes:
        fractions: float32 (K,), the shares of pixels imputed.
        most: float32 (N, K), the score with the hottest pixels gone (MoRF); low for a good map.
        least: float32 (N, K), the score with the coldest pixels gone (LeRF); high for a good map.
        score: float32 (N,), the mean of `least - most`: about 0 for a map that knows nothing, at most 1 for a
            probability.
        notes: what a reader must know, such as a batch that was halved.
    """

    fractions: Tensor
    most: Tensor
    least: Tensor
    score: Tensor
    notes: tuple[str, ...] = ()


def road(
    network: nn.Module,
    images: Tensor,
    heat: Tensor,
    target: Target,
    *,
    fractions: Sequence[float] = FRACTIONS,
    noise: float = 0.01,
    measure: Measure = "probability",
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Road:
    """Remove and debias (Rong et al., 2022): noisy linear imputation, hottest first and coldest first.

    The paper reports the accuracy over a data set; here it is the score of each image.

    Args:
        network: any classifier.
        images: float (N, C, H, W), as it expects them.
        heat: float (N, H, W), larger where a pixel speaks more for the target; of equal pixels the first is hotter.
        target: whose score is measured.
        fractions: the shares of pixels that are imputed; those of the paper by default.
        noise: standard deviation of the noise on imputed pixels, in the network's input space.
        measure: `probability` (softmax) or `score` (raw); differences and units have only a score.
        seed: of the noise, which is the same for all images.
        batch: at most so many images at once.
        progress: called as (label, done, total), or None.
    """
    images = images_for(network, images)
    place = positions(checked(images, heat))
    pixels = place.shape[1]
    counts = torch.tensor([round(share * pixels) for share in shares(fractions, "fractions")], device=images.device)
    # As many states an image as fractions, once from the hot end and once from the cold end.
    which = torch.arange(len(images)).repeat_interleave(2 * len(counts))
    grain = noise * torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))

    def make(numbers: Tensor) -> Tensor:
        image, state = which[numbers].to(images.device), numbers.to(images.device) % (2 * len(counts))
        hot = (place[image] < counts.repeat(2)[state, None]) & (state < len(counts))[:, None]
        cold = (place[image] >= pixels - counts.repeat(2)[state, None]) & (state >= len(counts))[:, None]
        gone = (hot | cold).view(-1, *images.shape[2:])
        return impute(images[image], gone) + grain.to(images) * gone[:, None]

    scores, notes = measure_all(
        network, target, make, which, measure=measure, batch=batch, label="road", progress=progress
    )
    most, least = scores.view(len(images), 2, -1).unbind(1)
    return Road(counts.cpu().float() / pixels, most, least, (least - most).mean(1), notes)


def impute(images: Tensor, gone: Tensor, tolerance: float = 1e-4) -> Tensor:
    """`images` with every pixel that is gone as the weighted mean of its eight neighbours, imputed ones included.

    Side neighbours weigh 1/6, corners 1/12 (Rong et al., 2022); at the border those outside do not count. This is one
    sparse linear system an image. It is solved by conjugate gradients, preconditioned with coarser grids (Bramble,
    Pasciak and Xu, 1990), so that a large hole takes hardly more steps than a small one.

    Args:
        images: float (N, C, H, W).
        gone: bool (N, H, W); each image must keep at least one pixel.
        tolerance: the largest residual of the system, in units of the image's standard deviation.
    """
    if bool(gone.flatten(1).all(1).any()):
        raise InputError("every pixel of an image is gone, so there is nothing to impute from; leave at least one")
    height, width = images.shape[2:]
    pads = (0, -width % _MULTIPLE, 0, -height % _MULTIPLE)
    holes = F.pad(gone[:, None].to(images), pads)
    kept = F.pad(1 - gone[:, None].to(images), pads)
    spread, largest = images.flatten(1).std(1, correction=0), images.flatten(1).abs().amax(1)
    # No residual gets below the rounding of the pixels themselves.
    limit = torch.maximum(tolerance * spread, 8 * torch.finfo(images.dtype).eps * largest)
    filled = _solve(F.pad(images, pads) * kept, holes, kept, limit.view(-1, 1, 1, 1))
    return filled[..., :height, :width]


def _solve(known: Tensor, holes: Tensor, kept: Tensor, limit: Tensor) -> Tensor:
    """Conjugate gradients on all images at once, each with step lengths of its own.

    `known` (N, C, H, W) is zero where nothing is known; `holes` and `kept` (N, 1, H, W) are 1 or 0, both 0 outside.
    """
    weight = _around(holes + kept)  # what a pixel's neighbours inside the image weigh together
    levels = _levels(holes)
    guess = holes * _push_pull(known, kept)
    residual = holes * (_around(known + guess) - weight * guess)
    direction = _smoothed(residual, levels)
    size = _dot(residual, direction)
    for _ in range(int(holes.flatten(1).sum(1).max())):  # exact arithmetic would need no more
        # An image that is done stands still, so that its values do not depend on the rest of its batch.
        active = residual.abs().amax((1, 2, 3), keepdim=True) > limit
        if not active.any():
            break
        turned = holes * (weight * direction - _around(direction))
        step = torch.where(active, size / _dot(direction, turned), 0.0)
        guess, residual = guess + step * direction, residual - step * turned
        correction = _smoothed(residual, levels)
        previous, size = size, _dot(residual, correction)
        direction = torch.where(active, correction + size / previous * direction, 0.0)
    return known + guess


def _around(values: Tensor) -> Tensor:
    """The weighted sum of each pixel's eight neighbours; outside the image is zero."""
    padded = F.pad(values, (1, 1, 1, 1))
    rows = padded[..., :-2, :] + padded[..., 2:, :]
    sides = rows[..., 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return _SIDE * sides + _CORNER * (rows[..., :-2] + rows[..., 2:])


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum((1, 2, 3), keepdim=True)


def _push_pull(known: Tensor, weight: Tensor) -> Tensor:
    """A first guess: each unknown pixel from the finest coarser grid that knows something there."""
    own = known / weight.clamp_min(1e-12)
    if min(known.shape[2:]) < 2 or bool((weight > 0).all()):
        return own
    coarse = _push_pull(*(F.avg_pool2d(one, 2, ceil_mode=True, count_include_pad=False) for one in (known, weight)))
    finer = F.interpolate(coarse, size=known.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(weight > 0, own, finer)


def _levels(holes: Tensor) -> list[Tensor]:
    """The holes on coarser and coarser grids: a coarse point lies in a hole if all pixels under its hat do."""
    levels = [holes]
    while min(levels[-1].shape[2:]) >= 4 and all(side % 2 == 0 for side in levels[-1].shape[2:]):
        levels.append(-F.max_pool2d(-levels[-1], 4, 2, 1))
    return levels


def _smoothed(residual: Tensor, levels: list[Tensor]) -> Tensor:
    """The preconditioner: what each grid would correct, added up; symmetric, since `_finer` is `_coarser` turned."""
    parts = [residual]
    for holes in levels[1:]:
        parts.append(holes * _coarser(parts[-1]))
    total = parts[-1]
    for part, holes in zip(parts[-2::-1], levels[-2::-1], strict=True):
        total = part + holes * _finer(total)
    return total


def _hat(like: Tensor) -> Tensor:
    side = torch.tensor([0.25, 0.75, 0.75, 0.25], dtype=like.dtype, device=like.device)
    return torch.outer(side, side)[None, None]


def _coarser(values: Tensor) -> Tensor:
    flat = values.flatten(0, 1)[:, None]
    return F.conv2d(flat, _hat(values), stride=2, padding=1).view(
        *values.shape[:2], *(n // 2 for n in values.shape[2:])
    )


def _finer(values: Tensor) -> Tensor:
    flat = values.flatten(0, 1)[:, None]
    grown = F.conv_transpose2d(flat, _hat(values), stride=2, padding=1)
    return grown.view(*values.shape[:2], *grown.shape[2:])
