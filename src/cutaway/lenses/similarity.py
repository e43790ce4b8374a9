"""How alike two networks represent the same images: linear CKA between all pairs of layers, in one pass over the data.

Kornblith, Norouzi, Lee and Hinton (2019) compare representations by their Gram matrices. Nguyen, Raghu and Kornblith
(2021) make it stream: an unbiased estimate of HSIC (Song et al., 2012) a batch, and the mean over batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import Visit, module_name, observe
from cutaway.lenses.weights import weight_names
from cutaway.showing import Shown

LEAST_IMAGES = 4  # the unbiased estimate divides by n - 3
# Centred values that are this small beside their mean are rounding: float32 keeps seven digits, squared fourteen.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Similarity(Shown):
    """CKA between the layers of two networks.

    Attributes:
        layers_a: names of the N layers of the first network, in the order of its forward pass.
        layers_b: names of the M layers of the second.
        cka: float64 (N, M); at most 1, and the estimate can be a little below 0 where two layers share nothing. NaN
            where a layer answered the same to all images.
        error: float64 (N, M), its standard error over batches (jackknife); NaN with a single batch.
        images: how many images it was estimated from.
        batches: in how many batches.
        self_gap: the largest `|CKA - 1|` of a layer with itself, the second time computed otherwise: see `self_check`.
    """

    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    cka: Tensor
    error: Tensor
    images: int
    batches: int
    self_gap: float


def similarity(
    network_a: nn.Module,
    network_b: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    layers_a: Sequence[str] | None = None,
    layers_b: Sequence[str] | None = None,
) -> Similarity:
    """CKA between every layer of one network and every layer of another (or the same one at another epoch).

    Each batch passes through each network once; N + M Gram matrices are made of it inside the pass, so that no
    activations are kept, and all N x M products are one matrix product.

    Args:
        network_a: any module that takes one image batch.
        network_b: likewise.
        batches: pairs of float (n, C, H, W): the same n >= 4 images as either network expects them. Batches should be
            drawn at random; about equal in size.
        layers_a: dotted names; None for all convolutions and linear layers that the forward pass reaches and that
            answer image by image.
        layers_b: likewise.

    Raises:
        InputError: fewer than four images in a batch, no batch, a layer that does not exist or is not reached, or
            values that are not finite (it names the first layer that has them).

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 2))
    >>> images = torch.rand(8, 1, 5, 5)
    >>> found = similarity(network, network, [(images, images)])
    >>> found.layers_a, torch.allclose(found.cka.diagonal(), torch.ones(2, dtype=torch.float64))
    (('0', '3'), True)
    """
    total = SimilarityTotal()
    for images_a, images_b in batches:
        first = not len(total)
        grams_a, grams_b = LayerGrams(len(images_a), first), LayerGrams(len(images_b), first)
        run_once(network_a, images_a, layers_a, grams_a)
        run_once(network_b, images_b, layers_b, grams_b)
        total.add(grams_a, grams_b)
    return total.result()


def run_once(network: nn.Module, images: Tensor, layers: Sequence[str] | None, *visits: Visit) -> Any:
    """One forward pass without gradients: `visit(name, tensor)` at each layer; what the network returned.

    Args:
        network: any module; it is left as it was.
        images: float (N, C, H, W), as the network expects them.
        layers: dotted names; None for all convolutions and linear layers that the pass reaches.
        visits: what is called with each layer's own tensor, in this order.
    """
    weighted = set(weight_names(network))
    returned: list[Any] = []

    def visit(name: str, value: Tensor) -> None:
        # Left to itself it passes over layers that do not look at the images, as those of a table of positions.
        chosen = module_name(name) in weighted and _is_per_image(value, len(images))
        wanted = chosen if layers is None else module_name(name) != ""
        for one in visits if wanted else ():
            one(name, value)

    with torch.no_grad(), _keeping(network, returned):
        # The empty name is the network itself: with it the pass runs to its end.
        observe(network, images, None if layers is None else [*layers, ""], visit)
    return returned[-1]


@contextmanager
def _keeping(network: nn.Module, returned: list[Any]) -> Iterator[None]:
    handle = network.register_forward_hook(lambda _module, _args, output: returned.append(output))
    try:
        yield
    finally:
        handle.remove()


class LayerGrams:
    """A visit that makes a Gram matrix of each layer's output, and keeps nothing else of it.

    Args:
        images: how many images the pass has.
        check: also keep the values of the smallest layer, for `self_check`.
    """

    def __init__(self, images: int, check: bool = False) -> None:
        self.found: dict[str, Tensor] = {}
        self.images = images
        self.check = check
        self.smallest: tuple[str, Tensor] | None = None

    def __call__(self, layer: str, value: Tensor) -> None:
        """Take the output of one layer in."""
        rows = per_image(layer, value.detach(), self.images).float()
        self.found[layer] = gram(rows)
        if self.check and (self.smallest is None or rows.shape[1] < self.smallest[1].shape[1]):
            self.smallest = (layer, rows.clone())


def per_image(layer: str, value: Tensor, images: int) -> Tensor:
    """A layer's output as (images, values); windows of attention, (images x windows, ...), are put back together."""
    if _is_per_image(value, images):
        return value.reshape(images, -1)
    raise InputError(
        f"layer '{layer}' returns {tuple(value.shape)} for {images} images, so its values do not belong to single "
        "images and it cannot be compared; name other layers"
    )


def _is_per_image(value: Tensor, images: int) -> bool:
    return value.ndim > 0 and len(value) > 0 and len(value) % images == 0


