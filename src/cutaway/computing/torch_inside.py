"""What Cutaway uses of torch's inside: every private or fragile name is reached through here, and nowhere else.

Torch promises nothing about these names, so a new version may change one without a word. Then
`tests/computing/test_torch_inside.py` fails under that name, and here is the one place to mend. `restoring.py`, which
lies below this room, keeps its own use of a module's dicts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

# What all convolutions, dropouts and norms derive from, other people's too, which a list of torch's own would miss.
Convolution = _ConvNd
Dropout = _DropoutNd
BatchNorm = _BatchNorm
Norm = _NormBase  # batch norms and instance norms: what may have running statistics

# A block without interception: a `TorchFunctionMode` around it would see, and slow down, each of many small calls.
unseen = torch._C.DisableTorchFunction

# The tensors in nested tuples, lists and dicts, as torch itself finds them among an operation's arguments; without it
# a tensor in a list, as `cat` takes them, would be lost.
leaves: Callable[[Any], list[Any]] = _pytree.tree_leaves
mapped: Callable[[Callable[[Any], Any], Any], Any] = _pytree.tree_map

# What precedes each name in the state of a network that `torch.compile` wraps; unknown names would be refused.
COMPILED = "_orig_mod."


# Tensors.


def version(value: Tensor) -> int:
    """How often its memory was written in place: the proof that what was kept without a copy is as it was."""
    return value._version


def memory(value: Tensor) -> int:
    """The address of its storage: equal for two tensors exactly if writing to one may change the other.

    Not that of its data, which is 0 for every tensor that is empty or has none.
    """
    address: int = value.untyped_storage()._cdata
    return address


def about_tensors() -> MutableMapping[Tensor, Any]:
    """A mapping by the tensor itself, not its values, that forgets each with its tensor, its id being used again."""
    return WeakTensorKeyDictionary()


def without_data(kind: type[Tensor], like: Tensor, dtype: torch.dtype, device: torch.device) -> Any:
    """A tensor of the class `kind` with the shape and strides of `like` and no memory: its class computes."""
    return Tensor._make_wrapper_subclass(kind, like.shape, strides=like.stride(), dtype=dtype, device=device)


# Operations: what torch's functions come down to, and what runs.


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves this class untyped
    """Inside this block `operation` stands for each operation, whatever function or module it comes from.

    Only here everything passes: what a function of torch does inside itself no `TorchFunctionMode` sees.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as above

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()  # type: ignore[no-untyped-call]  # as above

    def operation(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `func(*args, **kwargs)` and give its result."""
        raise NotImplementedError

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.operation(func, args, kwargs or {})


@cache
def operation_name(func: Any) -> str:
    """`conv2d`, `relu_`: the name by which tables of rules know an operation; those of other libraries keep theirs."""
    name: str = func._schema.name
    return name.removeprefix("aten::")


@cache
def writes(func: Any) -> bool:
    """Whether the operation changes an argument in place."""
    return bool(func._schema.is_mutable)


def arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """All arguments of an operation by name, its defaults included: torch leaves out what equals a default.

    By name, because the places differ between an operation's variants.
    """
    names, defaults = _parameters(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


@cache
def _parameters(func: Any) -> tuple[list[str], dict[str, Any]]:
    known = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in known if argument.has_default_value()}
    return [argument.name for argument in known], defaults


def pooling_signature(name: str) -> Callable[..., Any]:
    """The function that has the parameters of `F.max_pool2d` and its like; those themselves accept anything."""
    found: Callable[..., Any] = getattr(F, f"{name}_with_indices")
    return found


@contextmanager
def plain_attention() -> Iterator[None]:
    """Without torch's fused attention block, which is one opaque operation: its products would not be counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# The graph that a pass leaves behind.


def node_name(node: Any) -> str:
    """`Convolution`, `Relu`: which derivative a node of the graph is, without what only its class is called."""
    return re.sub(r"^torch::autograd::|Backward\d*$", "", node.name())


def inputs_of(node: Any) -> tuple[Any, ...]:
    """The nodes of an operation's arguments in their order, None for one that has no gradient."""
    return tuple(before for before, _ in node.next_functions)


# Modules.


def own_children(module: nn.Module) -> dict[str, nn.Module | None]:
    """The modules right inside, by name, also one that is there twice; writing to it exchanges them."""
    return module._modules


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The parameters that belong to no module inside; to ask for a parametrised one by its name would compute it."""
    return module._parameters


def own_buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """The buffers that belong to no module inside."""
    return module._buffers


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_hooks(module: nn.Module) -> bool:
    """Whether anybody's hook is on it, which a copy would call as well."""
    return any(getattr(module, kind) for kind in _HOOKS)


def is_plain_convolution(module: nn.Module) -> bool:
    """Whether the module convolves as torch's own `nn.Conv2d` does, none of its methods being exchanged."""
    return is_plain(module, nn.Conv2d, ("forward", "_conv_forward"))


def is_plain(module: nn.Module, kind: type[nn.Module], methods: tuple[str, ...] = ("forward",)) -> bool:
    """Whether the methods of a module are those of torch's own class."""
    return all(getattr(type(module), name) is getattr(kind, name) and name not in vars(module) for name in methods)


def uncompiled(network: nn.Module) -> Any:
    """What `torch.compile` wraps, whose layers have the names that people know; None if it wraps nothing."""
    return getattr(network, COMPILED.removesuffix("."), None)
