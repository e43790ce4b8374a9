"""The check of a scan: an image passes again, alone, and must give the score that is stored for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cutaway.lenses.capture import observe
from cutaway.lenses.exemplars.scan import maps_of
from cutaway.lenses.exemplars.tables import Tables
from cutaway.lenses.layouts import channels_last_shapes

MOST = 32


@dataclass(frozen=True)
class Replay:
    """How far stored scores are from what their images give.

    Attributes:
        gap: the largest difference, in parts of the largest stored score of its layer.
        checked: how many scores were replayed.
        equal: how many of them came out the same to the last bit.
    """

    gap: float
    checked: int
    equal: int


def replay(
    network: nn.Module, tables: Mapping[str, Tables], image: Callable[[int], Tensor], most: int = MOST
) -> Replay:
    """Replay the best image of one unit of each layer.

    Args:
        network: any module that takes one image batch; left as it was.
        tables: of each layer.
        image: gives float (1, C, H, W) of a position in the split, as the network expects it.
        most: at most so many layers, evenly spaced.
    """
    layers = _evenly([layer for layer, found in tables.items() if found.best.k], most)
    gaps, equal = [], 0
    for number, layer in enumerate(layers):
        best = tables[layer].best
        channel = number * len(best.scores) // len(layers)
        stored, place = float(best.scores[channel, 0]), int(best.places[channel, 0])
        again = score(network, image(int(best.images[channel, 0])), layer, channel, place)
        equal += again == stored
        gaps.append(abs(again - stored) / max(float(best.scores.abs().max()), 1e-30))
    return Replay(max(gaps, default=0.0), len(gaps), equal)


def score(network: nn.Module, image: Tensor, layer: str, channel: int, place: int) -> float:
    """What the unit `channel` of `layer` answers to one image, float (1, C, H, W), at a place of its map."""
    answers: list[float] = []
    last = channels_last_shapes(network, image)
    with torch.no_grad():
        observe(
            network,
            image,
            [layer],
            lambda name, value: answers.append(float(maps_of(name, value, last)[0, channel].flatten()[place])),
        )
    return answers[0]


def _evenly(names: Sequence[str], most: int) -> list[str]:
    count = min(most, len(names))
    return [names[index * len(names) // count] for index in range(count)]
