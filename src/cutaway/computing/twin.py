"""A faster copy of a network that gives the same numbers: batch norms folded, channels innermost, verified.

In eval mode a batch norm right after a convolution is one more factor and offset per channel, so it can be part of the
convolution's weights. Which batch norms stand right after a convolution is not read from the code but observed in one
pass; and the copy is used only if its outputs, on the images at hand, are the original's.
"""

from __future__ import annotations

import copy
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from cutaway.computing.content import content
from cutaway.computing.small_maps import LARGEST_MAP, small_maps
from cutaway.computing.torch_inside import has_hooks, is_plain, is_plain_convolution, own_children
from cutaway.restoring import untouched

# Largest difference of an output, relative to the largest output, up to which the copy stands for the original.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
_ABOUT_THE_TENSOR = (bool, int, str, torch.Size, torch.dtype, torch.device, torch.layout, type(None))
_CACHED_PER_NETWORK = 4


@dataclass(frozen=True)
class Twin:
    """A network to compute with instead of the original.

    Attributes:
        network: the copy, in eval mode with frozen weights; None if the original has to be used.
        folded: names of the batch norms that are part of the convolution before them; identities in the copy.
        dtype: of its weights: float32 or bfloat16.
        matrices: whether it has convolutions over tiny maps, which run sooner as matrix products.
        error: largest difference of its outputs from the original's, relative to the largest output.
        reason: why it is as it is, in a few words.
    """

    network: nn.Module | None
    folded: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32
    matrices: bool = False
    error: float = 0.0
    reason: str = ""

    def instead_of(self, network: nn.Module) -> nn.Module:
        """The copy, or `network` itself where there is none."""
        return network if self.network is None else self.network

    @contextmanager
    def computing(self) -> Iterator[None]:
        """The block in which its passes run."""
        if self.matrices:
            with small_maps():
                yield
        else:
            yield


def fast_twin(
    network: nn.Module, images: Tensor, *, keep: Sequence[str] = (), dtype: torch.dtype = torch.float32
) -> Twin:
    """The faster copy of `network`, made anew or remembered from the last call for the same network and weights.

    The original is never changed. Module names stay, so that hooks by name find the same layers; a layer that is a
    folded convolution returns what its batch norm returned, unless it is in `keep`.

    Args:
        network: any module, not wrapped in DataParallel; a float32 one, or there is no copy.
        images: float32 (N, C, H, W) on the network's device, a few that it will meet: the copy is verified on them.
        keep: dotted names of the layers that a lens reads; they return what they return in the original.
        dtype: float32, or bfloat16 for speed (see `bf16_pays`); where outputs differ by over 2 % it stays float32.

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    >>> twin = fast_twin(network, torch.ones(1, 1, 5, 5))
    >>> twin.folded, twin.error < 1e-4
    (('1',), True)
    """
    key = (frozenset(keep), dtype, tuple(images.shape[1:]), images.device)
    state = fingerprint(network)
    known = _remembered.get(network)
    if known is None or known.state != state:
        known = _remembered[network] = _Known(state)
    if key not in known.twins:
        if len(known.twins) >= _CACHED_PER_NETWORK:
            known.twins.clear()
        known.twins[key] = _make(network, images, keep, dtype)
    return known.twins[key]


@dataclass
class _Known:
    """The twins of one network while its state is `state`. No twin may refer to it, or neither would ever go."""

    state: str
    twins: dict[Any, Twin] = field(default_factory=dict)


_remembered: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def fingerprint(network: nn.Module) -> str:
    """A hash of all that decides what `network` computes in eval mode: its modules, hooks, weights and buffers."""
    modules = [(name, id(module)) for name, module in network.named_modules()]
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    state = (repr(network), modules, _has_hooks(network), content(tensors))
    return hashlib.blake2b(repr(state).encode(), digest_size=16).hexdigest()


def _has_hooks(network: nn.Module) -> bool:
    return any(has_hooks(module) for module in network.modules())


