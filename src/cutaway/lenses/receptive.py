"""Receptive fields followed through the operations of one forward pass: a rule for each kind of operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from typing import Any

from torch import Tensor

from cutaway.computing.torch_inside import about_tensors, arguments, leaves, memory, operation_name, writes
from cutaway.lenses.field import (
    Axis,
    Factor,
    UnknownFieldError,
    broadcast,
    hull,
    is_still,
    layout_spread,
    mixed,
    regular,
    reshaped,
    slid,
    with_layout,
)


@dataclass(frozen=True)
class Operation:
    """One executed operation, seen along one axis: its arguments by name, and output number `index`."""

    given: dict[str, Any]
    output: Tensor
    index: int
    find: Callable[[Tensor], Axis | None]

    def axis(self, name: str) -> Axis | None:
        """The axis of an argument; None for a constant. Raises `UnknownFieldError`."""
        value = self.given[name]
        return self.find(value) if isinstance(value, Tensor) else None

    def only(self, name: str) -> Axis:
        """The axis of an argument that must be the only one with a field."""
        axis = self.axis(name)
        if axis is None or len(self.fields(self.given)) > 1:
            raise UnknownFieldError
        return axis

    def fields(self, values: Any) -> list[Axis]:
        """The axes of all tensors within `values` that have a field, broadcast to none."""
        found = (self.find(leaf) for leaf in leaves(values) if isinstance(leaf, Tensor))
        return [axis for axis in found if axis is not None]

    def dim(self, name: str = "dim") -> int:
        """A dimension argument, counted from the front of the input."""
        rank = self.given["self"].ndim if "self" in self.given else self.output.ndim
        return int(self.given[name]) % rank


def _elementwise(op: Operation) -> Axis:
    return hull([broadcast(axis, op.output.shape) for axis in op.fields(op.given)])


def _convolution(op: Operation) -> Axis:
    axis, given = op.only("input"), op.given
    if given["transposed"] or (given["groups"] > 1 and not is_still(axis.dims[1])):
        raise UnknownFieldError
    axis = with_layout(mixed(axis, 1), 1, regular(op.output.shape[1]))
    kernel = given["weight"].shape[2:]
    return _window(axis, op, len(kernel), kernel, given["stride"], given["padding"], given["dilation"])


def _pool(op: Operation) -> Axis:
    given = op.given
    kernel = given["kernel_size"]
    return _window(
        op.only("self"), op, 2, kernel, given["stride"] or kernel, given["padding"], given.get("dilation", [1])
    )


def _window(axis: Axis, op: Operation, rank: int, *settings: Sequence[int]) -> Axis:
    """`axis` after a window over the last `rank` dimensions; `settings` are kernel, stride, padding, dilation."""
    for place, dim in enumerate(range(op.output.ndim - rank, op.output.ndim)):
        kernel, stride, padding, dilation = (values[place] if len(values) > 1 else values[0] for values in settings)
        axis = slid(axis, dim, op.output.shape[dim], kernel, stride, padding, dilation)
    return axis


def _adaptive_pool(op: Operation) -> Axis:
    axis = op.only("self")
    for dim in (-2, -1):
        before, after = op.given["self"].shape[dim], op.output.shape[dim]
        if before % after == 0:
            axis = slid(axis, dim, after, before // after, before // after)
        else:
            axis = with_layout(axis, dim, (Factor(after, None, layout_spread(axis.dims[dim])),))
    return axis


def _reduction(op: Operation) -> Axis:
    axis = op.only("self")
    dims = op.given.get("dim")
    if dims is None or dims == []:
        dims = list(range(len(axis.dims)))
    for dim in [dims] if isinstance(dims, int) else dims:
        axis = with_layout(mixed(axis, dim), dim, regular(1))
    return reshaped(axis, op.output.shape)


def _softmax(op: Operation) -> Axis:
    return mixed(op.only("self"), op.dim())


def _layer_norm(op: Operation) -> Axis:
    axis = op.only("input")
    return mixed(axis, *range(len(axis.dims) - len(op.given["normalized_shape"]), len(axis.dims)))


def _group_norm(op: Operation) -> Axis:
    axis = op.only("input")
    return mixed(axis, *range(1, len(axis.dims)))


def _linear(op: Operation) -> Axis:
    axis = op.only("input")
    return with_layout(mixed(axis, -1), -1, regular(op.output.shape[-1]))


def _product(left: str, right: str) -> Callable[[Operation], Axis]:
    def rule(op: Operation) -> Axis:
        one, other = op.axis(left), op.axis(right)
        if len(op.fields(op.given)) != (one is not None) + (other is not None):
            raise UnknownFieldError
        rows, columns = op.output.shape[-2:]
        if one is not None:
            one = with_layout(mixed(one, -1), -1, regular(columns))
        if other is not None:
            other = with_layout(mixed(other, -2), -2, regular(rows))
        return _scores(one, other) if one and other else one or other  # type: ignore[return-value]  # one is a field

    return rule


def _scores(one: Axis, other: Axis) -> Axis:
    """Products of every row with every column: summed over either, they see all that both saw."""
    row, column = mixed(one, -2, -1), mixed(other, -2, -1)
    if row != column:
        raise UnknownFieldError
    return replace(row, exact=one == row and other == column)


def _attention(op: Operation) -> Axis:
    axes = [axis for name in ("query", "key", "value") if (axis := op.axis(name))]
    if not axes or len(axes) != len(op.fields(op.given)):
        raise UnknownFieldError
    rows, columns = op.output.shape[-2:]
    seen = {with_layout(with_layout(mixed(axis, -2, -1), -2, regular(rows)), -1, regular(columns)) for axis in axes}
    if len(seen) != 1:
        raise UnknownFieldError
    return seen.pop()


def _view(op: Operation) -> Axis:
    return reshaped(op.only("self"), op.output.shape)


def _permute(op: Operation) -> Axis:
    axis = op.only("self")
    return replace(axis, dims=tuple(axis.dims[dim] for dim in op.given["dims"]))


def _transpose(op: Operation) -> Axis:
    axis = op.only("self")
    one, other = (op.given["dim0"], op.given["dim1"]) if "dim0" in op.given else (0, -1)
    dims = list(axis.dims)
    dims[one], dims[other] = dims[other], dims[one]
    return replace(axis, dims=tuple(dims))


def _slice(op: Operation) -> Axis:
    dim, total = op.dim(), op.given["self"].shape[op.dim()]
    start = slice(op.given["start"], None).indices(total)[0]
    return _cut(op.only("self"), dim, op.output.shape[dim], start, op.given["step"])


def _split_parts(op: Operation) -> Axis:
    dim = op.dim()
    sizes = op.given.get("split_sizes") or [op.given["split_size"]] * (op.index + 1)
    start = list(accumulate(sizes, initial=0))[op.index]
    return _cut(op.only("self"), dim, op.output.shape[dim], start, 1)


def _select(op: Operation) -> Axis:
    dim = op.dim()
    index = op.given.get("index", op.index) % op.given["self"].shape[dim]
    return reshaped(_cut(op.only("self"), dim, 1, index, 1), op.output.shape)


def _cut(axis: Axis, dim: int, count: int, start: int, step: int) -> Axis:
    layout = axis.dims[dim]
    if is_still(layout):
        return with_layout(axis, dim, regular(count))
    if count == prod(factor.count for factor in layout):
        return axis
    jump = layout[0].jump if len(layout) == 1 else None
    if jump is None:
        raise UnknownFieldError
    return with_layout(replace(axis, low=axis.low + start * jump), dim, regular(count, jump * step))


def _pad(op: Operation) -> Axis:
    axis, pads = op.only("self"), op.given.get("pad") or op.given["padding"]
    for place, before in enumerate(pads[::2]):
        dim = len(axis.dims) - 1 - place
        if before or pads[2 * place + 1]:
            axis = slid(axis, dim, op.output.shape[dim], 1, 1, before)
    return axis


def _concatenation(op: Operation) -> Axis:
    axes, dim = op.fields(op.given["tensors"]), op.dim()
    if dim >= op.output.ndim or any(not axis.exact for axis in axes):
        raise UnknownFieldError
    count = op.output.shape[dim]
    if all(is_still(axis.dims[dim]) for axis in axes):
        return hull([with_layout(axis, dim, regular(count)) for axis in axes])
    joined = hull([with_layout(mixed(axis, dim), dim, regular(count)) for axis in axes])
    size = min(axis.size for axis in axes)
    return replace(with_layout(joined, dim, (Factor(count, None, joined.size - size),)), size=size)


_Rule = Callable[[Operation], Axis]


def _named(rule: _Rule, names: str) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_RULES: dict[str, _Rule] = {
    **_named(
        _elementwise,
        "relu sigmoid silu gelu hardtanh hardswish hardsigmoid leaky_relu elu tanh softplus mish _prelu_kernel "
        "clamp clamp_min clamp_max neg exp log pow sqrt rsqrt abs reciprocal sin cos erf square add sub rsub mul div "
        "where lerp addcmul addcdiv maximum minimum gt lt ge le eq ne masked_fill copy clone _to_copy contiguous "
        "detach alias lift_fresh expand native_dropout native_batch_norm _native_batch_norm_legit_no_training "
        "cudnn_batch_norm miopen_batch_norm",
    ),
    **_named(_convolution, "convolution"),
    **_named(_pool, "max_pool2d_with_indices avg_pool2d"),
    **_named(_adaptive_pool, "_adaptive_avg_pool2d adaptive_max_pool2d"),
    **_named(_reduction, "mean sum amax amin max min var std var_mean linalg_vector_norm logsumexp prod"),
    **_named(_softmax, "_softmax _log_softmax _safe_softmax"),
    **_named(_layer_norm, "native_layer_norm"),
    **_named(_group_norm, "native_group_norm"),
    **_named(_linear, "linear"),
    **_named(_product("self", "mat2"), "mm bmm"),
    **_named(_product("mat1", "mat2"), "addmm"),
    **_named(
        _attention,
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention",
    ),
    **_named(_view, "view _unsafe_view _reshape_alias reshape squeeze unsqueeze flatten"),
    **_named(_permute, "permute"),
    **_named(_transpose, "transpose t"),
    **_named(_slice, "slice"),
    **_named(_split_parts, "split split_with_sizes"),
    **_named(_select, "select unbind"),
    **_named(_pad, "constant_pad_nd reflection_pad2d replication_pad2d"),
    **_named(_concatenation, "cat"),
}
_EVERY_OUTPUT = {"split", "split_with_sizes", "unbind", "var_mean", "max", "min", "max_pool2d_with_indices"}
_CONSTANT = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}

Field = tuple[Axis | None, Axis | None]
_UNKNOWN: Field = (None, None)


class FieldTracker:
    """The fields of all live tensors, kept up to date by `observe` for each operation."""

    def __init__(self, images: Tensor) -> None:
        """Start from `images` (N, C, H, W): a unit of the input is one pixel."""
        self._fields = about_tensors()
        self._spoiled: list[Tensor] = []
        layouts = [regular(count) for count in images.shape]
        moving = [regular(count, 1) for count in images.shape]
        self._fields[images] = (
            Axis((*layouts[:2], moving[2], layouts[3]), 0, 1),
            Axis((*layouts[:3], moving[3]), 0, 1),
        )

    def field(self, tensor: Tensor) -> Field | None:
        """The axes for height and width, None each where unknown; None for a tensor that no image reached."""
        if self._spoiled and any(memory(tensor) == memory(spoiled) for spoiled in self._spoiled):
            return _UNKNOWN
        found: Field | None = self._fields.get(tensor)
        return found

    def observe(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Note the fields of what `func(*args, **kwargs)` returned."""
        sources = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = operation_name(func)
        if not any(self.field(source) for source in sources) or name in _CONSTANT:
            return
        given = arguments(func, args, kwargs)
        for index, output in enumerate(leaf for leaf in leaves(result) if isinstance(leaf, Tensor)):
            axes = (self._axis(name.removesuffix("_"), given, output, index, side) for side in (0, 1))
            self._keep(output, (next(axes), next(axes)), writes(func))

    def _axis(self, name: str, given: dict[str, Any], output: Tensor, index: int, side: int) -> Axis | None:
        def find(tensor: Tensor) -> Axis | None:
            field = self.field(tensor)
            if field is None:
                return None
            if (axis := field[side]) is None:
                raise UnknownFieldError
            return axis

        operation = Operation(given, output, index, find)
        rule = _RULES.get(name) if index == 0 or name in _EVERY_OUTPUT else None
        try:
            return _fallback(operation) if rule is None else rule(operation)
        except UnknownFieldError:
            return _known_or_none(operation)

    def _keep(self, output: Tensor, field: Field, in_place: bool) -> None:
        before = self.field(output)
        if in_place and before != field:
            # Written into memory that other tensors may see: whoever shares it has no known field any more.
            aliases = [tensor for tensor in self._fields if tensor is not output and memory(tensor) == memory(output)]
            is_whole = output.untyped_storage().nbytes() == output.nbytes
            if before is None or aliases or not is_whole:
                self._spoiled.append(output)
        self._fields[output] = field


def _fallback(op: Operation) -> Axis:
    """Whatever an operation does: where every unit saw the same pixels, its outputs see those too."""
    axes = op.fields(op.given)
    if not axes or not all(axis.is_fixed and axis.exact for axis in axes):
        raise UnknownFieldError
    low, high = min(axis.low for axis in axes), max(axis.high for axis in axes)
    return Axis(tuple(regular(count) for count in op.output.shape), low, high - low + 1)


def _known_or_none(op: Operation) -> Axis | None:
    try:
        return _fallback(op)
    except UnknownFieldError:
        return None
