"""Sensitivity-n: does the sum of a map over some pixels foretell what the score loses without them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import images_for
from cutaway.lenses.faithfulness.scoring import Baseline, Measure, hidden, measure_all, shares
from cutaway.lenses.targets import Target
from cutaway.progress import Progress
from cutaway.showing import Shown

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
CELLS = 28  # the longer side of an image in cells, at most


@dataclass(frozen=True, eq=False)
class Removals(Shown):
    """What the score loses when random sets of cells are taken away; it serves every map of the same images.

    Attributes:
        shares: the share of the cells in each set, one a size.
        sets: bool (sizes, subsets, H, W), the pixels of each set, the same for all images.
        drops: float32 (N, sizes, subsets), the score of the image minus that without the set.
        cell: side of a cell in pixels.
        notes: what a reader must know, such as a batch that was halved.
    """

    shares: tuple[float, ...]
    sets: Tensor
    drops: Tensor
    cell: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sensitivity(Shown):
    """How well a map foretells the drops.

    Attributes:
        shares: the share of the cells in each set, one a size.
        correlations: float32 (N, sizes), Pearson's between the map's sum over a set and the drop; 0 where either is
            the same for all sets.
        score: float32 (N,), their mean over the sizes.
    """

    shares: tuple[float, ...]
    correlations: Tensor
    score: Tensor


def removals(
    network: nn.Module,
    images: Tensor,
    target: Target,
    *,
    fractions: Sequence[float] = SHARES,
    subsets: int = 32,
    cell: int | None = None,
    baseline: Baseline = 0.0,
    measure: Measure = "score",
    seed: int = 0,
    batch: int = 32,
    progress: Progress | None = None,
) -> Removals:
    """Take random sets of cells away and see what the target's score loses.

    Args:
        network: any classifier.
        images: float (N, C, H, W), as it expects them.
        target: whose score is measured.
        fractions: the sizes of the sets, as shares of all cells.
        subsets: how many sets of each size.
        cell: side in pixels of the square cells; None for one pixel, and for more where the image is so large that
            there would be more than 28 cells a side, since the loss of scattered single pixels says nothing there.
        baseline: what stands where a pixel was: a number or tensor in the network's input space, or `blur`.
        measure: `score` (raw, as in the paper) or `probability`.
        seed: of the sets, which are the same for all images.
        batch: at most so many images at once.
        progress: called as (label, done, total), or None.
    """
    if subsets < 2:
        raise InputError(f"a correlation needs at least 2 sets of each size; found {subsets}")
    images = images_for(network, images)
    height, width = images.shape[2:]
    cell = cell or -(-max(height, width) // CELLS)
    sets = _draw(shares(fractions, "fractions"), subsets, (height, width), cell, seed).to(images.device)
    every = torch.cat([torch.zeros_like(sets[0, :1]), sets.flatten(0, 1)])  # the first takes nothing away
    filled = hidden(images, baseline)
    which = torch.arange(len(images)).repeat_interleave(len(every))

    def make(numbers: Tensor) -> Tensor:
        image, number = which[numbers].to(images.device), numbers.to(images.device) % len(every)
        return torch.where(every[number, None], filled[image], images[image])

    scores, notes = measure_all(
        network, target, make, which, measure=measure, batch=batch, label="sensitivity", progress=progress
    )
    found = scores.view(len(images), -1)
    drops = (found[:, :1] - found[:, 1:]).view(len(images), *sets.shape[:2])
    return Removals(tuple(fractions), sets.cpu(), drops, cell, notes)


def _draw(fractions: tuple[float, ...], subsets: int, size: tuple[int, int], cell: int, seed: int) -> Tensor:
    """Bool (sizes, subsets, H, W): sets of cells, each of the number of cells nearest to its share."""
    down, across = (-(-side // cell) for side in size)
    draws = torch.rand((len(fractions), subsets, down * across), generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor([min(max(1, round(share * down * across)), down * across - 1) for share in fractions])
    chosen = draws.argsort(-1).argsort(-1) < counts.view(-1, 1, 1)
    cells = chosen.view(len(fractions), subsets, down, across)
    return cells.repeat_interleave(cell, 2).repeat_interleave(cell, 3)[..., : size[0], : size[1]]


def sensitivity(found: Removals, heat: Tensor) -> Sensitivity:
    """Sensitivity-n (Ancona et al., 2018): the correlation of a map's sum over sets with the score's drop.

    1 for every set size means that the map's values are the pixels' true contributions, up to one factor. For a
    linear model, input x gradient has it. The paper takes single pixels away; see `removals` for the cells here.

    Args:
        found: what `removals` found for the same images and target.
        heat: float (N, H, W), signed.
    """
    sets = found.sets.flatten(2).double()
    expected = (len(found.drops), *found.sets.shape[2:])
    if tuple(heat.shape) != expected:
        raise InputError(f"heat must be (N, H, W) like the images, {expected}; found {tuple(heat.shape)}")
    sums = torch.einsum("np,ksp->nks", heat.detach().cpu().flatten(1).double(), sets)
    correlations = correlation(sums, found.drops.double()).float()
    return Sensitivity(found.shares, correlations, correlations.mean(1))


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's correlation over the last dimension; 0 where either side is constant.

    >>> correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])).item()
    1.0
    """
    parts = [(values - values.mean(-1, keepdim=True)) for values in (first, second)]
    lengths = [part.norm(dim=-1) for part in parts]
    # What rounding leaves of a constant is no spread.
    flat = [
        length <= torch.finfo(values.dtype).eps * 8 * values.norm(dim=-1)
        for length, values in zip(lengths, (first, second), strict=True)
    ]
    product = (parts[0] * parts[1]).sum(-1) / (lengths[0] * lengths[1]).clamp_min(torch.finfo(first.dtype).tiny)
    return torch.where(flat[0] | flat[1], torch.zeros_like(product), product.clamp(-1, 1))
