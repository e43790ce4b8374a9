"""Convolutions over tiny maps as matrix products: where a CPU library's convolution is 5 to 10 times too slow.

At the deep end of a network for small images the maps are 4x4, 2x2 or 1x1, and a convolution kernel that walks over
pixels has nothing to walk over. There a plain matrix product of the gathered patches with the weights does the same
sums at the speed of the matrix unit. `small_maps` intercepts `torch.conv2d` itself, so it serves any network and
leaves nothing behind in it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# Measured on AVX512 and AMX: up to 16 output positions the matrix product wins forward and backward.
LARGEST_MAP = 16


class _MatrixConvolution(torch.autograd.Function):
    """conv2d of `x` (N, C, H, W) with `weight` (O, C, kh, kw), as the matrix (N * rows * columns, O).

    The caller gives the result its four dimensions: a view made in here could not be changed in place by a ReLU.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], padding: tuple[int, int]
    ) -> Tensor:
        taps = _useful_taps(x, weight, stride, padding)
        patches = _patches(x, weight.shape, stride, padding, taps)
        matrix = _as_matrix(weight, taps)
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, taps, bias is not None)
        return patches @ matrix.T if bias is None else torch.addmm(bias, patches, matrix.T)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, taps, has_bias = ctx.geometry
        flat = gradients[0]
        dx = dw = db = None
        if ctx.needs_input_grad[1]:
            patches = _patches(x, weight.shape, stride, padding, taps)
            dw = _from_matrix(flat.T @ patches, weight, taps)
        if ctx.needs_input_grad[0]:
            size = _output_size(x, weight.shape, stride, padding)
            spread = (flat @ _as_matrix(weight, taps)).view(x.shape[0], *size, *_tap_counts(taps), x.shape[1])
            dx = _gather_back(spread, x, stride, padding, taps)
        if has_bias and ctx.needs_input_grad[2]:
            db = flat.sum(0)
        return dx, dw, db, None, None


_Taps = tuple[int, int, int, int]


def _tap_counts(taps: _Taps) -> tuple[int, int]:
    return taps[1] - taps[0], taps[3] - taps[2]


def _useful_taps(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> _Taps:
    """The rows and columns of the kernel that ever meet a real pixel: of 3x3 over a 1x1 map only the middle."""
    found: list[int] = []
    for axis in (0, 1):
        size, kernel, step, pad = x.shape[2 + axis], weight.shape[2 + axis], stride[axis], padding[axis]
        outputs = (size + 2 * pad - kernel) // step + 1
        used = [k for k in range(kernel) if any(0 <= o * step + k - pad < size for o in range(outputs))]
        found += [min(used), max(used) + 1]
    return found[0], found[1], found[2], found[3]


def _output_size(x: Tensor, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int]:
    height, width = ((x.shape[2 + i] + 2 * padding[i] - kernel[2 + i]) // stride[i] + 1 for i in (0, 1))
    return height, width


def _patches(x: Tensor, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int], taps: _Taps) -> Tensor:
    """The matrix (N * rows * columns, taps * C) of what the kernel meets at every output position."""
    size = _output_size(x, kernel, stride, padding)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    image, row, column, one = padded.stride()
    view = padded.as_strided(
        (x.shape[0], *size, *_tap_counts(taps), x.shape[1]),
        (image, row * stride[0], column * stride[1], row, column, one),
        padded.storage_offset() + taps[0] * row + taps[2] * column,
    )
    return view.reshape(x.shape[0] * size[0] * size[1], -1)


def _as_matrix(weight: Tensor, taps: _Taps) -> Tensor:
    return weight[:, :, taps[0] : taps[1], taps[2] : taps[3]].permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def _from_matrix(matrix: Tensor, weight: Tensor, taps: _Taps) -> Tensor:
    inner = matrix.view(weight.shape[0], *_tap_counts(taps), weight.shape[1]).permute(0, 3, 1, 2)
    if inner.shape == weight.shape:
        return inner
    whole = torch.zeros_like(weight)
    whole[:, :, taps[0] : taps[1], taps[2] : taps[3]] = inner
    return whole


def _gather_back(spread: Tensor, x: Tensor, stride: tuple[int, int], padding: tuple[int, int], taps: _Taps) -> Tensor:
    """Add every patch's gradient (N, rows, columns, kh, kw, C) to the pixels it was gathered from."""
    images, rows, columns = spread.shape[:3]
    height, width = x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1]
    total = spread.new_zeros((images, height, width, x.shape[1]))
    for i in range(taps[0], taps[1]):
        for j in range(taps[2], taps[3]):
            rows_met = slice(i, i + stride[0] * (rows - 1) + 1, stride[0])
            columns_met = slice(j, j + stride[1] * (columns - 1) + 1, stride[1])
            total[:, rows_met, columns_met] += spread[:, :, :, i - taps[0], j - taps[2]]
    inner = total[:, padding[0] : height - padding[0], padding[1] : width - padding[1]]
    return inner.permute(0, 3, 1, 2)


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
    with torch.autocast("cpu", enabled=False):
        flat: Tensor = _MatrixConvolution.apply(x, weight, bias, stride, padding)
    size = _output_size(x, weight.shape, stride, padding)
    return flat.view(x.shape[0], *size, weight.shape[0]).permute(0, 3, 1, 2)


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
        size = _output_size(input, weight.shape, steps, pads)
        if min(size) < 1 or size[0] * size[1] > LARGEST_MAP or weight.shape[1] < 16:
            return None
        return matrix_conv2d(input, weight, bias, steps, pads)
