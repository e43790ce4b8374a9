"""Differentiable passes through a network that is held ready: what attribution and synthesis are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cutaway.errors import InputError
from cutaway.lenses.capture import (
    AllSeen,
    bare,
    call_name,
    images_for,
    module_name,
    modules_of,
    not_reached,
    tensors_in,
)
from cutaway.lenses.layouts import Shapes, channels_first, channels_last_shapes
from cutaway.lenses.targets import Target
from cutaway.restoring import untouched

Edit = Callable[[str, Tensor], Tensor]


@contextmanager
def opened(network: nn.Module) -> Iterator[Forward]:
    """A network ready for passes with gradients, and as it was afterwards.

    Inside, every module is in eval mode and no weight asks for a gradient, so that a backward pass computes only what
    a lens asks for. It works inside the caller's `no_grad` and `inference_mode`, and with frozen weights.

    >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(18, 2))
    >>> with opened(network) as forward:
    ...     outputs = forward(torch.ones(1, 1, 5, 5), ["0"], start="0")
    ...     gradient, = torch.autograd.grad(outputs[""][:, 1].sum(), outputs["0"])
    >>> tuple(gradient.shape), network.training
    ((1, 2, 3, 3), True)
    """
    network = bare(network)
    with untouched(network), torch.inference_mode(False), torch.enable_grad():
        network.eval()
        network.requires_grad_(False)
        yield Forward(network)


class Forward:
    """Passes through one network, made by `opened`."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def __call__(
        self,
        images: Tensor,
        layers: Sequence[str] = (),
        *,
        output: bool = True,
        start: str = "",
        edit: Edit | None = None,
    ) -> dict[str, Tensor]:
        """What the layers, and the network itself under the name `""`, return for `images`, in the autograd graph.

        The tensors are the layers' own: nothing that follows (in place or not) can change them, and gradients with
        respect to them are right. Maps have their channels in dimension 1, also where the layer puts them last.
        `images` is not changed either.

        Args:
            images: float (N, C, H, W), as the network expects them; may require a gradient.
            layers: dotted names, `relu#1` for a second call.
            output: also run to the end; without it the pass stops at the deepest of `layers`.
            start: one of `layers` before which no graph is kept: its output becomes a leaf that requires a gradient.
            edit: `edit(layer, value)` gives what flows on instead of `value`; it is also what is returned.

        Raises:
            InputError: a layer that does not exist or is not reached, or a network that returns no single tensor.
        """
        images = images_for(self.network, images)
        last = channels_last_shapes(self.network, images) if layers else frozenset()
        tap = _GraphTap(layers, output, start, edit, last)
        result: Any = None
        with torch.set_grad_enabled(not start and torch.is_grad_enabled()), ExitStack() as handles:
            for name, module in modules_of(self.network, layers).items():
                handles.enter_context(module.register_forward_hook(tap.hook(name)))
            try:
                result = self.network(images.clone())
            except AllSeen:
                output = False
        tap.check()
        if output:
            tap.found[""] = self._single(result)
        return tap.found

    def scores(
        self,
        images: Tensor,
        target: Target,
        layers: Sequence[str] = (),
        *,
        start: str = "",
        edit: Edit | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The target's score for each image, float (N,), and what `layers` returned, both in the graph."""
        wanted = list(dict.fromkeys([*layers, *([target.layer] if target.layer else [])]))
        outputs = self(images, wanted, output=not target.layer, start=start, edit=edit)
        return target.scores(outputs), outputs

    def _single(self, result: Any) -> Tensor:
        values = list(tensors_in(result))
        kind = type(self.network).__name__
        if not isinstance(result, Tensor) and len(values) != 1:
            raise InputError(
                f"{kind} returns {len(values)} tensors, expected one of logits (N, classes); "
                "wrap it so that it returns the one to be explained"
            )
        if values[0][1].ndim != 2:
            raise InputError(
                f"{kind} returns {tuple(values[0][1].shape)}, expected logits (N, classes); "
                "name a unit 'layer:channel' as the target instead"
            )
        return values[0][1]


class _GraphTap:
    """Takes layers' outputs out of a pass while it runs, and lets a copy flow on."""

    def __init__(self, layers: Sequence[str], output: bool, start: str, edit: Edit | None, last: Shapes) -> None:
        self.wanted = set(layers)
        self.found: dict[str, Tensor] = {}
        self.output = output
        self.start = start
        self.edit = edit
        self.last = last
        self.calls: Counter[str] = Counter()

    def hook(self, module: str) -> Callable[..., Any]:
        """The forward hook of the module of that name."""

        def after(_module: nn.Module, _args: tuple[Any, ...], value: Any) -> Any:
            call = call_name(module, self.calls[module])
            self.calls[module] += 1
            parts = iter([(call, call + suffix) for suffix, _ in tensors_in(value)])
            replaced = _map_tensors(value, lambda tensor: self._take(next(parts), tensor))
            if not self.output and not self.wanted - self.found.keys():
                raise AllSeen
            return replaced

        return after

    def _take(self, names: tuple[str, str], value: Tensor) -> Tensor:
        """What flows on instead of `value`; a layer's bare name means the first of its tensors."""
        name = next((name for name in names if name in self.wanted - self.found.keys()), None)
        if name is None:
            return value
        if name == self.start:
            value = value.detach().requires_grad_()
            torch.set_grad_enabled(True)
        turned = channels_first(value, self.last)
        found = turned if self.edit is None else self.edit(name, turned)
        self.found[name] = found
        # What flows on is a copy, so that the next layer may work in place on it.
        return (found if turned is value else found.movedim(1, -1)).clone()

    def check(self) -> None:
        """Raise for the first layer that the pass did not reach."""
        for layer in sorted(self.wanted - self.found.keys()):
            raise not_reached(layer, self.calls[module_name(layer)])


def _map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        changed = {key: _map_tensors(item, change) for key, item in value.items()}
        return type(value)(**changed) if not isinstance(value, dict) else type(value)(changed)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map_tensors(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_map_tensors(item, change) for item in value)
    return value
