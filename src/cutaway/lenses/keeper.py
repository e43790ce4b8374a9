"""Keeping what layers return without a copy, and yet safe from the operations in place that follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.computing.torch_inside import memory, own_buffers, own_parameters, version

Keep = Callable[[str, Tensor], None]

_AUGMENTED = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
# Which layers of a network were overwritten when it was watched: only a hint, checked at every use.
_overwritten_before: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


def kept_safely(network: nn.Module, images: Tensor, run: Callable[[Keep], None]) -> dict[str, Tensor]:
    """What `run` gives to the `keep(name, tensor)` that it is called with, as it was at that moment.

    Most layers' outputs are never changed in place, and are kept as they are, at no cost. The first run of a network
    watches torch's functions and copies a tensor just before one changes it; later runs know which layers that are and
    need not watch. Whatever escapes both shows in the tensors' version counters, and `run` is repeated with a copy of
    everything.

    Args:
        network: whose layers they are; what shares memory with its weights and buffers is copied.
        images: the network's input; likewise.
        run: a forward pass of `network`; it must do the same when it is repeated.
    """
    others = {memory(images), *_memories(network)}
    hint = _overwritten_before.get(network)
    if hint is not None:
        kept = Keeper(others, hint)
        run(kept.keep)
        if not kept.overwritten():
            return kept.found
    kept = Keeper(others, hint or ())
    with kept.watching():
        run(kept.keep)
    if kept.overwritten():
        kept = Keeper(None)
        run(kept.keep)
    _overwritten_before[network] = frozenset(kept.copied)
    return kept.found


class Keeper:
    """Keeps tensors by name, copied only where it must be.

    Args:
        foreign: what shares memory with these is copied at once; None to copy everything.
        changing: names of what is copied at once because it is known to be changed later.

    >>> kept = Keeper(set())
    >>> with kept.watching():
    ...     value = torch.tensor([-1.0, 1.0])
    ...     kept.keep("before", value)
    ...     _ = value.relu_()
    >>> kept.found["before"].tolist()
    [-1.0, 1.0]
    """

    def __init__(self, foreign: set[int] | None, changing: Iterable[str] = ()) -> None:
        self.found: dict[str, Tensor] = {}
        self.copied = set(changing)
        self._foreign = foreign
        self._names: dict[int, list[str]] = {}
        self._versions: dict[str, int] = {}
        self._late = False

    def keep(self, name: str, value: Tensor) -> None:
        """Keep `value` as it is now under `name`."""
        place = memory(value)
        if name in self.copied or self._foreign is None or place in self._foreign or value.is_inference():
            self.found[name] = value.clone()
            self.copied.add(name)
            return
        self.found[name] = value
        self._versions[name] = version(value)
        self._names.setdefault(place, []).append(name)

    def overwritten(self) -> bool:
        """Whether a tensor that is kept without a copy was changed after all."""
        return self._late or any(version(self.found[name]) != count for name, count in self._versions.items())

    def rescue(self, value: Tensor) -> None:
        """Copy what is kept in the memory of `value`, which is about to change."""
        for name in self._names.pop(memory(value), ()):
            # A library that wraps torch's functions may have hidden an earlier change from the watch.
            self._late |= version(self.found[name]) != self._versions.pop(name)
            self.found[name] = self.found[name].clone()
            self.copied.add(name)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The block in which tensors are rescued from torch's operations in place."""
        with _Watch(self):
            yield


class _Watch(TorchFunctionMode):
    """Tells a keeper of every tensor that one of torch's functions is about to change."""

    def __init__(self, keeper: Keeper) -> None:
        super().__init__()
        self.keeper = keeper

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        changed = [kwargs.get("out")]
        if func in _IN_PLACE or (func in _MAYBE_IN_PLACE and _asks(args, kwargs)):
            changed.append(args[0] if args else kwargs.get("input"))
        for value in changed:
            if isinstance(value, Tensor):
                self.keeper.rescue(value)
        return func(*args, **kwargs)


def _in_place() -> frozenset[Any]:
    """Every function of torch that changes its first argument, by torch's convention of a trailing underscore."""
    found = {getattr(Tensor, f"__i{name}__", None) for name in _AUGMENTED} | {Tensor.__setitem__}
    for room in (Tensor, torch, F):
        names = (name for name in dir(room) if name.endswith("_") and not name.endswith("__"))
        found |= {getattr(room, name) for name in names}
    return frozenset(found - {None})


_IN_PLACE = _in_place()
# Functions with an argument `inplace`, which may be given by position or by name.
_MAYBE_IN_PLACE = frozenset(
    getattr(F, name)
    for name in (
        *("relu", "relu6", "leaky_relu", "rrelu", "elu", "selu", "celu", "silu", "mish", "threshold"),
        *("hardtanh", "hardswish", "hardsigmoid", "dropout", "dropout1d", "dropout2d", "dropout3d"),
        *("alpha_dropout", "feature_alpha_dropout"),
    )
)


def _asks(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether one of the flags is set; should it be another one, a copy too many does no harm."""
    return any(value is True for value in (*args[1:], *kwargs.values()))


def _memories(network: nn.Module) -> Iterator[int]:
    for module in network.modules():
        for value in (*own_parameters(module).values(), *own_buffers(module).values()):
            if value is not None:
                yield memory(value)
