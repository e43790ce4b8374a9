"""Convolutions over tiny maps as matrix products: where a CPU library's convolution is 5 to 10 times too slow.

At the deep end of a network for small images the maps are 4x4, 2x2 or 1x1, and a convolution kernel that walks over
pixels has nothing to walk over. There a plain matrix product of the gathered patches with the weights does the same
sums at the speed of the matrix unit. `small_maps` intercepts `torch.conv2d` itself, so it serves any network and
leaves nothing behind in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Measured on AVX512 and AMX: up to 16 output positions the matrix product wins forward and backward.
LARGEST_MAP = 16


@dataclass(frozen=True)
class _Axis:
    """One dimension of a convolution: map size, outputs, stride, padding, and the taps that ever meet a real pixel.

    Of a 3-tap kernel with padding 1 over a single pixel only the middle tap counts: `first` is 1, `end` is 2.
    """

    size: int
    outputs: int
    stride: int
    padding: int
    first: int
    end: int

    @classmethod
    def of(cls, size: int, kernel: int, stride: int, padding: int) -> _Axis:
        outputs = (size + 2 * padding - kernel) // stride + 1
        used = [k for k in range(kernel) if any(0 <= o * stride + k - padding < size for o in range(outputs))]
        return cls(size, outputs, stride, padding, min(used), max(used) + 1)

    @property
    def taps(self) -> int:
        return self.end - self.first

    @property
    def pads(self) -> tuple[int, int]:
        """Zeros before and after the map; a negative number leaves pixels out that no window reaches."""
        before = self.padding - self.first
        return before, (self.outputs - 1) * self.stride + self.taps - self.size - before

    @property
    def backward_pads(self) -> tuple[int, int]:
        """Zeros around the outputs' gradient, over which the reversed kernel gives the map's gradient at stride 1."""
        before = self.taps - 1 - self.pads[0]
        return before, self.size + self.taps - 1 - self.outputs - before


_Axes = tuple[_Axis, _Axis]


class _MatrixConvolution(torch.autograd.Function):
    """conv2d of `x` (N, C, H, W) with `weight` (O, C, kh, kw), as the matrix (N * rows * columns, O).

    The caller gives the result its four dimensions: a view made in here could not be changed in place by a ReLU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, axes: _Axes) -> Tensor:
        rows, columns = axes
        patches = _patches(x.permute(0, 2, 3, 1), (rows.pads, columns.pads), axes, (rows.stride, columns.stride))
        matrix = _used(weight, axes).permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
        ctx.save_for_backward(patches, weight)
        ctx.axes, ctx.images, ctx.has_bias = axes, x.shape[0], bias is not None
        return patches @ matrix.T if bias is None else torch.addmm(bias, patches, matrix.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        patches, weight = ctx.saved_tensors
        gradient = gradients[0]
        dx = dw = db = None
        if ctx.needs_input_grad[1]:
            dw = _weight_gradient(gradient.T @ patches, weight, ctx.axes)
        if ctx.needs_input_grad[0]:
            rows, columns = ctx.axes
            maps = gradient.view(ctx.images, rows.outputs, columns.outputs, weight.shape[0])
            simple = rows.stride == columns.stride == 1 and min(*rows.backward_pads, *columns.backward_pads) >= 0
            dx = (_reversed_convolution if simple else _gather_back)(maps, weight, ctx.axes).permute(0, 3, 1, 2)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            db = gradient.sum(0)
        return dx, dw, db, None


def _used(weight: Tensor, axes: _Axes) -> Tensor:
    rows, columns = axes
    return weight[:, :, rows.first : rows.end, columns.first : columns.end]


def _patches(
    maps: Tensor, pads: tuple[tuple[int, int], tuple[int, int]], axes: _Axes, strides: tuple[int, int]
) -> Tensor:
    """The matrix (N * positions, taps * C) of what the kernel meets in `maps` (N, H, W, C) at every position."""
    padded = F.pad(maps, (0, 0, *pads[1], *pads[0])).contiguous()
    image, row, column, one = padded.stride()
    taps = (axes[0].taps, axes[1].taps)
    down, across = ((padded.shape[1 + i] - taps[i]) // strides[i] + 1 for i in (0, 1))
    view = padded.as_strided(
        (maps.shape[0], down, across, *taps, maps.shape[3]),
        (image, row * strides[0], column * strides[1], row, column, one),
    )
    return view.reshape(maps.shape[0] * down * across, -1)


def _weight_gradient(matrix: Tensor, weight: Tensor, axes: _Axes) -> Tensor:
    inner = matrix.view(weight.shape[0], axes[0].taps, axes[1].taps, weight.shape[1]).permute(0, 3, 1, 2)
    if inner.shape == weight.shape:
        return inner
    whole = torch.zeros_like(weight)
    _used(whole, axes).copy_(inner)
    return whole


def _reversed_convolution(gradient: Tensor, weight: Tensor, axes: _Axes) -> Tensor:
    """The input's gradient (N, H, W, C) at stride 1: the gradient (N, rows, columns, O) met by the reversed kernel."""
    rows, columns = axes
    taps = [(i, j) for i in reversed(range(rows.first, rows.end)) for j in reversed(range(columns.first, columns.end))]
    matrix = torch.stack([weight[:, :, i, j] for i, j in taps]).view(-1, weight.shape[1])
    patches = _patches(gradient, (rows.backward_pads, columns.backward_pads), axes, (1, 1))
    return (patches @ matrix).view(gradient.shape[0], rows.size, columns.size, -1)


def _gather_back(gradient: Tensor, weight: Tensor, axes: _Axes) -> Tensor:
    """The input's gradient (N, H, W, C) at any stride: every patch's gradient added to the pixels it came from."""
    rows, columns = axes
    (top, bottom), (left, right) = rows.pads, columns.pads
    height, width = rows.size + max(0, top) + max(0, bottom), columns.size + max(0, left) + max(0, right)
    total = gradient.new_zeros((gradient.shape[0], height, width, weight.shape[1]))
    for i in range(rows.taps):
        for j in range(columns.taps):
            down = slice(i, i + rows.stride * (rows.outputs - 1) + 1, rows.stride)
            across = slice(j, j + columns.stride * (columns.outputs - 1) + 1, columns.stride)
            total[:, down, across] += gradient @ weight[:, :, rows.first + i, columns.first + j]
    return total[:, top : top + rows.size, left : left + columns.size]


def _pair(value: Any) -> tuple[int, int] | None:
    if isinstance(value, str):
        return None
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def matrix_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """`torch.conv2d` without groups and dilation as a matrix product, under autocast too."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    axes = tuple(_Axis.of(x.shape[2 + i], weight.shape[2 + i], stride[i], padding[i]) for i in (0, 1))
    with torch.autocast("cpu", enabled=False):
        flat: Tensor = _MatrixConvolution.apply(x, weight, bias, axes)
    return flat.view(x.shape[0], axes[0].outputs, axes[1].outputs, weight.shape[0]).permute(0, 3, 1, 2)


class small_maps(TorchFunctionMode):  # noqa: N801  # used as a context manager, like torch.no_grad
    """Inside this block `torch.conv2d` is a matrix product wherever its output has at most `LARGEST_MAP` pixels."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            taken = self._take(*args, **(kwargs or {}))
            if taken is not None:
                return taken
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _take(
        input: Tensor,  # the name that torch.conv2d gives it
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor | None:
        steps, pads = _pair(stride), _pair(padding)
        if input.ndim != 4 or input.device.type != "cpu" or groups != 1 or _pair(dilation) != (1, 1) or not pads:
            return None
        assert steps is not None
        rows, columns = ((input.shape[2 + i] + 2 * pads[i] - weight.shape[2 + i]) // steps[i] + 1 for i in (0, 1))
        if min(rows, columns) < 1 or rows * columns > LARGEST_MAP or weight.shape[1] < 16:
            return None
        return matrix_conv2d(input, weight, bias, steps, pads)
