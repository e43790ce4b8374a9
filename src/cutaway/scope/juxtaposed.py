"""The pictures of a comparison: one layer of either network side by side, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from cutaway.lenses import weights
from cutaway.lenses.agreement import Agreement
from cutaway.lenses.capture import capture, find_module, module_name
from cutaway.lenses.matching import Matching
from cutaway.lenses.similarity import Similarity
from cutaway.pictures import Picture, Scale, channel_grid
from cutaway.pictures.comparison import Said, beside, disagreement_sheet, similarity_matrix, unit_kernels

_MOST_UNITS = 64
Two = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Views:
    """What the pictures show beyond the numbers.

    Attributes:
        pixels: uint8 (K, C, H, W), the surest disagreements.
        pair: the layers that are shown, with the match of their units; None if there is no such pair.
        image: the name of the image whose maps are shown.
        maps: float (A, h, w) and (B, h, w), what both layers return for it; None if they return no maps.
        kernels: their kernels, float (out, in, h, w); None if one has none.
        gradients: the loss's gradients of these kernels for a batch of images; None without true classes.
    """

    pixels: Tensor
    pair: Matching | None = None
    image: str = ""
    maps: Two | None = None
    kernels: Two | None = None
    gradients: Two | None = None

    def arrays(self) -> dict[str, Tensor]:
        """The values that are drawn, by what they are."""
        found: dict[str, Tensor] = {}
        for what in ("maps", "kernels", "gradients"):
            values = getattr(self, what)
            if values is not None and self.pair is not None:
                found |= {f"{what} A {self.pair.layer_a}": values[0], f"{what} B {self.pair.layer_b}": values[1]}
        return found


def look(
    networks: tuple[nn.Module, nn.Module],
    pair: Matching | None,
    images: Two,
    batches: tuple[Two, Two] | None,
    pixels: Tensor,
    image: str,
) -> Views:
    """Read what the pictures show of the layers of `pair`.

    Args:
        networks: both.
        pair: the layers and the match of their units.
        images: the image whose maps are shown, as either network expects it, float (1, C, H, W).
        batches: images and true classes for the gradient, for either network; None where the classes are not known.
        pixels: the surest disagreements.
        image: what the image is called.
    """
    if pair is None:
        return Views(pixels)
    layers = pair.layer_a, pair.layer_b
    maps = [
        capture(network, values, [layer])[layer].detach()
        for network, values, layer in zip(networks, images, layers, strict=True)
    ]
    with_maps = all(value.ndim == 4 for value in maps)
    found = Views(pixels, pair, image, (maps[0][0], maps[1][0]) if with_maps else None)
    modules = [find_module(network, module_name(layer)) for network, layer in zip(networks, layers, strict=True)]
    if not all(isinstance(module, nn.Conv2d) for module in modules):
        return found
    names = [module_name(layer) for layer in layers]
    kernels = [weights.kernels(network, name) for network, name in zip(networks, names, strict=True)]
    gradients = None
    if batches is not None:
        both = [
            weights.gradients(network, *batch, [name])[name]
            for network, batch, name in zip(networks, batches, names, strict=True)
        ]
        gradients = both[0], both[1]
    return Views(pixels, pair, image, found.maps, (kernels[0], kernels[1]), gradients)


def matrix(found: Similarity, names: tuple[str, str]) -> Picture:
    """The similarity matrix; rows are A's layers and columns B's."""
    title = f"CKA  ·  rows {names[0]}, columns {names[1]}  ·  {found.images:,} images"
    return similarity_matrix(found.cka.numpy(), found.layers_a, found.layers_b, title=title, sides=names)


def disagreements(found: Agreement, pixels: Tensor, classes: Sequence[str], names: tuple[str, str]) -> Picture:
    """The images on which both are sure and differ, surest first."""
    rows = found.disagreeing
    lines = []
    for row in rows[: len(pixels)].tolist():
        truth = int(found.labels[row])
        said = [
            (letter, int(own[row]), float(sure[row]))
            for letter, own, sure in (
                ("A", found.predicted_a, found.probability_a),
                ("B", found.predicted_b, found.probability_b),
            )
        ]
        first = Said(f"true: {classes[truth]}" if truth >= 0 else f"image {int(found.positions[row])}", False)
        lines.append(
            [first]
            + [
                Said(f"{letter}: {sure:.2f} {classes[own]}", own != truth if truth >= 0 else None)
                for letter, own, sure in said
            ]
        )
    title = f"{len(rows)} of {len(found):,} images divide A ({names[0]}) and B ({names[1]}); the surest first"
    return disagreement_sheet(pixels.numpy(), lines, title=title)


def layer_pictures(views: Views, names: tuple[str, str]) -> dict[str, Picture]:
    """Maps, kernels and gradients of the shown layers; the units of B stand where their partners in A do."""
    if views.pair is None:
        return {}
    units = _units(views.pair)
    found = {}
    if views.maps is not None:
        found["maps"] = _maps(views.maps, units, views.pair, names, views.image)
    for what, values in (("kernels", views.kernels), ("gradients", views.gradients)):
        if values is not None:
            found[what] = _kernels(values, units, views.pair, names, what)
    return found


def _units(pair: Matching) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The units that are shown: those of A with a partner, best match first, and their partners in B."""
    order = pair.matched.nan_to_num(-2).argsort(descending=True, stable=True)
    order = order[pair.partner[order] >= 0][:_MOST_UNITS]
    return order.numpy(), pair.partner[order].numpy()


def _arrays(values: Two, units: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[NDArray[np.float32], ...]:
    return tuple(value.float().cpu().numpy()[chosen] for value, chosen in zip(values, units, strict=True))


def _one_scale(both: Sequence[NDArray[np.float32]]) -> Scale:
    return Scale.of(np.concatenate([values.ravel() for values in both]))


def _titles(pair: Matching, names: tuple[str, str], what: str) -> tuple[str, str]:
    return f"A {pair.layer_a} {what} ({names[0]})", f"B {pair.layer_b} {what} ({names[1]})"


def _maps(
    values: Two,
    units: tuple[NDArray[np.int64], NDArray[np.int64]],
    pair: Matching,
    names: tuple[str, str],
    image: str,
) -> Picture:
    both = _arrays(values, units)
    scale = _one_scale(both)
    drawn = [
        channel_grid(maps, layer=title, channels=own.tolist(), scale=scale)
        for maps, own, title in zip(both, units, _titles(pair, names, image), strict=True)
    ]
    return beside(drawn, f"maps of {image}: each unit of A, best match first, and at its place its partner in B")


def _kernels(
    values: Two,
    units: tuple[NDArray[np.int64], NDArray[np.int64]],
    pair: Matching,
    names: tuple[str, str],
    what: str,
) -> Picture:
    both = _arrays(values, units)
    scale = _one_scale(both)
    drawn = [
        unit_kernels(kernels, own.tolist(), scale, title=title)
        for kernels, own, title in zip(both, units, _titles(pair, names, what), strict=True)
    ]
    return beside(drawn, f"{what}: each unit of A, best match first, and at its place its partner in B")
