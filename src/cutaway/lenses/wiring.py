"""Wiring: which channels of which layers arrive at a layer's inputs, followed through one forward pass.

Between two layers with weights, most operations keep channels apart: an activation, a pooling, a batch norm, the sum of
a residual connection, a concatenation, a flattening. They are followed as they run, whatever the modules are called.
What mixes channels in another way (a shuffle, attention) ends the trail: nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import Convolution, Operations, about_tensors, arguments, leaves, operation_name
from cutaway.lenses.capture import bare, call_name, images_for
from cutaway.restoring import untouched

IMAGE = "input"  # the source of the image's own channels


@dataclass(frozen=True, eq=False)
class Wire:
    """Some channels of a layer, as they arrive at another one.

    Attributes:
        source: the layer that they come from; `IMAGE` for the image.
        first: the number of the first input channel they arrive at.
        start: the number of the first of them in the source.
        scale: float64 (n,), what batch norms on the way multiply each with.
        repeat: how many neighbouring inputs belong to one of them: the places of a map that was flattened.
    """

    source: str
    first: int
    start: int
    scale: Tensor
    repeat: int = 1

    @property
    def channels(self) -> int:
        """How many channels."""
        return len(self.scale)

    @property
    def stop(self) -> int:
        """The input behind its last one."""
        return self.first + self.channels * self.repeat

    def cut(self, start: int, stop: int) -> Wire | None:
        """The part of it that arrives at inputs `start` to `stop` (exclusive), which then count from 0."""
        low, high = max(start, self.first), min(stop, self.stop)
        if low >= high or (low - self.first) % self.repeat or (high - self.first) % self.repeat:
            return None
        skipped, ended = (low - self.first) // self.repeat, (high - self.first) // self.repeat
        return Wire(self.source, low - start, self.start + skipped, self.scale[skipped:ended], self.repeat)


Wires = tuple[Wire, ...]


def wiring(network: nn.Module, image: Tensor) -> dict[str, Wires]:
    """For each call of each convolution and linear layer, in the order of the pass, the wires that arrive at it.

    Args:
        network: any module that takes one image batch; left as it was.
        image: float (1, C, H, W), as the network expects it.

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4))
    >>> [(wire.source, wire.channels, wire.repeat) for wire in wiring(network, torch.zeros(1, 1, 5, 5))["3"]]
    [('0', 2, 9)]
    """
    network = bare(network)
    # A clone, because a network may work in place on what it is given.
    image = images_for(network, image).clone()
    trail = _Trail(image)
    with untouched(network), torch.no_grad(), ExitStack() as stack:
        network.eval()
        for name, module in network.named_modules():
            if isinstance(module, (Convolution, nn.Linear)):
                stack.enter_context(module.register_forward_pre_hook(trail.before(name)))
                stack.enter_context(module.register_forward_hook(trail.after(name)))
        stack.enter_context(trail)
        network(image)
    return trail.found


class _Trail(Operations):
    """Which wires each live tensor's dimension 1 holds."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.found: dict[str, Wires] = {}
        self.calls: Counter[str] = Counter()
        self.wires = about_tensors()
        self.wires[image] = (_whole(IMAGE, image),)

    def before(self, name: str) -> Callable[..., None]:
        """The hook that notes what arrives at a layer."""

        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                self.found[call_name(name, self.calls[name])] = self.of(args[0])

        return hook

    def after(self, name: str) -> Callable[..., None]:
        """The hook that begins a trail where a layer ends."""

        def hook(module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
            call = call_name(name, self.calls[name])
            self.calls[name] += 1
            # The channels of a linear layer over tokens or maps are the last dimension, which is not followed.
            is_followed = output.ndim == (2 if isinstance(module, nn.Linear) else 4)
            self.wires[output] = (_whole(call, output),) if is_followed else ()

        return hook

    def of(self, tensor: Tensor) -> Wires:
        """The wires that a tensor holds."""
        found: Wires = self.wires.get(tensor, ())
        return found

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it and lead the wires through it."""
        given = arguments(func, args, kwargs)
        # Before it runs, because an operation in place writes over what it is given.
        held = {id(value): self.of(value) for value in leaves((args, kwargs)) if isinstance(value, Tensor)}
        result = func(*args, **kwargs)
        rule = _RULES.get(operation_name(func).removesuffix("_"))
        for index, output in enumerate(value for value in leaves(result) if isinstance(value, Tensor)):
            passing = rule is not None and any(held.values()) and output.ndim in (2, 4)
            self.wires[output] = rule(_Step(given, held, output, index)) if passing and rule else ()
        return result


def _whole(source: str, value: Tensor) -> Wire:
    return Wire(source, 0, 0, torch.ones(value.shape[1], dtype=torch.float64))


@dataclass(frozen=True)
class _Step:
    """One operation: its arguments by name, the wires of those that are tensors, and output number `index`."""

    given: dict[str, Any]
    held: dict[int, Wires]
    output: Tensor
    index: int

    def of(self, name: str) -> Wires:
        """The wires of an argument."""
        return self.held.get(id(self.given[name]), ())

    @property
    def subject(self) -> Tensor:
        """The tensor that it works on."""
        found: Tensor = self.given["self"] if "self" in self.given else self.given["input"]
        return found

    @property
    def own(self) -> Wires:
        """The wires of that tensor."""
        return self.held[id(self.subject)]


def _same(step: _Step) -> Wires:
    """An operation that works on every channel by itself."""
    subject = step.subject
    same = subject.ndim in (2, 4) and subject.shape[:2] == step.output.shape[:2]
    return step.own if same and not step.index else ()


def _norm(step: _Step) -> Wires:
    """A batch norm in eval mode multiplies each channel."""
    if step.index:
        return ()
    variance = step.given["running_var"].double()
    # cuDNN's and MIOpen's call it by its full name.
    factor = (variance + step.given.get("eps", step.given.get("epsilon"))).rsqrt()
    if step.given.get("weight") is not None:
        factor = factor * step.given["weight"].double()
    return tuple(_scaled(wire, factor) for wire in step.own)


def _scaled(wire: Wire, factor: Tensor) -> Wire:
    """A wire multiplied with a factor for each input."""
    own = factor[wire.first : wire.stop : wire.repeat].to(wire.scale)
    return replace(wire, scale=wire.scale * own) if wire.repeat == 1 else wire


def _sum(step: _Step) -> Wires:
    """Both sides arrive; what is broadcast over the channels or is a number does not."""
    sides = (step.given["self"], 1.0), (step.given["other"], float(step.given.get("alpha", 1)))
    return _once(
        [
            replace(wire, scale=wire.scale * factor)
            for value, factor in sides
            if isinstance(value, Tensor) and value.ndim == step.output.ndim and value.shape[1] == step.output.shape[1]
            for wire in step.held[id(value)]
        ]
    )


def _difference(step: _Step) -> Wires:
    alpha = -float(step.given.get("alpha", 1))
    return _sum(replace(step, given={**step.given, "alpha": alpha}))


def _product(step: _Step) -> Wires:
    """A number multiplies; of two tensors the one with the map passes, and the other is a gate for it."""
    other = step.given["other"]
    if not isinstance(other, Tensor) or other.ndim == 0:
        return tuple(replace(wire, scale=wire.scale * float(other)) for wire in _same(step))
    full = [value for value in (step.subject, other) if value.shape == step.output.shape and step.held.get(id(value))]
    return _once([wire for value in full for wire in step.held[id(value)]])


def _quotient(step: _Step) -> Wires:
    other = step.given["other"]
    if isinstance(other, Tensor) and other.ndim:
        return ()
    return tuple(replace(wire, scale=wire.scale / float(other)) for wire in _same(step))


def _once(wires: Sequence[Wire]) -> Wires:
    """Without what is there twice, as in `x * sigmoid(x)`."""
    return tuple({(wire.source, wire.first, wire.start, wire.channels): wire for wire in wires}.values())


def _mean(step: _Step) -> Wires:
    """A mean over the places."""
    dims = {dim % 4 for dim in step.given.get("dim") or ()}
    subject = step.subject
    if subject.ndim != 4 or not dims or not dims <= {2, 3} or (step.output.ndim == 2 and len(dims) == 1):
        return ()
    return step.own


def _strided(step: _Step) -> Wires:
    """What a mean over all places of channels-last maps ends with: the same numbers, one a channel."""
    return _same(step) if step.output.ndim == 4 and prod(step.output.shape[2:]) == 1 else ()


def _view(step: _Step) -> Wires:
    """A flattening of maps into features, or the same dimensions again."""
    before, after = step.subject.shape, step.output.shape
    if len(before) < 2 or before[0] != after[0]:
        return ()
    if before[1] == after[1]:
        return step.own
    places = prod(before[2:])
    if len(after) != 2 or after[1] != before[1] * places:
        return ()
    return tuple(replace(wire, first=wire.first * places, repeat=wire.repeat * places) for wire in step.own)


def _slice(step: _Step) -> Wires:
    dim = step.given.get("dim", 0) % step.subject.ndim
    if dim != 1:
        return step.own
    start = step.given.get("start") or 0
    if step.given.get("step", 1) != 1:
        return ()
    return _cut(step.own, slice(start, None).indices(step.subject.shape[1])[0], step.output.shape[1])


def _split(step: _Step) -> Wires:
    if step.given.get("dim", 0) % step.subject.ndim != 1:
        return step.own
    sizes = step.given.get("split_sizes") or [step.given["split_size"]] * (step.index + 1)
    return _cut(step.own, list(accumulate(sizes, initial=0))[step.index], step.output.shape[1])


def _cut(wires: Wires, start: int, count: int) -> Wires:
    return tuple(cut for wire in wires if (cut := wire.cut(start, start + count)) is not None)


def _concatenation(step: _Step) -> Wires:
    tensors = step.given["tensors"]
    if step.given.get("dim", 0) % step.output.ndim != 1:
        return ()
    starts = accumulate((value.shape[1] for value in tensors), initial=0)
    return tuple(
        replace(wire, first=wire.first + start)
        for value, start in zip(tensors, starts, strict=False)
        for wire in step.held[id(value)]
    )


_Rule = Callable[[_Step], Wires]


def _named(rule: _Rule, names: str) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, _Rule] = {
    **_named(
        _same,
        "relu sigmoid silu gelu hardtanh hardswish hardsigmoid leaky_relu elu tanh softplus mish _prelu_kernel clamp "
        "clamp_min clamp_max abs copy clone _to_copy contiguous detach alias lift_fresh native_dropout "
        "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d constant_pad_nd reflection_pad2d "
        "replication_pad2d upsample_nearest2d upsample_bilinear2d max_pool2d mkldnn_max_pool2d",
    ),
    **_named(
        _norm,
        "native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm miopen_batch_norm batch_norm",
    ),
    **_named(_sum, "add"),
    **_named(_difference, "sub"),
    **_named(_product, "mul"),
    **_named(_quotient, "div"),
    **_named(_mean, "mean"),
    **_named(_strided, "as_strided"),
    **_named(_view, "view _unsafe_view reshape flatten squeeze"),
    **_named(_slice, "slice"),
    **_named(_split, "split split_with_sizes"),
    **_named(_concatenation, "cat"),
}
