"""What a network's layers answer to images: feature maps, and statistics of its activations over many images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.computing.torch_inside import Convolution, about_tensors
from cutaway.errors import InputError
from cutaway.lenses.capture import call_name, capture, images_for, is_leaf
from cutaway.lenses.layouts import channels_first, channels_last_shapes
from cutaway.lenses.saturation import Ends, ends_of_call, ends_of_module, is_activation
from cutaway.restoring import untouched
from cutaway.showing import Shown


def feature_maps(network: nn.Module, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
    """What each layer returns for each image, without gradients.

    Args:
        network: any module that takes one image batch.
        images: float (N, C, H, W), as the network expects them.
        layers: dotted names (`layer1.0.relu#1` for a second call); None for every layer that returns maps.

    Returns:
        Each layer's maps, float (N, channels, height, width), signed, in the order of the forward pass; a layer that
        puts its channels last is turned.

    Raises:
        InputError: a layer that does not exist, is not reached, or returns no maps.
    """
    with torch.no_grad():
        found = capture(network, images, layers)
    last = channels_last_shapes(network, images)
    found = {name: channels_first(value, last) for name, value in found.items()}
    if layers is None:
        return {name: value for name, value in found.items() if value.ndim == 4}
    for name, value in found.items():
        if value.ndim != 4:
            raise InputError(f"layer '{name}' returns a tensor {tuple(value.shape)} and no maps (N, C, H, W)")
    return found


_WEIGHTED = (Convolution, nn.Linear)


@dataclass(frozen=True)
class ActivationStatistics(Shown):
    """How one activation behaves over a set of images.

    Attributes:
        layer: its name; `layer1.0.relu()` is a function called inside the module `layer1.0`.
        source: the convolution or linear layer whose output it receives; "" if there is none before it.
        zero_fraction: share of its values that are exactly zero, 0 .. 1.
        dead_channels: channels that were zero everywhere on all images.
        channels: number of channels.
        mean: mean of all values.
        max: largest value.
        min: smallest value.
        saturated_fraction: share of its values at an end of its range, where its slope is (nearly) zero, 0 .. 1: for a
            ReLU the zeros, for a ReLU6 also the sixes, for a sigmoid what is within a hundredth of 0 or 1; see
            `saturation`. Always 0 for an activation without ends.
        saturated_channels: channels that were at an end everywhere on all images, and not dead.
    """

    layer: str
    source: str
    zero_fraction: float
    dead_channels: tuple[int, ...]
    channels: int
    mean: float
    max: float
    min: float = 0.0
    saturated_fraction: float = 0.0
    saturated_channels: tuple[int, ...] = ()

    @property
    def dead_fraction(self) -> float:
        """Share of the channels that are dead, 0 .. 1."""
        return len(self.dead_channels) / self.channels


def activation_statistics(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, ActivationStatistics]:
    """Zeros, dead and saturated channels, mean and extremes of every activation over all batches.

    Activations are ReLU and its relatives, sigmoid, tanh and theirs. Modules and functions are seen alike (`nn.ReLU`,
    `F.relu`), each call by its own name. The batches are read one by one and nothing of them is kept, so a whole data
    set can pass.

    Args:
        network: any module that takes one image batch; it runs in eval mode, without gradients.
        batches: float (N, C, H, W) tensors, as the network expects them.
    """
    totals = ActivationTotals(network)
    for images in batches:
        with untouched(network), torch.no_grad(), totals.watching():
            network.eval()
            network(images_for(network, images))
    return totals.result()


class ActivationTotals:
    """The running statistics of one network's activations, for passes that are made for something else as well."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.totals: dict[str, _Total] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count one batch in: the pass through the network that is made inside; one that raises counts for nothing."""
        seen: list[tuple[str, _Total]] = []

        def add(name: str, source: str, last: bool, ends: Ends, value: Tensor) -> None:
            seen.append((name, _Total(source, value, last, ends)))

        with ActivationWatch(self.network, add).installed():
            yield
        for name, total in seen:
            self.totals[name] = self.totals[name] + total if name in self.totals else total

    def result(self) -> dict[str, ActivationStatistics]:
        """The statistics so far, by the activation's name."""
        return {name: total.result(name) for name, total in self.totals.items()}


