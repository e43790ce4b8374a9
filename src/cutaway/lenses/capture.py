"""The one mechanism under every lens: run a network, see what its layers return, and leave no trace in it.

A layer is a module by its dotted name. A module that is called several times has a name for each call: `relu`,
`relu#1`, `relu#2`. A module that returns several tensors has a name for each: `attention[0]`, `head[boxes]`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.computing.torch_inside import uncompiled
from cutaway.errors import InputError, unknown
from cutaway.lenses.keeper import kept_safely
from cutaway.restoring import untouched

_NAME = re.compile(r"(?P<call>(?P<module>[^#\[]*)(?:#\d+)?)(?P<part>\[[^\]]*\])?")
Visit = Callable[[str, Tensor], None]


class AllSeen(BaseException):
    """Ends a forward pass once all layers asked for were seen (no Exception: a network may catch those)."""


def capture(
    network: nn.Module, images: Tensor, layers: Sequence[str] | None = None, *, inputs: bool = False
) -> dict[str, Tensor]:
    """What the layers of `network` return for `images`, in the order in which they were called.

    The network runs in eval mode and in the caller's grad mode, and only as far as the deepest layer asked for. An
    operation in place after a layer does not reach what is returned: the tensor is copied just before it happens, and
    only then (see `lenses/keeper.py`); like any tensor of torch's, it may share memory with another one.

    Args:
        network: any module that takes one image batch.
        images: float (N, C, H, W), as the network expects them; moved to its device and dtype.
        layers: dotted names, with `#1` for a module's second call; None for every call of every module that has no
            modules inside.
        inputs: record what each layer was given instead of what it returned.

    Raises:
        InputError: a layer that does not exist, or that this forward pass did not reach.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
    >>> maps = capture(network, torch.zeros(1, 1, 5, 5))
    >>> {name: tuple(value.shape) for name, value in maps.items()}
    {'0': (1, 2, 3, 3), '1': (1, 2, 3, 3)}
    """
    return kept_safely(network, images, lambda keep: observe(network, images, layers, keep, inputs=inputs))


def observe(
    network: nn.Module,
    images: Tensor,
    layers: Sequence[str] | None,
    visit: Visit,
    *,
    inputs: bool = False,
    whole: bool = False,
) -> None:
    """Call `visit(name, tensor)` with the very tensors of `capture`, uncopied: read them before you return.

    `whole` runs the network to its end though all layers were seen before.
    """
    network = bare(network)
    modules = modules_of(network, layers)
    tap = _Tap(layers, visit, whole)
    with untouched(network), _hooked(modules, tap, inputs):
        if any(module.training for module in network.modules()):
            network.eval()
        try:
            network(images_for(network, images))
        except AllSeen:
            return
    tap.check_all_seen()


class _Tap:
    """Numbers the calls of each module and passes on those that were asked for."""

    def __init__(self, layers: Sequence[str] | None, visit: Visit, whole: bool) -> None:
        self.whole = whole
        self.wanted = None if layers is None else set(layers)
        self.missing = None if layers is None else set(layers)
        self.visit = visit
        self.calls: Counter[str] = Counter()

    def __call__(self, module: str, value: Any) -> None:
        call = call_name(module, self.calls[module])
        self.calls[module] += 1
        parts = {"": value} if isinstance(value, Tensor) else dict(tensors_in(value))
        for part, tensor in parts.items():
            if self._wants(call, part):
                self.visit(call + part, tensor)
        if self.missing is not None:
            self.missing -= {call, *(call + part for part in parts)}
            if not self.missing and not self.whole:
                raise AllSeen

    def _wants(self, call: str, part: str) -> bool:
        return self.wanted is None or call in self.wanted or call + part in self.wanted

    def check_all_seen(self) -> None:
        """Raise for the first layer that the forward pass did not reach."""
        for layer in sorted(self.missing or ()):
            raise not_reached(layer, self.calls[module_name(layer)])


def not_reached(layer: str, times: int) -> InputError:
    """The error for a layer that exists and was not reached, its module having been called `times` times."""
    reason = "its module was not called" if not times else f"its module was called {times} times"
    return InputError(f"layer '{layer}' was not reached by the forward pass: {reason}; choose another layer")


def module_name(layer: str) -> str:
    """The module of a layer's name: without the number of the call and the part of the output.

    >>> module_name("layer1.0.relu#1"), module_name("attention[0]")
    ('layer1.0.relu', 'attention')
    """
    match = _NAME.fullmatch(layer)
    return match["module"] if match else layer


def call_name(module: str, index: int) -> str:
    """The name of call `index` (from 0) of a module.

    >>> call_name("layer1.0.relu", 0), call_name("layer1.0.relu", 1)
    ('layer1.0.relu', 'layer1.0.relu#1')
    """
    return module if index == 0 else f"{module}#{index}"


def tensors_in(value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in what a module returned, each with the suffix of its name; one tensor alone needs no suffix."""
    found = list(_walk(value, ()))
    if len(found) == 1:
        yield "", found[0][1]
        return
    for path, tensor in found:
        yield f"[{'.'.join(map(str, path))}]", tensor


