"""Operations under interception: what LRP and DeepLift share.

Both walk backward through a network and replace the derivative of single operations by a rule of their own. The rules
are for operations, not for modules, so that `nn.ReLU`, `F.relu`, `x.relu_()` and a module that is called ten times
are one and the same thing. A rule builds the operation's result with a gradient that is the rule's multiplier;
autograd does the rest. An operation that has no rule and whose own derivative would be wrong is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cutaway.computing.torch_inside import pooling_signature
from cutaway.errors import InputError
from cutaway.lenses.attribution.composites import COMPOSITES, bound, signature

Apply = Callable[[Tensor], Tensor]
Multiply = Callable[[Tensor, Tensor], Tensor]
Weigh = Callable[..., Tensor]  # (x, weight, bias=None)
See = Callable[[Tensor], None]

_ELEMENTWISE = """relu leaky_relu prelu rrelu relu6 elu selu celu gelu silu mish hardswish hardsigmoid hardtanh sigmoid
tanh softplus softsign hardshrink softshrink tanhshrink logsigmoid threshold clamp clamp_min clamp_max clip abs exp
expm1 log log1p sqrt rsqrt reciprocal square pow sin cos erf __rpow__"""
_AVERAGES = """avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum
interpolate upsample"""
# The rule of each function, by its name without the underscore of its in-place form.
_RULES = {
    **dict.fromkeys(_ELEMENTWISE.split(), "_elementwise"),
    **dict.fromkeys(_AVERAGES.split(), "_average"),
    **dict.fromkeys(["add", "sub", "subtract", "rsub", "__rsub__"], "_addition"),
    **dict.fromkeys(["mul", "multiply"], "_product"),
    **dict.fromkeys(["div", "divide", "true_divide", "__rdiv__", "__rtruediv__"], "_quotient"),
    **dict.fromkeys(["conv1d", "conv2d", "conv3d", "linear"], "_weighted"),
    **dict.fromkeys(["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"], "_weighted"),
    **dict.fromkeys(["matmul", "mm", "bmm", "mv", "__matmul__", "__rmatmul__"], "_matrix_product"),
    **dict.fromkeys(["addmm", "baddbmm"], "_added_product"),
    **{name: f"_{name}" for name in ("einsum", "batch_norm", "softmax", "amax")},
    **dict.fromkeys([f"{kind}max_pool{n}d" for kind in ("", "adaptive_") for n in (1, 2, 3)], "_max_pool"),
    **dict.fromkeys(["cat", "concat", "concatenate", "stack", "hstack", "vstack"], "_joined"),
    **dict.fromkeys(COMPOSITES, "_composite"),
}
_OPERATORS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div", "__idiv__": "div"}
_OPERATORS_OUT = {"__add__": "add", "__radd__": "add", "__sub__": "sub", "__mul__": "mul", "__rmul__": "mul"}
_OPERATORS_OUT |= {"__truediv__": "div", "__div__": "div", "__pow__": "pow", "__abs__": "abs"}


class Ruled(torch.autograd.Function):
    """`value` going forward; going backward the multiplier times `factor`, on to `carrier`."""

    @staticmethod
    def forward(ctx: Any, carrier: Tensor, value: Tensor, factor: Tensor | None, seen: See | None) -> Tensor:
        """Give a copy of `value`; `factor` None is 1, and `seen` is told the multiplier on its way back."""
        ctx.save_for_backward(factor)
        ctx.seen = seen
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *multipliers: Tensor) -> tuple[Tensor | None, ...]:
        """The multiplier of the carrier."""
        (factor,) = ctx.saved_tensors
        if ctx.seen is not None:
            ctx.seen(multipliers[0])
        return multipliers[0] if factor is None else multipliers[0] * factor, None, None, None


def ruled(carrier: Tensor, value: Tensor, factor: Tensor | None = None, seen: See | None = None) -> Tensor:
    """A copy of `value` whose multiplier goes on to `carrier`, times `factor`."""
    return Ruled.apply(carrier, value, factor, seen)  # type: ignore[no-any-return]  # autograd's


def wide(values: Tensor) -> Tensor:
    """In float64, for sums that are to be compared; Apple's GPU has none."""
    return values if values.device.type == "mps" else values.double()