class _Total:
    """Sums over one or more batches; they stay on the device, so that a batch costs no synchronisation."""

    def __init__(self, source: str, value: Tensor, last: bool, ends: Ends) -> None:
        """Those of one batch; the channels are the last dimension if `last`, else dimension 1."""
        channel = value.ndim - 1 if last else 1
        others = [axis for axis in range(value.ndim) if axis != channel]
        self.source = source
        self.values = value.numel()
        self.nonzero = value.count_nonzero(others)
        self.sum = value.sum(dtype=torch.float32)
        self.least, self.most = (end.float() for end in value.aminmax())
        # A ReLU's only end is its zero, which is counted already.
        self.inside = self.nonzero if ends.zero_alone else (~ends.reached(value)).sum(others)

    def __add__(self, other: _Total) -> _Total:
        total = copy(self)
        for name in ("values", "nonzero", "sum", "inside"):
            setattr(total, name, getattr(self, name) + getattr(other, name))
        total.least, total.most = torch.minimum(self.least, other.least), torch.maximum(self.most, other.most)
        return total

    def result(self, name: str) -> ActivationStatistics:
        """The statistics so far."""
        nonzero, inside = self.nonzero.tolist(), self.inside.tolist()
        return ActivationStatistics(
            layer=name,
            source=self.source,
            zero_fraction=(self.values - sum(nonzero)) / self.values,
            dead_channels=tuple(channel for channel, count in enumerate(nonzero) if not count),
            channels=len(nonzero),
            mean=float(self.sum) / self.values,
            max=float(self.most),
            min=float(self.least),
            saturated_fraction=(self.values - sum(inside)) / self.values,
            saturated_channels=tuple(channel for channel, count in enumerate(nonzero) if count and not inside[channel]),
        )


class ActivationWatch:
    """Follows one forward pass: which module runs, which layer each tensor came from, and every activation."""

    def __init__(self, network: nn.Module, add: Callable[[str, str, bool, Ends, Tensor], None]) -> None:
        self.network = network
        self.add = add
        self.running: list[str] = []
        self.calls: Counter[str] = Counter()
        self.origin = about_tensors()  # tensor -> the layer with a weight that it came from
        self.weighted = ("", False)
        self.inside_activation = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The block in which passes are followed."""
        with ExitStack() as stack:
            for name, module in self.network.named_modules():
                stack.enter_context(module.register_forward_pre_hook(self._before(name)))
                stack.enter_context(module.register_forward_hook(self._after(name)))
            stack.enter_context(_Functions(self))
            yield

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.running.append(name)
            self.inside_activation += is_activation(module)

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.running.pop()
            if is_activation(module):
                self.inside_activation -= 1
                self.activation(name, args, output, ends_of_module(module))
            elif isinstance(output, Tensor) and (is_leaf(module) or isinstance(module, _WEIGHTED)):
                self._pass_on(name, module, args, output)

        return hook

    def _pass_on(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(module, _WEIGHTED):
            self.weighted = (name, isinstance(module, nn.Linear))
            self.origin[output] = self.weighted
        else:
            self.origin[output] = self._source(args)

    def _source(self, args: tuple[Any, ...]) -> tuple[str, bool]:
        given = args[0] if args and isinstance(args[0], Tensor) else None
        known: tuple[str, bool] = self.weighted if given is None else self.origin.get(given, self.weighted)
        return known

    def activation(self, name: str, args: tuple[Any, ...], output: Tensor, ends: Ends) -> None:
        """Count the output of one activation."""
        source, last = self._source(args)
        call = call_name(name, self.calls[name])
        self.calls[name] += 1
        self.add(call, source, last or output.ndim == 3, ends, output)
        self.origin[output] = (source, last)


class _Functions(TorchFunctionMode):
    """Sees the activations that are called as functions, and not from inside an activation module."""

    def __init__(self, watch: ActivationWatch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        ends = None if self.watch.inside_activation else ends_of_call(func, args, kwargs or {})
        if ends is not None:
            prefix = self.watch.running[-1] if self.watch.running else ""
            self.watch.activation(f"{prefix}.{func.__name__.strip('_')}()".lstrip("."), args, output, ends)
        return output