def _make(network: nn.Module, images: Tensor, keep: Sequence[str], dtype: torch.dtype) -> Twin:
    if _has_hooks(network):
        return Twin(None, reason="the network has hooks, which a copy would call as well")
    wrong = {value.dtype for value in network.parameters() if value.is_floating_point()} - {torch.float32}
    if wrong:
        return Twin(None, reason=f"the network has {', '.join(map(str, wrong))} weights")
    with untouched(network), torch.inference_mode(False), torch.no_grad():
        network.eval()
        try:
            original = _Seen(network, images)
        except Exception as problem:  # what is wrong with the network or the images shows when it is used
            return Twin(None, reason=f"no pass to compare with: {type(problem).__name__}: {problem}")
        # A convolution of a class of its own mostly computes what torch's does (with other padding); the check tells.
        folds = [original.foldable(keep, plain=False), original.foldable(keep, plain=True), {}]
        tries = [(fold, precision) for precision in dict.fromkeys((dtype, torch.float32)) for fold in folds]
        reason = ""
        for pairs, precision in dict.fromkeys((tuple(fold.items()), precision) for fold, precision in tries):
            twin = _attempt(network, images, original, dict(pairs), precision)
            if twin.network is not None:
                return twin
            reason = reason or twin.reason
    return Twin(None, reason=reason)


def _attempt(network: nn.Module, images: Tensor, original: _Seen, fold: dict[str, str], dtype: torch.dtype) -> Twin:
    """One copy, if it can be made and computes the same; what stands in the way otherwise."""
    try:
        twin = _copied(network, fold, dtype)
        seen = _Seen(twin, images.to(dtype))
        error = _difference(seen.outputs, original.outputs)
    except Exception as problem:  # a foreign network may refuse to be copied or changed in any way it likes
        return Twin(None, reason=f"no copy: {type(problem).__name__}: {problem}")
    if seen.calls != original.calls:
        return Twin(None, reason="a copy calls other modules than the original")
    if not error <= TOLERANCE[dtype]:
        return Twin(None, reason=f"a copy's outputs differ by {error:.1e}")
    matrices = images.device.type == "cpu" and seen.tiny_maps
    return Twin(twin, tuple(fold.values()), dtype, matrices, error, f"outputs within {error:.1e} of the original's")


def _copied(network: nn.Module, fold: dict[str, str], dtype: torch.dtype) -> nn.Module:
    twin = copy.deepcopy(network).requires_grad_(False)
    for convolution, norm in fold.items():
        _fold(twin.get_submodule(convolution), twin.get_submodule(norm))
        _replace(twin, twin.get_submodule(norm), nn.Identity())
    return twin.eval().to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's stub lacks this combination


