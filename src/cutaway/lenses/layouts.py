"""Where a layer's channels are: most networks put them first, (N, K, H, W), some transformers last, (N, H, W, K)."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from cutaway.lenses.capture import module_name, observe

Shapes = frozenset[tuple[int, ...]]
_known: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], Shapes]] = WeakKeyDictionary()


def channels_last_shapes(network: nn.Module, images: Tensor) -> Shapes:
    """The shapes (H, W, K) of maps with their channels last that layers return for such images, as in Swin.

    They are those that a layer normalisation over the last dimension returns. A network without one is not run, and
    each network only once for images of one shape.
    """
    if not any(isinstance(module, nn.LayerNorm) for module in network.modules()):
        return frozenset()
    known = _known.setdefault(network, {})
    size = tuple(images.shape[1:])
    if size not in known:
        known[size] = _observed(network, images[:1])
    return known[size]


def _observed(network: nn.Module, image: Tensor) -> Shapes:
    found: set[tuple[int, ...]] = set()

    def visit(name: str, value: Tensor) -> None:
        module = network.get_submodule(module_name(name))
        # One that normalises channels that come first turns them twice, and returns another shape.
        if isinstance(module, nn.LayerNorm) and value.ndim == 4 and value.shape[-1] == module.normalized_shape[-1]:
            found.add(tuple(value.shape[1:]))

    with torch.no_grad():
        observe(network, image, None, visit)
    # Where both ends are equal nothing can tell, and channels come first.
    return frozenset(shape for shape in found if shape[0] != shape[2])


def channels_first(value: Tensor, last: Shapes) -> Tensor:
    """`value` with its channels in dimension 1, as a view; as it is if its shape is none of `last`.

    >>> channels_first(torch.zeros(2, 7, 7, 96), frozenset({(7, 7, 96)})).shape
    torch.Size([2, 96, 7, 7])
    """
    return value.movedim(-1, 1) if tuple(value.shape[1:]) in last else value
