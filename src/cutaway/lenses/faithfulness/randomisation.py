"""Model randomisation: a map that stays the same when the weights are scrambled does not show what they have learnt."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import bare
from cutaway.lenses.faithfulness.sensitivity import correlation
from cutaway.showing import Shown

Explain = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, eq=False)
class Randomisation(Shown):
    """How much a map keeps when weights are scrambled; near 0 is good, near 1 a map that does not show the weights.

    Attributes:
        layers: the modules scrambled, the last one of the network first; each stage adds one, or all at once.
        rank: float32 (N, stages), Spearman's correlation of the two maps, -1 .. 1.
        structure: float32 (N, stages), their structural similarity, -1 .. 1, each map scaled to its largest magnitude.
    """

    layers: tuple[str, ...]
    rank: Tensor
    structure: Tensor


def scrambled(network: nn.Module, seed: int = 0, layers: int | None = None) -> nn.Module:
    """A copy of `network` in which the entries of each weight have changed places among themselves.

    Every tensor keeps its values and so its scale, and loses what it has learnt; this serves any module, while drawing
    anew (Adebayo et al.) needs to know how each was initialised. Buffers, such as the means of a batch normalisation,
    stay as they are.

    Args:
        network: any module; it is not changed.
        seed: of the places.
        layers: scramble only so many of the modules with weights of their own, the last registered first.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> sorted(scrambled(layer).weight.flatten().tolist()) == sorted(layer.weight.flatten().tolist())
    True
    """
    twin = _copy(bare(network))
    modules = dict(twin.named_modules())
    with torch.no_grad():
        # Each tensor has a seed of its own, so that scrambling one layer more leaves the others as they were.
        for number, name in enumerate(layers_of(twin)[:layers]):
            for place, value in enumerate(modules[name].parameters(recurse=False)):
                draws = torch.Generator().manual_seed(seed * 1_000_003 + number * 101 + place)
                order = torch.randperm(value.numel(), generator=draws).to(value.device)
                value.copy_(value.flatten()[order].view_as(value))
    return twin


def layers_of(network: nn.Module) -> list[str]:
    """The modules with weights of their own by dotted name, the last registered first: from the top down."""
    named = network.named_modules()
    return [name for name, module in named if any(True for _ in module.parameters(recurse=False))][::-1]


def randomisation(
    network: nn.Module, heat: Tensor, explain: Explain, *, seed: int = 0, cascade: bool = False
) -> Randomisation:
    """Explain scrambled copies of the network and compare (Adebayo et al., 2018).

    Args:
        network: the network that `heat` explains; it is not changed.
        heat: float (N, H, W), the map of each image.
        explain: the same explanation as a function of the network, giving a map of the same shape.
        seed: of the scrambling.
        cascade: from the top down, one layer more at each stage; else all at once, one stage.
    """
    names = layers_of(bare(network))
    if not names:
        raise InputError(f"{type(network).__name__} has no weights, so there is nothing to scramble")
    stages = range(1, len(names) + 1) if cascade else [len(names)]
    others = [explain(scrambled(network, seed, stage)).to(heat) for stage in stages]
    rank, structure = ([how(heat, other) for other in others] for how in (spearman, similarity))
    return Randomisation(tuple(names), torch.stack(rank, 1).cpu(), torch.stack(structure, 1).cpu())


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of maps (N, H, W), float32 (N,); equal values share the mean of their ranks.

    A map that is the same everywhere has no ranks: its correlation is 0.

    >>> spearman(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0, 4.0, 9.0]]])).item()
    1.0
    """
    return correlation(*(_ranks(heat.flatten(1)) for heat in (first, second))).float()


def _ranks(values: Tensor) -> Tensor:
    """Mean ranks from 0, float64 (N, P)."""
    ranks = []
    for row in values:
        _, place, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0)
        ranks.append((last - (counts + 1) / 2).double()[place])
    return torch.stack(ranks)


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """The mean structural similarity (Wang et al., 2004) of maps (N, H, W), float32 (N,), -1 .. 1.

    Each map is divided by its largest magnitude first; the window is 7x7, or the whole map where that is smaller.
    """
    one, two = (_scaled(heat.float())[:, None] for heat in (first, second))
    window = min(7, *one.shape[2:])

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, window, 1)

    small, contrast = 0.02**2, 0.06**2  # the paper's constants for a range of 2, from -1 to 1
    means = mean(one) * mean(two), mean(one) ** 2 + mean(two) ** 2
    spreads = mean(one * two) - means[0], mean(one**2 + two**2) - means[1]
    found = (2 * means[0] + small) * (2 * spreads[0] + contrast) / ((means[1] + small) * (spreads[1] + contrast))
    return found.flatten(1).mean(1)


def _scaled(heat: Tensor) -> Tensor:
    largest = heat.abs().amax((1, 2), keepdim=True)
    return torch.where(largest > 0, heat / largest.clamp_min(torch.finfo(heat.dtype).tiny), torch.zeros_like(heat))


def _copy(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:  # the network may be anybody's
        reason = " ".join(str(error).split())
        raise InputError(
            f"{type(network).__name__} cannot be copied, so its weights cannot be scrambled: {reason}"
        ) from error
