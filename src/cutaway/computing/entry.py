"""The convolution through which alone an image enters a network: being linear, it need not run for every variant.

On a straight line between two images, what the first convolution returns lies on a straight line too. So the line can
be walked behind it, and the sum of many gradients there pulled back to the image once instead of each by itself; for a
network of few layers over large images that is a fifth of the work. The first convolution is not read from the code
but observed in one pass, by intercepting `torch.conv2d` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_Options = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Entry:
    """The one call of `torch.conv2d` that reads the image.

    Attributes:
        weight: of that convolution, (O, C, kh, kw).
        options: the call's other arguments.
    """

    weight: Tensor
    options: _Options = field(repr=False)

    def __call__(self, images: Tensor) -> Tensor:
        """What the convolution returns for `images` (N, C, H, W)."""
        positional, named = self.options
        return torch.conv2d(images, self.weight, *positional, **named)

    def pull_back(self, gradients: Tensor, like: Tensor) -> Tensor:
        """Gradients behind the convolution as gradients with respect to images of the shape of `like`."""
        images = torch.zeros_like(like).requires_grad_()
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(self(images), images, gradients)
        return pulled


def find_entry(score: Callable[[Tensor], Tensor], images: Tensor) -> Entry | None:
    """The convolution through which alone `images` reach `score(images)`, or None if they have another way too.

    Args:
        score: a differentiable pass; only its dependence on `images` may require a gradient.
        images: float (N, C, H, W), some that it will meet.

    >>> weight = torch.ones(2, 1, 3, 3)
    >>> entry = find_entry(lambda x: torch.conv2d(x, weight).relu().sum(), torch.ones(1, 1, 5, 5))
    >>> entry is not None and entry.weight is weight
    True
    >>> find_entry(lambda x: torch.conv2d(x, weight).sum() + x.sum(), torch.ones(1, 1, 5, 5)) is None
    True
    """
    images = images.detach().clone().requires_grad_()
    watch = _Watching(images)
    with torch.enable_grad(), watch:
        result = score(images)
    # The intercepted call let nothing through, so a gradient that is left came some other way.
    return None if len(watch.found) != 1 or result.requires_grad else watch.found[0]


class _Watching(TorchFunctionMode):
    """Notes the convolutions that read the images, and cuts the graph behind them."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = images.detach()
        self.found: list[Entry] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        result = func(*args, **named)
        if func is not torch.conv2d:
            return result
        image, weight, options = _parts(args, named)
        if image.shape != self.images.shape or not torch.equal(image, self.images):
            return result
        self.found.append(Entry(weight, options))
        return result.detach()


class entering(TorchFunctionMode):  # noqa: N801  # used as a context manager, like torch.no_grad
    """Inside this block the entry's convolution returns `value` (N, O, h, w) without computing anything.

    The next layer may work in place on it; a `value` that is a leaf would forbid that.
    """

    def __init__(self, entry: Entry, value: Tensor) -> None:
        super().__init__()
        self.entry = entry
        self.value = value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.conv2d and _parts(args, named)[1] is self.entry.weight:
            return self.value
        return func(*args, **named)


def _parts(args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor, _Options]:
    """Image, weight and the rest of the arguments of a call of `torch.conv2d`."""
    rest = {name: value for name, value in named.items() if name not in ("input", "weight")}
    image = args[0] if args else named["input"]
    weight = args[1] if len(args) > 1 else named["weight"]
    return image, weight, (args[2:], rest)
