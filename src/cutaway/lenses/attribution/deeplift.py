"""DeepLift: what makes the image's score differ from a baseline's, operation by operation (Shrikumar et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cutaway.errors import InputError
from cutaway.lenses.attribution.graph import check_graph
from cutaway.lenses.attribution.method import Found, Job, Method, baseline_image, named
from cutaway.lenses.attribution.operations import Apply, Interception, Multiply, Weigh, ruled, wide

# Differences smaller than this share of the values are rounding: there the derivative takes the quotient's place.
ROUNDING = 1e-6
# A completeness gap of this share of the score deserves a note.
LARGE = 0.01


class Differences(Interception):
    """The first pass inside this block is the baseline's; the second one's multipliers lead from it to the image.

    Every rule is exact: the differences of what goes in, times their multipliers, sum to the difference of what comes
    out. So the attributions sum to the difference of the scores, whatever the network is made of.
    """

    natural = frozenset({"_average", "_joined"})  # linear operations: the multiplier is the derivative

    def __init__(self) -> None:
        super().__init__("deeplift")
        self.seen: list[tuple[str, tuple[Tensor, ...]]] = []
        self.place: int | None = None

    def compare(self) -> None:
        """From here on, operations are compared with those seen so far."""
        self.place = 0

    def elementwise(self, name: str, x: Tensor, apply: Apply) -> Tensor:
        """The Rescale rule: the quotient of the differences."""
        reference = self._reference(name, x)
        if reference is None:
            return apply(x)
        with torch.no_grad():
            value = apply(x)
            factor, still = _quotient(value - apply(reference[0]), x.detach(), reference[0])
        return ruled(x, value, torch.where(still, _derivative(apply, x), factor) if still.any() else factor)

    def addition(self, terms: list[Any]) -> Tensor:
        """Linear."""
        return terms[0] + terms[1]  # type: ignore[no-any-return]

    def product(self, a: Tensor, b: Tensor, multiply: Multiply) -> Tensor:
        """Each factor's difference times the other's mean: what the two changed together is shared equally."""
        reference = self._reference("product", a, b)
        if reference is None:
            return multiply(a, b)
        mean_a, mean_b = (a.detach() + reference[0]) / 2, (b.detach() + reference[1]) / 2
        return ruled(multiply(a, mean_b) + multiply(mean_a, b), multiply(a.detach(), b.detach()))

    def weighted(self, x: Tensor, weight: Tensor, bias: Tensor | None, apply: Weigh, name: str) -> Tensor:
        """Linear."""
        return apply(x, weight, bias)

    def scale_and_shift(self, x: Tensor, scale: Tensor, shift: Tensor, result: Tensor) -> Tensor:
        """Linear."""
        return ruled(x * scale, result.detach())

    def softmax(self, x: Tensor, dim: int) -> Tensor:
        """Taken apart; shifted by its own maximum, so that no sum of exponentials is near zero."""
        with self:
            exponentials = (x - x.amax(dim, keepdim=True)).exp()
            inverse = torch.reciprocal(exponentials.sum(dim, keepdim=True))
            return exponentials * inverse

    def max_pool(self, x: Tensor, apply: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        """The larger of the two maxima names the pixel that takes the difference."""
        reference = self._reference("max_pool", x)
        if reference is None:
            return apply(x)[0]
        with torch.no_grad():
            (value, places), (value0, places0) = apply(x), apply(reference[0])
        return _winner(x.flatten(2), reference[0].flatten(2), value, value0, places, places0)

    def amax(self, x: Tensor, dim: Any, keepdim: bool) -> Tensor:
        """A max pooling whose window is the dimensions."""
        dims = [dim] if isinstance(dim, int) else list(dim) or list(range(x.ndim))
        kept = [i for i in range(x.ndim) if i not in {d % x.ndim for d in dims}]
        x = x.permute(*kept, *(d % x.ndim for d in dims)).flatten(len(kept))
        reference = self._reference("amax", x)
        if reference is None:
            result = x.amax(-1, keepdim=True)
        else:
            (value, place), (value0, place0) = x.detach().max(-1, keepdim=True), reference[0].max(-1, keepdim=True)
            result = _winner(x, reference[0], value, value0, place, place0)
        result = result.squeeze(-1)
        for one in sorted(d % (len(kept) + len(dims)) for d in dims) if keepdim else ():
            result = result.unsqueeze(one)
        return result

    def _reference(self, name: str, *tensors: Tensor) -> tuple[Tensor, ...] | None:
        """What the same operation was given in the baseline's pass; None during that pass."""
        if self.place is None:
            self.seen.append((name, tuple(one.detach().clone() for one in tensors)))
            return None
        seen = self.seen[self.place] if self.place < len(self.seen) else ("", ())
        if seen[0] != name or [one.shape for one in seen[1]] != [one.shape for one in tensors]:
            raise InputError(
                "deeplift compares the image with a baseline operation by operation, and this network runs others for "
                "the baseline than for the image; choose another method"
            )
        self.place += 1
        return seen[1]


