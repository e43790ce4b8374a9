"""Where an activation has an end: a value that it comes to however large or small its input, so that its slope is zero.

What is piecewise linear has ends that it reaches exactly. What is smooth only comes near them; a value counts as at an
end within a hundredth of the range (of the distance from zero, where there is one end only). There a sigmoid's and a
tanh's slope is below a twenty-fifth of its largest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NEAR = 0.01
_SELU_END = -1.0507009873554805 * 1.6732632423543772


@dataclass(frozen=True)
class Ends:
    """The ends of an activation's range.

    Attributes:
        low: the value on the left; None if it has no end there.
        high: the value on the right; None likewise.
        exact: whether it reaches them.
    """

    low: float | None = None
    high: float | None = None
    exact: bool = True

    @property
    def zero_alone(self) -> bool:
        """Whether zero, reached exactly, is the only end, as a ReLU's."""
        return self.exact and self.low == 0 and self.high is None

    def reached(self, value: Tensor) -> Tensor:
        """Bool, the shape of `value`: which of an activation's outputs are at an end."""
        found = torch.zeros_like(value, dtype=torch.bool)
        for end, beyond in ((self.low, torch.le), (self.high, torch.ge)):
            if end is not None and self.exact:
                found |= value == end
            elif end is not None:
                margin = self._margin if beyond is torch.le else -self._margin
                found |= beyond(value, end + margin)
        return found

    @property
    def _margin(self) -> float:
        if self.low is not None and self.high is not None:
            return _NEAR * (self.high - self.low)
        return _NEAR * (abs(self.low or self.high or 0.0) or 1.0)


ENDLESS = Ends()
_RELU, _RELU6, _SIGMOID, _TANH = Ends(0.0), Ends(0.0, 6.0), Ends(0.0, 1.0, False), Ends(-1.0, 1.0, False)
_UNIT, _SELU = Ends(0.0, 1.0), Ends(_SELU_END, exact=False)
_SOFTPLUS, _LOGSIGMOID = Ends(0.0, exact=False), Ends(None, 0.0, exact=False)


def is_activation(module: nn.Module) -> bool:
    """Whether a module is an activation."""
    return isinstance(module, tuple(kind for kind, _ in _MODULES))


def ends_of_module(module: nn.Module) -> Ends:
    """The ends of an activation.

    >>> ends_of_module(nn.Hardtanh(-2, 2))
    Ends(low=-2, high=2, exact=True)
    """
    return next(rule(module) for kind, rule in _MODULES if isinstance(module, kind))


def ends_of_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Ends | None:
    """The ends of an activation that is called as a function; None if the function is no activation.

    >>> ends_of_call(F.hardtanh, (torch.zeros(1),), {"max_val": 3.0})
    Ends(low=-1.0, high=3.0, exact=True)
    """
    if function not in _FUNCTIONS:
        return None
    names, rule = _FUNCTIONS[function]
    given = dict(zip(names, args[1:], strict=False))
    return rule(**{**given, **{name: value for name, value in kwargs.items() if name in names}})


def _always(ends: Ends) -> Callable[..., Ends]:
    return lambda **_: ends


def _hardtanh(min_val: float = -1.0, max_val: float = 1.0) -> Ends:
    return Ends(min_val, max_val)


def _elu(alpha: float = 1.0) -> Ends:
    return Ends(-abs(alpha), exact=False)


def _threshold(threshold: float = 0.0, value: float = 0.0) -> Ends:
    return Ends(value)


# An activation is of the first kind that it is an instance of: to torch, a ReLU6 is a Hardtanh.
_MODULES: list[tuple[type[nn.Module], Callable[[Any], Ends]]] = [
    (nn.ReLU6, lambda _: _RELU6),
    (nn.Hardtanh, lambda module: _hardtanh(module.min_val, module.max_val)),
    # A Hardswish is zero from -3 down. It is zero at zero too, which is no end, but few values are exactly that.
    *((kind, lambda _: _RELU) for kind in (nn.ReLU, nn.Hardswish)),
    (nn.Hardsigmoid, lambda _: _UNIT),
    (nn.Threshold, lambda module: _threshold(module.threshold, module.value)),
    (nn.Sigmoid, lambda _: _SIGMOID),
    *((kind, lambda _: _TANH) for kind in (nn.Tanh, nn.Softsign)),
    *((kind, lambda module: _elu(module.alpha)) for kind in (nn.ELU, nn.CELU)),
    (nn.SELU, lambda _: _SELU),
    (nn.Softplus, lambda _: _SOFTPLUS),
    (nn.LogSigmoid, lambda _: _LOGSIGMOID),
    *((kind, lambda _: ENDLESS) for kind in (nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Mish)),
]

# Each function with the names of the arguments behind its input, and what they make of its ends.
_FUNCTIONS: dict[Any, tuple[tuple[str, ...], Callable[..., Ends]]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_), ((), _always(_RELU))),
    F.hardswish: ((), _always(_RELU)),
    F.relu6: ((), _always(_RELU6)),
    F.hardsigmoid: ((), _always(_UNIT)),
    **dict.fromkeys(
        (torch.sigmoid, torch.sigmoid_, Tensor.sigmoid, Tensor.sigmoid_, torch.special.expit), ((), _always(_SIGMOID))
    ),
    **dict.fromkeys((torch.tanh, torch.tanh_, Tensor.tanh, Tensor.tanh_, F.softsign), ((), _always(_TANH))),
    **dict.fromkeys((F.hardtanh, F.hardtanh_), (("min_val", "max_val"), _hardtanh)),
    **dict.fromkeys((F.elu, F.elu_, F.celu, F.celu_, torch.celu, torch.celu_), (("alpha",), _elu)),
    **dict.fromkeys((F.selu, F.selu_, torch.selu, torch.selu_), ((), _always(_SELU))),
    **dict.fromkeys((F.threshold, torch.threshold), (("threshold", "value"), _threshold)),
    F.softplus: ((), _always(_SOFTPLUS)),
    F.logsigmoid: ((), _always(_LOGSIGMOID)),
    **dict.fromkeys((F.leaky_relu, F.leaky_relu_, F.gelu, F.silu, F.mish), ((), _always(ENDLESS))),
}