def gram(rows: Tensor) -> Tensor:
    """Float32 (n, n): inner products between the images' values, float (n, D), less their mean over the images.

    HSIC does not change with the mean; without it the product in float32 keeps the digits that matter.
    """
    mean = rows.mean(0)
    centred = rows - mean
    product = centred @ centred.T
    constant = product.trace() <= _ROUNDING * len(rows) * mean.square().sum()
    return torch.where(constant, torch.zeros_like(product), product)


def u_centred(grams: Tensor) -> Tensor:
    """Gram matrices (..., n, n) such that the unbiased HSIC is a plain inner product of two of them.

    float64; the diagonal is zero and every row adds up to zero (U-centring: Székely and Rizzo, 2014). The sum of the
    products of the entries of two of these, over n (n - 3), is `HSIC_1` of Song et al. (2012), equation 5.
    """
    count = grams.shape[-1]
    values = grams.double()
    values = values - torch.diag_embed(values.diagonal(dim1=-2, dim2=-1))
    rows = values.sum(-1, keepdim=True) / (count - 2)
    centred = values - rows - rows.mT + values.sum((-2, -1), keepdim=True) / ((count - 1) * (count - 2))
    return centred - torch.diag_embed(centred.diagonal(dim1=-2, dim2=-1))


def self_check(layer: Tensor, found: Tensor) -> float:
    """How far from 1 the CKA of a layer with itself is, the second time with its features rearranged and scaled.

    The features are put in reverse order, every other one changes sign, and all are tripled: CKA must not notice. The
    second Gram matrix is taken in float64 and without the mean subtracted, so the gap also holds the rounding.

    Args:
        layer: float (n, D), the layer's values.
        found: (n, n), its Gram matrix as it was used.
    """
    other = layer.double().flip(1) * 3
    other[:, ::2] *= -1
    first, second = u_centred(found).flatten(), u_centred(other @ other.T).flatten()
    size = first.norm() * second.norm()
    return abs(float(first @ second / size) - 1) if size > 0 else 0.0


class SimilarityTotal:
    """The running sums: HSIC of every pair and of every layer with itself, batch by batch in float64."""

    def __init__(self) -> None:
        self.layers: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
        self.pairs: list[Tensor] = []  # (N, M) each
        self.own: tuple[list[Tensor], list[Tensor]] = ([], [])  # (N,) and (M,) each
        self.images = 0
        self.gap = 0.0

    def __len__(self) -> int:
        return len(self.pairs)

    def add(self, grams_a: LayerGrams, grams_b: LayerGrams) -> None:
        """Count one batch in: the Gram matrices of either network for the same images."""
        layers = (tuple(grams_a.found), tuple(grams_b.found))
        if self.layers == ((), ()):
            self._begin(layers, grams_a, grams_b)
        self._check(layers)
        first, count = self._flat(grams_a.found, "first")
        second, other = self._flat(grams_b.found, "second")
        if count != other:
            raise InputError(f"both networks must see the same images; found batches of {count} and {other}")
        size = count * (count - 3)
        self.pairs.append(first @ second.T / size)
        for own, values in zip(self.own, (first, second), strict=True):
            own.append(values.square().sum(1) / size)
        self.images += count

    def _begin(self, layers: tuple[tuple[str, ...], tuple[str, ...]], *sides: LayerGrams) -> None:
        self.layers = layers
        for side in sides:
            if side.smallest is not None:
                name, values = side.smallest
                self.gap = max(self.gap, self_check(values.cpu(), side.found[name].cpu()))

    def _check(self, layers: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        if not all(layers):
            raise InputError("there is no convolution or linear layer to compare; name layers of either network")
        if layers != self.layers:
            raise InputError("a network must call the same layers for every batch; found others than in the first one")

    def _flat(self, grams: Mapping[str, Tensor], which: str) -> tuple[Tensor, int]:
        stacked = torch.stack(list(grams.values())).cpu()
        count = stacked.shape[-1]
        if count < LEAST_IMAGES:
            raise InputError(f"CKA needs at least {LEAST_IMAGES} images in a batch; found {count}")
        finite = torch.isfinite(stacked).flatten(1).all(1).tolist()
        if not all(finite):
            layer = list(grams)[finite.index(False)]
            raise InputError(
                f"layer '{layer}' of the {which} network returns NaN or infinity, so it cannot be compared; "
                "look at its weights, or at the training run that made them"
            )
        return u_centred(stacked).flatten(1), count

    def result(self) -> Similarity:
        """CKA and its standard error over the batches so far."""
        if not self.pairs:
            raise InputError("there is no image to compare on; give at least one batch")
        pairs, own_a, own_b = torch.stack(self.pairs), torch.stack(self.own[0]), torch.stack(self.own[1])
        value = _ratio(pairs.sum(0), own_a.sum(0), own_b.sum(0))
        error = _jackknife(pairs, own_a, own_b)
        return Similarity(*self.layers, value, error, self.images, len(pairs), self.gap)


def _ratio(pairs: Tensor, own_a: Tensor, own_b: Tensor) -> Tensor:
    return pairs / (own_a[..., :, None] * own_b[..., None, :]).sqrt()


def _jackknife(pairs: Tensor, own_a: Tensor, own_b: Tensor) -> Tensor:
    """Standard error of the ratio of means: the spread of its values with one batch left out (Quenouille, Tukey)."""
    count = len(pairs)
    if count == 1:
        return torch.full_like(pairs[0], torch.nan)
    values = _ratio(*(terms.sum(0) - terms for terms in (pairs, own_a, own_b)))
    return ((count - 1) / count * (values - values.mean(0)).square().sum(0)).sqrt()