def _quotient(change: Tensor, x: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """`change` / (x - x0), and where that is nothing but rounding."""
    difference = x - x0
    # Not the other way round: a difference of two infinities, from a mask, is no number and has to count as still.
    still = ~(difference.abs() > ROUNDING * (x.abs() + x0.abs()))
    return change / torch.where(still, 1.0, difference), still


def _derivative(apply: Apply, x: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(apply(leaf).sum(), leaf)[0]


def _winner(x: Tensor, x0: Tensor, value: Tensor, value0: Tensor, places: Tensor, places0: Tensor) -> Tensor:
    """The maxima `value`; x is (..., values), and the places are counted along its last dimension."""
    chosen = torch.where(value >= value0, places, places0).reshape(*x.shape[:-1], -1)
    picked, picked0 = x.gather(-1, chosen), x0.gather(-1, chosen)
    change = (value - value0).reshape(chosen.shape)
    factor, still = _quotient(change, picked.detach(), picked0)
    return ruled(picked, value.reshape(chosen.shape), torch.where(still, 1.0, factor)).reshape(value.shape)


def deeplift(job: Job, *, baseline: float | Tensor = 0.0) -> Found:
    """DeepLift with the Rescale rule (Shrikumar et al., 2017).

    Every operation gets a multiplier, the difference of its output from what the baseline gives over the difference
    of its input; multipliers chain like derivatives, and the image's difference times its multiplier is the
    attribution. The values of an image sum to F(x) - F(baseline).

    The paper has rules for dense, convolution and activation layers. Here a product shares what its factors changed
    together equally, a softmax and a normalisation are taken apart into such operations, and of a max pooling the
    pixel with the larger maximum takes the difference; all of these are exact too.

    Args:
        baseline: what counts as no image, as the network expects it: a number (0 is the mean image of standardised
            inputs) or a tensor (C, H, W).

    Raises:
        InputError: a baseline of the wrong shape, or an operation without a rule.
    """
    images = job.images.detach().clone().requires_grad_()
    start = baseline_image(baseline, images)
    differences = Differences()
    baseline_score = _scores(job, start.expand_as(images).clone().requires_grad_(), differences).detach()
    differences.compare()
    score = _scores(job, images, differences)
    check_graph(score, "deeplift")
    (multiplier,) = torch.autograd.grad(score.sum(), images)
    values = (images.detach() - start) * multiplier
    change = wide(score.detach()) - wide(baseline_score)
    gap = wide(values).flatten(1).sum(1) - change
    relative = torch.where(gap == 0, gap, gap / change).abs()
    check = {"score": score.detach(), "baseline_score": baseline_score}
    gaps = {"completeness_gap": gap.float(), "completeness_gap_relative": relative.float()}
    note = "completeness_gap is large: multipliers are too large for float32 here; try another baseline"
    return Found(values.float(), {**check, **gaps}, (note,) if (gap.abs() > LARGE * score.detach().abs()).any() else ())


def _scores(job: Job, images: Tensor, differences: Differences) -> Tensor:
    layers = [job.target.layer] if job.target.layer else []
    with differences:
        outputs = job.forward(images, layers, output=not layers)
    return job.target.scores(outputs)


METHODS = named(
    [
        Method(
            "deeplift",
            deeplift,
            "pixels",
            "difference from a baseline, handed back operation by operation",
            "Shrikumar et al., 2017",
            {"baseline": 0.0},
        )
    ]
)