class Interception(TorchFunctionMode):
    """Inside this block every operation on something that depends on the image goes by the rules of a subclass.

    Args:
        lens: what the user calls the method, for messages.
    """

    natural: frozenset[str] = frozenset()  # the rules that are the derivative itself

    def __init__(self, lens: str) -> None:
        super().__init__()
        self.lens = lens

    # The rules: a subclass gives each its meaning.

    def elementwise(self, name: str, x: Tensor, apply: Apply) -> Tensor:
        """`apply(x)` for a function of each number alone, such as ReLU or GELU."""
        raise NotImplementedError

    def addition(self, terms: list[Any]) -> Tensor:
        """The sum of tensors and numbers."""
        raise NotImplementedError

    def product(self, a: Tensor, b: Tensor, multiply: Multiply) -> Tensor:
        """`multiply(a, b)`, linear in each; both depend on the image."""
        raise NotImplementedError

    def weighted(self, x: Tensor, weight: Tensor, bias: Tensor | None, apply: Weigh, name: str) -> Tensor:
        """`apply(x, weight, bias)`, such as `conv2d`: linear in both, plus a bias over the channels; x alone moves."""
        raise NotImplementedError

    def joined(self, parts: list[Tensor], join: Callable[[list[Tensor]], Tensor]) -> Tensor:
        """Tensors side by side; some may not depend on the image, such as a class token."""
        return join(parts)

    def average(self, x: Tensor, apply: Apply) -> Tensor:
        """`apply(x)`, a sum of the values with fixed weights that are not negative."""
        raise NotImplementedError

    def scale_and_shift(self, x: Tensor, scale: Tensor, shift: Tensor, result: Tensor) -> Tensor:
        """`result`, which is scale * x + shift with fixed numbers per channel: batch normalisation in eval mode."""
        raise NotImplementedError

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """The softmax along one dimension."""
        raise NotImplementedError

    def max_pool(self, x: Tensor, apply: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """The maxima of windows; `apply(x)` gives them with their flat places in each map."""
        raise NotImplementedError

    def amax(self, x: Tensor, dim: Any, keepdim: bool) -> Tensor:
        """The maxima over dimensions."""
        raise NotImplementedError

    # How an operation finds its rule.

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, inplace = _name(getattr(func, "__name__", ""))
        rule = _RULES.get(name)
        if rule is None or rule in self.natural or next(signals(args, kwargs), None) is None:
            return func(*args, **kwargs)
        args, kwargs = _positional(func, args, kwargs)
        inplace = inplace or bool(_argument(func, args, kwargs, "inplace", False))
        result = getattr(self, rule)(name, func, args, kwargs)
        if not inplace:
            return result
        # Written into the tensor itself, so that everyone who holds it or a view of it sees the new values.
        return args[0].copy_(result)

    def _elementwise(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        if not all(one is args[0] for one in signals(args, kwargs)):
            return func(*args, **kwargs)  # type: ignore[no-any-return]  # a tensor as exponent: refused later by name
        return self.elementwise(name, args[0], lambda x: func(x.clone(), *args[1:], **kwargs))

    def _average(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        return self.average(args[0], lambda x: func(x, *args[1:], **kwargs))

    def _joined(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        return self.joined(list(args[0]), lambda parts: func(parts, *args[1:], **kwargs))

    def _addition(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
        first, second = args[:2]
        if name.strip("_") == "rsub":
            first, second = second, first
        factor = alpha if name == "add" else -alpha
        return self.addition([first, second if factor == 1 else second * factor])

    def _product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        return self._multiplied(args[0], args[1], torch.mul)

    def _multiplied(self, a: Any, b: Any, multiply: Multiply) -> Tensor:
        both = isinstance(a, Tensor) and isinstance(b, Tensor) and a.requires_grad and b.requires_grad
        return self.product(a, b, multiply) if both else multiply(a, b)

    def _quotient(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        first, second = args[:2] if not name.startswith("__r") else (args[1], args[0])
        if kwargs.get("rounding_mode") or not (isinstance(second, Tensor) and second.requires_grad):
            return torch.div(first, second, rounding_mode=kwargs.get("rounding_mode"))
        with self:
            inverse: Tensor = torch.reciprocal(second) * first
            return inverse

    def _weighted(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        x, weight, bias, rest, more = _parts(args, kwargs)
        if bias is not None and bias.requires_grad:
            raise InputError(f"{self.lens} has no rule for a {name} whose bias depends on the image")

        def apply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
            return func(x, weight, bias, *rest, **more)  # type: ignore[no-any-return]

        if weight.requires_grad and bias is None:
            return self._multiplied(x, weight, apply)
        if weight.requires_grad:
            raise InputError(f"{self.lens} has no rule for a {name} with a bias whose weights depend on the image")
        return self.weighted(x, weight, bias, apply, name)

    def _matrix_product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        a, b = args[:2] if name != "__rmatmul__" else (args[1], args[0])
        return self._contracted(a, b, torch.matmul)

    def _contracted(self, a: Tensor, b: Tensor, multiply: Multiply) -> Tensor:
        if a.requires_grad and b.requires_grad:
            return self.product(a, b, multiply)
        if b.requires_grad:
            return self.weighted(b, a, None, lambda x, weight, _=None: multiply(weight, x), "matmul")
        return self.weighted(a, b, None, lambda x, weight, _=None: multiply(x, weight), "matmul")

    def _einsum(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        equation, *operands = args
        operands = list(operands[0]) if isinstance(operands[0], (list, tuple)) else operands
        if len(operands) != 2 or not isinstance(equation, str):
            return func(*args, **kwargs)  # type: ignore[no-any-return]  # torch's
        return self._contracted(operands[0], operands[1], lambda a, b: torch.einsum(equation, a, b))

    def _added_product(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        added, a, b = args[:3]
        with self:
            total: Tensor = added * kwargs.get("beta", 1) + (a @ b) * kwargs.get("alpha", 1)
            return total

    def _composite(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        given = {key: value for key, value in kwargs.items() if value is not None and key != "_stacklevel"}
        with self:
            return COMPOSITES[name](*args, **given)

    def _batch_norm(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        call = bound(F.batch_norm, args, kwargs)
        if call["training"] or call["running_mean"] is None:
            raise InputError(
                f"{self.lens} explains each image by itself, and a batch normalisation of this network "
                "has no running statistics; use one with track_running_stats=True"
            )
        x, variance = call["input"], call["running_var"]
        scale = torch.rsqrt(variance + call["eps"])
        scale = scale if call["weight"] is None else scale * call["weight"]
        shift = -call["running_mean"] * scale
        shift = shift if call["bias"] is None else shift + call["bias"]
        shape = (1, -1, *(1,) * (x.ndim - 2))
        return self.scale_and_shift(x, scale.view(shape), shift.view(shape), func(*args, **kwargs))

    def _softmax(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return self.softmax(args[0], -1 if dim is None else dim)

    def _max_pool(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        function = getattr(F, name)
        call = bound(pooling_signature(name), args, kwargs)
        if call["return_indices"]:
            return func(*args, **kwargs)
        call["return_indices"] = True
        x = call.pop("input")
        return self.max_pool(x, lambda value: function(value, **call))

    def _amax(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        call = {**dict(zip(("input", "dim", "keepdim"), args, strict=False)), **kwargs}
        return self.amax(call["input"], call.get("dim", ()), call.get("keepdim", False))


def signals(args: Any, kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors among the arguments that depend on the image."""
    for value in (*args, *kwargs.values()):
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, Tensor) and one.requires_grad:
                yield one


def _name(name: str) -> tuple[str, bool]:
    """The function's name without what marks it as in place, and whether it was."""
    if name in _OPERATORS:
        return _OPERATORS[name], True
    if name.endswith("_") and not name.endswith("__"):
        return name[:-1], True
    return _OPERATORS_OUT.get(name, name), False


def _argument(func: Any, args: Any, kwargs: Any, name: str, default: Any) -> Any:
    if name in kwargs or not signature(func):
        return kwargs.get(name, default)
    parameters = list(signature(func).parameters)  # type: ignore[union-attr]
    place = parameters.index(name) if name in parameters else len(args)
    return args[place] if place < len(args) else default


def _positional(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with the first one, the tensor worked on, in its place."""
    if args:
        return tuple(args), kwargs
    first = next(name for name in ("input", "self", "query", "tensors") if name in kwargs)
    return (kwargs[first],), {name: value for name, value in kwargs.items() if name != first}


def _parts(args: Any, kwargs: Any) -> tuple[Tensor, Tensor, Tensor | None, tuple[Any, ...], dict[str, Any]]:
    """Input, weight, bias and the rest of a convolution's or linear layer's arguments."""
    kwargs = dict(kwargs)
    given = dict(zip(("input", "weight", "bias"), args, strict=False))
    x, weight, bias = (given[name] if name in given else kwargs.pop(name, None) for name in ("input", "weight", "bias"))
    return x, weight, bias, tuple(args[3:]), kwargs
