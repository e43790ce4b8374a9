"""Receptive fields followed through the operations of one forward pass.

A unit's field is the stretch of input pixels that can change it, ignoring the image's border. Every tensor carries
one `Axis` for the image's height and one for its width: which dimensions of the tensor move the field, by how many
pixels a step, where the field of its first unit begins and how long it is. Convolution and pooling widen it, a
sum or concatenation of branches takes the hull of theirs, a contraction (linear layer, mean, attention) joins the
fields along the contracted dimension. What is not exactly known is `UnknownFieldError`, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod


class UnknownFieldError(Exception):
    """The field after an operation has no exact description here."""


@dataclass(frozen=True)
class Factor:
    """A part of a dimension: `count` steps, each moving the field by `jump` pixels, `spread` from first to last.

    A dimension of several factors is row-major, as a flattened height and width are. `jump` is None for unequal steps.
    """

    count: int
    jump: int | None
    spread: int


Layout = tuple[Factor, ...]


def regular(count: int, jump: int = 0) -> Layout:
    """A dimension of `count` units whose fields lie `jump` pixels apart."""
    return (Factor(count, jump, jump * (count - 1)),)


@dataclass(frozen=True)
class Axis:
    """Fields along one axis of the image: `dims` describe the tensor's dimensions; the first unit sees `low`..`high`.

    `exact` is False for products of two fields that are not summed yet (attention scores).
    """

    dims: tuple[Layout, ...]
    low: int
    size: int
    exact: bool = True

    @property
    def high(self) -> int:
        """The last pixel of the first unit's field."""
        return self.low + self.size - 1

    @property
    def spread(self) -> int:
        """Pixels between the first and the last unit's fields."""
        return sum(layout_spread(layout) for layout in self.dims)

    @property
    def is_fixed(self) -> bool:
        """Whether every unit has the same field."""
        return self.spread == 0

    @property
    def jump(self) -> int | None:
        """Pixels between the fields of neighbouring units; None where there is no single number."""
        moving = [layout for layout in self.dims if not is_still(layout)]
        return moving[0][0].jump if len(moving) == 1 and len(moving[0]) == 1 else None

    @property
    def extent(self) -> int | None:
        """The size of every unit's field; None where it differs between units."""
        is_even = all(factor.jump is not None for layout in self.dims for factor in layout)
        return self.size if is_even and self.exact else None


def layout_spread(layout: Layout) -> int:
    """Pixels between the fields of the first and the last unit."""
    return sum(factor.spread for factor in layout)


def is_still(layout: Layout) -> bool:
    """Whether going along the dimension leaves the field where it is."""
    return all(factor.jump == 0 for factor in layout)


def _canonical(factors: Iterable[Factor]) -> Layout:
    """The same dimension in the fewest factors: steps of one are dropped, evenly continuing neighbours joined."""
    result: list[Factor] = []
    for factor in factors:
        if factor.count == 1 and factor.spread == 0:
            continue
        last = result[-1] if result else None
        if last and factor.jump is not None and last.jump == factor.jump * factor.count:
            result[-1] = regular(last.count * factor.count, factor.jump)[0]
        else:
            result.append(factor)
    return tuple(result)


def with_layout(axis: Axis, dim: int, layout: Layout) -> Axis:
    """`axis` with one dimension described anew."""
    dims = list(axis.dims)
    dims[dim] = layout
    return replace(axis, dims=tuple(dims))


def mixed(axis: Axis, *dims: int) -> Axis:
    """Every unit along `dims` sees what any unit along them saw."""
    for dim in dims:
        count = prod(factor.count for factor in axis.dims[dim])
        wider = replace(axis, size=axis.size + layout_spread(axis.dims[dim]), exact=axis.exact or count > 1)
        axis = with_layout(wider, dim, regular(count))
    return axis


def slid(axis: Axis, dim: int, count: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> Axis:
    """A window of `kernel` slid along `dim`, giving `count` units."""
    layout = axis.dims[dim]
    if is_still(layout):
        return with_layout(axis, dim, regular(count))
    if kernel == 1 and stride == 1 and padding == 0:
        return axis
    jump = layout[0].jump if len(layout) == 1 else None
    if jump is None:
        raise UnknownFieldError
    wider = replace(axis, low=axis.low - padding * jump, size=axis.size + dilation * (kernel - 1) * jump)
    return with_layout(wider, dim, regular(count, jump * stride))


def reshaped(axis: Axis, shape: Sequence[int]) -> Axis:
    """`axis` of the same elements viewed as `shape`."""
    rest = list(_canonical(factor for layout in axis.dims for factor in layout))
    dims = []
    for count in shape:
        layout: list[Factor] = []
        while count > 1:
            if not rest:
                raise UnknownFieldError
            taken, left = _split(rest.pop(0), count)
            layout.append(taken)
            count //= taken.count
            rest[:0] = left
        dims.append(tuple(layout) or regular(1))
    return replace(axis, dims=tuple(dims))


def _split(factor: Factor, count: int) -> tuple[Factor, list[Factor]]:
    """The outer part of `factor` that fits into `count` steps, and what is left of it."""
    if count % factor.count == 0:
        return factor, []
    if factor.count % count or factor.jump is None:
        raise UnknownFieldError
    inner = factor.count // count
    return regular(count, factor.jump * inner)[0], [regular(inner, factor.jump)[0]]


def hull(axes: Sequence[Axis]) -> Axis:
    """The fields of units that see what the units of all `axes` (of one shape) see."""
    first = axes[0]
    for other in axes[1:]:
        first = _joined(first, other)
    return first


def _joined(one: Axis, other: Axis) -> Axis:
    low = min(one.low, other.low)
    size = max(one.high, other.high) - low + 1
    union = Axis(one.dims, low, size, one.exact and other.exact)
    if [_canonical(layout) for layout in one.dims] == [_canonical(layout) for layout in other.dims]:
        return union
    pairs = [_refined(*layouts) for layouts in zip(one.dims, other.dims, strict=True)]
    for wide, narrow, place in ((one, other, 0), (other, one, 1)):
        differing = [(pair[place], pair[1 - place]) for dim in pairs for pair in dim if pair[0] != pair[1]]
        # Where the wide one stands still and the narrow one moves, the narrow must stay inside: so it is for a gate
        # that sees everything (squeeze and excitation), and for an attention window around its own pixels.
        reach = narrow.high + sum(moving.spread for _, moving in differing)
        if all(still.jump == 0 for still, _ in differing) and wide.low <= narrow.low and reach <= wide.high:
            dims = tuple(_canonical(pair[place] for pair in dim) or regular(1) for dim in pairs)
            return replace(union, dims=dims)
    raise UnknownFieldError


def _refined(one: Layout, other: Layout) -> list[tuple[Factor, Factor]]:
    """Two descriptions of one dimension in factors of the same counts."""
    left, right = list(_canonical(one)), list(_canonical(other))
    pairs = []
    while left and right:
        count = min(left[0].count, right[0].count)
        taken = []
        for rest in (left, right):
            outer, inner = _split(rest.pop(0), count)
            taken.append(outer)
            rest[:0] = inner
        pairs.append((taken[0], taken[1]))
    return pairs


def broadcast(axis: Axis, shape: Sequence[int]) -> Axis:
    """`axis` of a tensor expanded to `shape`, as torch broadcasts."""
    dims = [regular(1)] * (len(shape) - len(axis.dims)) + list(axis.dims)
    fitted = [
        layout if prod(factor.count for factor in layout) == count else regular(count)
        for layout, count in zip(dims, shape, strict=True)
    ]
    return replace(axis, dims=tuple(fitted))
