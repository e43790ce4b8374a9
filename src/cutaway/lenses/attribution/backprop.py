"""Guided backpropagation and deconvolution: the gradient of the score with another rule at every ReLU.

The rule is bound to the operation and not to a module: `nn.ReLU`, `F.relu`, `torch.relu_`, `x.relu()`, `clamp(min=0)`
and ReLU6 all follow it, in place or not, however often a module is used. What the network computes is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cutaway.errors import InputError
from cutaway.lenses.attribution.gradient import gradients
from cutaway.lenses.attribution.method import Found, Job, Method, named
from cutaway.lenses.forward import Edit, Forward


class _Rectifier(torch.autograd.Function):
    """`x` cut off below zero and above `high`, in place or not, with a changed way back.

    Guided: a gradient passes where it and the input are positive. Deconvolution: where it is positive.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, high: float | None, guided: bool, inplace: bool) -> Tensor:
        # The mask is kept and not the values, which the network may change later.
        passed = x > 0 if high is None else (x > 0) & (x < high)
        ctx.save_for_backward(*([passed] if guided else []))
        if inplace:
            ctx.mark_dirty(x)
            return x.clamp_(0, high)
        return x.clamp(0, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradients[0].clamp(min=0)
        for passed in ctx.saved_tensors:
            gradient = gradient * passed
        return gradient, None, None, None


class _Call(NamedTuple):
    """A call that is a ReLU: of what, its upper bound, and whether it works in place."""

    x: Tensor
    high: float | None
    inplace: bool


def _relu(input: Tensor, inplace: bool = False, *, high: float | None = None) -> _Call:
    return _Call(input, high, inplace)


def _clamp(input: Tensor, min: Any = None, max: Any = None, *, inplace: bool = False) -> _Call | None:
    zero = isinstance(min, int | float) and min == 0
    bounded = max is None or (isinstance(max, int | float) and max > 0)
    return _Call(input, max, inplace) if zero and bounded else None


def _hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> _Call | None:
    return _clamp(input, min_val, max_val, inplace=inplace)


def _threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> _Call | None:
    return _Call(input, None, inplace) if threshold == 0 == value else None


def _with_methods(names: Sequence[str], reader: Callable[..., _Call | None]) -> dict[Any, Callable[..., _Call | None]]:
    """For each name the function and the method, and those that work in place."""
    found: dict[Any, Callable[..., _Call | None]] = {}
    for name in names:
        for owner in (torch, torch.Tensor):
            found[getattr(owner, name)] = reader
            found[getattr(owner, f"{name}_")] = partial(reader, inplace=True)
    return found


# Every way to write a ReLU, with the reader of its arguments under the names that torch gives them.
_READERS: dict[Any, Callable[..., _Call | None]] = {
    F.relu: _relu,
    F.relu6: partial(_relu, high=6.0),
    F.hardtanh: _hardtanh,
    F.hardtanh_: partial(_hardtanh, inplace=True),
    F.threshold: _threshold,
    torch.threshold: _threshold,
    torch.threshold_: partial(_threshold, inplace=True),
    **_with_methods(["relu"], _relu),
    **_with_methods(["clamp", "clip", "clamp_min"], _clamp),
}
_OTHERS = {
    *("celu", "elu", "gelu", "hardsigmoid", "hardswish", "leaky_relu", "log_sigmoid", "mish", "prelu", "rrelu", "selu"),
    *("sigmoid", "silu", "softplus", "tanh"),
}


class _Rule(TorchFunctionMode):
    """Inside this block every ReLU that carries a gradient to the image has the changed way back."""

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided
        self.relus = 0
        self.others: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        reader = _READERS.get(func)
        call = reader(*args, **kwargs) if reader and kwargs.get("out") is None else None
        if call is not None and call.x.requires_grad and torch.is_grad_enabled():
            self.relus += 1
            return _Rectifier.apply(call.x, call.high, self.guided, call.inplace)
        name = getattr(func, "__name__", "").strip("_")
        if name in _OTHERS:
            self.others.add(name)
        return func(*args, **kwargs)


class RuledForward(Forward):
    """Passes whose gradients follow the rule of guided backpropagation or of deconvolution.

    Attributes:
        rule: how many ReLUs the passes met, and which other activations.
    """

    def __init__(self, network: nn.Module, *, guided: bool) -> None:
        super().__init__(network)
        self.rule = _Rule(guided)

    def __call__(
        self,
        images: Tensor,
        layers: Sequence[str] = (),
        *,
        output: bool = True,
        start: str = "",
        edit: Edit | None = None,
    ) -> dict[str, Tensor]:
        """As `Forward`; the values are the same, only the gradients differ."""
        self.rule.relus = 0
        with self.rule:
            return super().__call__(images, layers, output=output, start=start, edit=edit)


def _changed(job: Job, name: str, guided: bool) -> Found:
    forward = RuledForward(job.forward.network, guided=guided)
    _, values = gradients(replace(job, forward=forward), name)
    return Found(values, {"relus": forward.rule.relus}, _notes(forward.rule, job, name))


def _notes(rule: _Rule, job: Job, name: str) -> tuple[str, ...]:
    """What a reader must know; an error if the rule had nothing to act on."""
    others = ", ".join(sorted(rule.others))
    layer = job.target.layer
    if not rule.relus and (others or not layer):
        kind, met = type(job.forward.network).__name__, f"none but {others}" if others else "none"
        raise InputError(
            f"{name} changes the gradient at ReLUs and {kind} has {met}; "
            "choose a method that needs none, such as 'saliency' or 'integrated-gradients'"
        )
    if not rule.relus:
        return (f"there is no ReLU before layer '{layer}', so this is the plain gradient",)
    return (f"only ReLUs follow the rule: {others} kept the plain gradient",) if others else ()


def guided_backprop(job: Job) -> Found:
    """The gradient of the score, cut off at zero at every ReLU on the way back (Springenberg et al., 2015).

    The gradient at a ReLU's input is the gradient at its output where both that and the input are positive, else 0.
    ReLU6 also stops it where the input is 6 or more. Other activations keep their derivative.

    Raises:
        InputError: a network without ReLUs.
    """
    return _changed(job, "guided-backprop", guided=True)


def deconvolution(job: Job) -> Found:
    """The score sent back through the network with a ReLU on the way back (Zeiler and Fergus, 2014).

    The gradient at a ReLU's input is the positive part of the gradient at its output, whatever the input was. Max
    pooling sends it back to the place of the maximum, as the paper's switches do.

    Raises:
        InputError: a network without ReLUs.
    """
    return _changed(job, "deconvolution", guided=False)


METHODS = named(
    [
        Method(
            name="guided-backprop",
            compute=guided_backprop,
            kind="pixels",
            summary="the gradient of the score, its positive part at every ReLU that was on",
            paper="Springenberg et al. 2015",
            combine="max",
        ),
        Method(
            name="deconvolution",
            compute=deconvolution,
            kind="pixels",
            summary="the score sent back through the network with a ReLU on the way back",
            paper="Zeiler & Fergus 2014",
            combine="max",
        ),
    ]
)
