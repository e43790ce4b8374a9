"""What a class activation map needs to know of a network: its layer, how that lies in memory, and its linear head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import inputs_of
from cutaway.errors import InputError
from cutaway.lenses.capture import bare, call_name, images_for, tensors_in
from cutaway.lenses.forward import opened

LEAST_SIDE = 4
# These return what they were given, or a size that the head wants instead of the map's own.
_NO_MAKERS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Softmax, nn.Identity)


@dataclass(frozen=True)
class _Output:
    name: str
    shape: tuple[int, ...]
    maker: bool
    node: Any

    @property
    def side(self) -> int:
        """The shorter side of a map; 0 where the output is none."""
        return min(self.shape[2:]) if self.maker and len(self.shape) == 4 else 0

    @property
    def has_places(self) -> bool:
        return self.side > 0 and max(self.shape[2:]) > 1


@dataclass(frozen=True)
class _Graph:
    """The autograd graph of one pass: the node of the image, the nodes of the network's output, all outputs' between.

    A node stands for an operation and keeps its place whatever later operations do to its tensor in place.
    """

    start: Any
    ends: tuple[Any, ...]
    outputs: tuple[_Output, ...]

    def leads_to_the_end(self, output: _Output) -> bool:
        """Whether what the network returns depends on this output."""
        return self._meets(output.node, without=None)

    def is_a_cut(self, output: _Output) -> bool:
        """Whether every way from the image to the end leads through this output: no skip connection around it."""
        return not self._meets(self.start, without=output.node)

    def _meets(self, goal: Any, without: Any) -> bool:
        seen, stack = {without, None}, list(self.ends)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            if node is goal:
                return True
            seen.add(node)
            stack.extend(inputs_of(node))
        return False


def good_layer(network: nn.Module, images: Tensor, *, side: int = LEAST_SIDE) -> str:
    """The layer to draw class activation maps at: the deepest whose maps still show where.

    Among all modules whose maps the logits depend on it is the last with at least `side` x `side` places, else the
    last with more than one. A layer that everything passes through goes before the parts of a block, around which
    other branches lead. Of modules that return the same tensor it is the outermost (`layer4`, not `layer4.1.relu#1`).
    Dropout and adaptive pooling do not count: they make no maps of their own.

    Args:
        network: any classifier; left as it was.
        images: float (N, C, H, W), as the network expects them; the first one is passed through it.
        side: below four places a side a map is too coarse to point at anything; 1 for the very last maps.

    Raises:
        InputError: a network without maps, or one that turns them into tokens early on (a vision transformer).

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    >>> good_layer(network, torch.zeros(1, 1, 8, 8))
    '1'
    """
    network = bare(network)
    graph = _graph(network, images[:1])
    # Each list goes from deep to shallow; the first layer of the first list that has any is the choice.
    maps = [output for output in reversed(graph.outputs) if output.has_places]
    wide = [output for output in maps if output.side >= side]
    for candidates, accept in [(wide, graph.is_a_cut), (wide, None), (maps, graph.is_a_cut), (maps, None)]:
        for output in candidates:
            if graph.leads_to_the_end(output) and (accept is None or accept(output)):
                _refuse_tokens(network, graph.outputs, output)
                return output.name
    raise InputError(
        f"{type(network).__name__} has no layer with maps (N, K, H, W) of more than one place for images of "
        f"{'x'.join(map(str, images.shape[1:]))}; choose a method that needs none, such as 'integrated-gradients'"
    )


def _graph(network: nn.Module, image: Tensor) -> _Graph:
    """What every module of the network returns for one image, in the order in which the modules finish."""
    found: list[_Output] = []
    calls: Counter[str] = Counter()

    def hook(name: str) -> Callable[..., None]:
        def after(module: nn.Module, _args: Any, value: Any) -> None:
            maker = not isinstance(module, _NO_MAKERS)
            called = call_name(name, calls[name])
            calls[name] += 1
            for part, tensor in tensors_in(value):
                # A network may give its parts other batches (windows of an image); those are no maps of the image.
                if tensor.shape[:1] == (1,):
                    found.append(_Output(called + part, tuple(tensor.shape), maker, tensor.grad_fn))

        return after

    with opened(network), ExitStack() as handles:
        for name, module in network.named_modules():
            if name and ".parametrizations." not in name:
                handles.enter_context(module.register_forward_hook(hook(name)))
        # A copy, because the first layer may work in place, which a leaf forbids.
        start = images_for(network, image).detach().requires_grad_().clone()
        node = start.grad_fn
        ends = tuple(tensor.grad_fn for _, tensor in tensors_in(network(start)))
    return _Graph(node, ends, tuple(found))


def _refuse_tokens(network: nn.Module, outputs: Sequence[_Output], chosen: _Output) -> None:
    """Raise where most of the network works behind its last map, on tokens: that map is only where they start."""
    place = outputs.index(chosen)
    maps = sum(output.has_places for output in outputs[: place + 1])
    tokens = [output for output in outputs[place + 1 :] if len(output.shape) == 3 and output.shape[1] > 1]
    if len(tokens) > maps:
        raise InputError(
            f"{type(network).__name__} works on tokens {tokens[-1].shape} instead of maps, so no layer is a good one "
            f"for class activation maps; choose a method that needs none, such as 'integrated-gradients', or name a "
            f"layer (the last one with maps is '{chosen.name}')"
        )


@dataclass(frozen=True)
class LinearHead:
    """Logits that are linear in a layer's maps: `weight @ features + bias`.

    Attributes:
        weight: (classes, K) for features that are the maps' means, (classes, K*h*w) for all their values.
        bias: (classes,).
        pooled: whether the features are the means (global average pooling).
    """

    weight: Tensor
    bias: Tensor
    pooled: bool


def linear_head(network: nn.Module, maps: Tensor, logits: Tensor) -> LinearHead | None:
    """The last linear layer (or 1x1 convolution) that makes these logits of these maps, checked by its numbers.

    Args:
        network: the network they come from.
        maps: (N, K, h, w), a layer's output.
        logits: (N, classes).
    """
    tolerance = 1e-3 if torch.finfo(logits.dtype).bits >= 32 else 3e-2
    maps, logits = maps.detach().float(), logits.detach().float()
    for module in reversed(list(network.modules())):
        head = _head(module, maps, logits)
        if head is not None:
            features = maps.mean((2, 3)) if head.pooled else maps.flatten(1)
            gap = (features @ head.weight.T + head.bias - logits).abs().max()
            if gap <= tolerance * logits.abs().max():
                return head
    return None


def _head(module: nn.Module, maps: Tensor, logits: Tensor) -> LinearHead | None:
    """The module as a head, where its weight has the right shape."""
    if not isinstance(module, (nn.Linear, nn.Conv2d)):
        return None
    if isinstance(module, nn.Conv2d) and (module.kernel_size != (1, 1) or module.groups != 1):
        return None
    weight = module.weight.detach().float().flatten(1)
    widths = (maps.shape[1], maps[0].numel())
    if weight.shape[0] != logits.shape[1] or weight.shape[1] not in widths:
        return None
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach().float()
    return LinearHead(weight, bias, pooled=weight.shape[1] == widths[0])
