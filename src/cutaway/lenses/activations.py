"""What a network's layers answer to images: feature maps, and statistics of its activations over many images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from cutaway.errors import InputError
from cutaway.lenses.capture import call_name, capture, images_for, is_leaf
from cutaway.restoring import untouched

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Hardswish, nn.Mish, nn.Threshold)
_FUNCTIONS: set[Callable[..., Any]] = {
    *(F.relu, F.relu_, F.relu6, F.leaky_relu, F.leaky_relu_, F.gelu, F.silu, F.elu, F.elu_, F.hardswish, F.mish),
    *(torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
}


def feature_maps(network: nn.Module, images: Tensor, layers: Sequence[str] | None = None) -> dict[str, Tensor]:
    """What each layer returns for each image, without gradients.

    Args:
        network: any module that takes one image batch.
        images: float (N, C, H, W), as the network expects them.
        layers: dotted names (`layer1.0.relu#1` for a second call); None for every layer that returns maps.

    Returns:
        Each layer's maps, float (N, channels, height, width), signed, in the order of the forward pass.

    Raises:
        InputError: a layer that does not exist, is not reached, or returns no maps.
    """
    with torch.no_grad():
        found = capture(network, images, layers)
    if layers is None:
        return {name: value for name, value in found.items() if value.ndim == 4}
    for name, value in found.items():
        if value.ndim != 4:
            raise InputError(f"layer '{name}' returns a tensor {tuple(value.shape)} and no maps (N, C, H, W)")
    return found


@dataclass(frozen=True)
class ActivationStatistics:
    """How one activation behaves over a set of images.

    Attributes:
        layer: its name; `layer1.0.relu()` is a function called inside the module `layer1.0`.
        source: the convolution or linear layer whose output it receives; "" if there is none before it.
        zero_fraction: share of its values that are exactly zero, 0 .. 1.
        dead_channels: channels that were zero everywhere on all images.
        channels: number of channels.
        mean: mean of all values.
        max: largest value.
    """

    layer: str
    source: str
    zero_fraction: float
    dead_channels: tuple[int, ...]
    channels: int
    mean: float
    max: float

    @property
    def dead_fraction(self) -> float:
        """Share of the channels that are dead, 0 .. 1."""
        return len(self.dead_channels) / self.channels


def activation_statistics(network: nn.Module, batches: Iterable[Tensor]) -> dict[str, ActivationStatistics]:
    """Zero fraction, dead channels, mean and maximum of every activation (ReLU and its relatives) over all batches.

    Modules and functions are seen alike (`nn.ReLU`, `F.relu`), each call by its own name. The batches are read one by
    one and nothing of them is kept, so a whole data set can pass.

    Args:
        network: any module that takes one image batch; it runs in eval mode, without gradients.
        batches: float (N, C, H, W) tensors, as the network expects them.
    """
    totals: dict[str, _Total] = {}
    for images in batches:
        _add_batch(network, images, totals)
    return {name: total.result(name) for name, total in totals.items()}


def _add_batch(network: nn.Module, images: Tensor, totals: dict[str, _Total]) -> None:
    def add(name: str, source: str, last: bool, value: Tensor) -> None:
        totals.setdefault(name, _Total(source)).add(value, last)

    with untouched(network), torch.no_grad(), _Watch(network, add).installed():
        network.eval()
        network(images_for(network, images))


class _Total:
    """Running sums over batches; they stay on the device, so that a batch costs no synchronisation."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.values = 0
        self.nonzero: Tensor | None = None
        self.sum: Tensor | None = None
        self.max: Tensor | None = None

    def add(self, value: Tensor, last: bool) -> None:
        """Count one batch in; the channels are the last dimension if `last`, else dimension 1."""
        channel = value.ndim - 1 if last else 1
        nonzero = value.count_nonzero([axis for axis in range(value.ndim) if axis != channel])
        total, peak = value.sum(dtype=torch.float32), value.amax().float()
        self.nonzero = nonzero if self.nonzero is None else self.nonzero + nonzero
        self.sum = total if self.sum is None else self.sum + total
        self.max = peak if self.max is None else torch.maximum(self.max, peak)
        self.values += value.numel()

    def result(self, name: str) -> ActivationStatistics:
        """The statistics so far."""
        assert self.nonzero is not None  # add() came first
        assert self.sum is not None
        assert self.max is not None
        counts = self.nonzero.tolist()
        dead = tuple(channel for channel, count in enumerate(counts) if count == 0)
        mean = float(self.sum) / self.values
        zeros = 1 - sum(counts) / self.values
        return ActivationStatistics(name, self.source, zeros, dead, len(counts), mean, float(self.max))


class _Watch:
    """Follows one forward pass: which module runs, which layer each tensor came from, and every activation."""

    def __init__(self, network: nn.Module, add: Callable[[str, str, bool, Tensor], None]) -> None:
        self.network = network
        self.add = add
        self.running: list[str] = []
        self.calls: Counter[str] = Counter()
        self.origin: Any = WeakIdKeyDictionary()  # tensor -> the layer with a weight that it came from
        self.weighted = ("", False)
        self.inside_activation = 0

    @contextmanager
    def installed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, module in self.network.named_modules():
                stack.enter_context(module.register_forward_pre_hook(self._before(name)))
                stack.enter_context(module.register_forward_hook(self._after(name)))
            stack.enter_context(_Functions(self))
            yield

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            self.running.append(name)
            self.inside_activation += isinstance(module, _ACTIVATIONS)

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self.running.pop()
            if isinstance(module, _ACTIVATIONS):
                self.inside_activation -= 1
                self.activation(name, args, output)
            elif is_leaf(module) and isinstance(output, Tensor):
                self._pass_on(name, module, args, output)

        return hook

    def _pass_on(self, name: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            self.weighted = (name, isinstance(module, nn.Linear))
            self.origin[output] = self.weighted
        else:
            self.origin[output] = self._source(args)

    def _source(self, args: tuple[Any, ...]) -> tuple[str, bool]:
        given = args[0] if args and isinstance(args[0], Tensor) else None
        known: tuple[str, bool] = self.weighted if given is None else self.origin.get(given, self.weighted)
        return known

    def activation(self, name: str, args: tuple[Any, ...], output: Tensor) -> None:
        """Count the output of one activation."""
        source, last = self._source(args)
        call = call_name(name, self.calls[name])
        self.calls[name] += 1
        self.add(call, source, last or output.ndim == 3, output)
        self.origin[output] = (source, last)


class _Functions(TorchFunctionMode):
    """Sees the activations that are called as functions, and not from inside an activation module."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _FUNCTIONS or self.watch.inside_activation:
            return func(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        prefix = self.watch.running[-1] if self.watch.running else ""
        self.watch.activation(f"{prefix}.{func.__name__.rstrip('_')}()".lstrip("."), args, output)
        return output