def _walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, (*path, key))
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))


def bare(network: nn.Module) -> nn.Module:
    """The network inside wrappers that only say how to compute it: DataParallel, DistributedDataParallel, compile."""
    wrapped = network.module if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)) else None
    wrapped = wrapped or uncompiled(network)
    return bare(wrapped) if isinstance(wrapped, nn.Module) else network


def is_leaf(module: nn.Module) -> bool:
    """Whether a module computes by itself; a parametrized convolution does, though it holds its parametrization."""
    return all(name == "parametrizations" for name, _ in module.named_children())


def modules_of(network: nn.Module, layers: Sequence[str] | None) -> dict[str, nn.Module]:
    """The modules of these layers by dotted name; every module without modules inside for None."""
    if layers is None:
        inner = {name: module for name, module in network.named_modules() if is_leaf(module)}
        return {name: module for name, module in inner.items() if ".parametrizations." not in name}
    known = dict(network.named_modules(remove_duplicate=False))
    names = [module_name(layer) for layer in layers]
    return {name: find_module(network, name, known) for name in names}


def find_module(network: nn.Module, layer: str, known: Mapping[str, nn.Module] | None = None) -> nn.Module:
    """The module of that dotted name, or an `InputError` with the nearest names."""
    known = known or dict(network.named_modules(remove_duplicate=False))
    if layer not in known:
        raise unknown("layer", layer, [name for name in known if name], f"in {type(network).__name__}")
    return known[layer]


def first_nonfinite(network: nn.Module, images: Tensor) -> str | None:
    """The first layer that returns NaN or an infinity for `images`; None if none does."""
    found: list[str] = []

    def check(name: str, value: Tensor) -> None:
        if not found and value.is_floating_point() and not bool(value.isfinite().all()):
            found.append(name)

    with torch.no_grad():
        observe(network, images, None, check)
    return found[0] if found else None


def need_finite(value: Tensor, what: str, network: nn.Module, images: Tensor) -> None:
    """Raise for NaN or infinities in `value`, naming the first layer that returns one for `images`."""
    # One NaN or infinity makes the sum one; a sum that overflows is looked at again, element by element.
    if bool(value.sum().isfinite()) or bool(value.isfinite().all()):
        return
    if not bool(images.isfinite().all()):
        raise InputError(f"{what} is not finite because the images are not: they hold NaN or infinity")
    layer = first_nonfinite(network, images)
    where = f"layer '{layer}' is the first to return NaN or infinity" if layer else "every layer's output is finite"
    raise InputError(f"{what} is not finite; {where}: look at its weights, or at the training run that made them")


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], tap: Callable[[str, Any], None], inputs: bool) -> Iterator[None]:
    def before(name: str) -> Callable[..., None]:
        return lambda _module, args, kwargs: tap(name, (*args, *kwargs.values()))

    def after(name: str) -> Callable[..., None]:
        return lambda _module, _args, output: tap(name, output)

    with ExitStack() as handles:
        for name, module in modules.items():
            if inputs:
                handles.enter_context(module.register_forward_pre_hook(before(name), with_kwargs=True))
            else:
                handles.enter_context(module.register_forward_hook(after(name)))
        yield


def images_for(network: nn.Module, images: Tensor) -> Tensor:
    """`images` on the device and in the dtype of the network's first weight, after a check of shape and dtype."""
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        found = f"{images.dtype} {tuple(images.shape)}".removeprefix("torch.")
        raise InputError(f"images must be a float tensor (N, C, H, W) of at least one image; found {found}")
    weights = (value for value in network.parameters() if value.is_floating_point())
    weight = next(weights, None)
    return images if weight is None else images.to(device=weight.device, dtype=weight.dtype)