def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    """Make `norm` part of `convolution`: y = (w x + b - mean) / deviation * scale + shift, in double precision."""
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var.double() + norm.eps).rsqrt()
    factor = factor if norm.weight is None else factor * norm.weight.double()
    bias = -norm.running_mean.double() if convolution.bias is None else convolution.bias.double() - norm.running_mean
    bias = bias * factor if norm.bias is None else bias * factor + norm.bias.double()
    weight = convolution.weight.double() * factor[:, None, None, None]
    # New parameters, because another module may share the old ones.
    convolution.weight = nn.Parameter(weight.to(convolution.weight.dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias.to(convolution.weight.dtype), requires_grad=False)


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for module in network.modules():
        children = own_children(module)
        children.update({name: new for name, child in children.items() if child is old})


class _Seen(TorchFunctionMode):
    """One pass of a network: outputs, calls of modules, and who reads what a convolution returned."""

    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.network = network
        self.names = {module: name for name, module in network.named_modules()}
        self.calls: Counter[str] = Counter()
        self.tiny_maps = False
        self.readers: Counter[int] = Counter()
        self._returned: dict[int, tuple[nn.Module, Tensor]] = {}
        self._follows: dict[nn.Module, nn.Module] = {}
        self.outputs = self._run(images)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not isinstance(result, _ABOUT_THE_TENSOR):
            self.readers.update({id(value): 1 for value in _tensors((args, kwargs))})
        return result

    def _run(self, images: Tensor) -> list[Tensor]:
        handles = []
        for module in self.names:
            handles.append(module.register_forward_pre_hook(self._before))
            handles.append(module.register_forward_hook(self._after))
        try:
            with self:
                result = self.network(images.clone())
        finally:
            for handle in handles:
                handle.remove()
        outputs = list(_tensors(result))
        for value in outputs:
            self.readers[id(value)] += 1
        return outputs

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.calls[self.names[module]] += 1
        if isinstance(module, nn.BatchNorm2d) and args and id(args[0]) in self._returned:
            self._follows[module] = self._returned[id(args[0])][0]

    def _after(self, module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            # The tensor is kept, so that no later one can get its id.
            self._returned[id(output)] = (module, output)
            self.readers[id(output)] = 0
            pixels = output.shape[-2] * output.shape[-1]
            self.tiny_maps |= pixels <= LARGEST_MAP and module.groups == 1 and module.in_channels >= 16

    def foldable(self, keep: Sequence[str], plain: bool) -> dict[str, str]:
        """Names of convolutions (of torch's own class alone if `plain`) and of the batch norms to be part of them."""
        known = dict(self.network.named_modules(remove_duplicate=False))
        kept = {known.get(re.split(r"[#\[]", name)[0]) for name in keep}
        readers = {module: self.readers[number] for number, (module, _) in self._returned.items()}
        return {
            self.names[convolution]: self.names[norm]
            for norm, convolution in self._follows.items()
            if self.calls[self.names[norm]] == self.calls[self.names[convolution]] == readers[convolution] == 1
            and convolution not in kept
            and not (plain and not is_plain_convolution(convolution))
            and not parametrize.is_parametrized(convolution)
            and is_plain(norm, nn.BatchNorm2d)
            and not parametrize.is_parametrized(norm)
            and norm.running_mean is not None
        }


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)


def _difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest difference, relative to the largest expected value of the same tensor; NaN if any is not finite."""
    if [value.shape for value in found] != [value.shape for value in expected]:
        return float("inf")
    floats = [(a.double(), b.double()) for a, b in zip(found, expected, strict=True) if b.numel()]
    ratios = [(a - b).abs().max() / b.abs().max().clamp_min(1e-30) for a, b in floats]
    return float(torch.stack(ratios).max()) if ratios else 0.0


def bf16_pays(device_type: str = "cpu") -> bool:
    """Whether a convolution in bfloat16 takes at most two thirds of its time in float32."""
    return bf16_share(device_type) < 2 / 3


@cache
def bf16_share(device_type: str = "cpu") -> float:
    """The time of a convolution in bfloat16 as a share of its time in float32, measured once a process.

    Far above 1 where the processor has no such numbers and they are imitated; infinite where there are none.
    """
    images = torch.ones(8, 64, 28, 28, device=device_type).to(memory_format=torch.channels_last)
    weight = torch.ones(64, 64, 3, 3, device=device_type).to(memory_format=torch.channels_last)
    low = images.bfloat16(), weight.bfloat16()
    try:
        times = _shortest(
            lambda: float(F.conv2d(images, weight, padding=1)[0, 0, 0, 0]),
            lambda: float(F.conv2d(*low, padding=1)[0, 0, 0, 0]),
        )
    except RuntimeError:  # a device without bfloat16
        return float("inf")
    return times[1] / times[0]


def _shortest(*calls: Callable[[], object], rounds: int = 5) -> list[float]:
    """The shortest time of each call, in turn so that a busy machine hits all of them."""
    best = [float("inf")] * len(calls)
    with torch.inference_mode():
        for _ in range(rounds):
            for index, call in enumerate(calls):
                start = time.perf_counter()
                call()
                best[index] = min(best[index], time.perf_counter() - start)
    return best
