"""Layer-wise relevance propagation (LRP): the score, handed back operation by operation until it lies on the pixels.

Relevance is carried as `value * multiplier`: a rule changes the multiplier that autograd would propagate. What the
rules do not hand on, because it was a bias's or the stabiliser took it, is written down, so that the relevance of the
pixels and what was absorbed on the way add up to the score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cutaway.computing.torch_inside import about_tensors, version
from cutaway.errors import InputError, unknown
from cutaway.lenses.attribution.graph import MAXIMA, check_graph
from cutaway.lenses.attribution.method import Found, Job, Method, named
from cutaway.lenses.attribution.operations import Apply, Interception, Multiply, See, Weigh, ruled, signals, wide

# What these return says how much of something else passes: in a product the other factor takes all the relevance.
_GATES = frozenset({"sigmoid", "hardsigmoid", "tanh"})
# What these return counts as a fixed number: they only bring other values to a scale.
_SCALES = frozenset({"rsqrt", "reciprocal", "sqrt", "exp", "log", "log1p", "expm1"})
# What these return is a new signal, even if all they were given is a gate's.
_CONVOLUTIONS = frozenset(f"conv{n}d" for n in (1, 2, 3))
_LAYERS = frozenset({"linear", *_CONVOLUTIONS, *(f"conv_transpose{n}d" for n in (1, 2, 3))})
# Of a function that is not 0 at 0, quotients nearer to 0 than this are rounding.
_NEAR = 1e-4


@dataclass(frozen=True)
class Rule:
    """How a weighted sum shares its relevance among its contributions q.

    Each contribution, the bias included, gets relevance in proportion to q + gamma * q', where q' is q if it has the
    sign of the sum and 0 otherwise. gamma 0 is the epsilon rule and gamma infinity the z+ rule.

    Attributes:
        gamma: 0 or more.
        epsilon: the stabiliser: the denominator's magnitude is enlarged by it.
        dense: whether gamma also holds in fully connected layers; they follow the epsilon rule otherwise.
    """

    gamma: float = 0.0
    epsilon: float = 1e-6
    dense: bool = False

    def share(self, value: Tensor, denominator: Tensor) -> Tensor:
        """`value` / `denominator`, which is stabilised; a sum of nothing hands nothing on."""
        stable = denominator + torch.where(denominator < 0, -self.epsilon, self.epsilon)
        return torch.where(value == 0, 0.0, value / stable)


class Ledger:
    """What was absorbed on the way, (N,) in the units of the score."""

    def __init__(self, images: Tensor) -> None:
        self.bias = wide(images.new_zeros(len(images)))
        self.epsilon = self.bias.clone()

    def watch(self, bias: Tensor | None, lost: Tensor | None) -> See:
        """Of a multiplier m, m * bias was a bias's and m * lost the stabiliser's."""

        def see(multiplier: Tensor) -> None:
            if bias is not None:
                self.bias += self._per_image(multiplier * bias)
            if lost is not None:
                self.epsilon += self._per_image(multiplier * lost)

        return see

    def _per_image(self, values: Tensor) -> Tensor:
        # Only the sums over a batch are right where a network works on (tokens, images, channels).
        images = len(self.bias)
        if values.numel() % images:
            return wide(values).sum().expand(images) / images
        return wide(values).reshape(images, -1).sum(1)


@dataclass(frozen=True)
class _Weighted:
    """A convolution's or dense layer's sum, kept for the batch normalisation that may follow it."""

    total: Tensor
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    apply: Weigh
    dense: bool
    version: int = 0


class Propagation(Interception):
    """A forward pass inside this block can be walked back by the rule."""

    natural = frozenset({"_max_pool", "_amax"})  # the winner takes all: that is the derivative

    def __init__(self, lens: str, rule: Rule, ledger: Ledger) -> None:
        super().__init__(lens)
        self.rule = rule
        self.ledger = ledger
        self.gates: MutableMapping[Tensor, bool] = about_tensors()
        self.sums: MutableMapping[Tensor, _Weighted] = about_tensors()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = list(signals(args, kwargs or {}))
        gates = bool(inputs) and all(one in self.gates for one in inputs)
        name = getattr(func, "__name__", "")
        gates = (gates and name not in _LAYERS) or name.rstrip("_") in _GATES
        result = super().__torch_function__(func, types, args, kwargs)
        for one in signals((result,), {}):
            if gates:
                self.gates[one] = True
            else:
                # It may be a gate that something else was written into.
                self.gates.pop(one, None)
        return result

    def elementwise(self, name: str, x: Tensor, apply: Apply) -> Tensor:
        """f(x) has the multiplier (f(x) - f(0)) / x: all relevance passes, but what f(0) says without any input."""
        with torch.no_grad():
            value = apply(x)
            if name in _SCALES:
                return value
            rest = apply(torch.zeros_like(x))
            at = torch.where((rest != 0) & (x.abs() < _NEAR), _NEAR, x)
            factor = _ratio(apply(at) - rest, at) if rest.any() else _ratio(value, x)
        return ruled(x, value, factor, self.ledger.watch(rest, None) if rest.any() else None)

    def addition(self, terms: list[Any]) -> Tensor:
        """A sum is a linear layer with weights of one; what does not depend on the image is its bias."""
        total = terms[0] + terms[1]
        moving = [one for one in terms if isinstance(one, Tensor) and one.requires_grad]
        fixed = [one for one in terms if not (isinstance(one, Tensor) and one.requires_grad)]
        bias = torch.zeros_like(total) + (fixed[0] if fixed else 0.0)
        return self._shared(total, bias, lambda: sum(_positive(one) for one in moving) + torch.zeros_like(total))

    def product(self, a: Tensor, b: Tensor, multiply: Multiply) -> Tensor:
        """What passes a gate takes all; two factors of which neither is a gate get half each."""
        # Copies, because the result may be written into either.
        fixed_a, fixed_b = a.detach().clone(), b.detach().clone()
        if (a in self.gates) != (b in self.gates):
            total = multiply(fixed_a, b) if a in self.gates else multiply(a, fixed_b)
        else:
            total = (multiply(a, fixed_b) + multiply(fixed_a, b)) / 2
        return total if multiply is torch.mul else self._shared(total, torch.zeros_like(total), None)

    def weighted(self, x: Tensor, weight: Tensor, bias: Tensor | None, apply: Weigh, name: str) -> Tensor:
        """Relevance in proportion to the contributions x * w."""
        total = apply(x, weight, bias)
        kept = _Weighted(total, x, weight, bias, apply, not name.startswith("conv"))
        result = self._weighted_share(kept)
        # The weight's rows are the result's channels.
        if name in _CONVOLUTIONS or (name == "linear" and total.ndim == 2):
            self.sums[result] = replace(kept, version=version(result))
        return result

    def _weighted_share(self, sum_: _Weighted) -> Tensor:
        total, x, weight = sum_.total, sum_.x, sum_.weight
        bias = torch.zeros_like(total[:1, :1]) if sum_.bias is None else _over_channels(sum_.bias, total, sum_.dense)

        def positive() -> Tensor:
            agreeing = sum_.apply(_positive(x), weight.clamp(min=0))
            return agreeing if not (x < 0).any() else agreeing - sum_.apply(_positive(-x), weight.clamp(max=0))

        return self._shared(total, bias, positive if self.rule.dense or not sum_.dense else None)

    def joined(self, parts: list[Tensor], join: Callable[[list[Tensor]], Tensor]) -> Tensor:
        """What does not depend on the image, such as a class token, takes its relevance as a bias does."""
        whole = join(parts)
        if all(part.requires_grad for part in parts):
            return whole
        fixed = join([torch.zeros_like(part) if part.requires_grad else part for part in parts])
        return ruled(whole, whole.detach(), None, self.ledger.watch(fixed, None))

    def average(self, x: Tensor, apply: Apply) -> Tensor:
        """An average is a linear layer with equal weights."""
        total = apply(x)
        return self._shared(total, torch.zeros_like(total), lambda: apply(_positive(x)))

    def scale_and_shift(self, x: Tensor, scale: Tensor, shift: Tensor, result: Tensor) -> Tensor:
        """Batch normalisation: one linear layer with the convolution before it, or one of its own."""
        before = self.sums.get(x)
        if before is None or before.version != version(x):
            return self._shared(x * scale + shift, shift + torch.zeros_like(result), lambda: _positive(x * scale))
        flat = scale.flatten()
        bias = shift.flatten() if before.bias is None else shift.flatten() + flat * before.bias
        weight = before.weight * flat.view(-1, *(1,) * (before.weight.ndim - 1))
        return self._weighted_share(replace(before, total=before.total * scale + shift, weight=weight, bias=bias))

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """Attention weights count as fixed: the values that they weigh take the relevance (Ali et al., 2022)."""
        return torch.softmax(x.detach(), dim)

    def _shared(self, total: Tensor, bias: Tensor, positive: Callable[[], Tensor] | None) -> Tensor:
        """`total`, whose relevance is shared by the rule among its contributions and `bias`, one of them.

        Args:
            total: the sum, in the graph.
            bias: the part of it that does not depend on the image.
            positive: gives the sum of the positive contributions, in the graph; None for the epsilon rule.
        """
        value = total.detach()
        if self.rule.gamma == 0 or positive is None:
            carrier, share = total, bias
        else:
            carrier, share = self._favoured(total, bias, positive())
        denominator = carrier.detach()
        factor = self.rule.share(value, denominator)
        return ruled(carrier, value, factor, self.ledger.watch(factor * share, value - factor * denominator))

    def _favoured(self, total: Tensor, bias: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
        """The sum and its bias with the contributions that agree with its sign counted 1 + gamma times."""
        up, moving, gamma = total.detach() > 0, total - bias, self.rule.gamma
        agreeing = torch.where(up, positive, moving - positive)
        own = torch.where(up, bias.clamp(min=0), bias.clamp(max=0))
        if math.isinf(gamma):
            return agreeing + own, own
        return total + gamma * (agreeing + own), bias + gamma * own


def _ratio(value: Tensor, x: Tensor) -> Tensor:
    return torch.where(x == 0, 0.0, value / x)


def _positive(x: Tensor) -> Tensor:
    # Times a mask, because clamp would keep x itself for the backward pass, and a network may change x in place.
    return x * (x > 0)


def _over_channels(bias: Tensor, like: Tensor, dense: bool) -> Tensor:
    return bias if dense else bias.view(-1, *(1,) * (like.ndim - 2))


def _explain(job: Job, lens: str, rule: Rule) -> Found:
    if not 0 <= rule.epsilon < math.inf or not rule.gamma >= 0:
        raise InputError(f"{lens} needs epsilon and gamma of 0 or more; found {rule.epsilon:g} and {rule.gamma:g}")
    images = job.images.detach().clone().requires_grad_()
    ledger = Ledger(images)
    layers = [job.target.layer] if job.target.layer else []
    with Propagation(lens, rule, ledger):
        outputs = job.forward(images, layers, output=not layers)
    score = job.target.scores(outputs)
    check_graph(score, lens, MAXIMA)
    (multiplier,) = torch.autograd.grad(score.sum(), images)
    values = images.detach() * multiplier
    return Found(values.float(), _balance(score.detach(), wide(values).flatten(1).sum(1), ledger))


def _balance(score: Tensor, found: Tensor, ledger: Ledger) -> dict[str, Tensor]:
    gap = wide(score) - found
    return {
        "score": score,
        "conservation_gap": gap.float(),
        # Where nothing is to be shared both are zero.
        "conservation_gap_relative": torch.where(gap == 0, gap, gap / score).abs().float(),
        "absorbed_by_biases": ledger.bias.float(),
        "absorbed_by_epsilon": ledger.epsilon.float(),
        "unaccounted": (gap - ledger.bias - ledger.epsilon).float(),
    }


def epsilon_rule(job: Job, *, epsilon: float = 1e-6) -> Found:
    """LRP-epsilon: relevance in proportion to what each input contributed to a sum (Bach et al., 2015).

    Of a sum z = sum of q, the contribution q gets q / (z + epsilon * sign(z)) of its relevance. A large epsilon takes
    away what small sums would hand on, and with it noise. With epsilon near 0, and nothing but ReLU, maxima and sums
    in the network, this is input x gradient.

    Args:
        epsilon: in the units of the network's activations.

    Raises:
        InputError: an option out of range, or an operation without a rule.
    """
    return _explain(job, "lrp-epsilon", Rule(0.0, epsilon))


def gamma_rule(job: Job, *, gamma: float = 0.25, epsilon: float = 1e-6, dense: str = "epsilon") -> Found:
    """LRP-gamma: contributions that agree with the sum's sign count 1 + gamma times (Montavon et al., 2019).

    The paper favours what is positive, for layers with ReLU before and behind them, where it is the same. With "the
    sign of the sum" the rule also holds for inputs and sums of either sign: a denominator is never smaller than the
    sum itself.

    Args:
        gamma: 0 or more; 0 is the epsilon rule.
        epsilon: the stabiliser.
        dense: the rule of fully connected layers: `epsilon` (as the paper recommends for the top) or `same`.

    Raises:
        InputError: an option out of range, or an operation without a rule.
    """
    return _explain(job, "lrp-gamma", Rule(gamma, epsilon, _dense(dense)))


def z_plus_rule(job: Job, *, epsilon: float = 1e-6, dense: str = "epsilon") -> Found:
    """LRP-z+: only contributions of the sum's sign get relevance (Montavon et al., 2017).

    It is gamma without end, and alpha 1, beta 0 of Bach et al. (2015). With `dense="same"` and a positive score no
    relevance is negative. A positive bias takes its share.

    Args:
        epsilon: the stabiliser.
        dense: the rule of fully connected layers: `epsilon` or `same`.

    Raises:
        InputError: an option out of range, or an operation without a rule.
    """
    return _explain(job, "lrp-z+", Rule(math.inf, epsilon, _dense(dense)))


def _dense(rule: str) -> bool:
    if rule not in ("epsilon", "same"):
        raise unknown("rule", rule, ("epsilon", "same"), "one for dense layers")
    return rule == "same"


METHODS = named(
    [
        Method(
            "lrp-epsilon",
            epsilon_rule,
            "pixels",
            "the score, handed back in proportion to contributions",
            "Bach et al., 2015",
            {"epsilon": 1e-6},
        ),
        Method(
            "lrp-gamma",
            gamma_rule,
            "pixels",
            "the same, favouring contributions of the sum's sign",
            "Montavon et al., 2019",
            {"gamma": 0.25, "epsilon": 1e-6, "dense": "epsilon"},
        ),
        Method(
            "lrp-z+",
            z_plus_rule,
            "pixels",
            "the same, by contributions of the sum's sign alone",
            "Montavon et al., 2017",
            {"epsilon": 1e-6, "dense": "epsilon"},
        ),
    ]
)
